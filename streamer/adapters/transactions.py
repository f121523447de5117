"""Kafka transactions of one partition, and the way back: reading its state.

Steps 2 to 4 of ``checkpoint`` for the writer; for the reader: fence the old
owner first, then read up to the last committed record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streamer.adapters.kafka import (
    ClientConfig,
    Verdict,
    admin_of,
    error_of,
    log,
    producer_config,
    reader_config,
    verdict_of,
)
from streamer.checkpoint import Commit, OutRecord

CALL_SECONDS = 5.0
RETRY_SECONDS = 0.05


class Fenced(Exception):
    """Another worker has taken this partition over, or a transaction outlived its timeout."""


class Unreachable(Exception):
    """The brokers did not answer in time."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """Which topic each role of an ``OutRecord`` goes to; a role without a topic is not written."""

    topics: dict[str, str | None]

    def topic_of(self, record: OutRecord) -> str | None:
        return self.topics[record.room]


class PartitionWriter:
    """The transactional producer of one partition. Its methods block: call them in a thread.

    ``transactional.id`` is ``<group>-<partition>``: whoever initialises it
    last is the only one that can commit (promise 3).
    """

    def __init__(self, base: ClientConfig, group: str, partition: int, rooms: Rooms) -> None:
        self.partition, self.rooms = partition, rooms
        self._producer = Producer(producer_config(base, f"{group}-{partition}"))

    def take_over(self, seconds: float = 60.0) -> None:
        """Fence the old owner and abort what it left open. Only at an assignment.

        Raises:
            Unreachable: no answer within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._producer.init_transactions(CALL_SECONDS)
                return
            except KafkaException as error:
                if verdict_of(error_of(error)) is Verdict.FENCED:
                    raise Fenced(str(error)) from error
                if time.monotonic() > deadline:
                    raise Unreachable(
                        f"partition {self.partition}: no transaction coordinator: {error}"
                    ) from error
                time.sleep(RETRY_SECONDS)

    def write(self, commit: Commit) -> None:
        """Write one commit, all of it or nothing, however often it has to be sent.

        Raises:
            Fenced: it was not written and never will be by us.
        """
        while not self._attempt(commit):
            log.warning("partition %d: commit %d aborted, sending it again", self.partition, commit.number)

    def _attempt(self, commit: Commit) -> bool:
        try:
            self._producer.begin_transaction()
            for record in commit.records:
                self._produce(record)
        except KafkaException as error:
            return self._abort_after(error)
        while True:
            try:
                self._producer.commit_transaction(CALL_SECONDS)
                return True
            except KafkaException as error:
                # Retriable means that the outcome is unknown: only the same call again
                # is safe. Aborting here could undo a commit that went through.
                if verdict_of(error_of(error)) is not Verdict.RETRY:
                    return self._abort_after(error)
                time.sleep(RETRY_SECONDS)

    def _produce(self, record: OutRecord) -> None:
        topic = self.rooms.topic_of(record)
        if topic is None:
            return
        while True:
            try:
                self._producer.produce(
                    topic, record.value, record.key, self.partition, headers=list(record.headers)
                )
                return
            except BufferError:
                self._producer.poll(0.05)

    def _abort_after(self, cause: KafkaException) -> bool:
        """Abort so that the same effects can be sent again; False says so."""
        if verdict_of(error_of(cause)) is Verdict.FENCED:
            raise Fenced(str(cause)) from cause
        while True:
            try:
                self._producer.abort_transaction(CALL_SECONDS)
                return False
            except KafkaException as error:
                if verdict_of(error_of(error)) is not Verdict.RETRY:
                    raise Fenced(str(error)) from error
                time.sleep(RETRY_SECONDS)

    def close(self) -> None:
        """Let go of the client; an open transaction is left for the next owner to abort."""
        self._producer.purge()


def read_state(
    base: ClientConfig, group: str, topic: str, partition: int, seconds: float = 300.0
) -> dict[bytes, bytes]:
    """The live records of a state partition, by key: everything committed so far.

    The end is asked for first (last stable offset) and has to be reached: an
    early end-of-partition event after a change of leader would give an older
    state.

    Raises:
        Unreachable: it could not be read to its end within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    target = _last_stable_offset(base, topic, partition, deadline)
    consumer = Consumer(reader_config(base, f"{group}.state") | {"auto.offset.reset": "earliest"})
    live: dict[bytes, bytes] = {}
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while not _drain(consumer, live, target):
            if time.monotonic() > deadline:
                raise Unreachable(f"{topic}/{partition}: not read to offset {target} within {seconds:.0f} s")
    finally:
        consumer.close()
    return live


def _drain(consumer: Consumer, live: dict[bytes, bytes], target: int) -> bool:
    """Apply a batch of records; True at the end of the partition, not before ``target``."""
    messages: list[Any] = consumer.consume(10_000, 0.2)
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
        else:
            log.warning("reading state: %s", error)
    return False


def _last_stable_offset(base: ClientConfig, topic: str, partition: int, deadline: float) -> int:
    admin = admin_of(base)
    at = TopicPartition(topic, partition)
    while True:
        try:
            futures = admin.list_offsets(
                {at: OffsetSpec.latest()},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=CALL_SECONDS,
            )
            offset: Any = futures[at].result(CALL_SECONDS).offset
            return int(offset)
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise Unreachable(f"{topic}/{partition}: no end offset: {error}") from error
            time.sleep(RETRY_SECONDS)
