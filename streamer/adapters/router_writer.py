"""The router's transactions: records for the workers, and how far the sources are routed, or neither."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, Producer, TopicPartition

from streamer.adapters.kafka import ClientConfig, producer_config
from streamer.adapters.transactions import PartitionWriter, Rooms, Unwritable
from streamer.checkpoint import Commit, OutRecord
from streamer.routing import Routed

OFFSETS_SECONDS = 5.0
_OFFSETS = OutRecord("offsets", b"", None)  # stands for them, behind the last record


class RouterWriter(PartitionWriter):
    """One producer for all partitions. Its methods block; every wait ends once ``gone`` is set.

    The group's generation goes with the offsets: the broker refuses them from a router whose
    partitions others have by now, and nothing of its transaction is ever seen.
    ``waiting`` is called whenever it waits for a broker.
    """

    def __init__(
        self, base: ClientConfig, transactional_id: str, rooms: Rooms, waiting: Callable[[], None]
    ) -> None:
        # Not of one partition, as the writer that it is otherwise: its id says whose it is.
        self.rooms, self.partition, self.waiting = rooms, -1, waiting
        self.stamped = lambda broker_ms: None
        self.gone = threading.Event()
        self._producer = Producer(producer_config(base, transactional_id))
        self._offsets: list[TopicPartition] = []
        self._membership: Any = None

    def attempt(
        self, records: Sequence[Routed], offsets: list[TopicPartition], membership: Any
    ) -> KafkaError | None:
        """None: all of it is written. Else nothing is, and why.

        Raises:
            Fenced: somebody else has this transactional id, or the transaction outlived its timeout.
            Unwritable: it would be refused each time.
            Unreachable: ``gone`` was set while the outcome was unknown.
        """
        self._offsets, self._membership = offsets, membership
        return self._attempt(Commit(0, [*records, _OFFSETS], (0, 0), 0, 0))

    def _produce(self, record: OutRecord, on_delivery: Callable[..., None] | None) -> None:
        if not isinstance(record, Routed):
            self._producer.send_offsets_to_transaction(self._offsets, self._membership, OFFSETS_SECONDS)
            return
        topic, headers = self.rooms.topic_of(record), list(record.headers)
        assert topic is not None
        while True:
            try:
                self._producer.produce(
                    topic, record.value, record.key or None, record.partition, headers=dict(headers)
                )
                return
            except BufferError:
                self._producer.poll(0.05)
                self._wait(0.0)

    def _unwritable(self, error: KafkaError, record: OutRecord | None = None) -> Unwritable:
        return Unwritable(
            f"what the sources hold cannot be brought to {', '.join(map(str, self.rooms.topics.values()))}"
            f" ({error.str()}). Let this worker write there, records as large as `streamer topics create`"
            " allows, and commit offsets; `streamer topics acls` prints what has to be allowed"
        )

    def _wait(self, seconds: float) -> None:
        self.waiting()
        super()._wait(seconds)
