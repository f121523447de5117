"""How labels come to the predictions of one version: to how many of them, and how late, group by group.

Groups are all predictions, those of each class, and those of each segment.
Coverage is that of **matured** predictions: those that waited for as long as
``label_wait`` allows, whether a label came on the first day or never. Among all
that are settled, groups with quick labels would seem to be covered better.

What is counted is bounded: panes of a tenth of ``label_wait``, of which the ten
youngest that have matured are looked at; lags of the last 10,000 to 20,000 labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import filled_cells
from streamer.domain.segments import CODE_BITS, Joint, Segments

Ints = NDArray[np.int64]

WAIT_PANES = 10
GENERATION = 10_000
LAG_EDGES_S = tuple(10 ** (step / 8) for step in range(57))
"""Ascending seconds from 1 s to 115 days, eight to a decade: a median is right to within a third."""

_LAG_EDGES_MS = np.array([round(1000 * edge) for edge in LAG_EDGES_S])
LAG_BINS = len(LAG_EDGES_S) + 1
_LAG_MIDDLES = (1.0, *(10 ** ((step + 0.5) / 8) for step in range(56)), LAG_EDGES_S[-1])
_VALUES = 1 << CODE_BITS
_JOINED, _EXPIRED = range(2)
_ONE_LAG, _ONE_ROW = np.uint16(1), np.int32(1)  # of the arrays' own types: NumPy adds those quickest


class Group(NamedTuple):
    """The cells that hold what is compared with each other: ``class``, or a field of segments."""

    name: str
    cells: slice


class Coverage(NamedTuple):
    """Per cell: matured predictions that got a label, and those that did not."""

    joined: Ints
    expired: Ints


class Labelling:
    """Counts of one version. ``classes``: how many there can be, 0 for a regression.

    Record time is in seconds here: the buckets of the join.
    """

    __slots__ = (
        "_counted_from",
        "_counts",
        "_lags",
        "_newest",
        "_slots",
        "_wait",
        "_width",
        "cells",
        "groups",
        "lagging",
        "segments",
    )

    def __init__(self, wait_ms: int, classes: int, segments: Segments | None) -> None:
        self.segments = segments
        self._wait = wait_ms // 1000
        self._width = max(1, self._wait // WAIT_PANES)
        self._slots = self._wait // self._width + WAIT_PANES + 3
        self.groups = [Group("class", slice(1, 1 + classes))] if classes else []
        self.cells = 1 + classes
        for field in segments.fields if segments is not None else ():
            self.groups.append(Group(field, slice(self.cells, self.cells + _VALUES)))
            self.cells += _VALUES
        self._counts = np.zeros((2, self._slots, self.cells), np.int32)
        self._newest = -1  # the newest pane of which there is a row
        self._counted_from = 0  # the first pane of which every row was counted
        # The generation before, and the one that is filling, with so many rows.
        self._lags = np.zeros((2, self.cells, LAG_BINS), np.uint16)
        self.lagging = 0

    # -- counting ------------------------------------------------------------------

    def count_labels(
        self,
        buckets: Ints,
        predicted: NDArray[np.intp] | None,
        actual: NDArray[np.intp] | None,
        joint: Joint | None,
        lags_ms: Ints,
    ) -> None:
        """Labels met their predictions; classes are None for a regression, ``joint`` without segments."""
        self._settle(_JOINED, buckets, self._cells_of(len(buckets), predicted, joint))
        cells, bins = self._cells_of(len(buckets), actual, joint), _LAG_EDGES_MS.searchsorted(lags_ms)
        start = 0
        while start < len(bins):
            end = min(len(bins), start + GENERATION - self.lagging)
            at = cells[:, start:end] * LAG_BINS + bins[start:end]
            np.add.at(self._lags[1].reshape(-1), at.ravel(), _ONE_LAG)
            self.lagging += end - start
            start = end
            if self.lagging == GENERATION:  # at this very row, however the rows were cut
                self._lags[0], self._lags[1], self.lagging = self._lags[1], 0, 0

    def count_expired(self, buckets: Ints, predicted: NDArray[np.intp] | None, joint: Joint | None) -> None:
        """Predictions waited for a label in vain."""
        self._settle(_EXPIRED, buckets, self._cells_of(len(buckets), predicted, joint))

    def _cells_of(self, rows: int, classes: NDArray[np.intp] | None, joint: Joint | None) -> NDArray[np.intp]:
        """The cells that each row counts in, shape (groups + 1, rows)."""
        found = [np.zeros(rows, np.intp)]
        for at, group in enumerate(self.groups):
            if classes is not None and at == 0:
                found.append(group.cells.start + classes)
            elif joint is not None:
                field = at - (classes is not None)
                found.append(group.cells.start + Segments.of_field(joint, field))
        return np.stack(found)

    def _settle(self, outcome: int, buckets: Ints, cells: NDArray[np.intp]) -> None:
        panes = buckets // self._width
        newest = int(panes.max())
        if newest > self._newest:
            gone = range(max(self._newest, newest - self._slots) + 1, newest + 1)
            self._counts[:, [pane % self._slots for pane in gone]] = 0
            self._newest = newest
        # Of before counting began, or of a time when predictions waited for longer.
        known = (panes > self._newest - self._slots) & (panes >= self._counted_from)
        if not known.all():
            panes, cells = panes[known], cells[:, known]
        at = panes % self._slots * self.cells + cells
        np.add.at(self._counts[outcome].reshape(-1), at.ravel(), _ONE_ROW)

    # -- figures ---------------------------------------------------------------------

    def matured_pane(self, now_ms: int) -> int:
        """The youngest pane that has matured by now, as far as it matters: it tells figures apart."""
        pane = (now_ms // 1000 - self._wait) // self._width - 1
        return max(self._newest - self._slots, min(pane, self._newest + WAIT_PANES))

    def coverage(self, now_ms: int) -> Coverage:
        """Of the predictions that matured last. ``now_ms``: record time."""
        last = self.matured_pane(now_ms)
        first = max(last - WAIT_PANES, self._newest - self._slots, self._counted_from - 1) + 1
        slots = [pane % self._slots for pane in range(first, min(last, self._newest) + 1)]
        joined, expired = self._counts[:, slots].sum(axis=1, dtype=np.int64)
        return Coverage(joined, expired)

    @property
    def lags(self) -> Ints:
        """The last labels by cell and bin of their lag, shape (cells, LAG_BINS)."""
        found: Ints = self._lags.sum(axis=0, dtype=np.int64)
        return found

    def name_of(self, group: Group, at: int, classes: Sequence[str]) -> str:
        """What people call the cell number ``at`` of a group."""
        if group is self.groups[0] and classes:
            return classes[at] if at < len(classes) else "other"
        assert self.segments is not None
        return self.segments.label(self.segments.fields.index(group.name), at)

    # -- state -----------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        return {
            "layout": self._layout(),
            "newest": self._newest,
            "from": self._counted_from,
            "counts": _packed(self._counts),
            "lags": _packed(self._lags),
            "lagging": self.lagging,
        }

    def _layout(self) -> list[Any]:
        fields = [] if self.segments is None else list(self.segments.fields)
        return [self._wait, self.cells, fields]

    def restore(self, state: Mapping[str, Any] | None, now_ms: int) -> bool:
        """Become what was snapshot; False: other groups or another wait were counted, so it begins anew."""
        if state is None or state["layout"] != self._layout():
            self._counted_from = now_ms // 1000 // self._width + 1
            return False
        self._newest, self._counted_from = state["newest"], state["from"]
        self.lagging = state["lagging"]
        _unpack(self._counts, state["counts"])
        _unpack(self._lags, state["lags"])
        return True


def median_lag(counts: Ints) -> float | None:
    """The median lag in seconds of rows by bin, None of none: the middle of its bin."""
    total = int(counts.sum())
    if not total:
        return None
    return _LAG_MIDDLES[int(counts.cumsum().searchsorted((total + 1) // 2))]


def _packed(counts: NDArray[Any]) -> list[bytes]:
    """The cells that are not zero: where they are, then what they hold."""
    flat = counts.ravel()
    places = filled_cells(flat)
    return [places.astype("<u4").tobytes(), flat[places].astype("<u4").tobytes()]


def _unpack(counts: NDArray[Any], packed: Sequence[bytes]) -> None:
    """Put back what ``_packed`` took. Raises ValueError where it does not fit."""
    places, values = (np.frombuffer(each, "<u4") for each in packed)
    if len(places) != len(values) or (len(places) and int(places.max()) >= counts.size):
        raise ValueError("counts do not fit their cells")
    counts.reshape(-1)[places] = values
