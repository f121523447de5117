"""The objectives file changes between two lives of a worker: no figure changes its meaning in silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamer.domain.objectives import (
    DetectorSpec,
    DriftSpec,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)
from streamer.pipeline import Pipeline
from tests.domain.feed import Disk, Log, build, feed

LAST = WindowSpec("last", 1000)
LONG, SHORT_TIME = WindowSpec("last", 5000), WindowSpec("duration", 60_000)


def held(spec: ModelSpec) -> Objectives:
    return Objectives(models={spec.model: spec})


def identity_holds(pipeline: Pipeline) -> bool:
    terms = pipeline.partition.identity().values()
    return all(each["consumed"] == sum(each.values()) - each["consumed"] for each in terms)


def reborn(before: ModelSpec, after: ModelSpec, log: Log) -> tuple[Pipeline, Disk]:
    """A worker lives under one spec, the next one under another."""
    disk = Disk(held(before))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    disk.objectives = held(after)
    return disk.restore(), disk


def test_classes_that_were_learnt_keep_their_figures_when_they_are_declared_in_another_order() -> None:
    spec = ModelSpec("m", task="multiclass", windows=(LAST,))
    recall = {name: threshold("recall", name) for name in "ab"}
    log = Log()
    for i in range(100):
        log.predict(i, "b" if i % 4 else "a")
        log.label(i, "b")
    for i in range(100, 140):  # these wait across the change
        log.predict(i, "a")
    pipeline, _ = reborn(spec, replace(spec, classes=("a", "b", "c")), log)
    version = pipeline.partition.models["m"].every_version[0]
    assert value(version.estimate(recall["b"], None)) == 0.75
    assert version.estimate(recall["a"], None) is None
    late = Log(log.at + 1000)
    late.offsets = log.offsets
    for i in range(100, 140):
        late.label(i, "a")
    late.label("never", "d")
    feed(pipeline, late.steps)
    version.flush()
    assert value(version.estimate(recall["a"], None)) == 1.0
    assert pipeline.partition.dead == {("labels", "unknown_class"): 1}


def test_a_class_that_is_declared_no_more_is_not_known_any_more() -> None:
    spec = ModelSpec("m", task="multiclass", classes=("a", "b"))
    log = Log()
    log.predict(1, "a")
    pipeline, disk = reborn(spec, replace(spec, classes=("b", "c")), log)
    feed(pipeline, [(0, replace(log.steps[0][1], position=1)), *more(log, 2, "c")])
    assert pipeline.partition.dead == {("predictions", "unknown_class"): 1}
    disk.commit(pipeline)
    disk.objectives = held(replace(spec, classes=("c", "b")))
    assert disk.restore().partition.models["m"].classes.names == ["a", "b", "c"]  # type: ignore[union-attr]


def more(log: Log, pid: int, answer: Any) -> list[Any]:
    after = Log(log.at)
    after.offsets = [pid, 0]
    after.predict(pid, answer)
    return after.steps


@pytest.mark.parametrize("windows", [(LAST,), (LONG, SHORT_TIME)], ids=["short", "in blocks"])
@pytest.mark.parametrize("former", ["binary", "multiclass"])
def test_another_task_begins_the_labelled_figures_anew_and_loses_no_count(
    former: Any, windows: tuple[WindowSpec, ...]
) -> None:
    spec = ModelSpec("m", task=former, windows=windows)
    log = Log()
    for i in range(6_000):
        log.predict(i, i % 2, score=0.3, latency_ms=5, features={"age": 40})
        if i < 5_500:
            log.label(i, 1)
        if i % 1000 == 0:
            log.wait(1_500)
    log.label("early", 1)
    pipeline, disk = reborn(spec, replace(spec, task="regression"), log)
    version = pipeline.partition.models["m"].every_version[0]
    assert (version.accepted, version.joined, len(version.table.pending)) == (6_000, 5_500, 0)
    assert version.expired == {"label_wait": 0, "capacity": 0, "task_changed": 500}
    assert pipeline.partition.models["m"].labels.unmatched == 1
    assert version.figures.traffic["lifetime"].rows == 6_000
    assert version.figures.windows["lifetime"].rows == 0
    assert identity_holds(pipeline)
    after = Log(log.at + 1_000)
    after.offsets = log.offsets
    for i in range(10_000, 10_100):
        after.predict(i, i + 0.5)
        after.label(i, i)
    feed(pipeline, after.steps)
    assert value(version.estimate(threshold("mae"), None)) == 0.5
    disk.commit(pipeline)
    again = disk.restore().partition.models["m"].every_version[0]
    assert value(again.estimate(threshold("mae"), None)) == 0.5
    assert (again.joined, again.figures.windows["lifetime"].rows) == (5_600, 100)


def test_coverage_fires_when_predictions_expire_after_the_last_of_them_was_made() -> None:
    coverage = ThresholdSpec("coverage", "label_coverage", LAST, minimum=0.9)
    spec = ModelSpec("m", task="binary", thresholds=(coverage,), label_wait_ms=60_000)
    pipeline = build(held(spec))
    log = Log()
    for i in range(600):
        log.predict(i)
    feed(pipeline, log.steps)
    pipeline.tick(log.at + 50_000)
    assert not pipeline.effects.alerts
    pipeline.tick(log.at + 62_000)
    [alert] = pipeline.effects.alerts
    assert (alert["status"], alert["signal"], alert["value"]) == ("firing", "label_coverage", 0.0)
    pipeline.tick(log.at + 110_000)
    assert len(pipeline.effects.alerts) == 1
    pipeline.tick(log.at + 200_000)
    assert pipeline.effects.alerts[1]["reason"] == "no_data"


def threshold(signal: str, klass: str | None = None) -> ThresholdSpec:
    return ThresholdSpec(signal, signal, WindowSpec("lifetime"), minimum=0.0, klass=klass, confidence=None)


def value(estimate: Any) -> float:
    assert estimate is not None
    return float(estimate.value)


@pytest.mark.parametrize("asked", [False, True])
def test_raw_values_of_a_feature_are_told_only_where_the_file_asks_for_them(asked: bool) -> None:
    watch = DriftSpec("feature:age", (DetectorSpec("page_hinkley", (("threshold", 5.0),), warm_up=30),))
    spec = ModelSpec("m", task="binary", drift=(watch,), alert_feature_values=asked)
    pipeline = build(held(spec))
    log = Log()
    for i in range(400):
        log.predict(i, features={"age": 40.125 + i % 3 if i < 200 else 90.25 + i % 3})
    feed(pipeline, log.steps)
    [alert, *_] = pipeline.effects.alerts
    assert alert["kind"] == "data_drift"
    assert ("recent_values" in alert["evidence"]) == asked
    # The newest values when the alert was told, which is after the change.
    recent = alert["evidence"].get("recent_values", [])
    assert (len(recent) == 20 and min(recent) > 90) == asked


def test_classes_that_are_declared_make_a_model_multiclass_whatever_comes_first() -> None:
    pipeline = build(held(ModelSpec("digits", classes=(0, 1, 2, 3))))
    log = Log()
    for digit in (1, 0, 3):
        log.predict(digit, digit, model="digits")
    feed(pipeline, log.steps)
    assert pipeline.partition.models["digits"].task == "multiclass"
    assert not pipeline.partition.dead
