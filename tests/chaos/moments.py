"""What is committed and what is under way in the partitions, as the brokers see it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import ConsumerGroupState, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streamer.adapters.kafka import ASK_SECONDS, admin_of, ask, offset_in
from streamer.adapters.topics import Topics
from tests.deadline import wait_until

SETTLE_SECONDS = 0.1
_REBALANCING = (ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING)


class Moments:
    """Asks where the logs of state and trace end, what is committed of them, and how the group is."""

    def __init__(self, base: Mapping[str, Any], names: Topics) -> None:
        assert names.trace
        self.state, self.trace = names.state, names.trace
        self._base = base
        self._admin = admin_of(base)

    def committed(self, partitions: Collection[int]) -> dict[int, int]:
        """How far each partition's committed trace goes; 0: nothing was ever committed there."""
        return self._ends(self.trace, partitions, IsolationLevel.READ_COMMITTED)

    def rebalancing(self, group: str) -> bool:
        """Whether the group's coordinator waits for members to join, or for their leader to share out."""
        described = self._admin.describe_consumer_groups([group], request_timeout=ASK_SECONDS)
        [found] = ask(described.values())
        return found.state in _REBALANCING

    def under_way(self, partitions: Collection[int], topic: str = "") -> set[int]:
        """Where a transaction is open that nobody is about to end: its worker is dead, or sleeps.

        ``topic``: that of the state, if not said otherwise.
        """
        topic = topic or self.state
        open_ = self._open(topic, partitions)
        # Unless that had been asked for already: then it is over in a moment.
        try:
            wait_until(lambda: not self._open(topic, open_), SETTLE_SECONDS, "the transactions end")
        except AssertionError:
            return self._open(topic, open_)
        return set()

    def _open(self, topic: str, partitions: Collection[int]) -> set[int]:
        if not partitions:
            return set()
        stable = self._ends(topic, partitions, IsolationLevel.READ_COMMITTED)
        high = self._ends(topic, partitions, IsolationLevel.READ_UNCOMMITTED)
        return {number for number in partitions if stable[number] < high[number]}

    def _ends(self, topic: str, partitions: Collection[int], level: IsolationLevel) -> dict[int, int]:
        asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}
        try:
            answers = self._admin.list_offsets(asked, isolation_level=level, request_timeout=ASK_SECONDS)
            ask(answers.values())
            return {at.partition: offset_in(future.result()) for at, future in answers.items()}
        except (KafkaException, TimeoutError):
            # A client whose leader has died asks it again and again, for as long as it may.
            self._admin = admin_of(self._base)
            raise
