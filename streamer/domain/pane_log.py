"""Panes of prediction time that were counted: what they were, and how late labels change them.

A pane is told when it is counted (revision 0), again with the next pane if
labels have come for it since (one revision more), and once more when no label
can come any more (``final``). Until then its counts are kept; they are
additive, so a restated pane is what it had been with all labels in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import moments, scores
from streamer.domain.bins import BINARY_CODES, MULTICLASS_CODES
from streamer.domain.events import rfc3339
from streamer.domain.moments import Moments
from streamer.domain.objectives import SCORES_OF_TASK, Task
from streamer.domain.windows import pack_counts, unpack_counts

MOST_PANES = 1000
"""Beyond so many that may still change, the oldest is final before its time."""

Summary = Any  # an array of counts per code (classes), or Moments (numbers)


@dataclass(slots=True)
class Pane:
    """``revision``: how often late labels have changed it. ``restated``: they have, and nobody was told."""

    summary: Summary
    revision: int = 0
    restated: bool = False


@dataclass(frozen=True, slots=True)
class PaneReport:
    """One telling of a pane. ``start``, ``end``: event time in ms. ``figures``: those that are defined."""

    start: int
    end: int
    rows: int
    figures: dict[str, float]
    revision: int
    final: bool

    def document(self) -> dict[str, Any]:
        """As published."""
        return asdict(self) | {"start": rfc3339(self.start), "end": rfc3339(self.end)}


class PaneLog:
    """Of one version. ``revisions``: how often a pane was told anew because of late labels, in all.

    ``told``: what nobody has taken yet; whoever commits empties it.
    """

    __slots__ = ("_changed", "_final", "_told", "pane_ms", "panes", "revisions", "task", "told", "wait_ms")

    def __init__(self, task: Task, pane_ms: int, wait_ms: int) -> None:
        self.task, self.pane_ms, self.wait_ms = task, pane_ms, wait_ms
        self.panes: dict[int, Pane] = {}
        self.revisions = 0
        self.told: list[PaneReport] = []
        self._told = 0  # so many, ever
        self._final = 0  # event time up to which panes are final
        self._changed: set[int] = set()  # which panes the state does not hold as they are

    # -- rows ------------------------------------------------------------------------------------

    def add(self, rows: Any, made_at: NDArray[np.int64], late: bool) -> None:
        """Count rows in their panes.

        Args:
            rows: codes or pairs, as windows take them.
            made_at: when they were predicted, event time in ms.
            late: their pane was counted before they came; a final one takes none.
        """
        numbers = made_at // self.pane_ms
        for number in np.unique(numbers[made_at >= self._final]).tolist():
            pane = self.panes.get(number)
            if pane is None:
                pane = self.panes[number] = Pane(self._nothing())
            mine = np.flatnonzero(numbers == number)
            if self.task == "regression":
                for at in mine.tolist():
                    pane.summary.update(*rows[at])
            else:
                np.add.at(pane.summary, rows[mine], 1)
            pane.restated = pane.restated or late
            self._changed.add(number)

    def _nothing(self) -> Summary:
        if self.task == "regression":
            return Moments()
        return np.zeros(BINARY_CODES if self.task == "binary" else MULTICLASS_CODES, np.int64)

    # -- telling ---------------------------------------------------------------------------------

    def close(self, number: int) -> None:
        """All rows of this pane that came in time have been added: tell of it."""
        self.panes[number].restated = False
        self._tell(number, final=False)

    def due(self, clock: int) -> bool:
        """Is a pane final by now (event time in ms)?"""
        return bool(self.panes) and self._is_over(min(self.panes), clock)

    def _is_over(self, number: int, clock: int) -> bool:
        return (number + 1) * self.pane_ms + self.wait_ms <= clock

    def settle(self, clock: int) -> None:
        """Tell of the panes that were restated, and of those that are final, the oldest first."""
        for number in sorted(self.panes):
            pane = self.panes[number]
            final = self._is_over(number, clock) or len(self.panes) > MOST_PANES
            if pane.restated:
                pane.restated, pane.revision = False, pane.revision + 1
                self.revisions += 1
            elif not final:
                continue
            self._tell(number, final)
            if final:
                del self.panes[number]
                self._final = max(self._final, (number + 1) * self.pane_ms)

    def _tell(self, number: int, final: bool) -> None:
        pane = self.panes[number]
        start = number * self.pane_ms
        rows, found = figures(self.task, pane.summary)
        self.told.append(PaneReport(start, start + self.pane_ms, rows, found, pane.revision, final))
        self._told += 1
        self._changed.add(number)

    @property
    def mark(self) -> tuple[int, ...]:
        """Another one after everything that is told."""
        return (self._told,)

    # -- state -----------------------------------------------------------------------------------

    def snapshot(self) -> tuple[dict[str, Any], dict[int, Any]]:
        """The head, and the panes that changed since the last snapshot (None: final)."""
        changed, self._changed = self._changed, set()
        head = {"pane": self.pane_ms, "final": self._final, "revisions": self.revisions}
        return head, {number: self._plain(number) for number in sorted(changed)}

    def _plain(self, number: int) -> Any:
        pane = self.panes.get(number)
        if pane is None:
            return None
        regression = self.task == "regression"
        summary = pane.summary.snapshot() if regression else pack_counts(pane.summary)
        return [pane.revision, pane.restated, summary]

    def restore(self, head: Mapping[str, Any], blocks: Mapping[int, Any]) -> None:
        """Become what was snapshot; panes of another length are left as they were told last."""
        self.revisions, self._final = head["revisions"], head["final"]
        if head["pane"] != self.pane_ms:
            self._changed = set(blocks)
            return
        for number, (revision, restated, plain) in blocks.items():
            if self.task == "regression":
                summary: Summary = Moments.restore(plain)
            else:
                summary = unpack_counts(plain, len(self._nothing()))
            self.panes[number] = Pane(summary, revision, restated)


def figures(task: Task, summary: Summary) -> tuple[int, dict[str, float]]:
    """How many rows there are, and the scores of the task that are defined."""
    found: dict[str, float] = {}
    binary = scores.Binary(summary) if task == "binary" else None
    for score in SCORES_OF_TASK[task]:
        if binary is not None:
            estimate = binary.estimate(score)
        elif task == "regression":
            estimate = moments.regression_estimate(summary, score)
        else:
            estimate = scores.multiclass_estimate(summary, score, None, None)
        if estimate is not None:
            found[score] = estimate.value
    return summary.n if task == "regression" else int(summary.sum()), found
