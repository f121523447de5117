"""The poll thread: one group member that reads nothing, two readers that are assigned by hand.

The group is joined for predictions alone; labels follow by hand, the same
partitions. So any assignor keeps both topics together, rebalances never stop
the partitions that stay, and the thread reads whichever topic is behind in
record time: neither runs far ahead of the other.

Everything that touches a client happens on this thread; the event loop asks
through ``ask`` and is told through ``Listener``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streamer.adapters.kafka import close_quietly, log

IDLE_SECONDS = 0.005
MEMBER_EVERY = 0.05


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one topic and partition as they came. ``begins``: where the chunk before it ended."""

    kind: int
    partition: int
    epoch: int
    begins: int
    records: list[Any]

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return int(self.records[-1].offset()) + 1


class Listener(Protocol):
    """What the thread tells. All but ``revoked`` return at once."""

    def assigned(self, partitions: set[int]) -> None: ...
    def revoked(self, partitions: set[int], lost: bool) -> None: ...
    def arrived(self, chunks: list[Chunk]) -> None: ...
    def ended(self, kind: int, partition: int, epoch: int) -> None: ...
    def failed(self, kind: int, partition: int, error: KafkaError) -> None: ...
    def expelled(self, error: KafkaError) -> None: ...
    def starving(self) -> set[int]: ...


@dataclass(slots=True)
class _Seat:
    """How far this thread has read one partition. ``begins``: next offset by kind."""

    epoch: int
    begins: list[int]


class Readers(threading.Thread):
    """Reads both topics of the partitions that the loop has asked for."""

    def __init__(
        self,
        member: Mapping[str, Any],
        reader: Mapping[str, Any],
        topics: tuple[str, str],
        listener: Listener,
        chunk: int,
        max_buffered: int,
    ) -> None:
        super().__init__(name="kafka-poll", daemon=True)
        self.topics, self.listener = topics, listener
        self.chunk, self.max_buffered = chunk, max_buffered
        self._member_config = dict(member)
        self.member = Consumer(self._member_config)
        self._readers = (Consumer(dict(reader)), Consumer(dict(reader)))
        self._seats: dict[int, _Seat] = {}
        self._asked: deque[Callable[[], None]] = deque()
        self._stopping = threading.Event()
        self._clock = [0, 0]
        self._read = [0, 0]
        self.done = [0, 0]  # only the loop writes it, only this thread reads it
        self.alive_at = time.monotonic()
        self._member_at = 0.0

    # -- called by the loop -------------------------------------------------------

    def start_reading(self, partition: int, epoch: int, positions: tuple[int, int]) -> None:
        """Read this partition from these offsets on."""
        self._asked.append(lambda: self._start(partition, epoch, positions))

    def stop_reading(self, partition: int) -> None:
        """Read it no more; what is under way still carries the old epoch."""
        self._asked.append(lambda: self._unread(partition))

    def rejoin(self) -> None:
        """Leave the group and join it again."""
        self._asked.append(self._rejoin)

    def commit_offsets(self, partition: int, positions: tuple[int, int], number: int) -> None:
        """Tell the group how far we are; only its member may. Failing does no harm."""
        offsets = [
            TopicPartition(topic, partition, offset, str(number))
            for topic, offset in zip(self.topics, positions, strict=True)
        ]
        self._asked.append(lambda: self._commit(offsets))

    def stop(self) -> None:
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    # -- the thread --------------------------------------------------------------

    def run(self) -> None:
        self._subscribe()
        try:
            while not self._stopping.is_set():
                self.alive_at = now = time.monotonic()
                if now - self._member_at > MEMBER_EVERY:
                    self._member_at = now
                    self._poll_member(0.0)
                while self._asked:
                    self._guard(self._asked.popleft())
                self._read_some()
        finally:
            while self._asked:
                self._guard(self._asked.popleft())
            for client in (self.member, *self._readers):
                close_quietly(client)

    def _subscribe(self) -> None:
        self.member.subscribe(
            [self.topics[0]],
            on_assign=self._on_assign,
            on_revoke=lambda client, tps: self._on_revoke(client, tps, lost=False),
            on_lost=lambda client, tps: self._on_revoke(client, tps, lost=True),
        )

    def _poll_member(self, timeout: float) -> None:
        """Serve the group: heartbeats, rebalances. It reads nothing, so what comes back is an error."""
        message = self.member.poll(timeout)
        error = None if message is None else message.error()
        if error is not None and error.fatal():
            self.listener.expelled(error)

    def _rejoin(self) -> None:
        # A new client: a static member that subscribes again under its old one is fenced by itself,
        # for good, as soon as an offset commit of its earlier life fails.
        close_quietly(self.member)
        self.member = Consumer(self._member_config)
        self._subscribe()

    @staticmethod
    def _guard(call: Callable[[], None]) -> None:
        try:
            call()
        except KafkaException as error:
            log.warning("%s", error)

    def _on_assign(self, client: Consumer, tps: list[TopicPartition]) -> None:
        client.assign([])  # the member reads nothing; the readers do
        self.listener.assigned({tp.partition for tp in tps})

    def _on_revoke(self, client: Consumer, tps: list[TopicPartition], lost: bool) -> None:
        client.unassign()
        partitions = {tp.partition for tp in tps}
        self.listener.revoked(partitions, lost)
        for partition in partitions:
            self._unread(partition)

    def _start(self, partition: int, epoch: int, positions: tuple[int, int]) -> None:
        self._unread(partition)
        self._seats[partition] = _Seat(epoch, list(positions))
        for kind, reader in enumerate(self._readers):
            reader.incremental_assign([TopicPartition(self.topics[kind], partition, positions[kind])])

    def _unread(self, partition: int) -> None:
        if self._seats.pop(partition, None) is not None:
            for kind, reader in enumerate(self._readers):
                reader.incremental_unassign([TopicPartition(self.topics[kind], partition)])

    def _commit(self, offsets: list[TopicPartition]) -> None:
        self.member.commit(offsets=offsets, asynchronous=True)

    def _read_some(self) -> None:
        """One turn: the topic that is behind in record time, else the other, else a short wait."""
        if not self._seats:
            self._poll_member(IDLE_SECONDS * 4)
            return
        behind = 0 if self._clock[0] <= self._clock[1] else 1
        order = [kind for kind in (behind, 1 - behind) if self._room(kind)]
        if not order:
            time.sleep(0.001)
            return
        for kind in order:
            if self._consume(kind, 0.0):
                return
        for kind in order:
            if self._consume(kind, IDLE_SECONDS):
                return

    def _room(self, kind: int) -> bool:
        """Back-pressure: at most ``max_buffered`` records wait, unless the order waits for this topic."""
        if self._read[kind] - self.done[kind] < self.max_buffered:
            return True
        return kind in self.listener.starving()

    def _consume(self, kind: int, timeout: float) -> bool:
        # The client types everything as optional: an error or a record, never neither.
        messages: list[Any] = self._readers[kind].consume(self.chunk, timeout)
        if not messages:
            return False
        by_partition: dict[int, list[Any]] = {}
        ends: list[int] = []
        for message in messages:
            if message.error() is None:
                by_partition.setdefault(message.partition(), []).append(message)
                continue
            error = message.error()
            if error.code() == KafkaError._PARTITION_EOF:
                ends.append(message.partition())
            else:
                self.listener.failed(kind, message.partition(), error)
        self._hand_over(kind, by_partition)
        for partition in ends:
            seat = self._seats.get(partition)
            if seat is not None:
                self.listener.ended(kind, partition, seat.epoch)
        return bool(by_partition)

    def _hand_over(self, kind: int, by_partition: dict[int, list[Any]]) -> None:
        chunks = []
        for partition, records in by_partition.items():
            seat = self._seats.get(partition)
            if seat is None or records[-1].offset() < seat.begins[kind]:
                continue
            if records[0].offset() < seat.begins[kind]:
                records = [record for record in records if record.offset() >= seat.begins[kind]]
            chunks.append(Chunk(kind, partition, seat.epoch, seat.begins[kind], records))
            seat.begins[kind] = chunks[-1].end
            self._read[kind] += len(records)
            self._clock[kind] = records[-1].timestamp()[1]
        if chunks:
            self.listener.arrived(chunks)
