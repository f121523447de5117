"""The member of the consumer group: it learns which partitions are ours, and reads nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streamer.adapters.kafka import close_quietly, log

Revoked = Callable[[set[int], bool], None]
HEARTBEATS_IN_DOUBT = 3


class Member:
    """One client in the group, for predictions alone: labels follow by hand.

    ``revoked`` gets the partitions and whether they are lost. ``trouble``: what
    the client last complained of, None once it has its partitions.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: tuple[str, str],
        assigned: Callable[[set[int]], None],
        revoked: Revoked,
        expelled: Callable[[KafkaError], None],
    ) -> None:
        self._config, self._topics = dict(config), topics
        self._assigned, self._revoked, self._expelled = assigned, revoked, expelled
        self.trouble: str | None = None
        self._rejoin_at: float | None = None
        self._belongs = False
        self._client = Consumer(self._config)

    @property
    def _static(self) -> bool:
        """Has it a name of its own in the group?"""
        return "group.instance.id" in self._config

    def join(self) -> None:
        self._client.subscribe(
            [self._topics[0]],
            on_assign=self._on_assign,
            on_revoke=lambda client, tps: self._on_revoke(client, tps, lost=False),
            on_lost=lambda client, tps: self._on_revoke(client, tps, lost=True),
        )

    def poll(self, timeout: float) -> None:
        """Serve the group: heartbeats, rebalances. It reads nothing, so what comes back is an error."""
        message = self._client.poll(timeout)
        error = None if message is None else message.error()
        if error is not None:
            self.trouble = error.str()
            log.warning("the group: %s", error.str())
            # The client knows what is fatal by its code alone: the flag is for producers.
            if error.code() == KafkaError._FATAL:
                self._rejoin_at = None
                self._expelled(error)
        if self._rejoin_at is not None and time.monotonic() >= self._rejoin_at:
            self._renew()

    def rejoin(self) -> None:
        """Leave the group and join it again.

        A static member waits for some heartbeats: was it replaced under its own name, they
        expel it, while joining at once would throw its heir out.
        """
        beat = int(self._config.get("heartbeat.interval.ms", 0)) / 1000
        self._rejoin_at = time.monotonic() + (HEARTBEATS_IN_DOUBT * beat if self._static else 0.0)

    def _renew(self) -> None:
        self._rejoin_at = None
        # A new client: a static member that subscribes again under its old one is fenced by itself,
        # for good, as soon as an offset commit of its earlier life fails.
        close_quietly(self._client)
        self._client = Consumer(self._config)
        self.join()

    def commit(self, partition: int, positions: tuple[int, int], number: int) -> None:
        """Tell the group how far we are; of an earlier life it is told nothing.

        Whoever is still joining has no identity yet: a static one that commits all the
        same is taken for somebody else under its name, and expelled for good.
        """
        if not self._belongs:
            return
        offsets = [
            TopicPartition(topic, partition, offset, str(number))
            for topic, offset in zip(self._topics, positions, strict=True)
        ]
        self._client.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        close_quietly(self._client)

    def _on_assign(self, client: Consumer, tps: list[TopicPartition]) -> None:
        client.assign([])  # the member reads nothing; the readers do
        self.trouble = None
        self._belongs = True
        self._assigned({tp.partition for tp in tps})

    def _on_revoke(self, client: Consumer, tps: list[TopicPartition], lost: bool) -> None:
        # Saved first: this tells the group that they are free, and others are given them at once.
        self._revoked({tp.partition for tp in tps}, lost)
        self._belongs = False
        client.unassign()
        if lost and self._static:
            # It joins again by itself, and a late commit of its earlier life would expel it then.
            self.rejoin()
