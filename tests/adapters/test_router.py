"""The router on a real broker: any key, any number of partitions, each record once, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition

from streamer.adapters.kafka import offsets_of
from streamer.adapters.router_reader import source_config
from streamer.adapters.router_writer import RouterWriter
from streamer.adapters.transactions import Rooms
from streamer.home import home
from streamer.origin import ORIGIN, router_group
from streamer.routing import Routed
from tests.adapters.routed import PARTITIONS, SESSION_MS, Stage, events, gate, origin
from tests.deadline import wait_until
from tests.domain.feed import START_MS

ROWS = 600


@pytest.fixture
def stage(bootstrap: str) -> Iterator[Stage]:
    made = Stage(bootstrap)
    yield made
    made.close()


def committed_offsets(stage: Stage) -> dict[tuple[str, int], int]:
    places = [
        TopicPartition(topic, number)
        for topic, count in zip(stage.names.sources, stage.counts, strict=True)
        for number in range(count)
    ]
    with offsets_of(stage.base, router_group(stage.group)) as ask:
        return {(each.topic, each.partition): each.offset for each in ask(places)}


def test_each_record_comes_once_to_its_models_home_as_it_was(stage: Stage) -> None:
    stage.write(events(ROWS))
    with stage.router() as routing:
        routing.until_routed(2 * ROWS)
        assert wait_until(lambda: routing.router.ready() == (True, ""), 20, "it is ready")
    sources = stage.sources()
    assert stage.is_routed_once()
    for kind in (0, 1):
        for number, records in enumerate(stage.routed(kind)):
            for each in records:
                found = origin(each)
                source = sources[found.topic, found.partition, found.offset]
                assert (each.key(), each.value()) == (source.key(), source.value())
                assert found.time_ms == source.timestamp()[1]
                assert f'"model":"{model_of(each)}"'.encode() in each.value()
                assert home(model_of(each), PARTITIONS) == number
            places: dict[int, list[int]] = {}
            for each in records:
                places.setdefault(origin(each).partition, []).append(origin(each).offset)
            assert all(offsets == sorted(offsets) for offsets in places.values())
    assert routing.stats.homeless == {"predictions": 0, "labels": 0}


def model_of(record: Any) -> str:
    return str(record.value().split(b'"model":"')[1].split(b'"')[0].decode())


def test_what_names_no_model_goes_on_all_the_same(stage: Stage) -> None:
    odd = [b"{", b"[]", b"null", None, b'{"model": null}', b'{"model": "a\\nb"}', b'{"x": 1}', b"\xff"]
    stage.write((0, number % 5, None, value, START_MS) for number, value in enumerate(odd))
    long = b"[" + b" " * 1_000_500
    stage.write([(1, 1, b"m1", b'{"x": 1}', START_MS), (1, 1, b"k" * 5_000, long, START_MS)])
    with stage.router() as routing:
        routing.until_routed(len(odd) + 2)
    assert stage.is_routed_once()
    assert routing.stats.homeless == {"predictions": len(odd), "labels": 1}
    for number, records in enumerate(stage.routed(0)):
        assert {origin(each).partition % PARTITIONS for each in records} <= {number}
    by_key = {each.key()[:2]: each for records in stage.routed(1) for each in records}
    named, cut = by_key[b"m1"], by_key[b"kk"]
    assert (named.partition(), named.value()) == (home("m1", PARTITIONS), b'{"x": 1}')
    assert (len(cut.key()), len(cut.value())) == (4_097, 1_000_001)
    assert origin(cut).value_hash is not None
    assert origin(cut).key_hash is not None


@pytest.mark.timeout(120)
def test_one_that_is_killed_between_its_records_and_its_offsets_has_written_nothing(stage: Stage) -> None:
    stage.write(events(ROWS))
    with stage.router(instance="one") as routing:
        routing.until_routed(2 * ROWS)
    stage.write(events(ROWS, first=ROWS))
    writer = RouterWriter(stage.base, f"{router_group(stage.group)}-one", rooms_of(stage), lambda: None)
    writer.take_over()
    writer._producer.begin_transaction()
    for number in range(PARTITIONS):
        writer._produce(record_for(stage, number), None)
    assert writer._producer.flush(20) == 0
    # It is gone without a word; who comes back under its name ends what it left open.
    with stage.router(instance="one") as routing:
        routing.until_routed(2 * ROWS)
    assert stage.is_routed_once()


def rooms_of(stage: Stage) -> Rooms:
    return Rooms(dict(zip(("routed_predictions", "routed_labels"), stage.names.inputs, strict=True)))


def record_for(stage: Stage, partition: int) -> Routed:
    place = f"{stage.names.predictions}:0:0:{START_MS}".encode()
    return Routed("routed_predictions", b"", b"{}", ((ORIGIN, place),), partition)


@pytest.mark.timeout(120)
def test_a_router_whose_partitions_others_have_by_now_writes_nothing(stage: Stage) -> None:
    """The zombie: it has records of its partitions in hand, and the group has gone on without it."""
    zombie = Consumer(source_config(stage.base, router_group(stage.group), SESSION_MS, None))
    given: list[Any] = []
    zombie.subscribe(
        list(stage.names.sources), on_assign=lambda client, _: given.append(client.consumer_group_metadata())
    )
    wait_until(lambda: zombie.poll(0.1) or given, 30, "the zombie has its partitions")
    writer = RouterWriter(stage.base, f"{router_group(stage.group)}-zombie", rooms_of(stage), lambda: None)
    writer.take_over()
    stage.write(events(ROWS))
    with stage.router() as heir:
        wait_until(lambda: zombie.poll(0.1) is None and len(given) > 1, 30, "it has to share them")
        zombie.close()
        heir.until_routed(2 * ROWS)
        before = committed_offsets(stage)
        offsets = [TopicPartition(stage.names.predictions, 0, 0, "")]
        for membership in given:
            cause = writer.attempt([record_for(stage, 0)], offsets, membership)
            assert cause is not None
            assert cause.name() in ("UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION")
        assert committed_offsets(stage) == before
    writer.close()
    assert stage.is_routed_once()


@pytest.mark.timeout(120)
def test_one_that_is_given_nothing_is_ready(bootstrap: str) -> None:
    """There may be more workers than partitions of the sources."""
    stage = Stage(bootstrap, (1, 1))
    with stage.router() as first, stage.router() as second:
        routers = (first.router, second.router)
        wait_until(lambda: all(each.ready() == (True, "") for each in routers), 30, "both are ready")
        assert any(not list(each.lanes) for each in routers)
    stage.close()


def test_two_routers_share_and_hand_over_without_losing_or_doubling_any(stage: Stage) -> None:
    stage.write(events(ROWS))
    with stage.router() as first:
        first.until_routed(ROWS)
        with stage.router() as second:
            wait_until(lambda: list(second.router.lanes), 60, "the second has partitions")
            stage.write(events(ROWS, first=ROWS))
            wait_until(lambda: second.count > 0, 60, "the second has work")
        stage.write(events(ROWS, first=2 * ROWS))
        wait_until(lambda: first.count + second.count >= 6 * ROWS, 60, "all are routed")
    assert first.count + second.count == 6 * ROWS
    assert stage.is_routed_once()


@pytest.mark.timeout(120)
def test_a_rebalance_in_the_middle_of_a_transaction_costs_no_record(stage: Stage) -> None:
    stage.write(events(ROWS))
    with stage.router() as first:
        first.until_routed(2 * ROWS)
        with gate(first) as (there, on):
            stage.write(events(ROWS, first=ROWS))
            assert there.wait(30)
            with stage.router() as second:
                wait_until(lambda: second.router._reader.membership is None, 5, "it waits to be let in")
                on.set()
                wait_until(lambda: first.count + second.count >= 4 * ROWS, 60, "all are routed")
    assert first.count + second.count == 4 * ROWS
    assert stage.is_routed_once()


def test_labels_never_come_before_predictions_that_are_older(stage: Stage) -> None:
    """A backlog: the client delivers small labels far quicker than predictions."""
    rows = 6_000
    many = events(rows, step_ms=1_000)
    bulk = b" " * 500
    stage.write((k, p, key, (value or b"") + bulk * (k == 0), at) for k, p, key, value, at in many)
    routing = stage.router(max_buffered=4_000)
    loads: list[list[Routed]] = []
    attempt = routing.router._writer.attempt

    def noted(records: Any, offsets: Any, membership: Any) -> Any:
        loads.append(list(records))
        return attempt(records, offsets, membership)

    routing.router._writer.attempt = noted  # type: ignore[method-assign]
    with routing:
        routing.until_routed(2 * rows)
    times = [
        [int(dict(each.headers)[ORIGIN].rsplit(b":", 1)[1]) for each in load if each.room.endswith(kind)]
        for load in loads
        for kind in ("predictions", "labels")
    ]
    predictions, labels = times[0::2], times[1::2]
    assert len(loads) > 3
    for at in range(len(loads)):
        later = [time for load in predictions[at + 1 :] for time in load]
        if labels[at] and later:
            assert max(labels[at]) <= min(later)


def test_positions_go_on_behind_what_is_no_record(stage: Stage) -> None:
    """Transaction markers take offsets: left before the position, they could be gone with the log."""
    producer = Producer({**stage.base, "transactional.id": f"{stage.group}-service"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(stage.names.predictions, b"{}", None, 0)
    producer.commit_transaction(20)
    with stage.router() as routing:
        routing.until_routed(1)
        wait_until(
            lambda: committed_offsets(stage)[stage.names.predictions, 0] == 2, 30, "it is behind the marker"
        )
        wait_until(lambda: sum(routing.stats.left.values()) == 0, 30, "nothing is left")


def test_where_retention_was_quicker_it_halts_and_goes_on_with_the_others(stage: Stage) -> None:
    stage.write(events(ROWS))
    with stage.router() as routing:
        routing.until_routed(2 * ROWS)
    stage.write(events(ROWS, first=ROWS))
    gone = TopicPartition(stage.names.predictions, 3, -1)
    [future] = stage.admin.delete_records([gone]).values()
    future.result(20)
    lost = committed_offsets(stage)[stage.names.predictions, 3]
    with stage.router() as routing:
        wait_until(lambda: routing.stats.halted, 30, "it has found out")
        assert list(routing.stats.halted) == [(stage.names.predictions, 3)]
        there = 2 * ROWS - ROWS // 5
        routing.until_routed(there)
        fine, why = routing.router.ready()
        assert (fine, f"{stage.names.predictions}/3" in why) == (False, True)
        assert not routing.router.caught_up()
    # The cure that the log names: where to go on is said while nobody is at work.
    at = TopicPartition(stage.names.predictions, 3, future.result().low_watermark)
    asked = [ConsumerGroupTopicPartitions(router_group(stage.group), [at])]
    for each in stage.admin.alter_consumer_group_offsets(asked).values():
        each.result(20)
    assert at.offset > lost
    with stage.router() as routing:
        stage.write([(0, 3, None, b"{}", START_MS)])
        routing.until_routed(1)
        assert routing.stats.halted == {}


def test_a_group_without_offsets_does_not_route_everything_again(stage: Stage) -> None:
    stage.write(events(ROWS))
    with stage.router() as routing:
        routing.until_routed(2 * ROWS)
    stage.admin.delete_consumer_groups([router_group(stage.group)])[router_group(stage.group)].result(20)
    with stage.router() as routing:
        wait_until(lambda: len(routing.stats.halted) == sum(stage.counts), 30, "it halts")
        assert routing.count == 0
    assert stage.is_routed_once()


def test_what_it_held_back_comes_again_after_a_rebalance(stage: Stage) -> None:
    """The client remembers for ever that a partition was paused, whoever has had it meanwhile."""
    with stage.router(max_buffered=1) as first:
        stage.write(events(ROWS))
        wait_until(lambda: first.router._reader._paused, 30, "it holds a partition back")
        with stage.router() as second:
            wait_until(lambda: list(second.router.lanes), 30, "the second has partitions")
            stage.write(events(ROWS, first=ROWS))
            wait_until(lambda: second.count > 0, 30, "the second has some of them")
        stage.write(events(ROWS, first=2 * ROWS))
        wait_until(lambda: first.count + second.count >= 6 * ROWS, 30, "all are routed")
    assert stage.is_routed_once()
