"""Source partitions side by side: what has arrived of each waits to be taken in order of record time.

Nothing is taken that is later than what may still come from a partition that is
known to have more. So labels never run ahead of their predictions, whichever
topic or partition the client delivers first. At the end of all of them nobody
waits, and nobody waits for long for a partition that does not come.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any

from streamer.adapters.reading import Reading

PATIENCE_SECONDS = 5.0
At = tuple[int, int]  # 0 predictions | 1 labels, number of the source partition
Load = dict[At, int]  # how many records of each lane, from its front
FOREVER_MS = 1 << 62


@dataclass(slots=True)
class Lane:
    """One source partition. ``position``: the next offset to take. ``clock_ms``: of the last taken.

    ``told``: the position that the group knows.
    ``times``: of ``records``, made to rise: one that bears a later time than the record behind it
    goes with that one. A client's clock that is far ahead holds up nothing.
    """

    kind: int
    number: int
    position: int
    clock_ms: int
    moved_at: float
    reading: Reading
    records: list[Any] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    bytes: int = 0
    ended: bool = False
    told: int = -1

    @property
    def at(self) -> At:
        return self.kind, self.number

    @property
    def begins(self) -> int:
        """The next offset to read."""
        return self.reading.begins[self.kind]

    def add(self, records: Sequence[Any]) -> None:
        """Records that follow what is there."""
        times = list(accumulate((record.timestamp()[1] for record in reversed(records)), min))
        times.reverse()
        at = len(self.times)
        while at and self.times[at - 1] > times[0]:
            at -= 1
            self.times[at] = times[0]
        self.records += records
        self.times += times
        self.bytes += sum(map(size_of, records))
        self.reading.begins[self.kind] = int(records[-1].offset()) + 1
        self.ended = False

    def after(self, count: int) -> tuple[int, int]:
        """Position and clock once the first so many are taken."""
        position, clock_ms = self.position, self.clock_ms
        if count:
            position, clock_ms = int(self.records[count - 1].offset()) + 1, self.times[count - 1]
        if self.ended and count == len(self.records):
            # Transaction markers lie between the last record and the end: they are behind us as well.
            position = max(position, self.begins)
        return position, clock_ms

    def drop(self, count: int) -> None:
        """The first so many are taken for good."""
        self.position, self.clock_ms = self.after(count)
        self.bytes -= sum(map(size_of, self.records[:count]))
        del self.records[:count], self.times[:count]


def size_of(record: Any) -> int:
    """Bytes that it holds; what stands for an unreadable stretch has none."""
    value = record.value()
    return len(value) + 100 if type(value) is bytes else 100


class Lanes:
    """Fills and empties lanes. ``most_records``, ``most_bytes``: that may wait, in all lanes together."""

    def __init__(self, most_records: int, most_bytes: int) -> None:
        self.most_records, self.most_bytes = most_records, most_bytes
        self._lanes: dict[At, Lane] = {}

    def open(self, at: At, position: int, clock_ms: int, now: float) -> Lane:
        kind, number = at
        reading = Reading(number, 0, [position, position], [clock_ms, clock_ms])
        lane = self._lanes[at] = Lane(kind, number, position, clock_ms, now, reading, told=position)
        return lane

    def close(self, at: At) -> None:
        self._lanes.pop(at, None)

    def clear(self) -> None:
        self._lanes = {}

    def get(self, at: At) -> Lane | None:
        return self._lanes.get(at)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def push(self, at: At, records: Sequence[Any], now: float) -> None:
        """What the client delivered; what was there before is left out."""
        lane = self._lanes.get(at)
        if lane is None:
            return
        skipped = lane.reading.stepped_over(lane.kind, records[0].offset())
        if skipped is not None:
            lane.add([skipped])
        fresh = [record for record in records if record.offset() >= lane.begins]
        if fresh:
            lane.add(fresh)
            lane.reading.clock_ms[lane.kind] = fresh[-1].timestamp()[1]
            lane.moved_at = now

    def end(self, at: At, offset: int, now: float) -> None:
        """The log ends at ``offset`` for now, unless a record came after this event."""
        lane = self._lanes.get(at)
        if lane is None or offset < lane.begins:
            return
        skipped = lane.reading.stepped_over(lane.kind, offset)
        if skipped is not None:
            lane.add([skipped])
        lane.reading.begins[lane.kind] = offset
        lane.ended, lane.moved_at = True, now

    def full(self) -> frozenset[At]:
        """Lanes that hold more than their share: the client is to bring no more of them for now."""
        share = max(1, len(self._lanes))
        return frozenset(
            at
            for at, lane in self._lanes.items()
            if len(lane.records) * share > self.most_records or lane.bytes * share > self.most_bytes
        )

    def next_load(self, limit: int, now: float, others_ms: int = FOREVER_MS) -> Load:
        """What may go next, at most ``limit`` records. ``others_ms``: how far those are whom others read."""
        until = min(others_ms, self._horizon(now))
        load = {at: bisect_right(lane.times, until) for at, lane in self._lanes.items()}
        if sum(load.values()) > limit:
            # The earliest ones; of the last time that has room only as many as there is, predictions first.
            times = sorted(chain.from_iterable(self._lanes[at].times[:count] for at, count in load.items()))
            last = times[limit - 1]
            load = {at: bisect_left(self._lanes[at].times, last) for at in load}
            room = limit - sum(load.values())
            for at in sorted(load):
                more = min(room, bisect_right(self._lanes[at].times, last) - load[at])
                load[at] += more
                room -= more
        return {at: count for at, count in load.items() if count}

    def records_of(self, load: Load) -> list[tuple[Lane, Any]]:
        """Each with its lane, in order of record time; every lane's in its own."""
        found: list[tuple[int, int, Lane, Any]] = []
        for at, count in load.items():
            lane = self._lanes[at]
            for time, record in zip(lane.times[:count], lane.records, strict=False):
                found.append((time, lane.kind, lane, record))
        found.sort(key=lambda each: each[:2])
        return [(lane, record) for _, _, lane, record in found]

    def done(self, load: Load, now: float) -> None:
        """They are written for good, and how far every lane is."""
        for at, lane in self._lanes.items():
            lane.drop(load.get(at, 0))
            lane.told = lane.position
            if at in load:
                lane.moved_at = now

    def _horizon(self, now: float) -> int:
        """Nothing earlier will come from any lane that is worth waiting for."""
        until = FOREVER_MS
        for lane in self._lanes.values():
            if lane.ended:
                continue
            if lane.times:
                until = min(until, lane.times[-1])
            elif now - lane.moved_at < PATIENCE_SECONDS:
                until = min(until, lane.clock_ms)
        return until
