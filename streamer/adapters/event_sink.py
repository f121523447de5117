"""Writes events as a well-behaved service would, but waits instead of dropping: for replay and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streamer.adapters.kafka import ClientConfig, error_of, log
from streamer.adapters.topics import ALLOW_IT
from streamer.errors import StreamerError
from streamer.home import LIBRDKAFKA_NAMES, Partitioner

FLUSH_SECONDS = 120.0


class NotDelivered(StreamerError):
    """The broker did not take everything; the message says how much and why."""


class EventSink:
    """Predictions and labels into Kafka, in order, each to its model's home, acknowledged by all replicas."""

    def __init__(
        self, base: ClientConfig, predictions: str, labels: str, partitioner: Partitioner = "murmur2"
    ) -> None:
        self._topics = (predictions, labels)
        self._failure: KafkaError | None = None
        self.sent = 0
        self._producer = Producer(
            {
                "linger.ms": 5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 200_000,
                **base,
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": LIBRDKAFKA_NAMES[partitioner],
                "delivery.report.only.error": True,
                "on_delivery": self._reported,
                "logger": log,
            }
        )

    def prediction(self, event: Mapping[str, Any]) -> None:
        self.put(0, event["model"], orjson.dumps(event))

    def label(self, event: Mapping[str, Any]) -> None:
        self.put(1, event["model"], orjson.dumps(event))

    def put(self, kind: int, model: str, value: bytes) -> None:
        """Any bytes to predictions (0) or labels (1); waits while the buffer is full.

        Raises:
            NotDelivered: this event is larger than the client takes, or an earlier one was given up.
        """
        while True:
            try:
                self._producer.produce(self._topics[kind], value, model.encode())
                break
            except BufferError:
                self._producer.poll(0.1)
                self._check()
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                raise NotDelivered(
                    f"event {self.sent + 1:,}, of {model}, is larger than message.max.bytes"
                    f" of the client settings: {len(value):,} bytes"
                ) from None
        self.sent += 1
        if self.sent % 1000 == 0:
            self._producer.poll(0)
            self._check()

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until the broker has everything. Raises NotDelivered."""
        left = self._producer.flush(seconds)
        self._check()
        if left:
            raise NotDelivered(
                f"the broker has not taken {left} of {self.sent} events within {seconds:.0f} s"
            )

    def _reported(self, error: KafkaError | None, _: Message) -> None:
        self._failure = self._failure or error

    def _check(self) -> None:
        if self._failure is not None:
            cure = f". {ALLOW_IT}" if self._failure.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED else ""
            raise NotDelivered(f"the broker did not take an event: {self._failure.str()}{cure}")
