"""Labelled rows in the order of their predictions: they wait until labels have had their time.

Labels that arrive class by class (fraud: positives at once, negatives by
night) look like drift in the order of arrival. Here a row waits in the pane
of its prediction's event time; once the pane is old enough it is counted as a
whole, sorted by prediction time. A label that comes later restates its pane.

The clock is event time: that of the newest prediction, moved on by the record
time that has passed since. So a replay of old data closes the panes that a live
run would have closed, and the last panes of a stream that stops close as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

Row = tuple[int, int, Any, str]
"""When it was predicted (event time, ms), what the join kept of it, its label, its id."""

BLOCK_ROWS = 256
SLACK_ROWS = 4 * BLOCK_ROWS
_TIME = np.dtype("<i8")


@dataclass(slots=True)
class _Pane:
    """Rows that wait, and in which blocks of the state they are."""

    rows: list[Row] = field(default_factory=list)
    blocks: Counter[int] = field(default_factory=Counter)


class PredictionOrder:
    """The rows of one version that wait for their pane to close.

    ``pane_ms``: how long a pane is. ``maturity_ms``: how old its end has to be. ``closed``: event time
    up to which panes were counted; a row from before is late. ``counted``: rows that were counted, in
    order. ``row_time``: prediction time of the last of them. ``late``: rows that came after their pane.
    ``early``: rows that were counted before their time, to make room.
    """

    __slots__ = (
        "_changed", "_live", "_number", "_open", "_panes", "_saved", "_sealed", "closed", "counted", "early",
        "late", "maturity_ms", "pane_ms", "row_time", "waiting",
    )  # fmt: skip

    def __init__(self, pane_ms: int, maturity_ms: int) -> None:
        self.pane_ms, self.maturity_ms = pane_ms, maturity_ms
        self.closed = self.counted = self.row_time = self.late = self.early = self.waiting = 0
        self._panes: dict[int, _Pane] = {}
        # The state: blocks of rows in the order in which they came, ``_number`` the open one. A block
        # is gone with its last row; all are written anew once more than half of their rows are gone.
        self._number, self._open = 0, list[Row]()
        self._sealed: dict[int, int] = {}  # rows of each full block, those that are gone included
        self._live: Counter[int] = Counter()  # rows of each block that still wait
        self._changed: dict[int, Any] = {}
        self._saved = (0, 0)

    # -- rows come and go ------------------------------------------------------------------------

    def take(self, rows: Iterable[Row]) -> list[int]:
        """Keep rows until their pane closes; answers which of them (by position) came too late for that."""
        late = []
        for at, row in enumerate(rows):
            if row[0] < self.closed:
                late.append(at)
            else:
                self._open.append(row)
                self._keep(row, self._number)
                if len(self._open) >= BLOCK_ROWS:
                    self._seal()
        self.late += len(late)
        return late

    def _keep(self, row: Row, block: int) -> None:
        number = row[0] // self.pane_ms
        pane = self._panes.get(number)
        if pane is None:
            pane = self._panes[number] = _Pane()
        pane.rows.append(row)
        pane.blocks[block] += 1
        self._live[block] += 1
        self.waiting += 1

    def due(self, clock: int) -> Iterator[list[Row]]:
        """Close the panes that are old enough by now (event time in ms), the oldest first.

        Yields:
            The rows of each, in the order of their predictions.
        """
        end = (clock - self.maturity_ms) // self.pane_ms
        for number in sorted(number for number in self._panes if number < end):
            yield self._close(number)

    def close_oldest(self) -> list[Row]:
        """Close the oldest pane that has rows, whatever its age, to make room."""
        rows = self._close(min(self._panes))
        self.early += len(rows)
        return rows

    def close_all(self) -> list[Row]:
        """All rows that wait, in the order of their predictions."""
        return [row for number in sorted(self._panes) for row in self._close(number)]

    def _close(self, number: int) -> list[Row]:
        pane = self._panes.pop(number)
        self.closed = max(self.closed, (number + 1) * self.pane_ms)
        self.waiting -= len(pane.rows)
        for block, count in pane.blocks.items():
            self._live[block] -= count
            if not self._live[block]:
                self._drop(block)
        return in_order(pane.rows)

    def advance(self, rows: Sequence[Row]) -> list[int]:
        """Note that these rows are counted now; answers their event times, never falling."""
        self.counted += len(rows)
        times = []
        for made_at, _, _, _ in rows:
            self.row_time = max(self.row_time, made_at)
            times.append(self.row_time)
        return times

    @property
    def mark(self) -> tuple[int, ...]:
        """Another one after everything that happens here."""
        return self.closed, self.counted, self.late, self.waiting

    # -- state -------------------------------------------------------------------------------------

    def _seal(self) -> None:
        """The open block is full."""
        self._sealed[self._number] = len(self._open)
        self._changed[self._number] = pack_rows(self._open)
        self._number, self._open = self._number + 1, []

    def _drop(self, block: int) -> None:
        """No row of this block waits any more."""
        del self._live[block]
        self._changed[block] = None
        if block == self._number:
            self._open, self._saved = [], (block, 0)
        else:
            del self._sealed[block]

    def snapshot(self) -> tuple[dict[str, Any], dict[int, Any]]:
        """The head, and the blocks that changed since the last snapshot (None: gone)."""
        if sum(self._sealed.values()) > 2 * self.waiting + SLACK_ROWS:
            self._rewrite()
        changed, self._changed = self._changed, {}
        if self._open and self._saved != (self._number, len(self._open)):
            changed[self._number] = pack_rows(self._open)
        self._saved = self._number, len(self._open)
        head = {
            "closed": self.closed,
            "row_time": self.row_time,
            "rows": [self.counted, self.late, self.early],
        }
        return head, changed

    def recode(self, recoding: Callable[[int], int]) -> None:
        """Give what waits, as the join kept it, other codes."""
        for pane in self._panes.values():
            pane.rows = [(at, recoding(packed), label, pid) for at, packed, label, pid in pane.rows]
        self._rewrite()

    def _rewrite(self) -> None:
        """All rows that wait into new blocks."""
        rows = [row for number in sorted(self._panes) for row in self._panes[number].rows]
        for block in list(self._live):
            self._drop(block)
        self._panes, self._number, self._open, self.waiting = {}, self._number + 1, [], 0
        self.take(rows)

    def restore(self, head: Mapping[str, Any], blocks: Mapping[int, Any]) -> None:
        """Become what was snapshot, be it with panes of another length. Raises ValueError on other bytes."""
        self.closed, self.row_time = head["closed"], head["row_time"]
        self.counted, self.late, self.early = head["rows"]
        for number in sorted(blocks):
            self._number, self._open = number, unpack_rows(blocks[number])
            for row in self._open:
                if row[0] >= self.closed:
                    self._keep(row, number)
            self._saved = number, len(self._open)
            if number != max(blocks) or len(self._open) >= BLOCK_ROWS:
                self._sealed[number] = len(self._open)
                self._number, self._open = number + 1, []


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Sorted by prediction time. Of equal ones a hash of the id decides, not which label came first.

    A batch has one time for all of its rows: were they then sorted by anything that means something,
    the order itself would look like drift.
    """
    times = np.array([row[0] for row in rows], np.int64)
    mixed = np.array([_mix(row[3]) for row in rows], np.int64)
    order = np.lexsort((mixed, times))
    times, mixed = times[order], mixed[order]
    if ((times[1:] == times[:-1]) & (mixed[1:] == mixed[:-1])).any():
        return sorted(rows, key=lambda row: (row[0], _mix(row[3]), row[3], row[1]))
    return [rows[at] for at in order.tolist()]


def _mix(pid: str) -> int:
    return crc32(pid.encode("utf-8", "surrogatepass"))


def pack_rows(rows: Sequence[Row]) -> list[Any]:
    """Rows as columns: times, width and bytes of what the join kept, labels, ids."""
    width = max(1, *((each.bit_length() + 7) // 8 for _, each, _, _ in rows))
    kept = b"".join([each.to_bytes(width, "little") for _, each, _, _ in rows])
    times = np.array([made_at for made_at, _, _, _ in rows], _TIME).tobytes()
    return [times, width, kept, [label for _, _, label, _ in rows], [pid for _, _, _, pid in rows]]


def unpack_rows(columns: Sequence[Any]) -> list[Row]:
    """The inverse of ``pack_rows``. Raises ValueError where the columns are of different lengths."""
    times, width, kept, labels, ids = columns
    packed = [int.from_bytes(kept[at : at + width], "little") for at in range(0, len(kept), width)]
    made_at = np.frombuffer(times, _TIME).tolist()
    return [(*row,) for row in zip(made_at, packed, labels, ids, strict=True)]
