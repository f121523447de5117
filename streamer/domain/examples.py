"""Examples for an alert: ids of the rows that a figure got wrong, for whoever goes and looks at them.

Rows are taken in the order in which they are counted, and kept by that order
alone, so the same examples come however the rows were cut into batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import classes_of
from streamer.domain.objectives import ModelSpec, Task, ThresholdSpec

MOST_EXAMPLES = 5
STRETCH_ROWS = 100
"""Of regression: the largest errors of the stretch that is filling and of the one before it."""

Side = Literal["either", "predicted", "actual", "both"]
Lens = tuple[Side, str | None]
"""Which wrong rows a figure is about, and of which class: those ``predicted`` as it, those of which it is the
``actual`` class, ``both`` kinds; ``either``: any wrong row."""

_ANY: Lens = ("either", None)
_OF_CLASS: Mapping[str, Side] = {"precision": "predicted", "recall": "actual", "f1": "both"}


class Examples(Protocol):
    """What a version asks of the keeper of its examples."""

    def take(self, seen: int, ids: Sequence[str], rows: Any, losses: Sequence[float]) -> None:
        """Labelled rows in order. ``seen``: how many came before; ``rows``: as the windows have them."""

    def of(self, spec: ThresholdSpec | None) -> list[str]:
        """At most ``MOST_EXAMPLES`` ids for an objective, None: for drift of the error; the newest last."""

    def snapshot(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


def build_examples(
    spec: ModelSpec, task: Task, thresholds: Sequence[ThresholdSpec], classes: Mapping[Any, int]
) -> Examples | None:
    """The keeper that a version needs, None where no alert of it is to carry examples.

    ``thresholds``: those on labelled figures. ``classes``: names of classes → index, as they are learnt.
    """
    if not spec.alert_examples or not (thresholds or any(each.signal == "error" for each in spec.drift)):
        return None
    if task == "regression":
        return LargestErrors(max(STRETCH_ROWS, spec.evaluate_every))
    return WrongRows(task, thresholds, classes)


class WrongRows:
    """The newest rows whose predicted class is not the actual one.

    Of precision, recall and F1 of one class only those that count against it: an alert about recall
    is not explained by false positives.
    """

    __slots__ = ("_binary", "_classes", "_kept")

    def __init__(self, task: Task, thresholds: Sequence[ThresholdSpec], classes: Mapping[Any, int]) -> None:
        self._binary, self._classes = task == "binary", classes
        lenses = [_ANY, *(self._lens(each) for each in thresholds)]
        self._kept: dict[Lens, list[str]] = {lens: [] for lens in lenses}

    def _lens(self, spec: ThresholdSpec) -> Lens:
        side = _OF_CLASS.get(spec.signal)
        if side is None or (spec.klass is None and not self._binary):
            return _ANY
        return (side, None if self._binary else spec.klass)

    def take(self, seen: int, ids: Sequence[str], rows: NDArray[np.intp], losses: Sequence[float]) -> None:
        predicted, actual = classes_of(rows, self._binary)
        wrong = np.flatnonzero(predicted != actual)
        if not wrong.size:
            return
        predicted, actual = predicted[wrong], actual[wrong]
        for (side, name), kept in self._kept.items():
            of_class = 1 if self._binary else self._classes.get(name)
            if side == "either":
                chosen = wrong
            elif of_class is None:
                continue
            elif side == "predicted":
                chosen = wrong[predicted == of_class]
            elif side == "actual":
                chosen = wrong[actual == of_class]
            else:
                chosen = wrong[(predicted == of_class) | (actual == of_class)]
            kept += [ids[at] for at in chosen[-MOST_EXAMPLES:].tolist()]
            del kept[:-MOST_EXAMPLES]

    def of(self, spec: ThresholdSpec | None) -> list[str]:
        return list(self._kept[_ANY if spec is None else self._lens(spec)])

    def snapshot(self) -> list[list[Any]]:
        return [[*lens, list(kept)] for lens, kept in self._kept.items() if kept]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Become what was snapshot; what an objective of a changed file is about begins empty."""
        for side, name, kept in state:
            if (side, name) in self._kept:
                self._kept[side, name] = list(kept)


class LargestErrors:
    """The rows of a regression with the largest absolute errors, of the last one to two stretches."""

    __slots__ = ("_before", "_now", "_number", "_stretch")

    def __init__(self, stretch: int) -> None:
        self._stretch = stretch
        self._number = 0  # of the stretch that is filling
        self._before: list[tuple[float, int, str]] = []
        self._now: list[tuple[float, int, str]] = []

    def take(self, seen: int, ids: Sequence[str], rows: Any, losses: Sequence[float]) -> None:
        begin = 0
        while begin < len(ids):
            number = (seen + begin) // self._stretch
            end = min(len(ids), (number + 1) * self._stretch - seen)
            if number != self._number:
                self._before = self._now if number == self._number + 1 else []
                self._number, self._now = number, []
            part = zip(losses[begin:end], range(seen + begin, seen + end), ids[begin:end], strict=True)
            self._now = sorted([*self._now, *part])[-MOST_EXAMPLES:]
            begin = end

    def of(self, spec: ThresholdSpec | None) -> list[str]:
        largest = sorted([*self._before, *self._now])[-MOST_EXAMPLES:]
        return [name for _, _, name in sorted(largest, key=_place)]

    def snapshot(self) -> list[Any]:
        return [self._number, *([list(each) for each in kept] for kept in (self._before, self._now))]

    def restore(self, state: Sequence[Any]) -> None:
        self._number, before, now = state
        self._before, self._now = [(*each,) for each in before], [(*each,) for each in now]


def _place(row: tuple[float, int, str]) -> int:
    return row[1]
