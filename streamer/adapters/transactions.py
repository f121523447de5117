"""Kafka transactions of one partition, and the way back: reading its state.

Steps 2 to 4 of ``checkpoint`` for the writer; for the reader: fence the old
owner first, then read up to the last committed record. Everything here blocks
and is called in a thread; every wait ends once the partition is given up
(``gone``), so that no thread outlives its partition for long.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from streamer.adapters.kafka import (
    ASK_SECONDS,
    LASTING,
    ClientConfig,
    Verdict,
    admin_of,
    error_of,
    log,
    log_offsets,
    producer_config,
    reader_config,
    verdict_of,
)
from streamer.checkpoint import Commit, OutRecord

CALL_SECONDS = 2.0
RETRY_SECONDS = 0.05
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
SAME_CAUSE = 3


class Fenced(Exception):
    """Another worker has taken this partition over, or a transaction outlived its timeout."""


class Unreachable(Exception):
    """The brokers did not answer in time, or nobody waits for their answer any more."""


class Unwritable(Exception):
    """The outputs cannot be written, however often they are sent; the message names the cure."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """Which topic each role of an ``OutRecord`` goes to; a role without a topic is not written."""

    topics: dict[str, str | None]

    def topic_of(self, record: OutRecord) -> str | None:
        return self.topics[record.room]


class TransactionalWriter(ABC):
    """A producer of transactions. Its methods block: call them in a thread.

    Whoever initialises a ``transactional.id`` last is the only one that can commit under it
    (promise 3). ``about``: what a message says it is about. ``gone``: set once nobody waits for
    it any more; then every wait ends with ``Unreachable``. ``stamped`` is told the broker's time
    of each commit of state, in ms.
    """

    def __init__(
        self,
        base: ClientConfig,
        transactional_id: str,
        about: str,
        rooms: Rooms,
        gone: threading.Event | None = None,
    ) -> None:
        self.about, self.rooms = about, rooms
        self.stamped: Callable[[int], None] = lambda broker_ms: None
        self.gone = gone or threading.Event()
        self._producer = Producer(producer_config(base, transactional_id))

    @abstractmethod
    def _place(self, record: OutRecord) -> tuple[int, bytes | None]:
        """Partition and key under which it is written."""

    @abstractmethod
    def _unwritable(self, error: KafkaError, record: OutRecord | None = None) -> Unwritable:
        """What is wrong and the cure. ``record``: the one that the client did not take."""

    def take_over(self, seconds: float = 60.0) -> None:
        """Fence the old owner and abort what it left open. Only at an assignment.

        Raises:
            Unreachable: no answer within ``seconds``.
            Unwritable: this worker may not write.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._producer.init_transactions(CALL_SECONDS)
                return
            except KafkaException as error:
                verdict = verdict_of(error_of(error))
                if verdict is Verdict.FENCED:
                    raise Fenced(str(error)) from error
                if verdict is Verdict.UNWRITABLE:
                    raise self._unwritable(error_of(error)) from error
                if time.monotonic() > deadline:
                    raise Unreachable(f"{self.about}: no transaction coordinator: {error}") from error
                self._wait(RETRY_SECONDS)

    def _attempt(self, records: Sequence[OutRecord]) -> KafkaError | None:
        """None: it is written. Else it was aborted, and why."""
        record: OutRecord | None = None
        # The broker answers with its time for each: one is enough, that of the last that is state.
        telling = next((each for each in reversed(records) if each.room == "state"), None)
        try:
            self._producer.begin_transaction()
            for record in records:
                self._produce(record, self._note_time if record is telling else None)
        except KafkaException as error:
            return self._abort_after(error, record)
        while True:
            try:
                self._producer.commit_transaction(CALL_SECONDS)
                return None
            except KafkaException as error:
                # Retriable means that the outcome is unknown: only the same call again
                # is safe. Aborting here could undo a commit that went through.
                if verdict_of(error_of(error)) is not Verdict.RETRY:
                    return self._abort_after(error, None)
                self._wait(RETRY_SECONDS)

    def _note_time(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            kind, broker_ms = message.timestamp()
            if kind == TIMESTAMP_LOG_APPEND_TIME:
                self.stamped(broker_ms)

    def _produce(self, record: OutRecord, on_delivery: Callable[..., None] | None) -> None:
        topic = self.rooms.topic_of(record)
        if topic is None:
            return
        partition, key = self._place(record)
        while True:
            try:
                self._producer.produce(
                    topic, record.value, key, partition, headers=list(record.headers),
                    on_delivery=on_delivery,
                )  # fmt: skip
                return
            except BufferError:
                self._producer.poll(0.05)
                self._wait(0.0)

    def _abort_after(self, cause: KafkaException, refused: OutRecord | None) -> KafkaError:
        """Abort so that the same effects can be sent again; answers the cause.

        ``refused``: the record that the client itself did not take, which no second try changes.
        """
        error = error_of(cause)
        verdict = verdict_of(error)
        if verdict is Verdict.FENCED:
            raise Fenced(str(cause)) from cause
        self._wait(0.0)
        hopeless = verdict is Verdict.UNWRITABLE and refused is not None
        try:
            self._abort()
        except Fenced:
            # What is refused a topic cannot be aborted either: the coordinator never heard of it.
            hopeless = hopeless or error.code() in LASTING
            if not hopeless:
                raise
        if hopeless:
            raise self._unwritable(error, refused) from cause
        return error

    def _abort(self) -> None:
        while True:
            try:
                self._producer.abort_transaction(CALL_SECONDS)
                return
            except KafkaException as error:
                if verdict_of(error_of(error)) is not Verdict.RETRY:
                    raise Fenced(str(error)) from error
                self._wait(RETRY_SECONDS)

    def _wait(self, seconds: float) -> None:
        if self.gone.wait(seconds):
            raise Unreachable(f"{self.about}: given up")

    def close(self) -> None:
        """Let go of the client; an open transaction is left for the next owner to abort."""
        self.gone.set()
        self._producer.purge()


class PartitionWriter(TransactionalWriter):
    """The writer of one partition, whose ``transactional.id`` is ``<group>-<partition>``."""

    def __init__(
        self,
        base: ClientConfig,
        group: str,
        partition: int,
        rooms: Rooms,
        gone: threading.Event | None = None,
    ) -> None:
        super().__init__(base, f"{group}-{partition}", f"partition {partition}", rooms, gone)
        self.partition = partition

    def write(self, commit: Commit) -> None:
        """Write one commit, all of it or nothing, however often it has to be sent.

        Raises:
            Fenced: it was not written and never will be by us.
            Unwritable: it was not written; it would be refused each time.
            Unreachable: the partition was given up while the outcome was unknown.
        """
        pause = SHORTEST_PAUSE
        causes: Counter[int] = Counter()
        while (cause := self._attempt(commit.records)) is not None:
            if cause.code() in LASTING or verdict_of(cause) is Verdict.UNWRITABLE:
                causes[cause.code()] += 1
                if causes[cause.code()] >= SAME_CAUSE:
                    raise self._unwritable(cause)
            text = "partition %d: commit %d aborted (%s), sending it again in %.1f s"
            log.warning(text, self.partition, commit.number, cause.str(), pause)
            self._wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _place(self, record: OutRecord) -> tuple[int, bytes | None]:
        return self.partition, record.key

    def _unwritable(self, error: KafkaError, record: OutRecord | None = None) -> Unwritable:
        what = ""
        if record is not None:
            size = len(record.value or b"") + len(record.key)
            what = f" a record of {size} bytes for {self.rooms.topic_of(record)} (key {record.key[:80]!r})"
        return Unwritable(
            f"{self.about}: its outputs cannot be written ({error.str()}){what}. Let this"
            " worker write to the state, alerts, reports and dead-letter topics, as large as `streamer topics"
            " create` makes their records, then restart it"
        )


def read_state(
    base: ClientConfig,
    group: str,
    topic: str,
    partition: int,
    seconds: float = 300.0,
    gone: threading.Event | None = None,
) -> dict[bytes, bytes]:
    """The live records of a state partition, by key: everything committed so far.

    The end is asked for first (last stable offset) and has to be reached: an
    early end-of-partition event after a change of leader would give an older
    state.

    Raises:
        Unreachable: it could not be read to its end within ``seconds``, or ``gone`` was set meanwhile.
        KafkaException: it may not be read.
    """
    patience = _Patience(f"{topic}/{partition}", seconds, gone or threading.Event())
    target = _last_stable_offset(base, topic, partition, patience)
    consumer = Consumer(reader_config(base, group) | {"auto.offset.reset": "earliest"})
    live: dict[bytes, bytes] = {}
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while not _drain(consumer, live, target):
            patience.check(f"not read to offset {target}")
    finally:
        consumer.close()
    return live


@dataclass(slots=True)
class _Patience:
    """A deadline that is over at once when nobody waits any more."""

    about: str
    seconds: float
    gone: threading.Event
    began: float = field(default_factory=time.monotonic)

    def check(self, what: str, pause: float = 0.0) -> None:
        """Wait for ``pause`` seconds. Raises Unreachable once there is no more time."""
        if self.gone.wait(pause):
            raise Unreachable(f"{self.about}: given up")
        if time.monotonic() - self.began > self.seconds:
            raise Unreachable(f"{self.about}: {what} within {self.seconds:.0f} s")


def _drain(consumer: Consumer, live: dict[bytes, bytes], target: int) -> bool:
    """Apply a batch of records; True at the end of the partition, not before ``target``."""
    messages: list[Any] = consumer.consume(10_000, 0.02)
    for message in messages:
        error = message.error()
        if error is None:
            key, value = message.key(), message.value()
            if value is None:
                live.pop(key, None)
            else:
                live[key] = value
        elif error.code() == error._PARTITION_EOF:
            if message.offset() >= target:
                return True
        elif error.fatal():
            raise Unreachable(str(error))
        elif error.code() == error.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaException(error)
        else:
            log.warning("reading state: %s", error)
    return False


def _last_stable_offset(base: ClientConfig, topic: str, partition: int, patience: _Patience) -> int:
    admin = admin_of(base)
    at = TopicPartition(topic, partition)
    while True:
        try:
            ends = log_offsets(admin, {at: OffsetSpec.latest()}, IsolationLevel.READ_COMMITTED, ASK_SECONDS)
            return ends[topic, partition]
        except (KafkaException, TimeoutError) as error:
            patience.check(f"no end offset ({error or 'no answer'})", RETRY_SECONDS)
