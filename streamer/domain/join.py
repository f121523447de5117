"""Predictions that wait for their label, and ids that were seen lately.

One dict per version holds the pending predictions in order of arrival, each
packed into a single integer, so a pending prediction costs little more than
its id. ``recent`` remembers resolved ids for as long as duplicates are looked
for. Both are state: ``take_changes`` hands out what a commit has to write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

TIME_BITS = 48
TIME_MASK = (1 << TIME_BITS) - 1
BUCKET_BITS = 32
BUCKET_MASK = (1 << BUCKET_BITS) - 1
EXPIRED = "expired"


def packed_bytes(payload_bits: int, segment_bits: int = 0) -> int:
    """Width in bytes of a packed prediction: its segments, 32 bits of bucket, 48 of time, the payload."""
    return (segment_bits + BUCKET_BITS + TIME_BITS + payload_bits + 7) // 8


@dataclass(slots=True)
class Changes:
    """What happened to one version's tables since the last commit.

    ``gone``: ids that were resolved and are forgotten already. ``added``:
    predictions that still wait. ``resolved``: ids with their label
    (``EXPIRED`` where none came), in order, with ``runs`` of (bucket, count).
    ``kept``: how many recent ids there are, where some had to make room.
    """

    gone: list[str] = field(default_factory=list)
    added: list[tuple[str, int]] = field(default_factory=list)
    resolved: list[tuple[str, Any]] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    kept: int | None = None


class JoinTable:
    """Pending and recent ids of one model version.

    Buckets are seconds of record time. The hot loops of ``version`` use
    ``pending`` and ``recent`` directly and append to ``new`` and ``done``.
    """

    __slots__ = (
        "base",
        "crowded",
        "done",
        "done_noted",
        "new",
        "now",
        "pending",
        "recent",
        "runs",
        "segment_shift",
        "shift",
        "time_shift",
    )

    def __init__(self, payload_bits: int) -> None:
        self.shift, self.time_shift = TIME_BITS + payload_bits, payload_bits
        self.segment_shift = self.shift + BUCKET_BITS
        self.begin(0)
        self.pending: dict[str, int] = {}
        self.recent: dict[str, Any] = {}
        self.runs: deque[tuple[int, int]] = deque()
        self.new: list[str] = []
        self.done: list[str] = []
        self.done_noted = 0
        self.crowded = False

    def begin(self, now: int) -> None:
        """Record time (ms) is now in this second; ``base`` is what its packed predictions have in common."""
        self.now, self.base = now, now // 1000 << self.shift

    def note_bucket(self, bucket: int) -> None:
        """Everything resolved since the last call was resolved in this bucket."""
        count = len(self.done) - self.done_noted
        if count:
            self.runs.append((bucket, count))
            self.done_noted = len(self.done)

    def expire(self, before: int) -> list[tuple[str, int]]:
        """Take out the predictions of buckets before this one."""
        gone = []
        for pid, packed in self.pending.items():
            if packed >> self.shift & BUCKET_MASK >= before:
                break
            gone.append((pid, packed))
        for pid, _ in gone:
            del self.pending[pid]
        return gone

    def oldest_bucket(self) -> int | None:
        """The bucket of the oldest pending prediction."""
        for packed in self.pending.values():
            return packed >> self.shift & BUCKET_MASK
        return None

    def recode(self, recoding: Callable[[int], int]) -> None:
        """Give what waits other codes of segments."""
        self.pending = {pid: self.recoded(packed, recoding) for pid, packed in self.pending.items()}

    def recoded(self, packed: int, recoding: Callable[[int], int]) -> int:
        """A packed prediction with other codes of segments."""
        shift = self.segment_shift
        return packed & (1 << shift) - 1 | recoding(packed >> shift) << shift

    def take_oldest(self, count: int) -> list[tuple[str, int]]:
        """Take out this many of the oldest pending predictions."""
        gone = list(islice(self.pending.items(), count))
        for pid, _ in gone:
            del self.pending[pid]
        return gone

    def forget(self, before: int) -> None:
        """Drop recent ids resolved in buckets before this one."""
        drop = 0
        while self.runs and self.runs[0][0] < before:
            drop += self.runs.popleft()[1]
        self._drop(drop)

    def crowd_out(self, count: int) -> int:
        """Drop up to this many of the oldest recent ids that are in a bucket, to make room."""
        gone = self._shorten_runs(count)
        self._drop(gone)
        self.crowded = self.crowded or gone > 0
        return gone

    def _shorten_runs(self, count: int) -> int:
        """Take up to this many ids off the oldest buckets; answers how many."""
        left = count
        while left > 0 and self.runs:
            bucket, size = self.runs.popleft()
            if size > left:
                self.runs.appendleft((bucket, size - left))
            left -= min(left, size)
        return count - left

    @property
    def forgettable(self) -> int:
        """How many recent ids are in a bucket."""
        return len(self.recent) + self.done_noted - len(self.done)

    def _drop(self, count: int) -> None:
        for pid in list(islice(self.recent, count)):
            del self.recent[pid]

    def take_changes(self, bucket: int) -> Changes:
        """What to write: called once per commit."""
        self.note_bucket(bucket)
        pending, recent = self.pending, self.recent
        done = last_of_each(self.done)
        gone = [pid for pid in done if pid not in recent]
        added = [(pid, pending[pid]) for pid in last_of_each(self.new) if pid in pending]
        resolved = [(pid, recent[pid]) for pid in done if pid in recent]
        runs = _last_runs(self.runs, len(resolved))
        kept = len(recent) if self.crowded else None
        self.new, self.done, self.done_noted, self.crowded = [], [], 0, False
        return Changes(gone, added, resolved, runs, kept)

    def everything(self) -> Changes:
        """The whole table, as if it had all been written for the first time."""
        return Changes([], list(self.pending.items()), list(self.recent.items()), list(self.runs))

    def apply(self, changes: Changes) -> None:
        """Replay what a commit wrote, in the order of the commits."""
        for pid in changes.gone:
            self.pending.pop(pid, None)
        self.pending.update(changes.added)
        back = 0
        for pid, label in changes.resolved:
            self.pending.pop(pid, None)
            # One that had been crowded out, and came back: it stands where it came last.
            back += self.recent.pop(pid, None) is not None
            self.recent[pid] = label
        self._shorten_runs(back)
        self.runs.extend(changes.runs)
        if changes.kept is not None:
            self.crowd_out(len(self.recent) - changes.kept)
            self.crowded = False

    def __iter__(self) -> Iterator[str]:
        return iter(self.pending)


def last_of_each(ids: list[str]) -> list[str]:
    """Every id once, where it came last: an id may be forgotten and come back."""
    return list(dict.fromkeys(reversed(ids)))[::-1]


def _last_runs(runs: Iterable[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The newest runs that make up ``count`` ids."""
    taken: list[tuple[int, int]] = []
    for bucket, size in reversed(list(runs)):
        if count <= 0:
            break
        taken.append((bucket, min(size, count)))
        count -= size
    return taken[::-1]
