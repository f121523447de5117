"""What an alert on labelled figures carries beside its figure: where it comes from, and how labels came.

Made only when something is told, which is rare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamer.domain.decomposition import ADDITIVE, Part, decompose
from streamer.domain.label_warnings import warn
from streamer.domain.labelling import Labelling, median_lag
from streamer.domain.moments import Moments
from streamer.domain.objectives import LIFETIME, Task
from streamer.domain.scores import Estimate
from streamer.domain.segment_figures import SegmentFigures, Tally

MAX_SEGMENTS_TOLD = 10
_EXPLAINED: Mapping[Task, tuple[str, ...]] = {
    "binary": ("accuracy", "precision", "recall", "f1", "auc_roc", "error"),
    "multiclass": ("accuracy", "error"),
    "regression": ("mae", "rmse", "bias", "r2", "error"),
}


def segment_evidence(figures: SegmentFigures, task: Task, signal: str) -> list[dict[str, Any]]:
    """The segments that a change of a figure comes from, those with the largest part of it first.

    Before is the version's lifetime without the window, after is the window. Nothing where the figure
    is not kept by segment, or one of the two has no rows.
    """
    if signal not in _EXPLAINED[task] or figures.window == LIFETIME.name:
        return []
    found: list[tuple[float, dict[str, Any]]] = []
    for at in range(len(figures.segments.fields)):
        after = figures.tallies(at, figures.window)
        whole = figures.tallies(at, LIFETIME.name)
        before = [_less(every, recent) for every, recent in zip(whole, after, strict=True)]
        sides = [[_figure(figures, task, tally, signal) for tally in side] for side in (before, after)]
        found += _field(figures, at, sides[0], sides[1], signal)
    found.sort(key=lambda each: -each[0])
    return [each for _, each in found[:MAX_SEGMENTS_TOLD]]


def _less(whole: Tally, part: Tally) -> Tally:
    if isinstance(whole, Moments):
        assert isinstance(part, Moments)
        return whole.less(part)
    return whole - part  # type: ignore[operator]


def _figure(figures: SegmentFigures, task: Task, tally: Tally, signal: str) -> Estimate | None:
    if signal != "error":
        return figures.estimate(tally, signal)
    if task == "regression":
        return figures.estimate(tally, "mae")
    right = figures.estimate(tally, "accuracy")
    return None if right is None else Estimate(1.0 - right.value, right.n)


def _field(
    figures: SegmentFigures,
    at: int,
    before: Sequence[Estimate | None],
    after: Sequence[Estimate | None],
    signal: str,
) -> list[tuple[float, dict[str, Any]]]:
    """What is told of the segments of one field, each with how much of the change it is."""
    if not any(before) or not any(after):
        return []
    parts = decompose(before, after) if signal in ADDITIVE else None
    change = sum(part.total for part in parts or ())
    found = []
    for code, (old, new) in enumerate(zip(before, after, strict=True)):
        if old is None and new is None:
            continue
        told: dict[str, Any] = {
            "segment": figures.segments.label(at, code),
            "rows": [0 if each is None else each.n for each in (old, new)],
            "value": [None if each is None else each.value for each in (old, new)],
        }
        if parts is None:
            weight = abs(new.value - old.value) * new.n if old is not None and new is not None else 0.0
        else:
            told |= _told(parts[code], change)
            weight = parts[code].total if change > 0 else -parts[code].total
        found.append((weight, told))
    return found


def _told(part: Part, change: float) -> dict[str, float]:
    told = {"mix": part.mix, "rate": part.rate}
    return told | {"share": part.total / change} if change else told


def label_evidence(labelling: Labelling, now_ms: int, classes: Sequence[str]) -> dict[str, Any]:
    """How labels came: coverage of the matured predictions, their median lag, and what warnings there are."""
    coverage, lags = labelling.coverage(now_ms), labelling.lags
    joined, expired = int(coverage.joined[0]), int(coverage.expired[0])
    told: dict[str, Any] = {"settled": joined + expired}
    if joined + expired:
        told["coverage"] = joined / (joined + expired)
    lag = median_lag(lags[0])
    if lag is not None:
        told["lag_p50_s"] = lag
    warned = warn(labelling, coverage, lags, classes)
    return told | {"warnings": list(warned.texts.values())}
