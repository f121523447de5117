"""How far one partition has been read, and the way over a stretch of its log that cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import KafkaError

from streamer.adapters.kafka import log
from streamer.pipeline import KINDS, Unreadable

# The client cannot decompress or frame what is stored there, and will not be able to tomorrow.
UNREADABLE = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG, KafkaError.INVALID_MSG})
REPEATS = 3


@dataclass(slots=True)
class _Obstacle:
    """``first``: where reading stopped; ``at``: the offset tried now; ``times``: how often it failed."""

    first: int
    at: int
    times: int = 0


@dataclass(slots=True)
class Reading:
    """One partition's place in both topics, by kind.

    ``begins``: the next offset. ``clock_ms``: time of the last record.
    ``paused``: taken from the reader because too much of it waits.
    """

    number: int
    epoch: int
    begins: list[int]
    clock_ms: list[int] = field(default_factory=lambda: [0, 0])
    paused: list[bool] = field(default_factory=lambda: [False, False])
    _obstacles: list[_Obstacle | None] = field(default_factory=lambda: [None, None])

    def stumble(self, kind: int) -> int | None:
        """The log cannot be read at the next offset; from the third time on answers the one to try instead.

        Offset by offset: a stretch is skipped to its end, and not a record of what follows.
        """
        obstacle = self._obstacles[kind]
        if obstacle is None or obstacle.first != self.begins[kind]:
            obstacle = self._obstacles[kind] = _Obstacle(self.begins[kind], self.begins[kind])
        obstacle.times += 1
        if obstacle.times < REPEATS:
            return None
        if obstacle.times == REPEATS:
            log.error(
                "%s/%d: unreadable at offset %d; stepping over it", KINDS[kind], self.number, obstacle.first
            )
        obstacle.at += 1
        return obstacle.at

    def stepped_over(self, kind: int, offset: int) -> Unreadable | None:
        """The log goes on, or ends, at ``offset``: what was skipped on the way there, if anything."""
        obstacle, self._obstacles[kind] = self._obstacles[kind], None
        if obstacle is None:
            return None
        last = min(obstacle.at, offset) - 1
        if last < obstacle.first:
            return None
        log.error(
            "%s/%d: offsets %d to %d cannot be read and are set aside",
            KINDS[kind],
            self.number,
            obstacle.first,
            last,
        )
        return Unreadable(obstacle.first, last, self.clock_ms[kind])
