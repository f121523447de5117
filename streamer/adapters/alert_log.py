"""The alerts topic as a subscriber reads it: committed transitions only, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streamer.adapters.kafka import ClientConfig, close_quietly, log, reader_config
from streamer.adapters.topics import required_topics

Alert = dict[str, Any]


class AlertLog:
    """Reads every partition of the alerts topic from its beginning, outside of any group."""

    def __init__(self, base: ClientConfig, topic: str, group: str = "streamer.alerts") -> None:
        self.topic = topic
        self._open = set(required_topics(base, [topic])[topic].partitions)
        # The offsets are ours alone; librdkafka still wants a group's name.
        config = reader_config(base, group) | {"auto.offset.reset": "earliest"}
        self._consumer = Consumer(config)
        self._consumer.assign([TopicPartition(topic, number, 0) for number in self._open])

    def so_far(self) -> list[Alert]:
        """Every transition up to now, in the order of their record times."""
        found: list[tuple[int, int, int, Alert]] = []
        while self._open:
            found += self._take(1.0)
        return [alert for *_, alert in sorted(found, key=lambda each: each[:3])]

    def follow(self, going: Callable[[], bool]) -> Iterator[Alert]:
        """Transitions as they are committed, while ``going()``."""
        while going():
            for *_, alert in self._take(0.2):
                yield alert

    @property
    def caught_up(self) -> bool:
        """Every partition was read to its end once."""
        return not self._open

    def records(self, seconds: float) -> list[Any]:
        """What was committed next, also without a value; waits for ``seconds`` where nothing was."""
        found: list[Any] = []
        # ``consume`` would wait for its whole time while there are fewer than asked for.
        first = self._consumer.poll(seconds)
        if first is None:
            return found
        rest: list[Any] = self._consumer.consume(1000, 0.0)
        for message in [first, *rest]:
            error = message.error()
            if error is not None:
                if error.code() == error._PARTITION_EOF:
                    self._open.discard(message.partition())
                elif error.fatal() or error.code() == error.TOPIC_AUTHORIZATION_FAILED:
                    raise KafkaException(error)
            else:
                found.append(message)
        return found

    def _take(self, seconds: float) -> list[tuple[int, int, int, Alert]]:
        found: list[tuple[int, int, int, Alert]] = []
        for message in self.records(seconds):
            if message.value() is None:
                continue
            alert = alert_in(message)
            if alert is None:
                say_no_alert(message)
            else:
                found.append((message.timestamp()[1], message.partition(), message.offset(), alert))
        return found

    def close(self) -> None:
        close_quietly(self._consumer)


def alert_in(message: Any) -> Alert | None:
    """None for what no worker wrote: whoever may write to the topic must not keep its readers from it."""
    try:
        alert = orjson.loads(message.value())
    except orjson.JSONDecodeError:
        return None
    return alert if isinstance(alert, dict) else None


def say_no_alert(message: Any) -> None:
    log.warning("%s/%d: offset %d is no alert", message.topic(), message.partition(), message.offset())


def still_firing(transitions: list[Alert]) -> list[Alert]:
    """The last word of every incident that is not over, oldest incident first."""
    latest = {str(alert.get("fingerprint")): alert for alert in transitions}
    return sorted(
        (alert for alert in latest.values() if alert.get("status") != "resolved"),
        key=lambda alert: str(alert.get("started_at")),
    )
