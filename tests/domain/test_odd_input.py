"""Input that nobody expects: giants, lists for numbers, ids that come back, garbage that comes first."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from streamer.domain.drift import SignalWatch
from streamer.domain.objectives import DetectorSpec, Limits, ModelSpec, Objectives, Quota, WindowSpec
from streamer.domain.profile import Profile
from streamer.domain.windows import DurationWindow
from streamer.pipeline import Pipeline
from tests.domain.feed import Disk, Log, build, feed


@pytest.mark.parametrize("value", [[1], [1, 2], [1, 2, 3], []])
def test_lists_as_values_of_numeric_features_stop_nobody(value: list[int]) -> None:
    profile = Profile(9, Quota(10**6))
    for row in ({"age": 1.0, "income": 2.0}, {"age": value, "income": value}):
        profile.take(row)
        profile.flush()
    assert profile.categories == {"age": {"<list>": 1}, "income": {"<list>": 1}}


def test_ids_that_were_crowded_out_and_came_back_within_one_commit_stand_where_they_came_last() -> None:
    spec = ModelSpec("m", task="binary", dedupe_ms=3_600_000, drift=())
    disk = Disk(Objectives(models={"m": spec}, limits=Limits(max_recent=2)))
    pipeline, log = build(disk.objectives), Log()
    for pid in "ab":
        log.predict(pid)
        log.label(pid)
        log.wait(1000)
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    done = len(log.steps)
    log.predict("c")
    log.label("c")
    log.wait(1000)
    log.predict("z")  # a second passes: "a" has to go
    log.predict("a")
    log.label("a")
    feed(pipeline, log.steps[done:])
    disk.commit(pipeline)

    def recent(found: Pipeline) -> tuple[list[str], int]:
        table = found.partition.models["m"].every_version[0].table
        return list(table.recent), sum(n for _, n in table.runs)

    assert recent(pipeline) == (["b", "c", "a"], 3)
    assert recent(disk.restore()) == recent(pipeline)


def test_giant_latencies_do_not_keep_a_partition_from_committing() -> None:
    disk = Disk(Objectives())
    pipeline, log = build(disk.objectives), Log()
    for number in range(22_000):
        log.predict(number, 1, latency_ms=8.6e11)
    feed(pipeline, log.steps)
    disk.commit(pipeline)


def test_page_hinkley_says_worse_when_the_error_jumps_right_after_the_warm_up() -> None:
    chance = random.Random(1)
    watch = SignalWatch((DetectorSpec("page_hinkley"),), bounded=False)
    found = []
    for at in range(600):
        found += watch.feed([abs(chance.gauss(0, 1)) + 5 * (at >= 510)])
    assert found[0].after > found[0].before


@pytest.mark.parametrize("kind", ["adwin", "page_hinkley"])
def test_one_giant_value_does_not_spoil_what_later_alarms_say(kind: Any) -> None:
    chance = random.Random(1)
    watch = SignalWatch((DetectorSpec(kind),), bounded=False)
    found = []
    for at in range(4000):
        value = 1e20 if at == 600 else chance.gauss(40 + 20 * (at >= 3000), 9)
        found += watch.feed([value])
    assert found[-1].before == pytest.approx(50, abs=12)


def test_one_giant_value_does_not_blind_adwin_for_ever() -> None:
    chance = random.Random(1)
    watch = SignalWatch((DetectorSpec("adwin"),), bounded=False)
    found = []
    for at in range(8000):
        value = 1e160 if at == 600 else chance.gauss(40 + 50 * (at // 1000 % 2), 9)
        found += watch.feed([value])
    assert [each for each in found if each.position > 2000]


@pytest.mark.parametrize(
    ("rows", "room"), [([{"a": None}, {"a": 0.0, "b": 0.0}], 9), ([{"z": None}, {"c": "x", "d": 1.0}], 2)]
)
def test_it_does_not_matter_when_a_profile_is_flushed(rows: list[dict[str, Any]], room: int) -> None:
    one, other = Profile(room, Quota(10**6)), Profile(room, Quota(10**6))
    for row in rows:
        one.take(dict(row))
        other.take(dict(row))
        other.flush()
    assert one.snapshot() == other.snapshot()


def test_labels_parked_before_the_task_is_known_are_compared_as_classes() -> None:
    pipeline, log = build(Objectives()), Log()
    for value in (1, "1", True):
        log.label("a", value)
    log.predict("a", 1)
    feed(pipeline, log.steps)
    assert pipeline.partition.identity()["labels"]["conflicting"] == 0


@pytest.mark.parametrize("bad", [{"scores": "garbage"}, {"version": ["x"]}])
def test_a_dead_letter_does_not_decide_what_kind_of_model_it_is(bad: dict[str, Any]) -> None:
    pipeline, log = build(Objectives()), Log()
    log.predict("a", 1.5, **bad)
    log.predict("b", "cat")
    feed(pipeline, log.steps)
    assert pipeline.partition.models["m"].task == "multiclass"


def test_a_window_of_time_never_holds_rows_older_than_itself() -> None:
    window = DurationWindow(WindowSpec("duration", 8000), 9)
    start = 133 * 10_000
    window.extend(np.array([1]), [start])
    window.extend(np.array([2]), [start + 8100])
    assert window.tally.tolist()[1] == 0
