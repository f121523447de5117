"""One run of records through one partition: decode, feed, collect the effects.

Error policy: a record that is bad becomes a dead letter. A record on which
our own code fails raises ``Poison``: the caller restores the partition from
its last commit and replays with that offset in ``skip``, so that half-done
work is never kept. A stretch of the log that no client can read comes as one
``Unreadable``, in its place among the records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamer.domain.events import Reason
from streamer.domain.partition import Partition
from streamer.merge import LABELS, PREDICTIONS
from streamer.origin import origin_of

KINDS = ("predictions", "labels")


class Poison(Exception):
    """Our own code failed on one record."""

    def __init__(self, kind: int, offset: int) -> None:
        super().__init__(f"failed on offset {offset} of {KINDS[kind]}")
        self.kind, self.offset = kind, offset


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for the offsets ``first`` to ``last`` that the client cannot decompress or frame.

    It answers what the client's own record does; ``time_ms``: of the record before it.
    """

    first: int
    last: int
    time_ms: int

    def offset(self) -> int:
        return self.last

    def timestamp(self) -> tuple[int, int]:
        return 0, self.time_ms

    def key(self) -> bytes | None:
        return None

    def value(self) -> Any:
        """Not None and without a length, which tells it from what a client delivers."""
        return self


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used. ``record`` is the client's own."""

    kind: int
    reason: Reason
    record: Any


@dataclass(slots=True)
class Effects:
    """What a commit publishes: alerts in order, dead letters, and what else is reported.

    ``order``: (kind, how many records) as they were taken, (-1, time in ms) for a tick.
    ``unreadable``: (kind, first offset, last offset, time in ms) of those among them.
    """

    alerts: list[dict[str, Any]] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    order: list[tuple[int, int]] = field(default_factory=list)
    unreadable: list[tuple[int, int, int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.alerts) + len(self.dead_letters)


class Pipeline:
    """Feeds one partition, and knows how far it has come.

    ``decode`` turns bytes into a value and raises ValueError on garbage.
    ``positions``: the next offset of predictions and of labels. ``routed``: a router
    has written these topics, and its records say where they came from.
    """

    def __init__(
        self,
        partition: Partition,
        number: int,
        topics: tuple[str, str],
        decode: Callable[[Any], Any],
        max_value: int = 1_000_000,
        routed: bool = False,
    ) -> None:
        self.partition, self.number, self.topics, self.routed = partition, number, topics, routed
        self.decode, self.max_value = decode, max_value
        self.positions = [0, 0]
        self.effects = Effects()
        self.skip: set[tuple[int, int]] = set()
        self._last: tuple[int, int] = (PREDICTIONS, -1)

    def run(self, kind: int, records: Sequence[Any]) -> None:
        """Process records of one topic in order.

        Raises:
            Poison: our own code fails on a record.
            MemoryError: there is none left; no record is to blame, and one of them is half done.
        """
        partition = self.partition
        start, end = 0, len(records)
        if not end:
            return
        # A new leader's clock may be behind the old one's: the first record beyond a second begins
        # the next one, whatever comes after it.
        times = [record.timestamp()[1] for record in records]
        latest = max(times)
        while start < end:
            try:
                if partition.advance(times[start]):
                    self.stamp()
            except MemoryError:  # it could have hit any other record
                raise
            except Exception as error:  # the second that this record began is to blame, and it with it
                raise Poison(kind, records[start].offset()) from error
            limit = partition.now + 1000
            if latest < limit:
                stop = end
            else:
                stop = next((at for at in range(start + 1, end) if times[at] >= limit), end)
            part = records if stop - start == end else records[start:stop]
            self._feed(kind, part)
            self._last = (kind, part[-1].offset())
            start = stop
        self.positions[kind] = self._last[1] + 1
        self.effects.order.append((kind, end))

    def tick(self, now_ms: int) -> bool:
        """Time passes at the head of both topics, with no record to say so.

        True: it changed something that a commit has to save.
        """
        partition = self.partition
        if not partition.advance(now_ms):
            return False
        self.stamp()
        self.effects.order.append((-1, now_ms))
        return any(
            model.changed or any(version.changed for version in model.every_version)
            for model in partition.models.values()
        )

    def settle(self, kind: int, offset: int) -> None:
        """All before ``offset`` is processed; what lies there without being a record, nobody will deliver.

        Transaction markers take offsets. Were they left before the position, the
        next one could be gone from the log although nothing was missed.
        """
        self.positions[kind] = max(self.positions[kind], offset)

    def _feed(self, kind: int, records: Sequence[Any]) -> None:
        partition, decode, told = self.partition, self.decode, self.partition.told
        take = partition.predict if kind == PREDICTIONS else partition.label
        partition.consumed[KINDS[kind]] += len(records)
        skip = self.skip
        limit = self.max_value
        for record in records:
            value = record.value()
            if skip and (kind, record.offset()) in skip:
                self._dead(kind, Reason.INTERNAL_ERROR, record)
                continue
            try:
                event = decode(value) if len(value) <= limit else Reason.OVERSIZED
            except ValueError:
                self._dead(kind, Reason.UNDECODABLE, record)
                continue
            except TypeError:
                self._no_bytes(kind, record)
                continue
            if type(event) is not dict:
                self._dead(kind, event if isinstance(event, Reason) else Reason.NOT_AN_OBJECT, record)
                continue
            try:
                reason = take(event)
                if reason is not None:
                    reason = self._again(kind, event, reason, record)
                if told:
                    self._stamp(kind, record.offset())
            except MemoryError:
                raise
            except Exception as error:
                raise Poison(kind, record.offset()) from error
            if reason is not None:
                self._dead(kind, reason, record)

    def _again(self, kind: int, event: dict[str, Any], reason: Reason, record: Any) -> Reason | None:
        """A foreign log may not name its model: the record's key does."""
        if reason is not Reason.MISSING_FIELD or "model" in event:
            return reason
        key = record.key()
        if not key:
            return reason
        event["model"] = key.decode("utf-8", "replace")
        return self.partition.predict(event) if kind == PREDICTIONS else self.partition.label(event)

    def _no_bytes(self, kind: int, record: Any) -> None:
        if record.value() is None:
            origin = origin_of(record) if self.routed else None
            gap = origin is not None and origin.first is not None
            self._dead(kind, Reason.UNREADABLE if gap else Reason.TOMBSTONE, record)
            return
        self._dead(kind, Reason.UNREADABLE, record)
        self.effects.unreadable.append((kind, record.first, record.last, record.time_ms))

    def _dead(self, kind: int, reason: Reason, record: Any) -> None:
        self.partition.dead[KINDS[kind], reason.value] += 1
        self.effects.dead_letters.append(DeadLetter(kind, reason, record))

    def stamp(self) -> None:
        """Name the last record as the source of what was told without one."""
        self._stamp(*self._last)

    def _stamp(self, kind: int, offset: int) -> None:
        """Give what was told its source, and queue it for the next commit."""
        told = self.partition.told
        source = {"topic": self.topics[kind], "partition": self.number, "offset": offset}
        revision = self.partition.objectives.revision
        self.effects.alerts += [transition.document(source, revision) for transition in told]
        told.clear()

    def take_effects(self) -> Effects:
        """Hand over what has to be published with the next commit."""
        effects, self.effects = self.effects, Effects()
        effects.reports = self.partition.take_reports()
        return effects


__all__ = ["KINDS", "LABELS", "PREDICTIONS", "DeadLetter", "Effects", "Pipeline", "Poison", "Unreadable"]
