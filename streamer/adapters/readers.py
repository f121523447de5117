"""The poll thread: one group member that reads nothing, two readers that are assigned by hand.

The group is joined for predictions alone; labels follow by hand, the same
partitions. So any assignor keeps both topics together, rebalances never stop
the partitions that stay, and the thread reads whichever topic is behind in
record time: neither runs far ahead of the other.

Back-pressure is by credit: at most ``max_buffered`` records of a topic wait to
be processed, more only where the order waits for that very topic. A partition
whose other topic does not come is taken from its reader once it hoards, and
does not count: it would starve the others.

Everything that touches a client happens on this thread; the event loop asks
through ``_asked`` and is told through ``Listener``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streamer.adapters.kafka import close_quietly, error_of, log
from streamer.adapters.member import Member
from streamer.adapters.reading import UNREADABLE, Reading

IDLE_SECONDS = 0.005
MEMBER_EVERY = 0.05
HOARDS_SECONDS = 5.0  # a partition may wait for its other topic that long before it is paused,
PRESSED_SECONDS = 1.0  # or that long while less than half of the credit is left
OVERDRAFT = 4
KNOW_SECONDS = 1.0


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
    """What the thread tells and asks. All but ``revoked`` return at once."""

    def assigned(self, partitions: set[int]) -> None: ...
    def revoked(self, partitions: set[int], lost: bool) -> None: ...
    def arrived(self, chunks: list[Chunk]) -> None: ...
    def ended(self, kind: int, partition: int, epoch: int, offset: int) -> None: ...
    def failed(self, kind: int, partition: int, epoch: int, error: KafkaError) -> None: ...
    def unstarted(self, partition: int, epoch: int, error: KafkaError) -> None: ...
    def expelled(self, error: KafkaError) -> None: ...
    def died(self, error: BaseException) -> None: ...
    def starving(self) -> frozenset[int]: ...
    def hoards(self) -> Mapping[tuple[int, int], tuple[int, float]]: ...


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
        self._member = Member(member, topics, listener.assigned, self._revoked, listener.expelled)
        self._readers = (Consumer(dict(reader)), Consumer(dict(reader)))
        self._readings: dict[int, Reading] = {}
        self._asked: deque[Callable[[], None]] = deque()
        self._stopping = threading.Event()
        self._clock = [0, 0]
        self._read = [0, 0]
        self._hoarded = [0, 0]
        self.done = [0, 0]  # only the loop writes it, only this thread reads it
        self.alive_at = time.monotonic()
        self._member_at = 0.0

    # -- called by the loop -------------------------------------------------------

    def start_reading(self, partition: int, epoch: int, positions: tuple[int, int]) -> None:
        """Read this partition from these offsets on."""
        self._asked.append(partial(self._start, partition, epoch, positions))

    def stop_reading(self, partition: int, epoch: int) -> None:
        """Read it no more, unless it has been asked for again under a later epoch."""
        self._asked.append(partial(self._unread, partition, epoch))

    def rejoin(self) -> None:
        """Leave the group and join it again."""
        self._asked.append(self._member.rejoin)

    def commit_offsets(self, partition: int, positions: tuple[int, int], number: int) -> None:
        """Tell the group how far we are; only its member may. Failing does no harm."""
        self._asked.append(partial(self._member.commit, partition, positions, number))

    def stop(self) -> None:
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def trouble(self) -> str | None:
        """What the group last complained of."""
        return self._member.trouble

    # -- the thread --------------------------------------------------------------

    def run(self) -> None:
        try:
            self._member.join()
            self._get_to_know_topics()
            while not self._stopping.is_set():
                self._turn()
        except BaseException as error:
            self.listener.died(error)
        finally:
            self._do_what_was_asked()
            self._member.close()
            for client in self._readers:
                close_quietly(client)

    def _get_to_know_topics(self) -> None:
        """A client looks for a topic that it has never met once a second only: so long nothing would come."""
        for client, topic in zip(self._readers, self.topics, strict=True):
            self._guard(partial(client.list_topics, topic, KNOW_SECONDS))

    def _turn(self) -> None:
        self.alive_at = now = time.monotonic()
        if now - self._member_at > MEMBER_EVERY:
            self._member_at = now
            self._member.poll(0.0)
            self._relieve()
        self._do_what_was_asked()
        self._read_some()

    def _do_what_was_asked(self) -> None:
        while self._asked:
            self._guard(self._asked.popleft())

    @staticmethod
    def _guard(call: Callable[[], Any]) -> None:
        try:
            call()
        except KafkaException as error:
            log.warning("%s", error)

    def _revoked(self, partitions: set[int], lost: bool) -> None:
        self.listener.revoked(partitions, lost)
        self._do_what_was_asked()  # the offsets of the last commits: after this nobody wants them from us
        for partition in partitions:
            self._unread(partition)

    # -- what is read ------------------------------------------------------------------

    def _start(self, partition: int, epoch: int, positions: tuple[int, int]) -> None:
        self._unread(partition)
        reading = Reading(partition, epoch, list(positions), paused=[True, True])
        self._readings[partition] = reading
        try:
            for kind in (0, 1):
                self._resume(reading, kind, positions[kind])
        except KafkaException as error:
            self.listener.unstarted(partition, epoch, error_of(error))
            self._unread(partition)

    def _unread(self, partition: int, epoch: int | None = None) -> None:
        """Stop reading it; with an ``epoch``, only what was asked for until then."""
        reading = self._readings.get(partition)
        if reading is None or (epoch is not None and reading.epoch > epoch):
            return
        del self._readings[partition]
        for kind in (0, 1):
            if not reading.paused[kind]:
                self._pause(reading, kind)

    def _resume(self, reading: Reading, kind: int, offset: int) -> None:
        self._readers[kind].incremental_assign([TopicPartition(self.topics[kind], reading.number, offset)])
        reading.paused[kind] = False

    def _pause(self, reading: Reading, kind: int) -> None:
        reading.paused[kind] = True
        self._readers[kind].incremental_unassign([TopicPartition(self.topics[kind], reading.number)])

    def _relieve(self) -> None:
        """Pause partitions that hoard one topic while the other does not come, and bring them back."""
        hoards = self.listener.hoards()
        share = self.max_buffered // (2 * max(1, len(self._readings)))
        hoarded = [0, 0]
        for reading in self._readings.values():
            for kind in (0, 1):
                records, waited = hoards.get((kind, reading.number), (0, 0.0))
                if reading.paused[kind] and records <= share // 2:
                    self._guard(partial(self._resume, reading, kind, reading.begins[kind]))
                elif not reading.paused[kind] and records > share and waited > self._patience(kind):
                    text = "%s/%d: paused, %d records wait for the other topic"
                    log.warning(text, self.topics[kind], reading.number, records)
                    self._guard(partial(self._pause, reading, kind))
                if reading.paused[kind]:
                    hoarded[kind] += records
        self._hoarded = hoarded

    def _patience(self, kind: int) -> float:
        return PRESSED_SECONDS if 2 * self._waiting(kind) > self.max_buffered else HOARDS_SECONDS

    def _waiting(self, kind: int) -> int:
        """Records that were read and not yet processed, but for those of paused partitions."""
        return self._read[kind] - self.done[kind] - self._hoarded[kind]

    def _room(self, kind: int) -> bool:
        waiting = self._waiting(kind)
        if waiting < self.max_buffered:
            return True
        return waiting < OVERDRAFT * self.max_buffered and kind in self.listener.starving()

    def _read_some(self) -> None:
        """One turn: the topic that is behind in record time, else the other, else a short wait."""
        if not self._readings:
            self._member.poll(IDLE_SECONDS * 4)
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

    def _consume(self, kind: int, timeout: float) -> bool:
        # The client types everything as optional: an error or a record, never neither.
        messages: list[Any] = self._readers[kind].consume(self.chunk, timeout)
        if not messages:
            return False
        by_partition: dict[int, list[Any]] = {}
        others: list[Any] = []
        for message in messages:
            if message.error() is None:
                by_partition.setdefault(message.partition(), []).append(message)
            else:
                others.append(message)
        self._hand_over(kind, by_partition)
        for message in others:
            self._note(kind, message)
        return bool(by_partition)

    def _hand_over(self, kind: int, by_partition: dict[int, list[Any]]) -> None:
        chunks: list[Chunk] = []
        for partition, records in by_partition.items():
            reading = self._readings.get(partition)
            if reading is None or records[-1].offset() < reading.begins[kind]:
                continue
            self._step_over(kind, reading, records[0].offset(), chunks)
            if records[0].offset() < reading.begins[kind]:
                records = [record for record in records if record.offset() >= reading.begins[kind]]
            self._add(Chunk(kind, partition, reading.epoch, reading.begins[kind], records), reading, chunks)
            self._clock[kind] = reading.clock_ms[kind] = records[-1].timestamp()[1]
        if chunks:
            self.listener.arrived(chunks)

    def _add(self, chunk: Chunk, reading: Reading, chunks: list[Chunk]) -> None:
        chunks.append(chunk)
        reading.begins[chunk.kind] = chunk.end
        self._read[chunk.kind] += len(chunk.records)

    def _step_over(self, kind: int, reading: Reading, offset: int, chunks: list[Chunk]) -> None:
        """Put what could not be read in its place before ``offset``, where the log goes on."""
        skipped = reading.stepped_over(kind, offset)
        if skipped is not None:
            chunk = Chunk(kind, reading.number, reading.epoch, skipped.first, [skipped])
            self._add(chunk, reading, chunks)

    # -- what is not a record ----------------------------------------------------------------

    def _note(self, kind: int, message: Any) -> None:
        """An end of partition, or an error. The records of its batch have been handed over."""
        reading, error = self._readings.get(message.partition()), message.error()
        if reading is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            self._end(kind, reading, message.offset())
            return
        if error.code() in UNREADABLE:
            offset = reading.stumble(kind)
            if offset is not None:
                self._guard(partial(self._jump, reading, kind, offset))
                return
        self.listener.failed(kind, reading.number, reading.epoch, error)

    def _jump(self, reading: Reading, kind: int, offset: int) -> None:
        self._pause(reading, kind)
        self._resume(reading, kind, offset)

    def _end(self, kind: int, reading: Reading, offset: int) -> None:
        """The log ends at ``offset`` for now, unless a record came after this event in its batch."""
        if offset < reading.begins[kind]:
            return
        chunks: list[Chunk] = []
        self._step_over(kind, reading, offset, chunks)
        if chunks:
            self.listener.arrived(chunks)
        # Transaction markers lie between the last record and the end: they are behind us as well.
        reading.begins[kind] = max(reading.begins[kind], offset)
        self.listener.ended(kind, reading.number, reading.epoch, offset)
