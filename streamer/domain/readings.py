"""What can be read off a partition at one moment, as plain numbers.

The worker takes readings with each commit and publishes them once it is
through, so that what people see never goes back after a crash. Undefined is
not 0: a figure that does not exist has no reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.domain import latency, moments, scores
from streamer.domain.alerts import State
from streamer.domain.bins import LATENCY_BINS, latency_bin
from streamer.domain.model import ModelMonitor
from streamer.domain.objectives import (
    BINARY_SCORES,
    LIFETIME,
    MULTICLASS_SCORES,
    REGRESSION_SCORES,
)
from streamer.domain.partition import Partition
from streamer.domain.rules import AnyRule
from streamer.domain.version import LAG_BOUNDS_S, VersionMonitor

LATENCY_BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_LATENCY_AT = [latency_bin(float(f"{bound * 1000:.6g}")) for bound in LATENCY_BOUNDS_S]
MAX_CLASSES_READ = 20
MAX_FEATURES_READ = 50
_PER_CLASS = ("precision", "recall", "f1")


@dataclass(frozen=True, slots=True)
class Sample:
    """One number. ``labels``: the values of the labels that ``name`` has, the model first."""

    name: str
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts``: rows per bucket, not cumulated, the last one unbounded; ``total``: their sum in s."""

    name: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Readings:
    """Everything of one model version, or of one model. ``mark``: tells whether it changed."""

    mark: tuple[object, ...]
    samples: tuple[Sample, ...]
    histograms: tuple[Histogram, ...] = ()


@dataclass(frozen=True, slots=True)
class PartitionReadings:
    """``parts``: by (model, version), version None for what belongs to the model."""

    now: int
    identity: Mapping[str, Mapping[str, int]]
    dead: Mapping[tuple[str, str], int]
    parts: Mapping[tuple[str, str | None], Readings] = field(default_factory=dict)
    pending: int = 0
    firing: int = 0


def read_partition(partition: Partition, previous: PartitionReadings | None) -> PartitionReadings:
    """Readings as of now; what has not changed since ``previous`` is taken from there."""
    old = previous.parts if previous is not None else {}
    parts: dict[tuple[str, str | None], Readings] = {}
    for name, model in partition.models.items():
        parts[name, None] = _keep(old.get((name, None)), _model_mark(model)) or _read_model(model)
        for version in model.every_version:
            key = (name, version.version)
            parts[key] = _keep(old.get(key), _version_mark(version)) or _read_version(name, version)
    identity = partition.identity()
    return PartitionReadings(
        partition.now,
        identity,
        dict(partition.dead),
        parts,
        identity["predictions"]["pending"],
        sum(model.firing for model in partition.models.values()),
    )


def _keep(readings: Readings | None, mark: tuple[object, ...]) -> Readings | None:
    return readings if readings is not None and readings.mark == mark else None


def _model_mark(model: ModelMonitor) -> tuple[object, ...]:
    c = model.labels
    steps = tuple(rule.incident.transitions for rule in model.silence)
    counts = (c.joined, c.unmatched, c.late, c.duplicate, c.conflicting, len(model.parked))
    return (*counts, steps, model.versus.mark)


def _version_mark(version: VersionMonitor) -> tuple[object, ...]:
    steps = sum(rule.incident.transitions for rule in version.rules)
    expired = tuple(version.expired.values())
    pending = len(version.table.pending)
    counts = (version.accepted, version.joined, version.duplicates, expired, pending)
    return (*counts, steps, version.groups.mark, *version.order_mark)


def _read_model(model: ModelMonitor) -> Readings:
    name, counts = model.spec.model, model.labels
    outcomes = {
        "joined": counts.joined,
        "unmatched": counts.unmatched,
        "late": counts.late,
        "duplicate": counts.duplicate,
        "conflicting": counts.conflicting,
    }
    samples = [Sample("model_labels_total", (name, outcome), n) for outcome, n in outcomes.items()]
    samples.append(Sample("model_parked_labels", (name,), len(model.parked)))
    samples += _firing((name, ""), model.silence)
    samples += _pairs(model)
    return Readings(_model_mark(model), tuple(samples))


def _pairs(model: ModelMonitor) -> Iterator[Sample]:
    """Each challenger beside the champion."""
    for pair in model.versus.pairs.values():
        labels = (model.spec.model, pair.challenger, pair.champion)
        yield Sample("model_version_pairs_total", labels, pair.rows)
        yield Sample("model_version_loss_difference", labels, pair.difference)
        low, high = pair.interval
        if np.isfinite(low):
            yield Sample("model_version_loss_difference_lower", labels, low)
            yield Sample("model_version_loss_difference_upper", labels, high)


def _read_version(model: str, version: VersionMonitor) -> Readings:
    version.flush()
    who = (model, version.version)
    samples = [
        Sample("model_predictions_total", who, version.accepted),
        Sample("model_duplicate_predictions_total", who, version.duplicates),
        Sample("model_pending_predictions", who, len(version.table.pending)),
        *(Sample("model_expired_predictions_total", (*who, why), n) for why, n in version.expired.items()),
        *(Sample("model_drift_detected_total", (*who, *at), n) for at, n in version.detections.items()),
        *_refused(who, version),
        *_firing(who, version.rules),
        *_windows(who, version),
        *_features(who, version),
        *_data(who, version),
        *_estimated(who, version),
        *_ordered(who, version),
        *_groups(who, version),
    ]
    coverage = version.coverage(None)
    if coverage is not None:
        samples.append(Sample("model_label_coverage_ratio", who, coverage.value))
    return Readings(_version_mark(version), tuple(samples), tuple(_histograms(who, version)))


def _refused(who: tuple[str, str], version: VersionMonitor) -> Iterator[Sample]:
    for signal, watch in version.watches():
        yield Sample("model_drift_values_refused_total", (*who, signal), watch.refused)


def _firing(who: tuple[str, str], rules: Sequence[AnyRule]) -> Iterator[Sample]:
    for each in rules:
        firing = each.incident.state is State.FIRING
        rule = each.rule
        yield Sample("model_alert_firing", (*who, rule.rule, rule.severity, rule.signal), float(firing))


def _windows(who: tuple[str, str], version: VersionMonitor) -> Iterator[Sample]:
    for name, window in version.figures.windows.items():
        yield from _scores((*who, name), version, name, window.tally)
    for name, window in version.figures.traffic.items():
        counts = window.tally[:LATENCY_BINS]
        for percentile, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            value = latency.quantile(counts, q)
            if value is not None:
                yield Sample("model_latency_percentile_seconds", (*who, name, percentile), value / 1000)
        speed = version.figures.throughput(name) if window.spec.kind == "duration" else None
        if speed is not None:
            yield Sample("model_throughput_predictions_per_second", (*who, name), speed.value)


def _scores(labels: tuple[str, ...], version: VersionMonitor, window: str, tally: object) -> Iterator[Sample]:
    if version.task == "regression":
        assert isinstance(tally, moments.Moments)
        for score in REGRESSION_SCORES:
            estimate = moments.regression_estimate(tally, score, None)
            if estimate is not None:
                yield Sample(f"model_{score}", labels, estimate.value)
        yield Sample("model_window_labels", labels, tally.n)
        return
    counts: NDArray[np.int64] = tally  # type: ignore[assignment]
    yield Sample("model_window_labels", labels, int(counts.sum()))
    names = BINARY_SCORES if version.task == "binary" else MULTICLASS_SCORES
    for score in names:
        if version.task == "binary":
            estimate = version.figures.binary(window).estimate(score)
        else:
            estimate = scores.multiclass_estimate(counts, score, None, None)
        if estimate is not None:
            yield Sample(f"model_{score}", labels, estimate.value)
            if score == "auc_roc":
                yield Sample("model_auc_roc_error", labels, estimate.error)
    if version.task == "multiclass" and version.classes is not None:
        for index, klass in enumerate(version.classes.names[:MAX_CLASSES_READ]):
            for score in _PER_CLASS:
                estimate = scores.multiclass_estimate(counts, score, None, index)
                if estimate is not None:
                    yield Sample(f"model_class_{score}", (*labels, klass), estimate.value)


def _groups(who: tuple[str, str], version: VersionMonitor) -> Iterator[Sample]:
    classes = () if version.classes is None else version.classes.names
    for row in version.groups.readings(classes):
        yield Sample(row.name, (*who, *row.labels), row.value)


def _features(who: tuple[str, str], version: VersionMonitor) -> Iterator[Sample]:
    profile = version.profile
    if profile is None:
        return
    yield Sample("model_features_left_out_total", who, profile.overflow)
    for name, n in list(profile.missing.items())[:MAX_FEATURES_READ]:
        yield Sample("model_feature_missing_total", (*who, name), n)
    for name in list(profile.numeric)[:MAX_FEATURES_READ]:
        value = profile.median(name)
        if value is not None and np.isfinite(value):
            yield Sample("model_feature_median", (*who, name), value)


def _data(who: tuple[str, str], version: VersionMonitor) -> Iterator[Sample]:
    """Columns held against the reference; the most distant ones where there are too many."""
    for signal, watch in version.data.items():
        yield Sample("model_reference_rows", (*who, signal), watch.reference_rows)
        ranked = sorted(watch.measured, key=lambda each: (-each.distance, each.column))
        for each in ranked[:MAX_FEATURES_READ]:
            yield Sample("model_data_distance", (*who, each.column), each.distance)
            if each.column.startswith("feature:"):
                yield Sample("model_data_missing_ratio", (*who, each.column), each.missing)
                yield Sample("model_data_unseen_ratio", (*who, each.column), each.unseen)
                yield Sample("model_data_out_of_range_ratio", (*who, each.column), each.out_of_range)


def _estimated(who: tuple[str, str], version: VersionMonitor) -> Iterator[Sample]:
    live = version.estimate_live
    answers = None if live is None else version.data["data"].answers
    if live is None or answers is None:
        return
    for score, value in live.figures(answers).items():
        yield Sample("model_estimated_score", (*who, score), value)
    if live.error is not None:
        yield Sample("model_estimate_error", who, live.error)


def _ordered(who: tuple[str, str], version: VersionMonitor) -> Iterator[Sample]:
    if version.order is not None:
        yield Sample("model_waiting_labels", who, version.order.waiting)
        yield Sample("model_late_labels_total", who, version.order.late)
        yield Sample("model_early_labels_total", who, version.order.early)
    if version.panes is not None:
        yield Sample("model_pane_revisions_total", who, version.panes.revisions)


def _histograms(who: tuple[str, str], version: VersionMonitor) -> Iterator[Histogram]:
    cumulated = version.figures.traffic[LIFETIME.name].tally[:LATENCY_BINS].cumsum()
    upper = [int(cumulated[at]) for at in _LATENCY_AT]
    counts = np.diff([0, *upper, int(cumulated[-1])])
    yield Histogram(
        "model_prediction_latency_seconds",
        who,
        LATENCY_BOUNDS_S,
        tuple(counts.tolist()),
        version.latency_sum_us / 1e6,
    )
    yield Histogram(
        "model_label_lag_seconds",
        who,
        tuple(map(float, LAG_BOUNDS_S)),
        tuple(version.lag_counts.tolist()),
        version.lag_sum_ms / 1000,
    )
