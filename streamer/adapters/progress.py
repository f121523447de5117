"""How far all routers are, in every partition of the sources: what is left, and who is behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamer.adapters.kafka import ASK_SECONDS, ClientConfig, admin_of, log_offsets
from streamer.adapters.lanes import FOREVER_MS, PATIENCE_SECONDS, At

ANSWER_SECONDS = ASK_SECONDS
FRESH_SECONDS = 10.0
# Who routes other partitions may be told of late: so far ahead of them one may be, in ms of record time.
AHEAD_MS = 60_000
Committed = Callable[[Sequence[TopicPartition], float], list[TopicPartition]]


def clock_of(place: TopicPartition) -> int:
    """The record time that was committed with an offset, in ms; 0 where it is not a router's."""
    said = place.metadata or ""
    return int(said) if said.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class Seen:
    """One source partition: the offset that comes next, the time before it, and where the log ends."""

    offset: int
    clock_ms: int
    end: int
    moved_at: float

    @property
    def left(self) -> int:
        """Records (and transaction markers) that nobody has routed yet."""
        return max(0, self.end - max(0, self.offset))


class Progress:
    """``look`` from time to time. ``counts``: partitions of predictions and of labels."""

    def __init__(self, base: ClientConfig, topics: tuple[str, str], counts: tuple[int, int]) -> None:
        self._base, self.topics, self.counts = base, topics, list(counts)
        self._admin: AdminClient | None = None
        self._seen: dict[At, Seen] = {}
        self._looked_at = 0.0

    @property
    def places(self) -> list[TopicPartition]:
        """Every partition of the sources."""
        return [
            TopicPartition(topic, number)
            for topic, count in zip(self.topics, self.counts, strict=True)
            for number in range(count)
        ]

    def look(self, committed: Committed, now: float) -> None:
        """Raises KafkaException, TimeoutError: no answer."""
        ends = self.offsets(self.places, OffsetSpec.latest())
        for each in committed(self.places, ANSWER_SECONDS):
            at = self.at(each)
            clock_ms = clock_of(each)
            old, end = self._seen.get(at), ends[each.topic, each.partition]
            idle = old is not None and old.offset == each.offset < end
            moved_at = old.moved_at if idle and old is not None else now
            self._seen[at] = Seen(each.offset, clock_ms, end, moved_at)
        self._looked_at = now

    def offsets(self, places: Sequence[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
        """What their leaders say, of committed records. Raises KafkaException, TimeoutError."""
        admin, self._admin = self._admin or admin_of(self._base), None
        found = log_offsets(
            admin, dict.fromkeys(places, which), IsolationLevel.READ_COMMITTED, ANSWER_SECONDS
        )
        self._admin = admin  # one whose leader has died would ask it again and again
        return found

    def at(self, place: TopicPartition) -> At:
        return self.topics.index(place.topic), place.partition

    def left(self, mine: Collection[At]) -> dict[At, int]:
        """How much of these partitions is not routed yet."""
        return {at: self._seen[at].left for at in mine if at in self._seen}

    def others_ms(self, mine: Collection[At], now: float) -> int:
        """How far one may go before those that others route, and that are behind."""
        return min(
            (
                seen.clock_ms + AHEAD_MS
                for at, seen in self._seen.items()
                if at not in mine and seen.left and now - seen.moved_at < PATIENCE_SECONDS
            ),
            default=FOREVER_MS,
        )

    def caught_up(self, now: float) -> bool:
        """Is it known that nothing lies in the sources for longer than a moment? As a tick has to know."""
        if now - self._looked_at > FRESH_SECONDS:
            return False
        return not any(
            seen.left and now - seen.moved_at > PATIENCE_SECONDS for seen in list(self._seen.values())
        )
