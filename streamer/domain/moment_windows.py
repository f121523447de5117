"""The windows of ``windows`` for regression: rows are (error, label) pairs of floats, or have a key as well.

Their sums are exact (``moments.Moments``), so a row that leaves a window leaves
no trace, and figures do not depend on how the rows were cut into batches.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from streamer.domain.moments import KeyedMoments, Moments
from streamer.domain.objectives import WindowSpec
from streamer.domain.windows import BLOCK_ROWS, PANES, Blocks, Head, Window

Row = tuple[float, ...]
Sums = type[Moments] | type[KeyedMoments]
_ROW = np.dtype("<f8")


class MomentLifetime:
    """Every row a version ever had."""

    def __init__(self, spec: WindowSpec, sums: Sums = Moments) -> None:
        self.spec, self._sums = spec, sums
        self.tally: Any = sums()

    def extend(self, rows: Sequence[Row], times: Sequence[int]) -> None:
        for row in rows:
            self.tally.update(*row)

    def restate(self, rows: Sequence[Row], times: Sequence[int]) -> None:
        self.extend(rows, times)

    @property
    def rows(self) -> int:
        return int(self.tally.n)

    def span_ms(self) -> int:
        return 0

    def snapshot(self) -> tuple[Head, Blocks]:
        return {"moments": self.tally.snapshot()}, {}

    def restore(self, head: Head, blocks: Mapping[int, bytes]) -> None:
        self.tally = self._sums.restore(head["moments"])


class MomentRolling:
    """The last ``size`` rows."""

    def __init__(self, spec: WindowSpec, sums: Sums = Moments) -> None:
        self.spec, self._sums = spec, sums
        self.tally: Any = sums()
        self._ring = np.zeros((spec.size, sums.WIDTH), _ROW)
        self._seen = 0
        self._dirty: set[int] = set()

    def extend(self, rows: Sequence[Row], times: Sequence[int]) -> None:
        ring, size = self._ring, self.spec.size
        for row in rows:
            at = self._seen % size
            if self._seen >= size:
                self.tally.revert(*ring[at].tolist())
            ring[at] = row
            self.tally.update(*row)
            self._seen += 1
            self._dirty.add(at // BLOCK_ROWS)

    def restate(self, rows: Sequence[Row], times: Sequence[int]) -> None:
        """It holds rows in the order in which they were counted: there is no place for these."""

    @property
    def rows(self) -> int:
        return int(self.tally.n)

    def span_ms(self) -> int:
        return 0

    def snapshot(self) -> tuple[Head, Blocks]:
        blocks: Blocks = {
            block: self._ring[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS].tobytes()
            for block in self._dirty
        }
        self._dirty = set()
        return {"seen": self._seen, "moments": self.tally.snapshot()}, blocks

    def restore(self, head: Head, blocks: Mapping[int, bytes]) -> None:
        self._seen = head["seen"]
        self.tally = self._sums.restore(head["moments"])
        for block, data in blocks.items():
            part = np.frombuffer(data, _ROW).reshape(-1, self._sums.WIDTH)
            self._ring[block * BLOCK_ROWS : block * BLOCK_ROWS + len(part)] = part
        expected = -(-min(self._seen, self.spec.size) // BLOCK_ROWS)
        if len(blocks) != expected:
            raise ValueError(f"{len(blocks)} blocks of rows where {expected} were expected")


class MomentDuration:
    """The last ``size`` milliseconds of event time, in panes of sums."""

    def __init__(self, spec: WindowSpec, sums: Sums = Moments) -> None:
        self.spec, self._sums = spec, sums
        self._pane_ms = max(1, spec.size // PANES)
        self._kept = spec.size // self._pane_ms
        self._panes: deque[tuple[int, Any]] = deque()
        self._last_time = 0

    def extend(self, rows: Sequence[Row], times: Sequence[int]) -> None:
        panes = self._panes
        for row, time in zip(rows, times, strict=True):
            pane = time // self._pane_ms
            if not panes or panes[-1][0] != pane:
                panes.append((pane, self._sums()))
                while panes[0][0] <= pane - self._kept:
                    panes.popleft()
            panes[-1][1].update(*row)
        self._last_time = times[-1]

    def restate(self, rows: Sequence[Row], times: Sequence[int]) -> None:
        panes = self._panes
        for time, row in sorted(zip(times, rows, strict=True)):
            pane = time // self._pane_ms
            if not panes or pane >= panes[-1][0]:  # later than all it has had
                self.extend([row], [max(time, self._last_time)])
            elif pane > panes[-1][0] - self._kept:
                at = bisect_left(panes, pane, key=itemgetter(0))
                if panes[at][0] != pane:
                    panes.insert(at, (pane, self._sums()))
                panes[at][1].update(*row)

    @property
    def tally(self) -> Any:
        """The panes' sums, added from the oldest on."""
        total: Any = self._sums()
        for _, moments in self._panes:
            total.merge(moments)
        return total

    @property
    def rows(self) -> int:
        return sum(moments.n for _, moments in self._panes)

    def span_ms(self) -> int:
        return self._last_time - self._panes[0][0] * self._pane_ms if self._panes else 0

    def snapshot(self) -> tuple[Head, Blocks]:
        panes = [[pane, moments.snapshot()] for pane, moments in self._panes]
        return {"panes": panes, "last_time": self._last_time}, {}

    def restore(self, head: Head, blocks: Mapping[int, bytes]) -> None:
        self._panes = deque((pane, self._sums.restore(state)) for pane, state in head["panes"])
        self._last_time = head["last_time"]


def build_moment_window(spec: WindowSpec, sums: Sums = Moments) -> Window:
    """The moving part of a spec, for rows that ``sums`` takes: (error, label), or (error, label, key)."""
    kinds: dict[str, Callable[[WindowSpec, Sums], Window]]
    kinds = {
        "last": MomentRolling,
        "duration": MomentDuration,
        "lifetime": MomentLifetime,
    }
    return kinds[spec.kind](spec, sums)
