"""State without its objectives: one model is forgotten, models move home, and nobody else notices."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.checkpoint import MANIFEST_KEY, Checkpoint
from streamer.domain.objectives import Limits, Objectives
from streamer.domain.partition import Partition
from streamer.home import home
from streamer.pipeline import Pipeline
from streamer.rehome import rehome
from streamer.stored import (
    Inconsistent,
    Stored,
    dead_letters,
    open_incidents,
    parked_labels,
    pending_of,
    segments,
    terms_of,
    unaccounted,
    without,
)
from tests.domain.feed import Log, Step, facts, feed
from tests.domain.traffic import SMALL, objectives, traffic

MANIFEST = codec.encode_key(MANIFEST_KEY)
seeds = st.integers(0, 2**32)


class Member:
    """One partition of several: its pipeline, its state topic."""

    def __init__(self, number: int, partitions: int, wanted: Objectives) -> None:
        self.number, self.partitions, self.wanted = number, partitions, wanted
        self.raw: dict[bytes, bytes] = {}
        self.checkpoint = Checkpoint(codec, {})
        self.pipeline = self.build()

    def build(self) -> Pipeline:
        partition = Partition(self.wanted, lambda name: home(name, self.partitions) == self.number)
        return Pipeline(partition, self.number, ("p", "l"), codec.decode_event)

    def commit(self) -> None:
        self.take(self.checkpoint.prepare(self.pipeline).records)

    def take(self, records: Iterable[Any]) -> None:
        for record in records:
            if record.room != "state":
                continue
            self.raw.pop(record.key, None)
            if record.value is not None:
                self.raw[record.key] = record.value

    def stored(self) -> Stored:
        found = Checkpoint(codec, {}).read(self.raw, self.number)
        assert found is not None
        return Stored.of(*found)

    def put(self, stored: Stored) -> None:
        """Write it as the tools do, and come back to life from it."""
        commit = self.checkpoint.rewrite(
            self.raw, stored.partition, stored.cells, stored.revision, stored.positions, stored.last
        )
        self.written = {each.key for each in commit.records if each.key != MANIFEST}
        self.take(commit.records)
        self.restore()

    def restore(self) -> None:
        self.checkpoint = Checkpoint(codec, {})
        self.pipeline = self.checkpoint.restore(self.raw, self.build, None)


def split(steps: Iterable[Step], partitions: int) -> dict[int, list[Step]]:
    """The records that each partition gets: garbage without a model goes to the first."""
    found: dict[int, list[Step]] = {number: [] for number in range(partitions)}
    for kind, record in steps:
        try:
            name = codec.decode_event(record.data or b"").get("model", (record.name or b"").decode())
        except (ValueError, AttributeError):
            name = None
        number = home(name, partitions) if isinstance(name, str) and name else 0
        offset = sum(k == kind for k, _ in found[number])
        found[number].append((kind, replace(record, position=offset)))
    return found


def members(partitions: int, seed: int, count: int = 150, wanted: Objectives | None = None) -> list[Member]:
    """Partitions after some commits of lively traffic."""
    group = [Member(number, partitions, wanted or objectives(Limits())) for number in range(partitions)]
    for number, steps in split(traffic(random.Random(seed), count).steps, partitions).items():
        for start in range(0, len(steps), 60):
            feed(group[number].pipeline, steps[start : start + 60])
            group[number].commit()
    for each in group:
        each.commit()
    return group


def of_models(group: list[Member]) -> dict[Any, Any]:
    """What is known of each model and version, wherever it lies; its place apart."""
    found: dict[Any, Any] = {}
    for each in group:
        for key, value in facts(each.pipeline).items():
            if key in each.pipeline.partition.models or isinstance(key, tuple):
                assert key not in found, f"{key} lies twice"
                found[key] = {name: part for name, part in value.items() if name != "place"}
    return found


def at_one_time(group: list[Member], now: int | None = None) -> int:
    """Let all of them come to the same second."""
    latest = max(each.pipeline.partition.now for each in group) if now is None else now
    for each in group:
        each.pipeline.tick(latest + 1_000)
    return latest


def identities_hold(group: list[Member]) -> bool:
    return all(
        2 * terms["consumed"] == sum(terms.values())
        for each in group
        for terms in each.pipeline.partition.identity().values()
    )


def totals(group: list[Member]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in group:
        for topic, terms in each.pipeline.partition.identity().items():
            for name, n in terms.items():
                found[f"{topic} {name}"] = found.get(f"{topic} {name}", 0) + n
    return found


def moved(group: list[Member], partitions: int) -> list[Member]:
    """The same state under another number of partitions, as written and read again."""
    old = {each.number: each.stored() for each in group}
    fresh = [Member(number, partitions, group[0].wanted) for number in range(partitions)]
    for number, stored in rehome(old, partitions, lambda name: home(name, partitions)).items():
        fresh[number].put(stored)
    return fresh


# -- what the cells say ----------------------------------------------------------------------


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_the_cells_say_what_the_living_partition_says(seed: int) -> None:
    for each in members(2, seed):
        stored, partition = each.stored(), each.pipeline.partition
        assert unaccounted(stored) == {"predictions": 0, "labels": 0}
        identity = partition.identity()
        assert dead_letters(stored) == {topic: identity[topic]["dead_letter"] for topic in identity}
        assert stored.models == list(partition.models)
        terms, parked = terms_of(stored), parked_labels(stored.cells)
        for name, model in partition.models.items():
            assert parked[name] == terms[name]["labels"]["parked"] == len(model.parked)
            assert model.firing == sum(owner == name for owner, _ in open_incidents(stored.cells).values())
            for version in model.every_version:
                head = stored.cells["version", name, version.version]
                assert pending_of(head) == len(version.table.pending)


# -- forgetting ------------------------------------------------------------------------------


@given(seeds, st.sampled_from(["binary", "square", "new"]))
@settings(max_examples=15, deadline=None)
def test_a_forgotten_model_leaves_no_trace_and_the_others_do_not_notice(seed: int, name: str) -> None:
    [member] = members(1, seed)
    before, declared = of_models([member]), name in member.wanted.models
    member.put(without(member.stored(), name))
    after = of_models([member])
    fresh = {key for key in before if key == name or key[0] == name}
    assert {key: value for key, value in after.items() if key not in fresh} == {
        key: value for key, value in before.items() if key not in fresh
    }
    if declared:  # the file still names it: it is there, and has seen nothing
        assert after[name]["labels"] == [0, 0, 0, 0, 0]
        assert after[name]["versions"] == []
    else:
        assert name not in after
    assert identities_hold([member])
    assert not [key for key in member.raw if f'"{name}"'.encode() in key]
    assert not [
        key for key in member.written if codec.decode_key(key)[0] != "join" and name.encode() not in key
    ]


def test_a_model_that_is_not_there_cannot_be_forgotten() -> None:
    [member] = members(1, 1)
    with pytest.raises(Inconsistent, match="nobody"):
        without(member.stored(), "nobody")


def test_a_forgotten_model_begins_anew_with_the_records_that_come() -> None:
    [member] = members(1, 3)
    member.put(without(member.stored(), "binary"))
    log = Log(member.pipeline.partition.now + 1_000)
    log.offsets = list(member.pipeline.positions)
    for number in range(20):
        log.predict(f"new {number}", 1, "binary")
        log.label(f"new {number}", 1, "binary")
    feed(member.pipeline, log.steps)
    model = member.pipeline.partition.models["binary"]
    assert model.labels.joined == 20
    assert identities_hold([member])


# -- moving ----------------------------------------------------------------------------------


@given(seeds, st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_models_that_move_home_take_everything_with_them(seed: int, few: int, many: int) -> None:
    group = members(few, seed)
    fresh = moved(group, many)
    assert identities_hold(fresh)
    assert totals(fresh) == totals(group)
    now = at_one_time(group)
    at_one_time(fresh, now)
    assert of_models(fresh) == of_models(group)


@given(seeds, st.integers(2, 4))
@settings(max_examples=10, deadline=None)
def test_models_that_moved_go_on_as_if_they_had_not(seed: int, many: int) -> None:
    group = members(3, seed)
    fresh = moved(group, many)
    now = at_one_time(group)
    at_one_time(fresh, now)
    further = traffic(random.Random(seed + 1), 100).steps
    begin = now + 2_000 - further[0][1].at
    told = [continued(group, further, begin), continued(fresh, further, begin)]
    assert of_models(fresh) == of_models(group)
    assert told[0] == told[1]


def continued(group: list[Member], steps: list[Step], later_ms: int) -> list[str]:
    """These records so much later, with time passing everywhere at once; answers what was told."""
    for each in group:
        each.pipeline.take_effects()
    for kind, record in steps:
        at = record.at + later_ms
        for each in group:
            each.pipeline.tick(at)
        record = replace(record, at=at, data=shifted(record.data, later_ms))
        for number, [step] in ((n, s) for n, s in split([(kind, record)], len(group)).items() if s):
            feed(group[number].pipeline, [step])
    return sorted(alert(each) for member in group for each in member.pipeline.take_effects().alerts)


def shifted(data: bytes | None, by: int) -> bytes | None:
    """The same event, so much later."""
    try:
        event = codec.decode_event(data or b"")
        return codec.encode_json({**event, "timestamp": event["timestamp"] + by})
    except (ValueError, TypeError, KeyError):
        return data


def alert(document: dict[str, Any]) -> str:
    """What is told, but for the offset behind it, which is another one in another partition."""
    return repr(sorted((k, str(v)) for k, v in document.items() if k not in ("source", "alert_id")))


@pytest.mark.parametrize("limits", [Limits(), SMALL], ids=["roomy", "crowded"])
def test_under_the_same_number_of_partitions_nothing_changes_but_the_numbering_of_the_log(
    limits: Limits,
) -> None:
    group = members(3, 5, 400, objectives(limits))
    assert [facts(each.pipeline) for each in moved(group, 3)] == [
        facts(each.pipeline) | {"positions": [0, 0], "last": [0, -1]} for each in group
    ]
    old = {each.number: each.stored() for each in group}
    for number, stored in rehome(old, 3, lambda name: home(name, 3)).items():
        mine = old[number]
        assert stored.now == mine.now
        assert stored.partition["consumed"] == mine.partition["consumed"]
        assert stored.partition["dead"] == mine.partition["dead"]
        assert [each for _, each in segments(stored.cells)] == [each for _, each in segments(mine.cells)]
        assert {k: v for k, v in stored.cells.items() if k[0] != "join"} == {
            k: v for k, v in mine.cells.items() if k[0] != "join"
        }


@pytest.mark.parametrize("ahead", range(3))
def test_models_that_meet_keep_their_order_and_the_latest_of_their_clocks(ahead: int) -> None:
    group = members(3, 5)
    group[ahead].pipeline.tick(group[ahead].pipeline.partition.now + 60_000_000)
    group[ahead].commit()
    old = {each.number: each.stored() for each in group}
    together = rehome(old, 1, lambda name: 0)[0]
    assert together.models == [name for number in range(3) for name in old[number].models]
    places = [together.cells["model", name]["place"] for name in together.models]
    assert places == list(range(len(places)))
    assert together.now == old[ahead].now == max(stored.now for stored in old.values())
    assert together.partition["latest_ms"] == old[ahead].partition["latest_ms"]


def test_a_model_that_lies_in_two_partitions_is_not_moved_and_the_message_names_the_cure() -> None:
    [one] = members(1, 5)
    with pytest.raises(Inconsistent, match=r"streamer state reset --model .* --partition 1") as caught:
        rehome({0: one.stored(), 1: one.stored()}, 2, lambda name: 0)
    assert "partition 0 and in partition 1" in str(caught.value)
