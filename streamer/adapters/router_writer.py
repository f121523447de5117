"""The router's transactions: records for the workers, and how far the sources are routed, or neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from streamer.adapters.kafka import ClientConfig
from streamer.adapters.transactions import Rooms, TransactionalWriter, Unwritable
from streamer.checkpoint import OutRecord
from streamer.routing import Routed

OFFSETS_SECONDS = 5.0
_OFFSETS = OutRecord("offsets", b"", None)  # stands for them, behind the last record


class RouterWriter(TransactionalWriter):
    """One producer for all partitions.

    The group's generation goes with the offsets: the broker refuses them from a router whose
    partitions others have by now, and nothing of its transaction is ever seen.
    ``waiting`` is called whenever it waits for a broker.
    """

    def __init__(
        self, base: ClientConfig, transactional_id: str, rooms: Rooms, waiting: Callable[[], None]
    ) -> None:
        super().__init__(base, transactional_id, "the router", rooms)
        self.waiting = waiting
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
        return self._attempt([*records, _OFFSETS])

    def _produce(self, record: OutRecord, on_delivery: Callable[..., None] | None) -> None:
        if record is _OFFSETS:
            self._producer.send_offsets_to_transaction(self._offsets, self._membership, OFFSETS_SECONDS)
        else:
            super()._produce(record, on_delivery)

    def _place(self, record: OutRecord) -> tuple[int, bytes | None]:
        assert isinstance(record, Routed)
        return record.partition, record.key or None

    def _unwritable(self, error: KafkaError, record: OutRecord | None = None) -> Unwritable:
        return Unwritable(
            f"what the sources hold cannot be brought to {', '.join(map(str, self.rooms.topics.values()))}"
            f" ({error.str()}). Let this worker write there, records as large as `streamer topics create`"
            " allows, and commit offsets; `streamer topics acls` prints what has to be allowed"
        )

    def _wait(self, seconds: float) -> None:
        self.waiting()
        super()._wait(seconds)
