"""What is asked of a model, in plain values: told on the topic ``reports``, and again when it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamer.domain.alerts import digest
from streamer.domain.objectives import (
    DriftSpec,
    ModelSpec,
    ReferenceSpec,
    ThresholdSpec,
    duration_text,
)


def declared(spec: ModelSpec) -> dict[str, Any]:
    """Everything that decides what is told of the model; no secret."""
    privacy = spec.privacy
    return {
        "task": spec.task,
        "windows": [window.name for window in spec.windows],
        "objectives": [_threshold(each) for each in spec.thresholds],
        "drift": [_drift(each) for each in spec.drift],
        "reference": None if spec.reference is None else _reference(spec.reference),
        "data_drift": None
        if spec.reference is None
        else {
            "window": f"last {spec.data_drift.rows}",
            "distance": spec.data_drift.distance,
            "max": spec.data_drift.limit,
            "features": list(spec.data_drift.features),
            "severity": spec.data_drift.severity,
        },
        "false_alarms": None if spec.false_alarms is None else str(spec.false_alarms),
        "label_wait": duration_text(spec.label_wait_ms),
        "on_expiry": spec.on_expiry,
        "order": spec.order,
        "label_maturity": duration_text(spec.label_maturity_ms) if spec.waits else None,
        "champion": spec.champion,
        "segments": list(spec.segments),
        "privacy": None if privacy is None else {"ids": privacy.ids, "features": dict(privacy.features)},
    }


def digest_of(told: Mapping[str, Any]) -> str:
    """Another one for other words."""
    return digest(repr(told))


def _threshold(spec: ThresholdSpec) -> dict[str, Any]:
    hold = (
        f"{spec.hold_rows} rows" if spec.hold_rows else duration_text(spec.hold_ms) if spec.hold_ms else None
    )
    return {
        "rule": spec.rule,
        "signal": spec.signal,
        "class": spec.klass,
        "window": None if spec.signal in ("silence", "label_coverage") else spec.window.name,
        "min": spec.minimum,
        "max": spec.maximum,
        "for": hold,
        "min_samples": spec.min_samples,
        "confidence": spec.confidence,
        "severity": spec.severity,
    }


def _drift(spec: DriftSpec) -> dict[str, Any]:
    return {
        "rule": spec.rule,
        "detectors": [{"kind": each.kind, **dict(each.parameters)} for each in spec.detectors],
        "quiet": spec.quiet_rows,
        "severity": spec.severity,
    }


def _reference(spec: ReferenceSpec) -> str:
    if spec.kind == "given":
        return f"given {spec.name}"
    return f"{spec.kind} {spec.size if spec.kind == 'first' else duration_text(spec.size)}"
