"""What an alert carries beside its figure says where the change comes from, and adds up."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.domain.evidence import MAX_SEGMENTS_TOLD, segment_evidence
from streamer.domain.objectives import (
    LIFETIME,
    DetectorSpec,
    DriftSpec,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)
from streamer.domain.segment_figures import SegmentFigures
from streamer.domain.version import VersionMonitor
from tests.domain.feed import Log, build, feed

LAST = WindowSpec("last", 200)


def model(task: Any, signal: str, **more: Any) -> ModelSpec:
    side = {"maximum": 1.5} if signal in ("mae", "rmse") else {"minimum": 0.75}
    rule = ThresholdSpec(signal, signal, LAST, confidence=None, **(side | more.pop("rule", {})))
    return replace(
        ModelSpec(
            "m", task=task, windows=(LAST,), thresholds=(rule,), drift=(), segments=("country", "device")
        ),
        **more,
    )


def log_of(task: Any, seed: int = 1, bad: Any = lambda sent: sent["country"] == "DE") -> Log:
    """2,000 good rows, then 200 in which one segment has become bad."""
    chance, log = random.Random(seed), Log()
    for at in range(2_200):
        sent = {"country": chance.choice(["DE", "NL", "FR"]), "device": chance.choice(["phone", "tv"])}
        wrong = chance.random() < (0.9 if at >= 2_000 and bad(sent) else 0.1)
        if task == "regression":
            log.predict(at, 10.0, segments=sent)
            log.label(at, 10.0 + (6.0 if wrong else 0.5))
        else:
            actual = chance.choice([0, 1]) if task == "binary" else chance.choice("abc")
            other = 1 - actual if task == "binary" else "d"
            score = {"score": 0.2 + 0.6 * (actual ^ wrong)} if task == "binary" else {}
            log.predict(at, other if wrong else actual, segments=sent, **score)
            log.label(at, actual)
        log.wait(20)
    return log


def alerts_of(spec: ModelSpec, log: Log) -> list[dict[str, Any]]:
    pipeline = build(Objectives(models={"m": spec}))
    feed(pipeline, log.steps)
    return [dict(alert) for alert in pipeline.take_effects().alerts]


def counted(spec: ModelSpec, log: Log) -> tuple[VersionMonitor, SegmentFigures]:
    """The only version of a model after all of a log."""
    pipeline = build(Objectives(models={"m": spec}))
    feed(pipeline, log.steps)
    version = pipeline.partition.models["m"].every_version[0]
    version.flush()
    assert version.groups.figures is not None
    return version, version.groups.figures


@pytest.mark.parametrize(
    ("task", "signal"),
    [("binary", "accuracy"), ("binary", "precision"), ("binary", "recall"), ("multiclass", "accuracy"),
     ("regression", "mae")],
)  # fmt: skip
def test_the_segment_that_became_bad_comes_first_and_has_most_of_the_change(task: Any, signal: str) -> None:
    [alert, *_] = alerts_of(model(task, signal), log_of(task))
    told = alert["evidence"]["segments"]
    assert told[0]["segment"] == "country=DE"
    assert told[0]["share"] > 0.7
    assert told[0]["rate"] * (-1 if signal == "mae" else 1) < 0
    assert abs(told[0]["mix"]) < abs(told[0]["rate"]) / 5
    assert codec.encode_json(alert)


@given(st.integers(0, 2**32))
@settings(max_examples=6, deadline=None)
def test_mix_and_rate_over_all_segments_of_a_field_are_the_change(seed: int) -> None:
    for task, signal in (("binary", "accuracy"), ("binary", "precision"), ("regression", "mae")):
        spec = model(task, signal)
        version, figures = counted(spec, log_of(task, seed))
        told = segment_evidence(figures, spec.task or "binary", signal)
        assert len(told) == 5
        for field in ("country", "device"):
            mine = [each for each in told if each["segment"].startswith(field)]
            before, after = (
                sum(each["value"][at] * each["rows"][at] for each in mine)
                / sum(each["rows"][at] for each in mine)
                for at in (0, 1)
            )
            assert sum(each["mix"] + each["rate"] for each in mine) == pytest.approx(after - before)
            assert sum(each["share"] for each in mine) == pytest.approx(1.0)
            estimate = version.estimate(spec.thresholds[0], None)
            assert estimate is not None
            assert after == pytest.approx(estimate.value)


@pytest.mark.parametrize(
    ("task", "signal"), [("binary", "f1"), ("binary", "auc_roc"), ("regression", "rmse")]
)
def test_what_is_no_mean_over_rows_comes_without_a_sum(task: Any, signal: str) -> None:
    limit = {"minimum": 0.8} if signal != "rmse" else {"maximum": 3.0}
    [alert, *_] = alerts_of(model(task, signal, rule=limit), log_of(task))
    told = alert["evidence"]["segments"]
    assert told[0]["segment"] == "country=DE"
    assert all(set(each) == {"segment", "rows", "value"} for each in told)


def test_before_is_the_lifetime_without_the_window() -> None:
    _, figures = counted(model("binary", "accuracy"), log_of("binary"))
    for signal in ("accuracy", "error"):
        told = segment_evidence(figures, "binary", signal)
        for field in ("country", "device"):
            rows = [each["rows"] for each in told if each["segment"].startswith(field)]
            assert [sum(side) for side in zip(*rows, strict=True)] == [2_000, 200]


def test_drift_of_the_error_is_explained_in_its_own_direction() -> None:
    drift = DriftSpec("error", (DetectorSpec("adwin"),))
    [alert, *_] = alerts_of(model("binary", "f1", thresholds=(), drift=(drift,)), log_of("binary"))
    told = alert["evidence"]["segments"]
    assert (alert["kind"], alert["direction"]) == ("concept_drift", "worse")
    assert told[0]["segment"] == "country=DE"
    assert told[0]["rate"] > 0
    assert alert["evidence"]["labels"]["settled"] == 0


def test_no_more_than_ten_segments_are_told() -> None:
    log, chance = Log(), random.Random(3)
    for at in range(2_400):
        wrong = chance.random() < (0.1 if at < 2_000 else 0.5)
        log.predict(at, 1, segments={"country": at % 18, "device": at % 17})
        log.label(at, 0 if wrong else 1)
    [alert, *_] = alerts_of(model("binary", "accuracy"), log)
    told = alert["evidence"]["segments"]
    assert len(told) == MAX_SEGMENTS_TOLD
    shares = [each["share"] for each in told]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    "spec",
    [
        model("binary", "accuracy", segments=()),
        model(
            "binary", "brier", thresholds=(ThresholdSpec("b", "brier", LAST, maximum=0.2, confidence=None),)
        ),
        model("binary", "accuracy", windows=(LIFETIME,)),
        model("multiclass", "f1"),
    ],
    ids=["none declared", "not kept by segment", "no window", "macro"],
)
def test_where_nothing_can_be_said_of_segments_labels_stand_alone(spec: ModelSpec) -> None:
    [alert, *_] = alerts_of(spec, log_of(spec.task))
    assert "segments" not in alert["evidence"]
    assert alert["evidence"]["labels"] == {"settled": 0, "lag_p50_s": 1.0, "warnings": []}


def test_a_resolution_and_an_alert_on_latency_are_not_explained() -> None:
    slow = ThresholdSpec("latency_p95", "latency_p95", LAST, maximum=10.0, confidence=None)
    log = log_of("binary")
    for at in range(3_000, 4_000):
        log.predict(at, 1, latency_ms=50)
        log.label(at, 1)
    spec = model("binary", "accuracy")
    alerts = alerts_of(replace(spec, thresholds=(*spec.thresholds, slow)), log)
    explained = {(alert["signal"], alert["status"]) for alert in alerts if "labels" in alert["evidence"]}
    assert ("accuracy", "resolved") in {(alert["signal"], alert["status"]) for alert in alerts}
    assert {signal for signal, _ in explained} == {"accuracy"}
    assert "resolved" not in {status for _, status in explained}


def test_an_alert_on_coverage_says_whom_labels_are_missing_for() -> None:
    rule = ThresholdSpec("label_coverage", "label_coverage", LIFETIME, minimum=0.9, min_samples=800)
    spec = replace(
        model("binary", "accuracy"), thresholds=(rule,), label_wait_ms=20_000, evaluate_every=10**9
    )
    log = Log()
    for at in range(4_000):
        log.predict(at, 1, segments={"country": "DE" if at % 2 else "NL", "device": "tv"})
        if at % 2 or at % 6 == 0:
            log.label(at, 1)
        log.wait(10)
    [alert, *_] = alerts_of(spec, log)
    labels = alert["evidence"]["labels"]
    assert labels["settled"] > 200
    assert labels["coverage"] == pytest.approx(2 / 3, abs=0.02)
    assert ["by country" in text for text in labels["warnings"]] == [True]
