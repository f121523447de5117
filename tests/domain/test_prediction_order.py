"""Labelled rows in the order of their predictions, whatever order their labels arrive in."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources import files
from typing import Any
from zlib import crc32

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.domain import pane_log, prediction_order
from streamer.domain.drift import SignalWatch
from streamer.domain.events import rfc3339
from streamer.domain.objectives import (
    DAY_MS,
    HOUR_MS,
    LIFETIME,
    DetectorSpec,
    DriftSpec,
    Limits,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)
from streamer.domain.pane_log import PaneLog
from streamer.domain.prediction_order import BLOCK_ROWS, SLACK_ROWS, PredictionOrder
from streamer.domain.version import ORDER_ROWS, VersionMonitor
from streamer.pipeline import Pipeline
from tests.domain.feed import START_MS, Disk, Log, Step, build, by_version, facts, feed, interrupted, plain
from tests.domain.traffic import SMALL, objectives, traffic

ADWIN = DriftSpec("error", (DetectorSpec("adwin"),))
MIDNIGHT = START_MS // DAY_MS * DAY_MS


def fraud(order: Any, **more: Any) -> ModelSpec:
    settings = {"label_wait_ms": 7 * DAY_MS, "label_maturity_ms": 30 * HOUR_MS, "drift": (ADWIN,), **more}
    return ModelSpec("fraud", task="binary", order=order, **settings)


def days(count: int, share: float, worse: Any, seed: int = 7, a_day: int = 4_000) -> Log:
    """Fraud is reported within the hour, everything else is settled by night.

    ``worse(day)``: how many times as often as on the first day the model is wrong.
    """
    chance = random.Random(seed)
    log = Log(MIDNIGHT)
    events: list[tuple[int, int, int, str, int]] = []
    for number in range(count * a_day):
        at = MIDNIGHT + number * DAY_MS // a_day
        day = (at - MIDNIGHT) / DAY_MS
        truth = int(chance.random() < share)
        wrong = chance.random() < (0.4 if truth else 0.01) * worse(day)
        settled = at + chance.randrange(HOUR_MS) if truth else (at // DAY_MS + 1) * DAY_MS + number
        events.append((at, 0, number, str(number), truth ^ wrong))
        events.append((settled, 1, number, str(number), truth))
    for at, kind, _, pid, value in sorted(events):
        log.at = at
        (log.label if kind else log.predict)(pid, value, "fraud")
    return log


def panes_of(pipeline: Pipeline) -> list[dict[str, Any]]:
    """What is told of panes, once."""
    return [each for each in pipeline.take_effects().reports if each["type"] == "pane"]


def run(spec: ModelSpec, log: Log, rest_ms: int = 0) -> Pipeline:
    pipeline = build(Objectives(models={spec.model: spec}))
    feed(pipeline, log.steps)
    pipeline.tick(log.at + rest_ms)
    return pipeline


def alarms(pipeline: Pipeline) -> int:
    [version] = pipeline.partition.models["fraud"].every_version
    return sum(version.detections.values())


def the_version(pipeline: Pipeline) -> VersionMonitor:
    [version] = next(iter(pipeline.partition.models.values())).every_version
    version.flush()
    return version


def test_labels_that_come_class_by_class_are_no_drift_in_the_order_of_predictions() -> None:
    stationary = days(10, share=0.02, worse=lambda day: 1, seed=1)
    assert alarms(run(fraud("arrival"), stationary)) == 19
    assert alarms(run(fraud("prediction"), stationary, rest_ms=2 * DAY_MS)) == 0


def test_a_change_of_the_model_is_found_in_the_order_of_predictions() -> None:
    changed = days(10, share=0.02, worse=lambda day: 1 if day < 6 else 2, seed=1)
    pipeline = run(fraud("prediction"), changed, rest_ms=2 * DAY_MS)
    [alert] = [each for each in pipeline.effects.alerts if each["status"] == "firing"]
    [found] = alert["evidence"]["detections"]
    assert found["after"] > found["before"]
    # Values are counted by prediction time: 4,000 a day. Found within half a day of predictions, and dated
    # to within a quarter of one: a doubled error of 1.8 % is 18 rows more in 1,000.
    assert 6 * 4_000 < found["position"] < 6.5 * 4_000
    since = datetime.fromisoformat(alert["evidence"]["since"]).timestamp() * 1000
    assert abs(since - MIDNIGHT - 6 * DAY_MS) < DAY_MS / 4


# -- the order in which labels arrive does not matter ---------------------------------------------

LAST_20, LAST_4S = WindowSpec("last", 20), WindowSpec("duration", 4_000)
TOUCHY = DetectorSpec("page_hinkley", (("min_instances", 4), ("threshold", 0.8)))
SMALL_ONES: dict[str, Any] = {
    "windows": (LAST_4S, LAST_20, LIFETIME),
    "segments": ("side",),
    "drift": (DriftSpec("error", (TOUCHY,), quiet_rows=12),),
    "label_maturity_ms": 6_000,
    "label_wait_ms": 60_000,
    "evaluate_every": 7,
    "profile_features": False,
}
LIMIT = ThresholdSpec("accuracy", "accuracy", LAST_20, minimum=0.5, min_samples=5, confidence=None)
TASKS: dict[str, Any] = {
    "binary": ModelSpec("m", task="binary", order="prediction", thresholds=(LIMIT,), **SMALL_ONES),
    "multiclass": ModelSpec("m", task="multiclass", order="prediction", **SMALL_ONES),
    "regression": ModelSpec("m", task="regression", order="prediction", **SMALL_ONES),
}


@dataclass(frozen=True)
class Labelled:
    """One prediction and its label, which comes a while later."""

    at: int
    value: int
    truth: int
    lag: int


CROWDED = replace(SMALL, max_pending=4)
labelled = st.lists(
    st.builds(
        Labelled,
        st.integers(0, 15_000).map(lambda ms: START_MS + ms // 50 * 50),
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(0, 5_000),
    ),
    max_size=60,
)


def played(rows: list[Labelled], shuffle: random.Random | None = None) -> Log:
    """Predictions in order of their time; labels as they come, or in another order within the same time."""
    log = Log()
    events: list[tuple[int, int, float, int]] = []
    for number, row in enumerate(rows):
        lag = row.lag if shuffle is None else shuffle.randrange(5_001)
        events.append((row.at, 0, number, number))
        events.append((row.at + lag, 1, number if shuffle is None else shuffle.random(), number))
    for at, kind, _, number in sorted(events):
        log.at = at
        if kind:
            log.label(number, rows[number].truth)
        else:
            log.predict(number, rows[number].value, segments={"side": number % 3})
    log.wait(1_000)
    return log


def by_prediction(rows: list[Labelled]) -> pd.DataFrame:
    """The rows as they have to be counted."""
    found = pd.DataFrame(
        [(row.at, crc32(str(n).encode()), row.value, row.truth) for n, row in enumerate(rows)]
    )
    found.columns = pd.Index(["at", "tie", "value", "truth"])
    return found.sort_values(["at", "tie"], ignore_index=True)


def settled(spec: ModelSpec, log: Log) -> Pipeline:
    """Every second passes, as at the head of the topics, until no row waits."""
    pipeline = build(Objectives(models={spec.model: spec}))
    second = START_MS
    for step in log.steps:
        while second + 1_000 <= step[1].at:
            second += 1_000
            pipeline.tick(second)
        feed(pipeline, [step])
    for passed in range(second, START_MS + 40_000, 1_000):
        pipeline.tick(passed)
    return pipeline


def outcome(spec: ModelSpec, log: Log) -> dict[str, Any]:
    """What is told and seen once all is settled, but for the records that are named as causes, and how
    labels came.
    """
    pipeline = settled(spec, log)
    version = the_version(pipeline)
    told = [
        {
            key: {**value, "labels": None} if key == "evidence" else value
            for key, value in alert.items()
            if key not in ("source", "alert_id")
        }
        for alert in pipeline.effects.alerts
    ]
    windows = {name: (window.rows, plain(window.tally)) for name, window in version.figures.windows.items()}
    return {"told": told, "windows": windows, "detections": version.detections, "judged": version.waiting}


@pytest.mark.parametrize("task", TASKS)
@given(labelled, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_labels_in_any_order_give_the_same_windows_detections_and_alerts(
    task: str, rows: list[Labelled], seed: int
) -> None:
    if not rows:
        return
    expected = outcome(TASKS[task], played(rows))
    assert outcome(TASKS[task], played(rows, random.Random(seed))) == expected
    assert expected["judged"] == 0


@given(labelled)
@settings(max_examples=60, deadline=None)
def test_windows_and_detectors_take_the_rows_by_prediction_time_as_pandas_sorts_them(
    rows: list[Labelled],
) -> None:
    if not rows:
        return
    pipeline = settled(TASKS["binary"], played(rows, random.Random(len(rows))))
    version, wanted = the_version(pipeline), by_prediction(rows)
    last = wanted.tail(20)
    for name, part in (("last 20", last), ("lifetime", wanted)):
        estimate = version.figures.binary(name).estimate("accuracy")
        assert estimate is not None
        assert (estimate.n, estimate.value) == (len(part), (part.value == part.truth).mean())
    pane = 4_000 // 60
    recent = wanted[wanted["at"] // pane > wanted["at"].max() // pane - 4_000 // pane]
    assert version.figures.windows["last 4s"].rows == len(recent)
    watch = SignalWatch((TOUCHY,), bounded=True, every=version.every)
    watch.feed((wanted.value != wanted.truth).astype(float).tolist(), wanted["at"].tolist())
    assert version.error_watch is not None
    assert version.error_watch.snapshot() == watch.snapshot()


# -- late ones, old ones, and a stream that stops ------------------------------------------------------


@given(labelled, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_late_labels_restate_the_windows_of_time_and_of_a_life(rows: list[Labelled], seed: int) -> None:
    """As if they had come in time; only windows of rows and detectors have no place for them."""
    if not rows:
        return
    chance = random.Random(seed)
    log = played(rows)
    late = [step for step in log.steps if step[0] and chance.random() < 0.5]
    early = [step for step in log.steps if step not in late]
    for task, spec in TASKS.items():
        whole = run(spec, log)
        some = build(Objectives(models={"m": spec}))
        feed(some, early)
        for pipeline in (whole, some):
            for second in range(0, 9_000, 1_000):
                pipeline.tick(log.at + second)
        counted = the_version(some).order
        assert counted is not None
        assert counted.waiting == 0
        feed(some, [(kind, replace(record, at=log.at + 9_000)) for kind, record in late])
        expected, found = the_version(whole), the_version(some)
        assert found.order is not None
        assert found.order.late + found.order.counted + found.waiting == len(rows)
        some.tick(log.at + 60_000)
        for name in ("lifetime", "last 4s"):
            mine, wanted = (each.figures.windows[name] for each in (found, expected))
            assert plain(mine.tally) == plain(wanted.tally), (task, name)
            assert mine.rows == wanted.rows


@pytest.mark.parametrize("task", TASKS)
@given(labelled, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_segments_add_up_to_the_window_with_late_labels_as_well(
    task: str, rows: list[Labelled], seed: int
) -> None:
    if not rows:
        return
    chance = random.Random(seed)
    log = played(rows)
    late = [step for step in log.steps if step[0] and chance.random() < 0.3]
    pipeline = build(Objectives(models={"m": TASKS[task]}))
    feed(pipeline, [step for step in log.steps if step not in late])
    pipeline.tick(log.at + 9_000)
    feed(pipeline, [(kind, replace(record, at=log.at + 9_000)) for kind, record in late])
    pipeline.tick(log.at + 20_000)
    version = the_version(pipeline)
    figures = version.groups.figures
    assert figures is not None
    for name in ("last 4s", "lifetime"):
        counted = [each.n if task == "regression" else int(each.sum()) for each in figures.tallies(0, name)]
        assert sum(counted) == version.figures.windows[name].rows
    sides = [sum(number % 3 == side for number in range(len(rows))) for side in range(3)]
    assert sorted(each for each in counted if each) == sorted(side for side in sides if side)


def test_what_waits_keeps_its_segments_when_the_file_changes_their_fields() -> None:
    log = Log()
    for number in range(30):
        log.predict(number, segments={"side": number % 3, "size": number % 2})
        log.label(number)
        log.wait(50)
    before = replace(TASKS["binary"], segments=("size", "side"))
    disk = Disk(Objectives(models={"m": before}))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps)
    for after in (replace(before, segments=("side",)), replace(before, segments=("side",), order="arrival")):
        disk.commit(pipeline)
        disk.objectives = Objectives(models={"m": after})
        pipeline = disk.restore()
    figures = the_version(pipeline).groups.figures
    assert figures is not None
    assert [int(each.sum()) for each in figures.tallies(0, "lifetime") if each.any()] == [10, 10, 10]


@pytest.mark.parametrize("task", TASKS)
@given(labelled, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_last_that_is_told_of_a_pane_is_what_all_its_labels_make(
    task: str, rows: list[Labelled], seed: int
) -> None:
    if not rows:
        return
    chance = random.Random(seed)
    log = played(rows)
    late = [step for step in log.steps if step[0] and chance.random() < 0.3]
    pipeline = build(Objectives(models={"m": TASKS[task]}))
    feed(pipeline, [step for step in log.steps if step not in late])
    for second in range(0, 12_000, 1_000):
        pipeline.tick(log.at + second)
    at = log.at + 12_000
    for kind, record in late:
        at += chance.randrange(2_000)
        feed(pipeline, [(kind, replace(record, at=at))])
    pipeline.tick(log.at + 120_000)
    told = panes_of(pipeline)
    wanted = by_prediction(rows)
    wanted["pane"] = wanted["at"] // 1_000 * 1_000
    wanted["right"] = wanted["value"] == wanted["truth"]
    expected = {rfc3339(start): (len(part), part["right"].mean()) for start, part in wanted.groupby("pane")}
    last = {pane["start"]: pane for pane in told}
    assert set(last) == set(expected)
    for start, (count, right) in expected.items():
        pane, figures = last[start], last[start]["figures"]
        assert (pane["rows"], pane["final"]) == (count, True)
        assert (1 - figures["mae"] if task == "regression" else figures["accuracy"]) == pytest.approx(right)
        # Numbered without a gap, final at the last.
        mine = [each for each in told if each["start"] == start]
        revisions = [each["revision"] for each in mine]
        assert sorted({*revisions}) == [*range(revisions[0], revisions[-1] + 1)]
        assert not any(each["final"] for each in mine[:-1])
    if not late:
        assert {pane["revision"] for pane in told} == {0}


def test_a_pane_is_told_when_it_is_counted_anew_with_late_labels_and_when_it_is_final() -> None:
    log = Log()
    for number in range(20):
        log.predict(number, 1)
        if number != 3:
            log.label(number, 1)
        log.wait(1_000)
    pipeline = run(TASKS["binary"], log)
    told = panes_of(pipeline)
    # Those that end 6 s ago, but for the one whose label is missing.
    assert [(pane["rows"], pane["revision"], pane["final"]) for pane in told] == [(1, 0, False)] * (
        20 - 6 - 1
    )
    assert "accuracy" in told[0]["figures"]
    schema = json.loads((files("streamer") / "schemas" / "pane.schema.json").read_bytes())
    for pane in told:
        jsonschema.validate(pane, schema)
    late = Log(log.at)
    late.offsets = log.offsets
    late.label(3, 0)
    feed(pipeline, late.steps)
    assert panes_of(pipeline) == []
    pipeline.tick(log.at + 1_000)  # the next pane is counted
    told = panes_of(pipeline)
    fourth = rfc3339(START_MS + 3_000)
    assert [(pane["revision"], pane["figures"]["accuracy"]) for pane in told if pane["start"] == fourth] == [
        (1, 0.0)
    ]
    pipeline.tick(log.at + 120_000)
    told = panes_of(pipeline)
    final = {pane["start"]: pane["revision"] for pane in told if pane["final"]}
    assert len(final) == 20
    assert final.pop(fourth) == 1
    assert {*final.values()} == {0}
    panes = the_version(pipeline).panes
    assert panes is not None
    assert (panes.panes, panes.revisions) == ({}, 1)


def test_what_has_just_been_labelled_is_counted_with_its_pane_whenever_it_was_buffered() -> None:
    log = Log()
    for number in range(8):
        log.predict(number)
    for number in range(8):  # one more than are counted at once
        log.label(number)
    for number in range(8, 14):
        log.predict(number, timestamp=log.at + 20_000)
    order = the_version(run(TASKS["binary"], log)).order
    assert order is not None
    assert (order.counted, order.late) == (8, 0)


def test_a_pane_that_is_final_is_not_told_again() -> None:
    log = PaneLog("binary", pane_ms=10, wait_ms=100)
    codes, made_at = np.array([1, 1]), np.array([3, 7])
    log.add(codes, made_at, late=False)
    log.close(0)
    assert not log.due(109)
    assert log.due(110)
    log.settle(110)
    assert [(report.revision, report.final) for report in log.told] == [(0, False), (0, True)]
    log.add(codes, made_at, late=True)
    log.settle(200)
    assert len(log.told) == 2
    assert log.panes == {}


def test_no_more_panes_are_kept_than_the_bound_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pane_log, "MOST_PANES", 5)
    log = Log()
    for number in range(40):
        log.predict(number, 1)
        log.label(number, 1)
        log.wait(1_000)
    pipeline = run(TASKS["binary"], log)
    panes = the_version(pipeline).panes
    assert panes is not None
    assert len(panes.panes) == 5
    assert sum(pane["final"] for pane in panes_of(pipeline)) == 40 - 6 - 5


def test_the_last_panes_of_a_stream_that_stops_are_counted_as_time_passes() -> None:
    log = Log()
    for number in range(10):
        log.predict(number)
        log.label(number)
        log.wait(100)
    pipeline = run(TASKS["binary"], log)
    assert the_version(pipeline).waiting == 10
    pipeline.tick(log.at + 5_000)
    assert the_version(pipeline).waiting == 10
    pipeline.tick(log.at + 7_500)
    version = the_version(pipeline)
    assert (version.waiting, version.figures.windows["lifetime"].rows) == (0, 10)


def test_a_replay_of_old_data_closes_its_panes_by_its_own_time() -> None:
    """A year old, played within a second of record time."""
    log = Log()
    for number in range(3_000):
        old = log.at - 365 * DAY_MS + number * 100
        log.predict(number, timestamp=old)
        log.label(number, timestamp=old + 50)
    pipeline = build(Objectives(models={"m": TASKS["binary"]}))
    feed(pipeline, log.steps)
    order = the_version(pipeline).order
    assert order is not None
    # But for the last 6 s, the pane that is open then, and what came since the last look.
    assert 60 <= order.waiting <= 70 + 10
    assert order.counted + order.waiting == 3_000
    assert order.late == 0


def test_predictions_of_an_old_time_are_counted_in_its_panes_if_late() -> None:
    log = Log()
    for number in range(100):
        log.predict(number)
        log.label(number)
        log.wait(200)
    for number in range(100, 110):
        log.predict(number, timestamp=START_MS + number)
        log.label(number)
    pipeline = run(TASKS["binary"], log)
    pipeline.tick(log.at + 9_000)
    version = the_version(pipeline)
    assert version.order is not None
    assert (version.order.counted, version.order.late) == (100, 10)
    assert version.figures.windows["lifetime"].rows == 110


def test_a_batch_of_one_time_that_is_labelled_class_by_class_is_no_drift() -> None:
    log = Log(MIDNIGHT)
    for number in range(6_000):
        log.predict(number, int(number % 10 == 0), "fraud")
    for number in sorted(range(6_000), key=lambda number: number % 10 != 0):
        log.label(number, int(number % 20 == 0), "fraud")
    arrived = run(fraud("arrival"), log)
    ordered = run(fraud("prediction"), log, rest_ms=2 * DAY_MS)
    assert (alarms(arrived) > 0, alarms(ordered)) == (True, 0)
    assert the_version(ordered).figures.windows["lifetime"].rows == 6_000


def test_what_expires_as_a_negative_is_in_time() -> None:
    spec = replace(TASKS["binary"], on_expiry="negative", label_wait_ms=6_000)
    log = Log()
    for number in range(60):
        log.predict(number, number % 2)
        log.wait(130)
    pipeline = run(spec, log)
    for second in range(20):
        pipeline.tick(log.at + second * 1_000)
    version = the_version(pipeline)
    assert version.order is not None
    assert (version.joined, version.order.counted, version.order.late) == (60, 60, 0)


# -- bounds, state, another file -----------------------------------------------------------------------


def test_rows_that_wait_make_room_the_oldest_pane_first() -> None:
    log = Log()
    for number in range(100):
        log.predict(number)
        log.label(number)
        log.wait(50)
    pipeline = build(Objectives(models={"m": TASKS["binary"]}, limits=Limits(max_pending=30)))
    for step in log.steps:
        feed(pipeline, [step])
    pipeline.tick(log.at + 1_000)
    version = the_version(pipeline)
    assert version.order is not None
    assert version.waiting <= 30
    assert version.order.early >= 60
    assert version.order.counted + version.waiting == version.joined == 100


def test_a_commit_writes_the_new_rows_and_a_pane_that_was_counted_leaves_nothing() -> None:
    log = Log()
    disk = Disk(Objectives(models={"m": TASKS["binary"]}))
    pipeline = build(disk.objectives)
    for number in range(3_000):
        log.predict(number)
        log.label(number)
        log.wait(10)
    for start in range(0, len(log.steps), 50):
        feed(pipeline, log.steps[start : start + 50])
        disk.commit(pipeline)
        assert written(disk) <= 2 * the_version(pipeline).waiting + SLACK_ROWS + BLOCK_ROWS
    assert written(disk) >= the_version(pipeline).waiting > 500
    pipeline.tick(log.at + 9_000)
    disk.commit(pipeline)
    assert written(disk) == 0


def written(disk: Disk) -> int:
    """Rows that wait, in the state."""
    keys = [key for key in map(codec.decode_key, disk.raw) if key[0] == "block" and key[3] == ORDER_ROWS]
    return sum(len(codec.decode_cell(disk.raw[codec.encode_key(key)])[4]) for key in keys)


@given(st.lists(st.integers(0, 40), max_size=120), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_rows_that_wait_survive_any_restart_in_blocks_of_any_fill(times: list[int], seed: int) -> None:
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_order, "BLOCK_ROWS", 5)
        patch.setattr(prediction_order, "SLACK_ROWS", 10)
        plainly, restarted = PredictionOrder(4, 10), PredictionOrder(4, 10)
        blocks: dict[int, Any] = {}
        for number, time in enumerate(times):
            row = (time + number, 1 << 20 | number, number % 2, str(number))
            assert plainly.take([row]) == restarted.take([row])
            clock = number + chance.randrange(40)
            if chance.random() < 0.3:
                assert [*plainly.due(clock)] == [*restarted.due(clock)]
            if chance.random() < 0.5:
                head, changed = restarted.snapshot()
                blocks = {n: each for n, each in {**blocks, **changed}.items() if each is not None}
                held = sum(len(each[4]) for each in blocks.values())
                assert held <= 2 * restarted.waiting + 10 + 5
                if chance.random() < 0.5:
                    restarted = PredictionOrder(4, 10)
                    restarted.restore(head, codec.decode_cell(codec.encode_cell(blocks)))
        assert plainly.close_all() == restarted.close_all()
        assert plainly.mark == restarted.mark


@pytest.mark.parametrize("limits", [CROWDED, Limits()], ids=["crowded", "roomy"])
@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_chunks_commits_and_restarts_anywhere_change_nothing(limits: Limits, seed: int) -> None:
    chance = random.Random(seed)
    wanted = all_ordered(limits)
    speed = chance.choice([1, 1, 5])
    steps = [shifted(step, chance, speed) for step in traffic(chance, 400).steps]
    undisturbed = build(wanted)
    feed(undisturbed, steps)
    effects, expected = undisturbed.take_effects(), facts(undisturbed)
    alerts = [codec.encode_json(alert) for alert in effects.alerts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_order, "BLOCK_ROWS", 4)
        patch.setattr(prediction_order, "SLACK_ROWS", 6)
        disk = Disk(wanted)
        interrupted(disk, steps, chance)
        assert disk.alerts == alerts
        assert by_version(map(json.loads, disk.reports)) == by_version(effects.reports)
        assert facts(disk.restore(chance)) == expected


def all_ordered(limits: Limits) -> Objectives:
    """The models of the random traffic in prediction order, of one only the detectors of its error."""
    found = objectives(limits)
    more: dict[str, Any] = {"order": "prediction", "label_maturity_ms": 8_000}
    models = {name: replace(spec, **more) for name, spec in found.models.items()}
    kinds = found.models["kinds"]
    drift = tuple(replace(d, order="prediction" if d.signal == "error" else None) for d in kinds.drift)
    models["kinds"] = replace(kinds, drift=drift, label_maturity_ms=2_000)
    return replace(found, default=replace(found.default, **more), models=models)


def shifted(step: Step, chance: random.Random, speed: int = 1) -> Step:
    """Some predictions are older than their records; with ``speed`` all of them, as in a replay."""
    kind, record = step
    if record.data is None or not record.data.startswith(b"{"):
        return step
    try:
        event = json.loads(record.data)
    except ValueError:
        return step
    if type(event.get("timestamp")) is not int:
        return step
    if not kind and chance.random() < 0.5:
        event["timestamp"] -= chance.choice([30, 900, 4_000, 20_000])
    if speed > 1:
        event["timestamp"] += (record.at - START_MS) * (speed - 1) - DAY_MS
    return kind, replace(record, data=codec.encode_json(event))


def test_the_random_traffic_has_panes_that_close_in_time_early_and_with_late_labels() -> None:
    chance = random.Random(3)
    pipeline = build(all_ordered(CROWDED))
    feed(pipeline, [shifted(step, chance) for step in traffic(chance, 8_000).steps])
    orders = [version.order for _, version in pipeline.partition.versions() if version.order is not None]
    counts = {name: sum(getattr(each, name) for each in orders) for name in ("counted", "late", "early")}
    assert min(counts.values()) > 5, counts
    told = b"".join(codec.encode_json(alert) for alert in pipeline.take_effects().alerts)
    assert b"concept_drift" in told
    assert b'"accuracy"' in told


ARRIVAL = replace(TASKS["binary"], order="arrival")
ERROR_ONLY = replace(ARRIVAL, drift=(replace(ARRIVAL.drift[0], order="prediction"),))


@pytest.mark.parametrize("after", [ARRIVAL, ERROR_ONLY, TASKS["binary"]], ids=["arrival", "error", "both"])
@pytest.mark.parametrize("before", [ARRIVAL, ERROR_ONLY, TASKS["binary"]], ids=["arrival", "error", "both"])
def test_another_order_loses_no_row_and_counts_none_twice(before: ModelSpec, after: ModelSpec) -> None:
    log = Log()
    for number in range(200):
        log.predict(number, number % 2)
        log.wait(50)
    for number in reversed(range(150)):
        log.label(number)
    disk = Disk(Objectives(models={"m": before}))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps)
    for spec in (after, before, after):
        disk.commit(pipeline)
        disk.objectives = Objectives(models={"m": spec})
        pipeline = disk.restore()
    disk.commit(pipeline)
    pipeline = disk.restore()
    if after.order == "arrival":
        assert the_version(pipeline).figures.windows["lifetime"].rows == 150
    more = Log(log.at + 1_000)
    more.offsets = log.offsets
    for number in range(150, 200):
        more.label(number)
    feed(pipeline, more.steps)
    for second in range(12):
        pipeline.tick(more.at + second * 1_000)
    version = the_version(pipeline)
    assert (version.waiting, version.joined) == (0, 200)
    assert version.figures.windows["lifetime"].rows == 200
    if after.order == "prediction":  # of the last 4 s; with another meaning of time it has begun anew
        assert version.figures.windows["last 4s"].rows == (79 if before.order == "prediction" else 50)
    assert version.groups.figures is not None
    for name in ("last 4s", "lifetime"):
        by_side = version.groups.figures.tallies(0, name)
        assert sum(int(each.sum()) for each in by_side) == version.figures.windows[name].rows
    assert version.error_watch is not None
    late = 0 if version.order is None else version.order.late
    assert version.error_watch.seen + (late if version.spec.error_order == "prediction" else 0) == 200
    disk.commit(pipeline)
    assert written(disk) == 0


def test_another_length_of_panes_keeps_what_waits() -> None:
    log = Log()
    for number in range(100):
        log.predict(number)
        log.label(number)
        log.wait(50)
    disk = Disk(Objectives(models={"m": TASKS["binary"]}))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    disk.objectives = Objectives(models={"m": replace(TASKS["binary"], label_maturity_ms=50_000)})
    pipeline = disk.restore()
    pipeline.tick(log.at + 20_000)
    assert the_version(pipeline).waiting == 100
    pipeline.tick(log.at + 54_000)
    assert the_version(pipeline).figures.windows["lifetime"].rows == 100
