"""Log predictions and labels from a service: two lines, never in the caller's way.

    log = PredictionLogger("kafka:9092", model="churn", version="2026-11")
    prediction_id = log.prediction(label, score=0.83, features={"age": 41}, latency_ms=12.5)
    ...
    log.label(prediction_id, truth)

Needs confluent-kafka and orjson, nothing else of this package.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import math
import os
import sys
import threading
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from numbers import Real
from types import TracebackType
from typing import Any, Literal

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streamer.home import LIBRDKAFKA_NAMES, Partitioner

log = logging.getLogger("streamer.sdk")

Scalar = str | int | float | bool | None
Timestamp = int | float | datetime
Kind = Literal["prediction", "label"]

BOOTSTRAP = "127.0.0.1:9092"
EXIT_SECONDS = 5.0
POLL_SECONDS = 0.5
REPORT_SECONDS = 1.0
SECONDS_LIMIT = 10**11
DUMP_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class DropReason(StrEnum):
    """Why an event was not delivered."""

    BUFFER_FULL = "buffer_full"  # max_buffered events wait already
    INVALID = "invalid"  # not an event: nothing was predicted, no model, not JSON, …
    TOO_LARGE = "too_large"  # larger than the client or the broker takes
    NOT_DELIVERED = "not_delivered"  # the broker refused it, or did not take it in time or before close
    CLOSED = "closed"  # logged after close


# What the client answers for an event that close() gives up, in our users' words.
PURGED = {
    KafkaError._PURGE_QUEUE: "the logger was closed before it was sent",
    KafkaError._PURGE_INFLIGHT: "the logger was closed before the broker confirmed it; it may have arrived",
}


@dataclass(frozen=True, slots=True)
class Drop:
    """One event that was not delivered. ``detail``: a sentence with what was wrong."""

    reason: DropReason
    kind: Kind
    model: str
    prediction_id: str
    detail: str


class PredictionLogger:
    """Writes predictions and labels to Kafka in the background.

    ``prediction`` and ``label`` put the event into a bounded buffer and
    return at once; they raise nothing and wait for nobody, whatever the
    broker does. Delivery is idempotent and acknowledged by all in-sync
    replicas, in order per model, to the model's home partition.

    An event that is not known to have been delivered is dropped: counted
    once in ``dropped``, by reason, and told once to ``on_drop``, in whichever
    thread finds out (a caller's, that of ``flush`` or ``close``, or our own):
    keep that function short; what it raises is logged and goes no further.

    What is buffered is flushed when the interpreter exits, at ``close`` and
    at the end of a ``with`` block. A process that is killed, or left by
    ``os._exit``, loses its buffer; a worker of ``multiprocessing`` does not.

    One logger serves all threads of a process and lives until it is closed or
    the interpreter exits: make one for the process, not one a request. It
    survives ``fork``, whatever other threads are doing at that moment: each
    child gets a producer of its own at its first event and counts its own
    drops from zero; what a parent had buffered is sent by the parent alone.

    Args:
        bootstrap: ``bootstrap.servers``; None reads STREAMER_BOOTSTRAP, then 127.0.0.1:9092.
        model: the model, where a call names none.
        version: the version, where a call names none.
        predictions_topic: name of the topic of predictions.
        labels_topic: name of the topic of labels.
        partitioner: as the worker's setting: ``murmur2`` or ``crc32``.
        max_buffered: events that may wait for the broker; above it they are dropped.
        on_drop: called with each ``Drop``, from any thread.
        kafka: more librdkafka settings (SASL, TLS, linger.ms, …).

    Raises:
        ValueError: ``partitioner`` or ``max_buffered`` cannot be used.
        KafkaException: librdkafka refuses a setting in ``kafka``.
    """

    def __init__(
        self,
        bootstrap: str | None = None,
        *,
        model: str | None = None,
        version: str | None = None,
        predictions_topic: str = "predictions",
        labels_topic: str = "labels",
        partitioner: Partitioner = "murmur2",
        max_buffered: int = 100_000,
        on_drop: Callable[[Drop], None] | None = None,
        kafka: Mapping[str, Any] | None = None,
    ) -> None:
        if partitioner not in LIBRDKAFKA_NAMES:
            raise ValueError(f"partitioner is {partitioner!r}; it can be {' or '.join(LIBRDKAFKA_NAMES)}")
        if max_buffered < 1:
            raise ValueError(f"max_buffered is {max_buffered}; it must be at least 1")
        self.model, self.version = model, version
        self.on_drop = on_drop
        self._topics: dict[Kind, str] = {"prediction": predictions_topic, "label": labels_topic}
        self._kinds: dict[str, Kind] = {topic: kind for kind, topic in self._topics.items()}
        self._config: dict[str, Any] = {
            "bootstrap.servers": bootstrap or os.environ.get("STREAMER_BOOTSTRAP") or BOOTSTRAP,
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.kbytes": 262_144,
            **(kafka or {}),
            "queue.buffering.max.messages": max_buffered,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": LIBRDKAFKA_NAMES[partitioner],
            "delivery.report.only.error": True,
            "on_delivery": self._reported,
            "error_cb": _note,
            "logger": log,
        }
        # A wrong setting is an error here, where somebody sees it, not at the first event.
        Producer({**self._config, "bootstrap.servers": ""})
        self._closed = False
        self._born()
        _LOGGERS.add(self)

    def prediction(
        self,
        prediction: Scalar,
        *,
        model: str | None = None,
        version: str | None = None,
        prediction_id: str | None = None,
        score: float | None = None,
        scores: Mapping[str, float] | None = None,
        features: Mapping[str, Scalar] | None = None,
        segments: Mapping[str, str] | None = None,
        latency_ms: float | None = None,
        timestamp: Timestamp | None = None,
    ) -> str:
        """Log one prediction; answers its id, a new uuid where none was given.

        ``score``: P(positive) in [0, 1]; ``scores``: class → probability;
        ``timestamp``: when it was made, a datetime with its zone or epoch
        milliseconds, by default now. Keep the id: the label needs it.
        """
        prediction_id = str(prediction_id) if prediction_id is not None else str(uuid.uuid4())
        optional = {
            "version": version if version is not None else self.version,
            "score": score,
            "scores": scores,
            "features": features,
            "segments": segments,
            "latency_ms": latency_ms,
        }
        event = {"prediction": prediction} | {k: v for k, v in optional.items() if v is not None}
        self._send("prediction", model, prediction_id, prediction, timestamp, event)
        return prediction_id

    def label(
        self,
        prediction_id: str,
        label: Scalar,
        *,
        model: str | None = None,
        timestamp: Timestamp | None = None,
    ) -> None:
        """Log the truth about a prediction, whenever it is known."""
        self._send("label", model, str(prediction_id), label, timestamp, {"label": label})

    @property
    def dropped(self) -> Mapping[DropReason, int]:
        """Events dropped in this process so far, by reason; reasons that never happened are missing."""
        with self._lock:
            return dict(self._dropped)

    @property
    def buffered(self) -> int:
        """How many events wait for the broker; for a moment a client's error may count as one too."""
        producer = self._producer
        return len(producer) if producer is not None else 0

    def flush(self, seconds: float = EXIT_SECONDS) -> int:
        """Wait until the buffer is empty; answers how many events were still waiting after ``seconds``."""
        producer = self._producer
        if producer is None:
            return 0
        try:
            return int(producer.flush(seconds))
        except RuntimeError:  # another thread has closed the logger meanwhile: nothing waits any more
            return 0

    def close(self, seconds: float = EXIT_SECONDS) -> int:
        """Take no more events, flush, and drop what is left after ``seconds``; answers how many that was.

        Those are counted and told to ``on_drop`` (``not_delivered``) before
        this returns; one that was just on its way may have arrived all the
        same. Events logged from now on are dropped as ``closed``. Our thread
        and its connections end soon after. Does nothing the second time.
        """
        with self._lock:
            if self._closed:
                return 0
            self._closed = True  # under the lock, so that no event comes in behind the flush
        before = self._undelivered()
        try:
            self.flush(seconds)
        finally:  # Ctrl-C in the flush too: what it leaves behind is to be counted
            self._give_up()
        lost = self._undelivered() - before
        if lost:
            log.warning("closed with %d events that the broker had not taken within %.0f s", lost, seconds)
        return lost

    def __enter__(self) -> PredictionLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside --------------------------------------------------------------------------

    def _born(self) -> None:
        """A fresh start, in a new object or in a forked child."""
        # Reentrant: the handler of a signal may log or close while its own thread is in here.
        self._lock = threading.RLock()
        self._producer: Producer | None = None
        self._dropped: Counter[DropReason] = Counter()
        self._given_up = False

    def _forked(self) -> None:
        # librdkafka's threads do not exist in the child, so destroying the parent's producer here
        # would wait for them for ever, at the interpreter's end too: it is never let go of.
        if self._producer is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._producer))
        self._born()

    def _ready(self) -> Producer:
        """This process's producer, made at its first event; the lock is held."""
        if self._producer is None:
            made = Producer(self._config)
            if self._producer is None:  # else the handler of a signal has logged while ours was made
                self._producer = made
                name = "prediction-logger"
                threading.Thread(target=self._serve, args=(made,), name=name, daemon=True).start()
                self._close_with_pool_worker()
        return self._producer

    def _serve(self, producer: Producer) -> None:
        """Serve delivery reports until the logger is closed and each event accounted for; then disconnect."""
        while not self._given_up or len(producer):
            producer.poll(POLL_SECONDS)
        # Here and not in close(), because it waits for connections: a slow name server can take long.
        producer.close()
        self._producer = None

    def _close_with_pool_worker(self) -> None:
        """A child of multiprocessing leaves by os._exit: no atexit, but finalizers of its own."""
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self.close, exitpriority=0)

    def _give_up(self) -> None:
        """Drop what is still buffered: purged events are reported as failed."""
        producer = self._producer
        if producer is not None and (waiting := len(producer)):
            # The client hands `blocking` on as librdkafka's NON_BLOCKING: True does not wait, as we must not
            # for a broker thread that a fork has left stuck in getaddrinfo.
            producer.purge(blocking=True)
            left = producer.flush(REPORT_SECONDS)
            while 0 < left < waiting:  # on_drop takes its time
                waiting, left = left, producer.flush(REPORT_SECONDS)
        self._given_up = True

    def _undelivered(self) -> int:
        with self._lock:
            return self._dropped[DropReason.NOT_DELIVERED] + self._dropped[DropReason.TOO_LARGE]

    def _send(
        self,
        kind: Kind,
        model: str | None,
        prediction_id: str,
        value: object,
        timestamp: Timestamp | None,
        event: dict[str, Any],
    ) -> None:
        name = model if model is not None else self.model or ""
        try:
            if not isinstance(name, str) or not name:
                return self._invalid(kind, str(name), prediction_id, "an event needs a model's name")
            if _is_nothing(value) or not prediction_id:
                missing = "prediction_id" if not prediction_id else f"{kind}, not {value!r}"
                return self._invalid(kind, name, prediction_id, f"an event needs a {missing}")
            event |= {"prediction_id": prediction_id, "model": name, "timestamp": _milliseconds(timestamp)}
            payload = orjson.dumps(event, option=DUMP_OPTIONS)
            with self._lock:
                if not self._closed:
                    return self._ready().produce(self._topics[kind], payload, name.encode())
            self._drop(DropReason.CLOSED, kind, name, prediction_id, "the logger is closed")
        except BufferError:
            self._drop(
                DropReason.BUFFER_FULL,
                kind,
                name,
                prediction_id,
                "the broker takes events too slowly, or none",
            )
        except KafkaException as error:
            size = error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
            reason = DropReason.TOO_LARGE if size else DropReason.NOT_DELIVERED
            self._drop(reason, kind, name, prediction_id, error.args[0].str())
        except Exception as error:  # whatever the caller handed in: a monitor must not break its service
            self._invalid(kind, str(name), prediction_id, f"{type(error).__name__}: {error}")
        return None

    def _invalid(self, kind: Kind, model: str, prediction_id: str, detail: str) -> None:
        self._drop(DropReason.INVALID, kind, model, prediction_id, detail)

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        """The broker did not take an event, for good."""
        if error is None:
            return
        code = error.code()
        reason = DropReason.TOO_LARGE if code == KafkaError.MSG_SIZE_TOO_LARGE else DropReason.NOT_DELIVERED
        try:
            event = orjson.loads(message.value() or b"{}")
        except orjson.JSONDecodeError:
            event = {}
        kind = self._kinds.get(message.topic() or "", "prediction")
        detail = PURGED.get(code, error.str())
        self._drop(reason, kind, event.get("model", ""), event.get("prediction_id", ""), detail)

    def _drop(self, reason: DropReason, kind: Kind, model: str, prediction_id: str, detail: str) -> None:
        with self._lock:
            self._dropped[reason] += 1
            first = self._dropped[reason] == 1
        if first:
            log.warning("dropped a %s of %r (%s): %s; more are only counted", kind, model, reason, detail)
        if self.on_drop is not None:
            try:
                self.on_drop(Drop(reason, kind, model, prediction_id, detail))
            except Exception:
                log.exception("on_drop failed")


_LOGGERS: weakref.WeakSet[PredictionLogger] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_LOGGERS):
        each._forked()


os.register_at_fork(after_in_child=_after_fork)


def _close_all() -> None:
    """At the interpreter's exit: all loggers within the time of one."""
    end = time.monotonic() + EXIT_SECONDS
    for each in list(_LOGGERS):
        each.close(max(0.0, end - time.monotonic()))


atexit.register(_close_all)


def _is_nothing(value: object) -> bool:
    """Whether there is no prediction or label in this: JSON has no NaN, so it would arrive as null."""
    return value is None or (isinstance(value, Real) and not math.isfinite(value))


def _milliseconds(timestamp: Timestamp | None) -> int:
    if timestamp is None:
        return time.time_ns() // 1_000_000
    if isinstance(timestamp, datetime):
        if timestamp.tzinfo is None:
            raise ValueError("a datetime without a time zone could mean any hour: give it one")
        return int(timestamp.timestamp() * 1000)
    if 0 <= timestamp < SECONDS_LIMIT:
        raise ValueError(f"the timestamp {timestamp} looks like seconds: give milliseconds or a datetime")
    return int(timestamp)


def _note(error: KafkaError) -> None:
    log.debug("%s", error.str())
