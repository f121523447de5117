"""What every Kafka client of ours has in common: settings, and what an error means."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

log = logging.getLogger("streamer.kafka")
ClientConfig = Mapping[str, Any]
Offsets = list[TopicPartition]

SELDOM_SECONDS = 30.0
ASK_SECONDS = 4.0
ASK_GRACE_SECONDS = 2.0
LARGEST_STATE_RECORD = 8 * 1024 * 1024


# Somebody else has the transactional id, or the client's transaction is beyond repair.
FENCING = frozenset(
    {
        KafkaError._FENCED,
        KafkaError._FATAL,
        KafkaError._STATE,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)
# Sending the same again changes nothing until a person does something.
LASTING = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
# A person has to allow it.
NOT_ALLOWED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


class Verdict(StrEnum):
    """What an error of a transaction asks for."""

    RETRY = "retry"
    ABORT = "abort"
    FENCED = "fenced"
    UNWRITABLE = "unwritable"


def verdict_of(error: KafkaError) -> Verdict:
    """Retriable: the same call again. Abortable: abort, send the same again. Fenced: not ours any more.

    Anything else is an output that cannot be written as it is.
    """
    if error.retriable():
        return Verdict.RETRY
    if error.txn_requires_abort():
        return Verdict.ABORT
    code = error.code()
    if code in FENCING or (error.fatal() and code not in LASTING):
        return Verdict.FENCED
    return Verdict.UNWRITABLE


def error_of(exception: KafkaException) -> KafkaError:
    error: KafkaError = exception.args[0]
    return error


def reader_config(base: ClientConfig, group: str) -> dict[str, Any]:
    """A consumer that is assigned by hand and reads only what is committed."""
    return {
        "fetch.queue.backoff.ms": 2,  # the default sleeps a whole second whenever its queues are full
        "fetch.wait.max.ms": 50,
        # Some tenths of a second of work are enough to never wait; more is memory for nothing.
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 32_768,
        **base,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "logger": log,
    }


def member_config(
    base: ClientConfig, group: str, session_timeout_ms: int, instance: str | None
) -> dict[str, Any]:
    """The consumer that is in the group and reads nothing."""
    config = {
        **base,
        "group.id": group,
        "enable.auto.commit": False,
        "partition.assignment.strategy": "range",
        "session.timeout.ms": session_timeout_ms,
        "heartbeat.interval.ms": max(200, session_timeout_ms // 10),
        "logger": log,
    }
    return config | ({"group.instance.id": instance} if instance else {})


def producer_config(base: ClientConfig, transactional_id: str) -> dict[str, Any]:
    """The producer of one partition's transactions."""
    return {
        "compression.type": "lz4",
        "linger.ms": 0,
        **base,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": 10_000,  # how long a hung worker can hold back a read_committed subscriber
        "message.max.bytes": LARGEST_STATE_RECORD,
        "logger": log,
    }


def admin_of(base: ClientConfig) -> AdminClient:
    """An admin client that leaves it to its caller to say what is wrong."""
    config: dict[str, Any] = {**base, "log_level": 0, "error_cb": _hush}
    return AdminClient(config)


def _hush(_: KafkaError) -> None:
    """Errors come back from the calls as well."""


def ask(futures: Iterable[Future[Any]], seconds: float = ASK_SECONDS) -> list[Any]:
    """The answers of an admin client that was given ``seconds`` to answer in.

    Raises:
        KafkaException, TimeoutError: no answer. The client's own timeout comes as the one or as the other.
    """
    deadline = time.monotonic() + seconds + ASK_GRACE_SECONDS
    return [future.result(max(0.0, deadline - time.monotonic())) for future in futures]


def offset_in(answer: Any) -> int:
    """The offset in what an admin client answers about the end or the beginning of a log.

    Raises:
        KafkaException: nobody has named one. A leader that is away is answered for with -1001, and no error.
    """
    offset = int(answer.offset)
    if offset < 0:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the leader has not named an offset"))
    return offset


def log_offsets(
    admin: AdminClient,
    asked: Mapping[TopicPartition, OffsetSpec],
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    seconds: float = ASK_SECONDS,
) -> dict[tuple[str, int], int]:
    """(topic, partition) → where its log begins or ends, as its leader says.

    Raises:
        KafkaException, TimeoutError: one of them does not answer.
    """
    answers = admin.list_offsets(dict(asked), isolation_level=isolation, request_timeout=seconds)
    ask(answers.values(), seconds)
    return {(at.topic, at.partition): offset_in(future.result()) for at, future in answers.items()}


def committed_offsets(client: Consumer, wanted: Sequence[TopicPartition], seconds: float) -> Offsets:
    """What the group of this client has committed there, with its metadata. Raises KafkaException."""
    found = client.committed(list(wanted), seconds)
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return found


class _Seldom(logging.Filter):
    """While a broker is away, every client says so many times a second: once in a while is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        about = record.getMessage().rpartition("]: ")[2].partition(" (")[0]
        if record.created - self._said.get(about, 0.0) < SELDOM_SECONDS:
            return False
        if len(self._said) > 1000:
            self._said.clear()
        self._said[about] = record.created
        return True


log.addFilter(_Seldom())


@contextmanager
def offsets_of(
    base: ClientConfig, group: str, seconds: float = ASK_SECONDS
) -> Iterator[Callable[[list[TopicPartition]], Offsets]]:
    """What asks for the offsets (with their metadata) that a group has committed. It raises KafkaException.

    Not an admin client: librdkafka 2.16 crashes the process where that meets a coordinator that is
    still loading, or has moved. A consumer that subscribes to nothing is no member of the group.
    """
    client = Consumer(reader_config(base, group))

    def ask_for(wanted: list[TopicPartition]) -> Offsets:
        try:
            return committed_offsets(client, wanted, seconds)
        except KafkaException as error:
            # What the coordinator said meanwhile is kept for whoever polls.
            said = client.poll(0) if error_of(error).code() == KafkaError._TIMED_OUT else None
            if said is not None and said.error() is not None:
                raise KafkaException(said.error()) from error
            raise

    try:
        yield ask_for
    finally:
        close_quietly(client)


def close_quietly(consumer: Consumer) -> None:
    """Close a client whose broker may be gone already."""
    try:
        consumer.close()
    except (KafkaException, RuntimeError) as error:
        log.debug("closing: %s", error)
