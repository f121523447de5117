"""A worker with `repartition: true` on sources of any key: what is counted, told, set aside and sent back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition

from streamer.adapters.kafka import offsets_of
from streamer.adapters.ownership import Ownership
from streamer.adapters.rights import Role, rights_of
from streamer.adapters.seat import Seat, Standing
from streamer.adapters.topics import Topics, create, describe, unequal_partitions
from streamer.config import Settings, load_settings
from streamer.home import home
from tests.adapters.routed import PARTITIONS, Stage, events
from tests.adapters.worker_thread import WorkerThread, settings_for
from tests.cli.test_cli import streamer
from tests.domain.feed import START_MS
from tests.e2e.oracle import committed
from tests.e2e.test_unreadable import BOMB_RECORDS, bomb

ROWS = 400


@pytest.fixture
def stage(bootstrap: str) -> Iterator[Stage]:
    made = Stage(bootstrap, **{"max.message.bytes": "2000000"})
    yield made
    made.close()


def settings_of(stage: Stage) -> Settings:
    return settings_for(stage.bootstrap, stage.names, repartition=True)


def total(ownership: Ownership, topic: str, term: str) -> int:
    """Of all partitions, as committed."""
    return sum(each.identity[topic][term] for each in ownership.custody.exposition.partitions.values())


def letters(stage: Stage) -> list[dict[str, str]]:
    found = []
    for number in range(PARTITIONS):
        for letter in committed(stage.bootstrap, stage.names.dead_letters, number):
            headers = {name: value.decode() for name, value in letter.headers()}
            found.append(headers | {"value": letter.value().decode("utf-8", "replace")})
    return [each for each in found if "reason" in each]


@pytest.mark.timeout(180)
def test_any_key_is_counted_and_what_is_set_aside_is_named_by_its_source_and_sent_back_once(
    stage: Stage,
) -> None:
    stage.write(events(ROWS))
    stage.write([(1, 1, b"user-1", b'{"model": "m1"}', START_MS)])
    [last] = [key for key in stage.sources() if key[:2] == (stage.names.labels, 1)][-1:]
    variables = {
        "STREAMER_BOOTSTRAP": stage.bootstrap,
        "STREAMER_REPARTITION": "true",
        "STREAMER_TOPIC_PREFIX": stage.names.predictions.removesuffix("predictions"),
        "STREAMER_GROUP": settings_of(stage).group,
    }
    with WorkerThread(settings_of(stage)) as running:
        running.until(lambda found: total(found, "labels", "joined") == ROWS, "all are joined", 60)
        running.until(lambda found: total(found, "labels", "consumed") == ROWS + 1, "all are counted")
        [letter] = letters(stage)
        assert (letter["topic"], letter["partition"], letter["offset"]) == (last[0], "1", str(last[2]))
        assert letter["reason"] == "missing_field"
        sources = stage.sources().keys()
        done = streamer("dead-letters", "redrive", "--all", "--yes", **variables)
        assert done.returncode == 1  # nobody has mended anything: it is one again
        assert "1 letters were sent" in done.stderr
        assert stage.sources().keys() == sources
        _, again = letters(stage)
        number = home("m1", PARTITIONS)
        assert (again["topic"], again["partition"]) == (stage.names.inputs[1], str(number))
        assert again["value"] == letter["value"]
        done = streamer("dead-letters", "redrive", "--all", "--yes", **variables)
        assert (done.returncode, len(letters(stage))) == (0, 2)
        done = streamer("status", **variables)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_a_stretch_of_a_source_that_no_client_can_read_is_one_letter_and_the_rest_counts(
    stage: Stage,
) -> None:
    stage.write(events(ROWS))
    bomb(stage, stage.names.predictions, 3)  # type: ignore[arg-type]
    stage.write(events(ROWS, first=ROWS))
    with WorkerThread(settings_of(stage)) as running:
        running.until(lambda found: total(found, "labels", "joined") == 2 * ROWS, "all are joined", 90)
        running.until(lambda found: total(found, "predictions", "dead_letter") == 1, "one is set aside")
    [letter] = letters(stage)
    assert (letter["reason"], letter["topic"], letter["partition"]) == (
        "unreadable", stage.names.predictions, "3"
    )  # fmt: skip
    assert int(letter["offset"]) - int(letter["first-offset"]) == BOMB_RECORDS - 1


@pytest.mark.timeout(120)
def test_no_time_passes_while_records_lie_in_the_sources_and_do_not_come(stage: Stage) -> None:
    """Else a model would be called silent whose predictions are there."""
    stage.write(events(ROWS))
    with WorkerThread(settings_of(stage)) as running:
        running.until(lambda found: total(found, "labels", "joined") == ROWS, "all are joined", 60)
        running.until(lambda found: found.caught_up(), "it has caught up", 30)
    places = [TopicPartition(stage.names.predictions, number) for number in range(5)]
    with offsets_of(stage.base, f"{settings_of(stage).group}-router") as ask:
        assert all(each.offset > 0 for each in ask(places))
    stage.write(events(ROWS, first=ROWS))
    gone = TopicPartition(stage.names.predictions, 3, -1)
    stage.admin.delete_records([gone])[gone].result(20)
    with WorkerThread(settings_of(stage)) as running:
        stats = running.worker.stats
        running.until(lambda _: stats.router and stats.router.halted, "the router has halted there", 60)
        running.until(lambda found: not found.caught_up(), "it knows that records lie there")
        running.until(lambda found: len(live(found)) == PARTITIONS, "all are live", 60)
        assert running.ownership is not None
        told = [ticks_of(seat) for seat in live(running.ownership)]
        running.until(lambda _: all(len(each) > 3 for each in told), "the beat has come by")
        assert {each for ticks in told for each in ticks} == {None}
        running.ownership.caught_up = lambda: True
        running.until(lambda _: all(ticks[-1] is not None for ticks in told), "time passes", 60)


def live(ownership: Ownership) -> list[Seat]:
    return [seat for seat in ownership.seats.values() if seat.standing is Standing.LIVE]


def ticks_of(seat: Seat) -> list[int | None]:
    """What it is told from now on."""
    told: list[int | None] = []
    tick = seat.tick

    def noted(now: float, now_ms: int | None) -> None:
        told.append(now_ms)
        tick(now, now_ms)

    seat.tick = noted  # type: ignore[method-assign]
    return told


def test_topics_are_made_for_the_router_and_the_sources_may_be_as_they_are(stage: Stage) -> None:
    results = {each.name: each for each in create(stage.base, stage.names, partitions=PARTITIONS)}
    assert {each.outcome for each in results.values()} == {"existing"}
    rows = {row.role: row for row in describe(stage.base, stage.names)}
    assert [row.problems for row in rows.values() if row.problems] == []
    assert (rows["predictions"].partitions, rows["routed_predictions"].partitions) == (5, PARTITIONS)
    assert rows["routed_labels"].configs["message.timestamp.type"] == "LogAppendTime"


def test_what_workers_read_has_to_have_as_many_partitions_as_the_rest() -> None:
    names = Topics().repartitioned()
    counts = dict.fromkeys(names.by_role().values(), 3) | {"predictions": 7, "labels-by-model": 2}
    assert list(unequal_partitions(names, counts)) == ["labels-by-model"]


def test_the_setting_names_the_topics() -> None:
    plain = load_settings({"topic_prefix": "x."}, {})
    routed = load_settings({"topic_prefix": "x."}, {"STREAMER_REPARTITION": "true"})
    assert plain.topics.inputs == plain.topics.sources == ("x.predictions", "x.labels")
    assert routed.topics.sources == plain.topics.sources
    assert routed.topics.inputs == ("x.predictions-by-model", "x.labels-by-model")
    assert (plain.topics.routed, routed.topics.routed) == (False, True)


def test_a_router_only_reads_the_sources() -> None:
    rights = rights_of(Role.WORKER, Topics().repartitioned(), "g")
    of = {
        name: {operation for each in rights if name in each.names for operation in each.operations}
        for name in ("predictions", "predictions-by-model", "g-router")
    }
    assert of == {
        "predictions": {"Read"}, "predictions-by-model": {"Read", "Write", "DescribeConfigs"},
        "g-router": {"Read"},
    }  # fmt: skip
    operator = rights_of(Role.OPERATOR, Topics().repartitioned(), "g")
    assert not any("predictions" in each.names and "Write" in each.operations for each in operator)
