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
import os
import threading
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
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
DUMP_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class DropReason(StrEnum):
    """Why an event was not delivered."""

    BUFFER_FULL = "buffer_full"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    NOT_DELIVERED = "not_delivered"
    CLOSED = "closed"


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
    broker does. What cannot be delivered is counted in ``dropped`` and told
    to ``on_drop`` (from any thread; keep it short). Delivery is idempotent
    and acknowledged by all in-sync replicas, in order per model, to the
    model's home partition.

    One logger serves all threads of a process. It survives ``fork``: each
    child gets a producer of its own at its first event, and what a parent
    had buffered is sent by the parent alone. What is buffered is flushed
    when the interpreter exits, at ``close`` and at the end of a ``with``
    block; a process that is killed, or left by ``os._exit``, loses its buffer.

    Args:
        bootstrap: ``bootstrap.servers``; None reads STREAMER_BOOTSTRAP, then 127.0.0.1:9092.
        model: the model, where a call names none.
        version: the version, where a call names none.
        predictions_topic: name of the topic of predictions.
        labels_topic: name of the topic of labels.
        partitioner: as the worker's setting: ``murmur2`` or ``crc32``.
        max_buffered: events that may wait for the broker; above it they are dropped.
        on_drop: called with each ``Drop``.
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
        self._dropped: Counter[DropReason] = Counter()
        self._closed = False
        self._born()
        _LOGGERS.add(self)
        atexit.register(_flush_at_exit, weakref.ref(self))

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
        ``timestamp``: when it was made, a datetime or epoch milliseconds, by
        default now. Keep the id: the label needs it.
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
        """How many events were dropped, by reason; reasons that never happened are missing."""
        return dict(self._dropped)

    @property
    def buffered(self) -> int:
        """How many events wait for the broker."""
        producer = self._producer
        return len(producer) if producer is not None and self._pid == os.getpid() else 0

    def flush(self, seconds: float = EXIT_SECONDS) -> int:
        """Wait until the buffer is empty; answers how many events were still waiting after ``seconds``."""
        producer = self._producer
        if producer is None or self._pid != os.getpid():
            return 0
        return int(producer.flush(seconds))

    def close(self, seconds: float = EXIT_SECONDS) -> int:
        """Flush and take no more events; answers how many were lost. Does nothing the second time."""
        if self._closed:
            return 0
        self._closed = True
        left = self.flush(seconds)
        if left:
            log.warning("closing with %d events that the broker has not taken within %.0f s", left, seconds)
        return left

    def __enter__(self) -> PredictionLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside --------------------------------------------------------------------------

    def _born(self) -> None:
        """A fresh start, in a new object or in a forked child."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def _forked(self) -> None:
        # librdkafka's threads do not exist in the child, so destroying the parent's producer here
        # would wait for them for ever, at the interpreter's end too: it is never let go of.
        if self._producer is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._producer))
        self._born()

    def _ready(self) -> Producer:
        producer = self._producer
        if producer is None:
            with self._lock:
                if self._producer is None:
                    self._producer = Producer(self._config)
                    name = "prediction-logger"
                    threading.Thread(target=_poll, args=(weakref.ref(self),), name=name, daemon=True).start()
                producer = self._producer
        return producer

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
            if self._closed:
                return self._drop(DropReason.CLOSED, kind, name, prediction_id, "the logger is closed")
            if not isinstance(name, str) or not name:
                return self._invalid(kind, str(name), prediction_id, "an event needs a model's name")
            if value is None or not prediction_id:
                missing = kind if value is None else "prediction_id"
                return self._invalid(kind, name, prediction_id, f"an event needs a {missing}")
            event |= {"prediction_id": prediction_id, "model": name, "timestamp": _milliseconds(timestamp)}
            payload = orjson.dumps(event, option=DUMP_OPTIONS)
            self._ready().produce(self._topics[kind], payload, name.encode())
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
        self._drop(reason, kind, event.get("model", ""), event.get("prediction_id", ""), error.str())

    def _drop(self, reason: DropReason, kind: Kind, model: str, prediction_id: str, detail: str) -> None:
        with self._lock:
            self._dropped[reason] += 1
            first = self._dropped[reason] == 1
        if first:
            log.warning("dropped a %s of %s (%s): %s; more are only counted", kind, model, reason, detail)
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


def _flush_at_exit(reference: weakref.ref[PredictionLogger]) -> None:
    logger = reference()
    if logger is not None:
        logger.close()


def _poll(reference: weakref.ref[PredictionLogger]) -> None:
    """Serve delivery reports until the logger is gone."""
    while (logger := reference()) is not None:
        producer = logger._producer
        del logger
        if producer is None:
            return
        producer.poll(POLL_SECONDS)


def _milliseconds(timestamp: Timestamp | None) -> int:
    if timestamp is None:
        return time.time_ns() // 1_000_000
    if isinstance(timestamp, datetime):
        if timestamp.tzinfo is None:
            raise ValueError("a datetime without a time zone could mean any hour: give it one")
        return int(timestamp.timestamp() * 1000)
    return int(timestamp)


def _note(error: KafkaError) -> None:
    log.debug("%s", error.str())
