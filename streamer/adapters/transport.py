"""A Faust transport: one message per run of records, in the order of ``merge``.

Stock Faust costs some 80 us per event, most of it per message and not per
byte. Here a message is a run of up to some thousand records of one partition,
so Faust's agents, timers and supervision cost next to nothing.

Faust is told once, at the start, that it has every partition of both topics,
and never of a rebalance: which partitions are really ours, where they begin
and what is stale is ``ownership``'s business. So Faust never clears its queues
under us nor waits for them. tests/contracts holds every internal used here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import Message, libversion
from faust.transport import base
from faust.transport import consumer as faust_consumer
from faust.transport import producer as faust_producer
from faust.types import TP, ConsumerMessage

GENERATION = 1


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive records of one topic of one partition, next in the merged order."""

    kind: int
    partition: int
    epoch: int
    records: list[Message]


class RunSource(Protocol):
    """Where the runs come from: ``ownership``."""

    topics: tuple[str, str]
    partitions: int

    async def begin(self) -> None: ...
    async def next_runs(self, timeout: float) -> list[Run]: ...
    async def end(self) -> None: ...


class ChunkConsumer(faust_consumer.Consumer):
    """Hands the source's runs to Faust; acks and commits are not Faust's here."""

    async def on_start(self) -> None:
        self._source: RunSource = self.app.run_source
        self._sequence = 0
        self._began: asyncio.Task[None] | None = None

    async def subscribe(self, topics: Iterable[str]) -> None:
        if self._began is None:
            self._began = asyncio.create_task(self._begin())

    async def _begin(self) -> None:
        """Tell Faust that it has everything, then let the source join its group."""
        self.app.consumer_generation_id = GENERATION
        self.app.on_rebalance_start()
        await self.on_partitions_assigned(self.assignment(), GENERATION)
        await self._source.begin()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        for run in await self._source.next_runs(timeout):
            tp = TP(self._source.topics[0], run.partition)
            # Faust drops what does not rise within a partition; offsets fall back
            # after a restore, so it gets a number of our own.
            self._sequence += 1
            yield (
                tp,
                ConsumerMessage(
                    tp.topic,
                    tp.partition,
                    self._sequence,
                    0.0,
                    0,
                    None,
                    None,
                    run,
                    None,
                    0,
                    0,
                    tp,
                    generation_id=GENERATION,
                ),
            )

    def ack(self, message: Any) -> bool:
        message.acked = True
        return True

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        return False

    async def on_stop(self) -> None:
        if self._began is not None:
            await self._source.end()
        await super().on_stop()

    def assignment(self) -> set[TP]:
        source = self._source
        return {TP(topic, number) for topic in source.topics for number in range(source.partitions)}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        return {}

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        return {}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        return False

    async def _seek(self, partition: TP, offset: int) -> None:
        return None

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        return None

    async def position(self, tp: TP) -> int | None:
        return None

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return {}

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        return None

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        return None

    def highwater(self, tp: TP) -> int:
        return 0

    def topic_partitions(self, topic: str) -> int | None:
        return self._source.partitions

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        return partition

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        raise AssertionError("getmany makes the messages")


class NoProducer(faust_producer.Producer):
    """Faust produces nothing: what leaves goes through the partitions' transactions."""

    async def on_start(self) -> None:
        return None

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("agents publish through the checkpoint")

    async def flush(self) -> None:
        return None

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        return None

    def key_partition(self, topic: str, key: bytes) -> TP:
        return TP(topic, 0)


class Transport(base.Transport):
    """Registered under the scheme ``librdkafka``."""

    Consumer = ChunkConsumer
    Producer = NoProducer
    default_port = 9092
    driver_version = f"librdkafka {libversion()[0]}"
