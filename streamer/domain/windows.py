"""Sliding windows over rows that are integer codes.

A window is a multiset of codes held as an array of counts, so every figure of
it is exact and does not depend on how the rows were cut into batches. Adding
a row costs the same whatever the window's length. ``moment_windows`` holds
the twins for regression, whose rows are pairs of floats.

State: a window is its small ``head`` plus ``blocks``, pieces that are written
once and stay (sealed parts of a long ring, closed panes), so that a commit
writes what changed and not the whole window.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import filled_cells
from streamer.domain.objectives import WindowSpec

Counts = NDArray[np.int64]
Codes = NDArray[np.intp]
Head = dict[str, Any]
Blocks = dict[int, bytes | None]

PANES = 60
BLOCK_ROWS = 4096
_CODE = np.dtype("<u2")
_COUNT = np.dtype("<i8")


class Window(Protocol):
    """What the monitor asks of every window."""

    spec: WindowSpec

    def extend(self, rows: Any, times: Sequence[int]) -> None:
        """Take rows in order: codes as an array of intp, or a list of float pairs.

        ``times`` are their event times in ms, never falling.
        """

    def restate(self, rows: Any, times: Sequence[int]) -> None:
        """Take rows that came after their time had been counted, in any order, where that time is still held.

        A window of rows, which keeps no times, takes none.
        """

    @property
    def tally(self) -> Any:
        """What the scores read: an array of counts, or Moments."""

    @property
    def rows(self) -> int:
        """How many rows it holds."""

    def snapshot(self) -> tuple[Head, Blocks]:
        """The head, and the blocks that changed since the last snapshot (None: gone)."""

    def restore(self, head: Head, blocks: Mapping[int, bytes]) -> None:
        """Become what was snapshot. Raises ValueError where the bytes do not fit."""

    def span_ms(self) -> int:
        """How much event time the window now covers; 0 for a window of rows, which keeps none."""


def pack_counts(counts: Counts) -> list[bytes]:
    """Only the cells that are not zero: their codes, then their counts."""
    codes = filled_cells(counts)
    return [codes.astype(_CODE).tobytes(), counts[codes].astype(_COUNT).tobytes()]


def unpack_counts(packed: Sequence[bytes], size: int) -> Counts:
    """The inverse of ``pack_counts``. Raises ValueError on a code outside ``size``."""
    codes = np.frombuffer(packed[0], _CODE)
    values = np.frombuffer(packed[1], _COUNT)
    if len(codes) != len(values) or (len(codes) and int(codes.max()) >= size):
        raise ValueError("counts do not fit their codes")
    counts = np.zeros(size, np.int64)
    counts[codes] = values
    return counts


class LifetimeWindow:
    """Every row a version ever had."""

    def __init__(self, spec: WindowSpec, codes: int) -> None:
        self.spec = spec
        self.counts: Counts = np.zeros(codes, np.int64)
        self.rows = 0
        self._first: int | None = None
        self._last = 0

    def extend(self, rows: Codes, times: Sequence[int]) -> None:
        np.add.at(self.counts, rows, 1)
        self.rows += len(rows)
        if self._first is None:
            self._first = times[0]
        self._last = times[-1]

    def restate(self, rows: Codes, times: Sequence[int]) -> None:
        np.add.at(self.counts, rows, 1)
        self.rows += len(rows)
        self._first = min(times) if self._first is None else min(self._first, *times)
        self._last = max(self._last, *times)

    @property
    def tally(self) -> Counts:
        return self.counts

    def span_ms(self) -> int:
        return 0 if self._first is None else self._last - self._first

    def snapshot(self) -> tuple[Head, Blocks]:
        return {"counts": pack_counts(self.counts), "first": self._first, "last": self._last}, {}

    def restore(self, head: Head, blocks: Mapping[int, bytes]) -> None:
        self.counts = unpack_counts(head["counts"], len(self.counts))
        self.rows = int(self.counts.sum())
        self._first, self._last = head["first"], head["last"]


class RollingWindow:
    """The last ``size`` rows: a ring of codes beside their counts."""

    def __init__(self, spec: WindowSpec, codes: int) -> None:
        self.spec = spec
        self.counts: Counts = np.zeros(codes, np.int64)
        self._ring = np.zeros(spec.size, _CODE)
        self._seen = 0
        self._dirty: set[int] = set()

    def extend(self, rows: Codes, times: Sequence[int]) -> None:
        size, start = self.spec.size, 0
        while start < len(rows):
            at = self._seen % size
            part = rows[start : start + size - at]
            self._replace(at, part)
            start += len(part)

    def restate(self, rows: Codes, times: Sequence[int]) -> None:
        """It holds rows in the order in which they were counted: there is no place for these."""

    def _replace(self, at: int, part: Codes) -> None:
        """Put rows into the ring where they fit in one piece."""
        end = at + len(part)
        if self._seen >= self.spec.size:
            np.subtract.at(self.counts, self._ring[at:end].astype(np.intp), 1)
        np.add.at(self.counts, part, 1)
        self._ring[at:end] = part
        self._seen += len(part)
        self._dirty.update(range(at // BLOCK_ROWS, (end - 1) // BLOCK_ROWS + 1))

    @property
    def tally(self) -> Counts:
        return self.counts

    @property
    def rows(self) -> int:
        return min(self._seen, self.spec.size)

    def span_ms(self) -> int:
        return 0

    def snapshot(self) -> tuple[Head, Blocks]:
        head: Head = {"seen": self._seen}
        blocks: Blocks = {}
        if self.spec.size <= BLOCK_ROWS:
            head["ring"] = self._ring[: min(self._seen, self.spec.size)].tobytes()
        else:
            head["counts"] = pack_counts(self.counts)
            for block in self._dirty:
                blocks[block] = self._ring[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS].tobytes()
        self._dirty = set()
        return head, blocks

    def restore(self, head: Head, blocks: Mapping[int, bytes]) -> None:
        self._seen = head["seen"]
        filled = min(self._seen, self.spec.size)
        if self.spec.size <= BLOCK_ROWS:
            ring = np.frombuffer(head["ring"], _CODE)
            if len(ring) != filled:
                raise ValueError(f"ring of {len(ring)} rows where {filled} were expected")
            self._ring[:filled] = ring
        else:
            for block, data in blocks.items():
                part = np.frombuffer(data, _CODE)
                self._ring[block * BLOCK_ROWS : block * BLOCK_ROWS + len(part)] = part
        live = self._ring[:filled]
        if filled and int(live.max()) >= len(self.counts):
            raise ValueError("a code outside the window's range")
        self.counts = np.bincount(live, minlength=len(self.counts)).astype(np.int64)
        if "counts" in head and not np.array_equal(
            self.counts, unpack_counts(head["counts"], len(self.counts))
        ):
            raise ValueError("the ring's blocks do not add up to its counts")


class DurationWindow:
    """The last ``size`` milliseconds of event time, in ``PANES`` panes.

    It holds the pane that is filling and the full ones before it, so it
    covers at most ``size``, and at least that less two panes. A full pane keeps only
    the cells that are not zero.
    """

    def __init__(self, spec: WindowSpec, codes: int) -> None:
        self.spec = spec
        self.counts: Counts = np.zeros(codes, np.int64)
        self.rows = 0
        self._pane_ms = max(1, spec.size // PANES)
        self._kept = spec.size // self._pane_ms
        self._full: deque[tuple[int, bytes]] = deque()
        self._pane: int | None = None
        self._open: Counts = np.zeros(codes, np.int64)
        self._born: int = 0
        self._last_time = 0
        self._changed: Blocks = {}

    def extend(self, rows: Codes, times: Sequence[int]) -> None:
        width, start, end = self._pane_ms, 0, len(times)
        while start < end:
            pane = times[start] // width
            stop = bisect_left(times, (pane + 1) * width, start)
            if pane != self._pane:
                self._turn(pane, times[start])
            part = rows if stop - start == end else rows[start:stop]
            np.add.at(self._open, part, 1)
            np.add.at(self.counts, part, 1)
            start = stop
        self.rows += end
        self._last_time = times[-1]

    def restate(self, rows: Codes, times: Sequence[int]) -> None:
        order = np.argsort(times, kind="stable")
        rows, sorted_times = rows[order], np.array(times)[order]
        panes = sorted_times // self._pane_ms
        for pane in np.unique(panes).tolist():
            mine = panes == pane
            self._restate(pane, rows[mine], sorted_times[mine].tolist())

    def _restate(self, pane: int, rows: Codes, times: list[int]) -> None:
        """Rows of one pane."""
        if self._pane is None or pane >= self._pane:  # it has had none that are later
            self.extend(rows, [max(time, self._last_time) for time in times])
        elif pane > self._pane - self._kept:
            self._born = min(self._born, times[0])
            np.add.at(self.counts, rows, 1)
            self.rows += len(rows)
            self._add_to_full(pane, rows)

    def _add_to_full(self, pane: int, rows: Codes) -> None:
        """More rows in a pane that was full, or had none."""
        cells = np.bincount(rows, minlength=len(self.counts))
        at = bisect_left(self._full, pane, key=itemgetter(0))
        if at < len(self._full) and self._full[at][0] == pane:
            codes, values = _unpack_cells(self._full[at][1])
            cells[codes] += values
            del self._full[at]
        packed = _pack_cells(cells)
        self._full.insert(at, (pane, packed))
        self._changed[pane] = packed

    def _turn(self, pane: int, time: int) -> None:
        """Close the pane that was filling and drop those that are too old."""
        if self._pane is None:
            self._born = time
        else:
            cells = _pack_cells(self._open)
            self._full.append((self._pane, cells))
            self._changed[self._pane] = cells
            self._open[:] = 0
        while self._full and self._full[0][0] <= pane - self._kept:
            gone, cells = self._full.popleft()
            codes, values = _unpack_cells(cells)
            self.counts[codes] -= values
            self.rows -= int(values.sum())
            self._changed[gone] = None
        self._pane = pane

    @property
    def tally(self) -> Counts:
        return self.counts

    def span_ms(self) -> int:
        if self._pane is None:
            return 0
        first = self._full[0][0] if self._full else self._pane
        return self._last_time - max(first * self._pane_ms, self._born)

    def snapshot(self) -> tuple[Head, Blocks]:
        blocks, self._changed = self._changed, {}
        head: Head = {"born": self._born, "last_time": self._last_time, "full": len(self._full)}
        head["pane"] = self._pane
        head["open"] = _pack_cells(self._open)
        return head, blocks

    def restore(self, head: Head, blocks: Mapping[int, bytes]) -> None:
        self._born, self._last_time, self._pane = head["born"], head["last_time"], head["pane"]
        self._full = deque(sorted(blocks.items()))
        if len(self._full) != head["full"]:
            raise ValueError(f"{len(self._full)} full panes where {head['full']} were expected")
        self.counts = np.zeros(len(self.counts), np.int64)
        self._open = np.zeros(len(self.counts), np.int64)
        for cells in [*(cells for _, cells in self._full), head["open"]]:
            codes, values = _unpack_cells(cells)
            if len(codes) and int(codes.max()) >= len(self.counts):
                raise ValueError("a code outside the window's range")
            self.counts[codes] += values
        codes, values = _unpack_cells(head["open"])
        self._open[codes] = values
        self.rows = int(self.counts.sum())


def _pack_cells(counts: Counts) -> bytes:
    """The cells that are not zero: codes as 2 bytes each, then counts as 4 bytes each."""
    codes = filled_cells(counts)
    return codes.astype(_CODE).tobytes() + counts[codes].astype("<u4").tobytes()


def _unpack_cells(data: bytes) -> tuple[Codes, Counts]:
    if len(data) % 6:
        raise ValueError("a pane's bytes do not fit its cells")
    n = len(data) // 6
    codes, values = np.frombuffer(data[: 2 * n], _CODE), np.frombuffer(data[2 * n :], "<u4")
    return codes.astype(np.intp), values.astype(np.int64)


def build_window(spec: WindowSpec, codes: int) -> Window:
    """The moving part of a spec, for rows that are codes below ``codes``."""
    kinds: dict[str, Callable[[WindowSpec, int], Window]]
    kinds = {
        "last": RollingWindow,
        "duration": DurationWindow,
        "lifetime": LifetimeWindow,
    }
    return kinds[spec.kind](spec, codes)
