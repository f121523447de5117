"""Alarms held against the changes that are known: found after how long, missed, false.

A known change is found by the first thing that people are told within so many predictions after it: an
incident that opens, or news of an open one. An incident that opens at any other time is false. Incidents
that are about one change (``change`` of an alert) count once: at the first of them. Where nobody says what
has changed, there is no verdict, only what people would have been told.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from streamer.backtest.drive import Told


@dataclass(frozen=True, slots=True)
class Found:
    """A known change. ``delay``: predictions until somebody was told, None: nobody was.

    ``rule``: the one that told it. ``incidents``: how many opened because of it.
    """

    row: int
    delay: int | None
    rule: str | None
    incidents: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well alarms meet the changes that are known. ``false``: incidents that none of them explains."""

    changes: tuple[Found, ...]
    false: int
    incidents: int

    @property
    def found(self) -> int:
        return sum(each.delay is not None for each in self.changes)

    @property
    def missed(self) -> int:
        return len(self.changes) - self.found

    @property
    def delay(self) -> float | None:
        """The median of those that were found, in predictions."""
        delays = [each.delay for each in self.changes if each.delay is not None]
        return median(delays) if delays else None

    @property
    def precision(self) -> float | None:
        """The share of incidents that a known change explains."""
        return 1 - self.false / self.incidents if self.incidents else None

    @property
    def recall(self) -> float | None:
        return self.found / len(self.changes) if self.changes else None

    @property
    def f1(self) -> float | None:
        """Of precision and recall; 0 where nothing was told although something changed."""
        if not self.changes:
            return None
        precision, recall = 1 - self.false / max(1, self.incidents), self.recall or 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def judge(told: Sequence[Told], changes: Sequence[int], within: int) -> Verdict:
    """Hold what people were told against known changes.

    Args:
        told: in order.
        changes: before which row something changed, ascending: so many predictions were still the old ones.
        within: so many predictions later it counts as found; never beyond the next change.
    """
    news = [each for each in told if each.alert["status"] != "resolved"]
    seen: set[str] = set()
    steps = []
    for each in news:
        change = str(each.alert["change"])
        opens = each.alert["status"] == "firing" and change not in seen
        seen.add(change)
        steps.append((each.row, opens, str(each.alert["rule"])))
    return _judge(steps, changes, within)


def _judge(steps: Sequence[tuple[int, bool, str]], changes: Sequence[int], within: int) -> Verdict:
    """``steps``: row, does an incident open, rule."""
    mine: list[list[tuple[int, bool, str]]] = [[] for _ in changes]
    false = incidents = 0
    for step in steps:
        row, opens, _ = step
        at = bisect_right(changes, row - 1) - 1  # told with the first changed row at the earliest
        incidents += opens
        if at >= 0 and row - changes[at] <= within:
            mine[at].append(step)
        else:
            false += opens
    found = []
    for change, own in zip(changes, mine, strict=True):
        first = own[0] if own else None
        delay, rule = (None, None) if first is None else (first[0] - change, first[2])
        found.append(Found(change, delay, rule, sum(opens for _, opens, _ in own)))
    return Verdict(tuple(found), false, incidents)


def always(rows: int, every: int, changes: Sequence[int], within: int) -> Verdict:
    """What an alarm at each evaluation would have been worth: misses nothing, and nobody listens."""
    return _judge([(row, True, "always") for row in range(every, rows + 1, every)], changes, within)


def never(changes: Sequence[int]) -> Verdict:
    """What silence would have been worth."""
    return _judge([], changes, 0)
