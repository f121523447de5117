"""A consumer over logs in memory: offsets, ends of partition, and stretches that cannot be decompressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.domain.feed import START_MS, Record


class Message:
    """A record or an error, as the client hands them out."""

    def __init__(
        self, partition: int, offset: int, error: int | None = None, record: Record | None = None
    ) -> None:
        self._partition, self._offset, self._record = partition, offset, record
        self._error = None if error is None else KafkaError(error)

    def error(self) -> KafkaError | None:
        return self._error

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        assert self._record is not None
        return self._record.timestamp()

    def value(self) -> bytes | None:
        assert self._record is not None
        return self._record.value()

    def key(self) -> None:
        return None


def record(partition: int, offset: int, at: int | None = None, data: bytes | None = b"{}") -> Message:
    return Message(partition, offset, None, Record(START_MS + offset if at is None else at, offset, data))


def eof(partition: int, offset: int) -> Message:
    return Message(partition, offset, KafkaError._PARTITION_EOF)


class Client:
    """Delivers each assigned partition's log from its offset on, round robin.

    ``ends``: partition → end of its log, None: it never ends. ``bad``: partition → offsets
    of a batch that cannot be decompressed. ``away``: partitions whose leader does not answer.
    """

    def __init__(self, config: Any = None) -> None:
        self.ends: dict[int, int | None] = {}
        self.bad: dict[int, range] = {}
        self.away: set[int] = set()
        self.at: dict[int, int] = {}
        self.told: set[int] = set()
        self.assigns: list[tuple[int, int]] = []
        self.refuse = False
        self.batches: list[list[Message]] = []
        self.turn = 0

    def list_topics(self, *_: Any) -> None:
        """Everybody is known here."""

    def incremental_assign(self, tps: list[TopicPartition]) -> None:
        if self.refuse:
            raise KafkaException(KafkaError(KafkaError._STATE))
        for tp in tps:
            assert tp.partition not in self.at, "assigned twice"
            self.at[tp.partition] = tp.offset
            self.told.discard(tp.partition)
            self.assigns.append((tp.partition, tp.offset))

    def incremental_unassign(self, tps: list[TopicPartition]) -> None:
        for tp in tps:
            del self.at[tp.partition]

    def consume(self, count: int, timeout: float) -> list[Message]:
        if self.batches:
            return self.batches.pop(0)
        for _ in range(len(self.at)):
            self.turn += 1
            partition = sorted(self.at)[self.turn % len(self.at)]
            found = [] if partition in self.away else self._read(partition, count)
            if found:
                return found
        return []

    def _read(self, partition: int, count: int) -> list[Message]:
        at, end = self.at[partition], self.ends.get(partition, 0)
        bad = self.bad.get(partition, range(0))
        if at in bad:
            return [Message(partition, bad.start, KafkaError._BAD_COMPRESSION)]
        stop = at + count if end is None else min(end, at + count)
        if at < bad.start:
            stop = min(stop, bad.start)
        found = [record(partition, offset) for offset in range(at, stop)]
        self.at[partition] = stop
        if stop == end and partition not in self.told:
            self.told.add(partition)
            found.append(eof(partition, stop))
        return found

    # The member's side: nothing ever happens in the group.

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None: ...

    def poll(self, timeout: float) -> Message | None:
        return self.batches.pop(0)[0] if self.batches else None

    def commit(self, **arguments: Any) -> None: ...

    def close(self) -> None: ...
