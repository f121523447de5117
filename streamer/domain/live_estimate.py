"""What a binary version's accuracy is before its labels come, and how far that was off once they did.

See ``estimate`` for the method. Scores are calibrated on the labelled rows of
the reference; what is estimated is the window that is held against it. Panes
of that window wait for their labels, so that the estimate's own error is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import estimate
from streamer.domain.bins import NO_SCORE, classes_of
from streamer.domain.stretch import Counts, Stretch

MOST_WAITING = 64
"""So many panes wait for labels; while they do, no other is taken."""

MOST_CHECKED = 20
TAKEN_AT_ONCE = 16
_FOREVER = 1 << 60
ENOUGH = 0.9
"""Of a pane's rows have to have a label before it is checked, or the labels' time is over."""


@dataclass(slots=True)
class _Pane:
    """Of event time (ms) after ``first``, up to ``last``; None while it fills.

    ``expected`` of ``rows`` are right; of the ``labelled`` ones ``right`` were.
    """

    first: int
    last: int | None = None
    rows: int = 0
    expected: float = 0.0
    labelled: int = 0
    right: int = 0

    def plain(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class LiveEstimate:
    """Of one version; see the module. It does nothing until ``calibrate`` was called."""

    __slots__ = ("_checked", "_firsts", "_lasts", "_taken", "_waiting", "chance", "label_wait_ms")

    def __init__(self, label_wait_ms: int) -> None:
        self.label_wait_ms = label_wait_ms
        self.chance: NDArray[np.float64] | None = None
        self._waiting: list[_Pane] = []  # the last one may be filling
        self._checked: deque[_Pane] = deque(maxlen=MOST_CHECKED)
        self._taken: list[tuple[NDArray[np.int64], NDArray[np.intp]]] = []  # labels, not counted yet
        self._lay_out()

    def _lay_out(self) -> None:
        """Where in event time the panes are that wait."""
        self._firsts = np.array([pane.first for pane in self._waiting])
        self._lasts = np.array([_FOREVER if pane.last is None else pane.last for pane in self._waiting])

    def calibrate(self, by_bin: Counts) -> None:
        """``by_bin``: rows of the reference by score bin and actual class, shape ``(SCORE_BINS, 2)``."""
        try:
            self.chance = estimate.calibrated(by_bin, "the reference")
        except estimate.NoCalibration:
            self.chance = None

    def take_pane(self, pane: Stretch, now: int) -> None:
        """Predictions have filled a pane, and begin another one; all labels that came before were taken.

        ``now``: event time of the newest, in ms.
        """
        if self.chance is None:
            return
        self._count()
        if self._waiting and self._waiting[-1].last is None:
            filled, answers = self._waiting[-1], pane.by_score[:NO_SCORE]
            filled.last, filled.rows = now, int(answers.sum())
            filled.expected = estimate.right(answers, self.chance)
        self._settle(now)
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(_Pane(now))
        self._lay_out()

    def take_labels(self, made_at: NDArray[np.int64], codes: NDArray[np.intp]) -> None:
        """Labels have met predictions that were made then (event time, ms); the codes of their rows."""
        if self._waiting:
            self._taken.append((made_at, codes))
            if len(self._taken) >= TAKEN_AT_ONCE:
                self._count()

    def _count(self) -> None:
        """Labels that were taken, for the panes that wait; panes change only when all have been counted."""
        if not self._taken:
            return
        made_at, codes = (np.concatenate(each) for each in zip(*self._taken, strict=True))
        self._taken = []
        predicted, actual = classes_of(codes, binary=True)
        right = predicted == actual
        at = self._firsts.searchsorted(made_at) - 1
        mine = (at >= 0) & (made_at <= self._lasts[at])
        # Each pane has two cells, of wrong rows and of right ones.
        found = np.bincount(2 * at[mine] + right[mine], minlength=2 * len(self._waiting)).tolist()
        for pane, wrong, well in zip(self._waiting, found[::2], found[1::2], strict=True):
            pane.labelled += wrong + well
            pane.right += well

    def _settle(self, now: int) -> None:
        """Those whose labels are there, or do not come any more, have been checked."""
        left = []
        for pane in self._waiting:
            over = pane.last is not None and now - pane.last > self.label_wait_ms
            if pane.last is None or not (over or pane.labelled >= ENOUGH * pane.rows):
                left.append(pane)
            elif pane.labelled and pane.rows:
                self._checked.append(pane)
        self._waiting = left

    def figures(self, answers: Counts) -> dict[str, float]:
        """The estimated figures of rows by score bin and predicted class, undefined ones left out."""
        answers = answers[:NO_SCORE]
        if self.chance is None or not answers.any():
            return {}
        found = estimate.expected(answers, self.chance)
        return {name: value for name, value in found.items() if value is not None}

    @property
    def error(self) -> float | None:
        """Estimated less actual accuracy of the last panes whose labels are there; None before any are."""
        rows = sum(pane.rows for pane in self._checked)
        if not rows:
            return None
        expected = sum(pane.expected for pane in self._checked) / rows
        return expected - sum(pane.right for pane in self._checked) / sum(p.labelled for p in self._checked)

    def snapshot(self) -> dict[str, Any]:
        self._count()
        return {name: [each.plain() for each in panes] for name, panes in self._named()}

    def _named(self) -> tuple[tuple[str, Any], ...]:
        return ("waiting", self._waiting), ("checked", self._checked)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what was snapshot; ``calibrate`` is called apart."""
        self._waiting = [_Pane(**each) for each in state["waiting"]]
        self._checked = deque((_Pane(**each) for each in state["checked"]), maxlen=MOST_CHECKED)
        self._lay_out()
