"""From nothing to a live partition: fence, read, check, build. Blocks: call it in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streamer.adapters.kafka import ClientConfig, admin_of
from streamer.adapters.transactions import PartitionWriter, Rooms, Unreachable, read_state
from streamer.checkpoint import Checkpoint, Codec, UntrustedState
from streamer.domain.objectives import Objectives
from streamer.domain.partition import Partition
from streamer.pipeline import Pipeline

REREADS = 3
ENDS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Restored:
    """``first``: there was no state; a manifest has to be committed before the first read."""

    pipeline: Pipeline
    checkpoint: Checkpoint
    writer: PartitionWriter
    first: bool


@dataclass(frozen=True, slots=True)
class Restorer:
    """Makes a partition's pipeline as of its last commit. ``home``: model → partition."""

    base: ClientConfig
    group: str
    topics: tuple[str, str]
    state_topic: str
    partitions: int
    rooms: Rooms
    codec: Codec
    objectives: Objectives
    home: Callable[[str], int]
    identity: Mapping[str, Any]
    decode: Callable[[Any], Any]
    max_value: int = 1_000_000

    def restore(self, number: int, writer: PartitionWriter | None) -> Restored:
        """The whole way back. ``writer``: the one at hand, None at an assignment, which fences.

        Raises:
            UntrustedState: nothing was overwritten.
            Unreachable, Fenced: try again while the partition is still ours.
        """
        if writer is None:
            writer = PartitionWriter(self.base, self.group, number, self.rooms)
            writer.take_over()
        expected = self._commit_seen_by_group(number)
        for reread in range(REREADS):
            raw = read_state(self.base, self.group, self.state_topic, number)
            checkpoint = Checkpoint(self.codec, self.identity)
            try:
                pipeline = checkpoint.restore(raw, lambda: self._build(number), expected)
                break
            except UntrustedState:
                if reread == REREADS - 1:
                    raise
        first = checkpoint.number == 0
        if first:
            pipeline.positions = self._beginning(number)
        return Restored(pipeline, checkpoint, writer, first)

    def _build(self, number: int) -> Pipeline:
        partition = Partition(self.objectives, lambda model: self.home(model) == number)
        return Pipeline(partition, number, self.topics, self.decode, self.max_value)

    def _commit_seen_by_group(self, number: int) -> int | None:
        """The commit number in the group's metadata: to notice stale state, not to trust."""
        asked = ConsumerGroupTopicPartitions(self.group, [TopicPartition(self.topics[0], number)])
        admin = admin_of(self.base)  # held: a client that is collected cancels what it was asked
        try:
            futures = admin.list_consumer_group_offsets([asked], request_timeout=10)
            found = futures[self.group].result(12).topic_partitions
        except KafkaException as error:
            raise Unreachable(f"partition {number}: the group's offsets: {error}") from error
        metadata = (found[0].metadata if found else None) or ""
        return int(metadata) if metadata.isdigit() else None

    def ends(self, numbers: Sequence[int]) -> dict[tuple[int, int], int]:
        """(kind, partition) → the offset after its last record. Empty where the broker does not answer.

        A reader's own cached offsets would do, but asking it from another thread can
        block for many seconds while it is reading.
        """
        admin = admin_of(self.base)
        at = {(kind, n): TopicPartition(topic, n) for kind, topic in enumerate(self.topics) for n in numbers}
        try:
            asked = dict.fromkeys(at.values(), OffsetSpec.latest())
            answers = admin.list_offsets(asked, request_timeout=ENDS_SECONDS)
            found = {(each.topic, each.partition): f.result(ENDS_SECONDS) for each, f in answers.items()}
        except (KafkaException, TimeoutError):
            return {}
        return {key: int(found[each.topic, each.partition].offset) for key, each in at.items()}

    def _beginning(self, number: int) -> list[int]:
        """The oldest offsets that are still there."""
        admin = admin_of(self.base)
        asked = {TopicPartition(topic, number): OffsetSpec.earliest() for topic in self.topics}
        try:
            answers = admin.list_offsets(asked, request_timeout=10)
            found = {at.topic: future.result(10).offset for at, future in answers.items()}
        except KafkaException as error:
            raise Unreachable(f"partition {number}: the oldest offsets: {error}") from error
        return [found[topic] for topic in self.topics]
