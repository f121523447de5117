"""Readings: what people see is what the rows say, of one commit, and looking changes nothing."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from streamer.domain.objectives import (
    LIFETIME,
    DetectorSpec,
    DriftSpec,
    Limits,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)
from streamer.domain.readings import (
    MAX_CLASSES_READ,
    MAX_FEATURES_READ,
    Histogram,
    PartitionReadings,
    read_partition,
)
from streamer.pipeline import Pipeline
from tests.domain.feed import START_MS, Disk, Log, build, facts, feed
from tests.domain.traffic import objectives, traffic

LAST_30 = WindowSpec("last", 30)
LAST_MINUTE = WindowSpec("duration", 60_000)
seeds = st.integers(0, 2**32)


def spec(task: Any, **more: Any) -> ModelSpec:
    return ModelSpec("m", task=task, windows=(LAST_30, LAST_MINUTE, LIFETIME), drift=(), **more)


def run(model: ModelSpec, log: Log) -> Pipeline:
    pipeline = build(Objectives(models={model.model: model}))
    feed(pipeline, log.steps)
    return pipeline


def samples(pipeline: Pipeline, previous: PartitionReadings | None = None) -> dict[tuple[str, ...], float]:
    """Every number by its name and labels, without the model's."""
    found = {}
    for readings in read_partition(pipeline.partition, previous).parts.values():
        for sample in readings.samples:
            key = (sample.name.removeprefix("model_"), *sample.labels[1:])
            assert key not in found
            found[key] = sample.value
    return found


def histogram(pipeline: Pipeline, name: str) -> Histogram:
    readings = read_partition(pipeline.partition, None).parts["m", ""]
    [found] = [each for each in readings.histograms if each.name == name]
    return found


def close(value: float, expected: float, error: float = 1e-9) -> bool:
    return abs(value - expected) <= error


# -- the figures --------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_scores_of_a_binary_model_are_those_of_scikit_learn_on_the_rows_of_each_window(seed: int) -> None:
    random_ = np.random.default_rng(seed)
    # Far enough apart that no two share a bin: the AUC is then exact.
    score = random_.permutation(np.linspace(0.03, 0.97, 80))
    actual = random_.integers(0, 2, 80)
    predicted = (score >= 0.5).astype(int)
    log = Log()
    for at in range(80):
        log.predict(at, int(predicted[at]), score=float(score[at]))
        log.label(at, int(actual[at]))
    found = samples(run(spec("binary"), log))
    for window, rows in (("last 30", slice(50, 80)), ("lifetime", slice(0, 80))):
        y, guess, p = actual[rows], predicted[rows], score[rows]
        assert found["window_labels", "", window] == len(y)
        assert found["accuracy", "", window] == metrics.accuracy_score(y, guess)
        assert found["precision", "", window] == metrics.precision_score(y, guess)
        assert found["recall", "", window] == metrics.recall_score(y, guess)
        assert found["f1", "", window] == metrics.f1_score(y, guess)
        assert close(found["auc_roc", "", window], metrics.roc_auc_score(y, p))
        assert close(found["log_loss", "", window], metrics.log_loss(y, p), 0.02)
        assert close(found["brier", "", window], metrics.brier_score_loss(y, p), 0.01)


def test_scores_of_a_regression_are_those_of_scikit_learn() -> None:
    random_ = np.random.default_rng(1)
    actual = random_.normal(20, 5, 80)
    predicted = actual + random_.normal(1, 3, 80)
    log = Log()
    for at in range(80):
        log.predict(at, float(predicted[at]))
        log.label(at, float(actual[at]))
    found = samples(run(spec("regression"), log))
    for window, rows in (("last 30", slice(50, 80)), ("lifetime", slice(0, 80))):
        y, guess = actual[rows], predicted[rows]
        assert close(found["mae", "", window], metrics.mean_absolute_error(y, guess))
        assert close(found["rmse", "", window], metrics.root_mean_squared_error(y, guess))
        assert close(found["r2", "", window], metrics.r2_score(y, guess))
        assert close(found["bias", "", window], float(np.mean(guess - y)))


def test_scores_of_a_multiclass_model_are_macro_and_by_the_names_of_its_classes() -> None:
    random_ = np.random.default_rng(2)
    actual, predicted = random_.integers(0, 3, 80), random_.integers(0, 3, 80)
    names = ["cat", "dog", "cow"]
    log = Log()
    for at in range(80):
        log.predict(at, names[predicted[at]])
        log.label(at, names[actual[at]])
    found = samples(run(spec("multiclass"), log))
    y, guess = [names[each] for each in actual], [names[each] for each in predicted]
    assert found["accuracy", "", "lifetime"] == metrics.accuracy_score(y, guess)
    assert close(found["f1", "", "lifetime"], metrics.f1_score(y, guess, average="macro"))
    for name, each in zip(names, metrics.recall_score(y, guess, labels=names, average=None), strict=True):
        assert close(found["class_recall", "", "lifetime", name], float(each))


def test_a_model_of_many_classes_has_figures_by_class_for_the_first_of_them_only() -> None:
    log = Log()
    for at in range(60):
        log.predict(at, f"class {at}")
        log.label(at, f"class {at}")
    found = samples(run(spec("multiclass"), log))
    assert len({key[3] for key in found if key[0].startswith("class_")}) == MAX_CLASSES_READ


def test_latency_and_throughput_need_no_labels() -> None:
    random_ = np.random.default_rng(3)
    latencies = random_.lognormal(3, 0.5, 400)
    log = Log()
    for at, latency in enumerate(latencies):
        log.predict(at, 1, latency_ms=float(latency))
        log.wait(100)
    found = samples(run(spec("binary"), log))
    over_its_life = sorted(
        v for key, v in found.items() if key[0].startswith("latency_") and "lifetime" in key
    )
    expected = np.quantile(latencies, [0.5, 0.95, 0.99]) / 1000
    assert over_its_life == pytest.approx(expected.tolist(), rel=0.1)
    assert found["throughput_predictions_per_second", "", "last 1m"] == pytest.approx(10, rel=0.01)
    assert not [key for key in found if key[0] in ("accuracy", "f1", "auc_roc")]


def test_the_latency_histogram_has_every_row_in_its_bucket_and_their_sum() -> None:
    bounds = [0.5, 1.0, 1.1, 2.5, 249.9, 250.0, 251.0, 60_000.0, 61_000.0, 1e9]
    log = Log()
    for at, latency in enumerate(bounds):
        log.predict(at, 1, latency_ms=latency)
    log.predict("none", 1)
    found = histogram(run(spec("binary"), log), "model_prediction_latency_seconds")
    expected = [
        sum(low < ms <= high for ms in bounds)
        for low, high in zip(
            [-1.0, *(bound * 1000 for bound in found.bounds)],
            [*(bound * 1000 for bound in found.bounds), np.inf],
            strict=True,
        )
    ]
    assert list(found.counts) == expected
    assert found.total == pytest.approx(sum(bounds) / 1000)


def test_the_histogram_of_label_lag_measures_from_prediction_to_label_on_their_own_clocks() -> None:
    log = Log()
    for at, lag_s in enumerate([0, 1, 2, 60, 61, 3_600, 86_401]):
        log.predict(at, 1, timestamp=START_MS - 1000 * lag_s)
        log.label(at, 1, timestamp=START_MS)
    log.predict("before", 1)
    log.label("before", 1, timestamp=START_MS - 5_000)
    found = histogram(run(spec("binary", label_wait_ms=10**9), log), "model_label_lag_seconds")
    assert dict(zip(found.bounds, found.counts, strict=False)) == {
        1: 3, 10: 1, 60: 1, 300: 1, 900: 0, 3600: 1, 21600: 0, 86400: 0, 259200: 1,
        604800: 0, 1209600: 0, 2592000: 0,
    }  # fmt: skip
    assert found.total == 0 + 1 + 2 + 60 + 61 + 3_600 + 86_401


def test_undefined_is_not_zero() -> None:
    log = Log()
    log.predict(1, 0)
    log.label(1, 0)
    found = samples(run(spec("binary"), log))
    assert found["accuracy", "", "lifetime"] == 1.0
    for name in ("precision", "recall", "f1", "auc_roc", "log_loss", "brier"):
        assert (name, "", "lifetime") not in found
    assert not [key for key in found if key[0].startswith(("latency_", "throughput"))]


def test_a_model_that_never_spoke_has_only_the_counts_of_its_labels() -> None:
    found = samples(build(Objectives(models={"m": spec("binary")})))
    assert {key[0] for key in found} == {"labels_total", "parked_labels"}
    assert set(found.values()) == {0}


def test_medians_and_missing_values_of_features_are_read_for_some_of_them() -> None:
    log = Log()
    for at in range(21):
        log.predict(at, 1, features={f"f{n}": float(at + 1) for n in range(60)} | {"gone": None})
    found = samples(run(spec("binary"), log))
    medians = {key[2]: value for key, value in found.items() if key[0] == "feature_median"}
    assert len(medians) == MAX_FEATURES_READ
    assert all(value <= 11 <= value * 1.125 for value in medians.values())
    assert found["feature_missing_total", "", "gone"] == 21


def test_what_fires_is_read_with_its_severity_and_what_was_detected_with_its_signal() -> None:
    wish = ThresholdSpec(
        "accuracy", "accuracy", LAST_30, minimum=0.9, min_samples=10, severity="page", confidence=None
    )
    drift = DriftSpec("error", (DetectorSpec("page_hinkley", (("threshold", 5.0),)),), quiet_rows=10**6)
    model = ModelSpec("m", task="binary", thresholds=(wish,), drift=(drift,), evaluate_every=10)
    log = Log()
    for at in range(200):
        log.predict(at, 1)
        log.label(at, int(at < 100))
    pipeline = run(model, log)
    found = samples(pipeline)
    assert found["alert_firing", "", "accuracy", "page", "accuracy"] == 1.0
    assert found["alert_firing", "", "drift.error", "ticket", "error"] == 1.0
    assert found["drift_detected_total", "", "page_hinkley", "error"] >= 1
    assert read_partition(pipeline.partition, None).firing == 2
    for at in range(200, 300):
        log.predict(at, 1)
        log.label(at, 1)
    feed(pipeline, log.steps[400:])
    assert samples(pipeline)["alert_firing", "", "accuracy", "page", "accuracy"] == 0.0


# -- of a whole partition -------------------------------------------------------------------


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_the_counts_of_all_versions_add_up_to_the_identities(seed: int) -> None:
    pipeline = build(objectives())
    feed(pipeline, traffic(random.Random(seed), 300).steps)
    readings = read_partition(pipeline.partition, None)
    total: dict[str, float] = {}
    for part in readings.parts.values():
        for sample in part.samples:
            name = sample.name
            if name == "model_labels_total":
                name += " " + sample.labels[1]
            total[name] = total.get(name, 0) + sample.value
    identity = readings.identity
    assert total.get("model_pending_predictions", 0) == readings.pending == identity["predictions"]["pending"]
    assert total.get("model_parked_labels", 0) == identity["labels"]["parked"]
    assert total.get("model_expired_predictions_total", 0) == identity["predictions"]["expired"]
    for outcome in ("joined", "late", "duplicate", "conflicting", "unmatched"):
        assert total[f"model_labels_total {outcome}"] == identity["labels"][outcome]
    assert readings.now == pipeline.partition.now
    assert sum(readings.dead.values()) == sum(terms["dead_letter"] for terms in identity.values())


@given(seeds)
@settings(max_examples=4, deadline=None)
def test_looking_at_any_moment_changes_nothing(seed: int) -> None:
    chance = random.Random(seed)
    steps = traffic(random.Random(seed), 250).steps
    seen, unseen = build(objectives(Limits())), build(objectives(Limits()))
    previous = None
    for step in steps:
        feed(seen, [step])
        feed(unseen, [step])
        if chance.random() < 0.1:
            previous = read_partition(seen.partition, previous)
    assert seen.take_effects().alerts == unseen.take_effects().alerts
    assert facts(seen) == facts(unseen)


@given(seeds)
@settings(max_examples=4, deadline=None)
def test_readings_built_on_earlier_ones_are_those_read_afresh(seed: int) -> None:
    chance = random.Random(seed)
    pipeline = build(objectives(Limits()))
    previous = None
    for step in traffic(random.Random(seed), 200).steps:
        feed(pipeline, [step])
        if chance.random() < 0.1:
            previous = read_partition(pipeline.partition, previous)
            assert previous == read_partition(pipeline.partition, None)


def test_what_did_not_change_is_taken_from_the_last_readings() -> None:
    pipeline, log = build(Objectives()), Log()
    log.predict("a", model="quiet")
    log.predict("b", model="busy")
    feed(pipeline, log.steps)
    first = read_partition(pipeline.partition, None)
    log.predict("c", model="busy")
    feed(pipeline, log.steps[2:])
    second = read_partition(pipeline.partition, first)
    assert second.parts["quiet", ""] is first.parts["quiet", ""]
    assert second.parts["busy", ""] is not first.parts["busy", ""]


@given(seeds)
@settings(max_examples=3, deadline=None)
def test_after_a_restart_people_see_what_they_saw_before(seed: int) -> None:
    chance = random.Random(seed)
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    for step in traffic(random.Random(seed), 200).steps:
        feed(pipeline, [step])
        if chance.random() < 0.05:
            disk.commit(pipeline)
            restored = disk.restore(chance)
            assert read_partition(restored.partition, None) == read_partition(pipeline.partition, None)
            pipeline = restored
