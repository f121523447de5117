"""The figures of one version by segment: of each declared field, over one window and over its lifetime.

Rows are those of the version's own windows with their segments' codes, so what
is said of all segments of a field together is what is said of the version. Of a
binary model scores are counted in ``COARSE_BINS``: AUC by segment tells by its
``error`` how far that may have moved it. Of a multiclass model only right and
wrong are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.domain import moments, scores
from streamer.domain.bins import BINARY_CODES, NO_SCORE, SCORE_BINS, classes_of
from streamer.domain.moment_windows import build_moment_window
from streamer.domain.moments import KeyedMoments, Moments, less
from streamer.domain.objectives import LIFETIME, Task, WindowSpec
from streamer.domain.scores import Estimate
from streamer.domain.segments import FIRST, Joint, Segments
from streamer.domain.windows import Blocks, Window, build_window

SCORES_BY_SEGMENT: Mapping[Task, tuple[str, ...]] = {
    "binary": ("accuracy", "precision", "recall", "f1", "auc_roc"),
    "multiclass": ("accuracy",),
    "regression": ("mae", "rmse", "bias"),
}
_MERGED = 10
"""How many score bins become one: a fifth of a logit and a bit."""

_COARSE = np.array([0, *(1 + at // _MERGED for at in range(SCORE_BINS - 3)), 0, 0])
_COARSE[NO_SCORE - 1] = _COARSE[NO_SCORE - 2] + 1
_COARSE[NO_SCORE] = _COARSE[NO_SCORE - 1] + 1
COARSE_BINS: int = int(_COARSE[NO_SCORE]) + 1
_MIDDLES = np.array([int(np.flatnonzero(at == _COARSE).mean()) for at in range(COARSE_BINS)])
_FINE = (4 * _MIDDLES[:, None] + np.arange(4)).ravel()
"""The binary code that stands for each coarse one, shape ``(4 * COARSE_BINS,)``."""

_CODES: Mapping[Task, int] = {"binary": 4 * COARSE_BINS, "multiclass": 2}
Tally = NDArray[np.int64] | Moments
_NOTHING = Moments()


class Row(NamedTuple):
    """One figure: the name of its metric, the labels after model and version, the value."""

    name: str
    labels: tuple[str, ...]
    value: float


class SegmentFigures:
    """What is counted of one version by segment. ``window``: the one that figures are shown of."""

    __slots__ = ("_prefix", "_task", "made", "predictions", "segments", "window", "windows")

    def __init__(self, segments: Segments, task: Task, window: WindowSpec, ordered: bool = False) -> None:
        self.segments, self._task, self.window = segments, task, window.name
        # Times of labels mean nothing in a window of prediction times: it has a name of its own.
        self._prefix = "ordered " if ordered and window.kind == "duration" else ""
        self.made: list[int] = []  # joint codes of predictions that are not counted yet
        self.predictions = np.zeros((len(segments.fields), segments.codes), np.int64)
        self.windows: dict[str, Window] = {
            self._name(spec.name, field): self._window(spec)
            for spec in dict.fromkeys((window, LIFETIME))
            for field in segments.fields
        }

    def _name(self, window: str, field: str) -> str:
        return f"{self._prefix if window == self.window else ''}{window}/{field}"

    def _window(self, spec: WindowSpec) -> Window:
        if self._task == "regression":
            return build_moment_window(spec, KeyedMoments)
        return build_window(spec, self.segments.codes * _CODES[self._task])

    # -- counting ------------------------------------------------------------------

    def count_predictions(self) -> None:
        if self.made:
            joint = np.array(self.made)
            self.made = []
            for at, counts in enumerate(self.predictions):
                np.add.at(counts, self.segments.of_field(joint, at), 1)

    def count_labels(self, joint: Joint, rows: Any, times: Any, late: bool = False) -> None:
        """Take labelled rows, as the version's own windows do, with the joint codes of their segments."""
        if self._task != "regression":
            rows = _coarse(rows) if self._task == "binary" else _right(rows)
        for spec in dict.fromkeys((self.window, LIFETIME.name)):
            for at, field in enumerate(self.segments.fields):
                codes = self.segments.of_field(joint, at)
                mine: Any
                if self._task == "regression":
                    mine = [(*row, code) for row, code in zip(rows, codes.tolist(), strict=True)]
                else:
                    mine = codes * _CODES[self._task] + rows
                window = self.windows[self._name(spec, field)]
                (window.restate if late else window.extend)(mine, times)

    # -- figures ---------------------------------------------------------------------

    def tallies(self, at: int, window: str) -> list[Tally]:
        """What the window holds of each code of a field."""
        tally = self.windows[self._name(window, self.segments.fields[at])].tally
        if isinstance(tally, KeyedMoments):
            return [tally.by.get(code, _NOTHING) for code in range(self.segments.codes)]
        return list(tally.reshape(self.segments.codes, -1))

    def estimate(self, tally: Tally, score: str) -> Estimate | None:
        """One score, without bounds, of what was counted of a segment. None where it is undefined."""
        if isinstance(tally, Moments):
            return moments.regression_estimate(tally, score)
        if not tally.any():
            return None
        if self._task == "multiclass":
            wrong, right = tally.tolist()
            return Estimate(right / (wrong + right), wrong + right)
        counts = np.zeros(BINARY_CODES, np.int64)
        counts[_FINE] = tally
        return scores.binary_estimate(counts, score)

    def known(self, at: int) -> range:
        """The codes of a field that anything can have been counted under."""
        return range(FIRST + len(self.segments.names[at]))

    def readings(self) -> Iterator[Row]:
        """Every figure there is, of the segments that had a prediction or a label."""
        self.count_predictions()
        for at in range(len(self.segments.fields)):
            tallies = self.tallies(at, self.window)
            for code in self.known(at):
                label, made = self.segments.label(at, code), int(self.predictions[at, code])
                if made:
                    yield Row("model_segment_predictions_total", (label,), made)
                yield from self._of_segment(label, tallies[code])

    def _of_segment(self, label: str, tally: Tally) -> Iterator[Row]:
        rows = tally.n if isinstance(tally, Moments) else int(tally.sum())
        if not rows:
            return
        labels = (label, self.window)
        yield Row("model_segment_window_labels", labels, rows)
        for score in SCORES_BY_SEGMENT[self._task]:
            estimate = self.estimate(tally, score)
            if estimate is not None:
                yield Row(f"model_segment_{score}", labels, estimate.value)
                if score == "auc_roc":
                    yield Row("model_segment_auc_roc_error", labels, estimate.error)

    def lifetime(self) -> dict[str, Any]:
        """By field, a copy of what all rows add up to."""
        found = {}
        for field in self.segments.fields:
            tally = self.windows[self._name(LIFETIME.name, field)].tally
            regression = isinstance(tally, KeyedMoments)
            found[field] = KeyedMoments.restore(tally.snapshot()) if regression else tally.copy()
        return found

    def since(self, before: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows and scores of each segment that had any since its field had this tally."""
        told = []
        for at, field in enumerate(self.segments.fields):
            tallies = self.tallies(at, LIFETIME.name)
            for code in self.known(at):
                part = _less(tallies[code], before.get(field), code, self.segments.codes)
                rows = part.n if isinstance(part, Moments) else int(part.sum())
                if rows:
                    found = ((score, self.estimate(part, score)) for score in SCORES_BY_SEGMENT[self._task])
                    figures = {score: each.value for score, each in found if each is not None}
                    told.append({"segment": self.segments.label(at, code), "rows": rows, "figures": figures})
        return told

    # -- state -----------------------------------------------------------------------

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Blocks]]:
        """The head, and the changed blocks of each long window."""
        self.count_predictions()
        found = {name: window.snapshot() for name, window in self.windows.items()}
        counts = zip(self.segments.fields, self.predictions, strict=True)
        head = {
            "predictions": {field: each.tolist() for field, each in counts},
            "windows": {name: head for name, (head, _) in found.items()},
        }
        return head, {f"segments/{name}": blocks for name, (_, blocks) in found.items()}

    def restore(
        self, head: Mapping[str, Any], blocks: Mapping[str, Mapping[int, bytes]], task_changed: bool
    ) -> None:
        """Become what was snapshot, as far as its fields and windows are still declared."""
        for at, field in enumerate(self.segments.fields):
            saved = head["predictions"].get(field, [])[: self.segments.codes]
            self.predictions[at, : len(saved)] = saved
        if not task_changed:
            for name, window in self.windows.items():
                if name in head["windows"]:
                    window.restore(head["windows"][name], blocks.get(f"segments/{name}", {}))


def fields_of(head: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The fields that were declared when this head was made, None: it has none."""
    return () if head is None else tuple(head["predictions"])


def _less(tally: Tally, before: Any, code: int, codes: int) -> Tally:
    """What has come to a segment since its field had the tally ``before``, None: nothing had come."""
    if before is None:
        return tally
    regression = isinstance(tally, Moments)
    found: Tally = less(
        tally, before.by.get(code, _NOTHING) if regression else before.reshape(codes, -1)[code]
    )
    return found


def _coarse(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Binary codes in coarse score bins."""
    found: NDArray[np.intp] = 4 * _COARSE[codes >> 2] + (codes & 3)
    return found


def _right(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Multiclass codes as 1 for right and 0 for wrong."""
    predicted, actual = classes_of(codes, binary=False)
    found: NDArray[np.intp] = (predicted == actual).astype(np.intp)
    return found
