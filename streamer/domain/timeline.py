"""When did it begin? Positions on a signal, mapped to event time.

Detectors count values and say that a mean has changed; people ask for a date.
A timeline notes position, event time and running sum of every few values and
makes a mark of each ``SAMPLES`` of them. Its time is their median, since
labels come in any order, and one that was late must not date a change. What
is noted is chosen by position alone, so the same marks come however the values
were cut into batches.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 5
MOST_MARKS = 48

Times = Sequence[int] | NDArray[np.int64]
"""Event times in ms, one of each value; few of them are looked at."""

Mark = tuple[int, int, float]
"""Position (how many values had been seen), event time in ms, sum of all values up to there."""


class Timeline:
    """Marks, dense lately and sparser with age, at most ``MOST_MARKS``.

    Two marks next to each other are as far apart as they were made, ``SAMPLES * step``
    values, or at most half as far as the younger one lies back; only beyond some
    100,000 marks' worth of values the oldest gap is wider.
    """

    __slots__ = ("_marks", "_samples", "_step", "total")

    def __init__(self, every: int) -> None:
        """``every``: about how many values apart marks are made."""
        self._step = max(1, every // SAMPLES)
        self.total = 0.0  # of all values
        self._samples: list[Mark] = []
        self._marks: list[Mark] = []

    def note(self, seen: int, times: Times, values: Sequence[float] | None = None) -> list[float]:
        """Values have come, in order, at these event times. ``seen``: how many came before them.

        ``values``: without them there are dates, but no onsets.

        Returns:
            The sum of all values before the first of them, and after each; nothing without values.
        """
        totals = [] if values is None else list(accumulate(values, initial=self.total))
        self.total = totals[-1] if totals else 0.0
        step = self._step
        for index in range(-seen % step, len(times), step):
            total = totals[index + 1] if totals else 0.0
            self._samples.append((seen + 1 + index, int(times[index]), total))
            if len(self._samples) == SAMPLES:
                self._marks.append(_mark(self._samples))
                self._samples = []
                if len(self._marks) > MOST_MARKS:
                    self._marks = _thinned(self._marks)
        return totals

    def at(self, position: int) -> int | None:
        """The event time in ms at which the signal had seen so many values; None where nobody noted it.

        Between two marks as if values had come evenly; beyond the first and the last one, theirs.
        """
        marks = [*self._marks, _mark(self._samples)] if self._samples else self._marks
        if not marks or position < marks[0][0] - SAMPLES * self._step:
            return None
        after = bisect_left(marks, position, key=_position)
        if after in (0, len(marks)):
            return marks[min(after, len(marks) - 1)][1]
        (left, begin, _), (right, end, _) = marks[after - 1], marks[after]
        return begin + (end - begin) * (position - left) // (right - left)

    def onset(self, origin: Sequence[float], seen: int) -> int | None:
        """The position after which the values since an origin seem to have a new mean.

        Of the marks and the latest samples, the one that splits the values best: the means before and
        after it leave the least squares (D. Hinkley, "Inference about the change-point in a sequence of
        random variables", Biometrika 57, 1970; J. Bai, "Least squares estimation of a shift in linear
        processes", Journal of Time Series Analysis 15, 1994). None where nothing was noted.

        Args:
            origin: a position, and the sum of all values up to there.
            seen: how many values there have been by now.
        """
        first, base = origin
        noted = [each for each in (*self._marks, *self._samples) if first < each[0] < seen]
        if not noted:
            return None
        rows, whole = seen - first, self.total - base

        def apart(mark: Mark) -> float:
            left, sum_left = mark[0] - first, mark[2] - base
            gap = sum_left / left - (whole - sum_left) / (rows - left)
            return gap * gap * left * (rows - left)

        return max(noted, key=apart)[0]

    def since(self, time_ms: int, seen: int) -> tuple[int, float] | None:
        """How many values have come from this event time on, and their mean; None where there are none.

        From the first mark or sample on that is so new. ``seen``: how many values there have been by now.
        """
        noted = (each for each in (*self._marks, *self._samples) if each[1] >= time_ms)
        first = next(noted, None)
        if first is None or first[0] >= seen:
            return None
        return seen - first[0], (self.total - first[2]) / (seen - first[0])

    def snapshot(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "marks": [*map(list, self._marks)],
            "samples": [*map(list, self._samples)],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what was snapshot; samples of another ``every`` count as they are."""
        self.total = state["total"]
        self._marks = [(position, time, total) for position, time, total in state["marks"]]
        self._samples = [(position, time, total) for position, time, total in state["samples"]]


def _position(mark: Mark) -> int:
    return mark[0]


def _mark(samples: Sequence[Mark]) -> Mark:
    middle = len(samples) // 2
    position, _, total = samples[middle]
    return position, sorted(time for _, time, _ in samples)[middle], total


def _thinned(marks: Sequence[Mark]) -> list[Mark]:
    """The first and the last, and of the rest what leaves no gap over a share of its age.

    A third; after millions of values a half, and then the oldest but the first have to go.
    """
    for share in (3, 2):
        newest, kept = marks[-1][0], [marks[-1]]
        for at in range(len(marks) - 2, 0, -1):
            younger = kept[-1][0]
            if share * (younger - marks[at - 1][0]) > newest - younger:
                kept.append(marks[at])
        if len(kept) < MOST_MARKS:
            break
    return [marks[0], *reversed(kept[: MOST_MARKS - 1])]
