"""Hears what is written before it is committed: its transaction is under way."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, TopicPartition


class Wiretap:
    """Listens to all partitions of one topic from now on."""

    def __init__(self, base: Mapping[str, Any], topic: str, partitions: int) -> None:
        reader = {"group.id": "wiretap", "isolation.level": "read_uncommitted", "fetch.wait.max.ms": 5}
        self.topic = topic
        self.consumer = Consumer({**base, **reader})
        self.consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in range(partitions)])

    def hears(self, partitions: Collection[int], seconds: float = 1.0) -> bool:
        """Whether a record arrives within ``seconds``, not counting those from before the call."""
        deadline = time.monotonic() + seconds
        self.consumer.consume(100_000, 0.0)  # old ones
        while time.monotonic() < deadline:  # without a pause: a transaction is over in milliseconds
            message = self.consumer.poll(0.1)
            if message is not None and message.error() is None and message.partition() in partitions:
                return True
        return False

    def await_record_of(self, partitions: Collection[int], seconds: float = 30.0) -> None:
        """The same; raises where none arrives."""
        what = f"record of {self.topic}, partitions {sorted(partitions)}"
        assert self.hears(partitions, seconds), f"no {what} within {seconds:.0f} s"

    def close(self) -> None:
        self.consumer.close()
