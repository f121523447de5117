"""From nothing to a live partition: fence, read, check, build. Blocks: call it in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from streamer.adapters.kafka import (
    ASK_SECONDS,
    ClientConfig,
    admin_of,
    ask,
    error_of,
    log_offsets,
    offset_in,
    offsets_of,
)
from streamer.adapters.transactions import PartitionWriter, Rooms, Unreachable, Unwritable, read_state
from streamer.checkpoint import Checkpoint, Codec, UntrustedState
from streamer.domain.objectives import Objectives
from streamer.domain.partition import Partition
from streamer.pipeline import Pipeline

REREADS = 3


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
    routed: bool = False

    def restore(
        self, number: int, writer: PartitionWriter | None, gone: threading.Event | None = None
    ) -> Restored:
        """The whole way back. ``writer``: the one at hand, None at an assignment, which fences.

        ``gone``: set once nobody waits for the partition any more.

        Raises:
            UntrustedState, Unwritable: nothing was overwritten.
            Unreachable, Fenced: try again while the partition is still ours.
        """
        if writer is None:
            writer = PartitionWriter(self.base, self.group, number, self.rooms, gone)
            writer.take_over()
        expected = self._commit_seen_by_group(number)
        for reread in range(REREADS):
            raw = self._read(number, writer.gone)
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

    def _read(self, number: int, gone: threading.Event) -> dict[bytes, bytes]:
        try:
            return read_state(self.base, self.group, self.state_topic, number, gone=gone)
        except KafkaException as error:
            if error_of(error).code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise
            raise Unwritable(
                f"partition {number}: its state cannot be read ({error_of(error).str()}). Let this worker"
                f" read {self.state_topic}, as `streamer topics acls` says, then restart it"
            ) from error

    def _build(self, number: int) -> Pipeline:
        partition = Partition(self.objectives, lambda model: self.home(model) == number)
        return Pipeline(partition, number, self.topics, self.decode, self.max_value, self.routed)

    def _commit_seen_by_group(self, number: int) -> int | None:
        """The commit number in the group's metadata: to notice stale state, not to trust."""
        try:
            return commit_seen_by_group(self.base, self.group, self.topics[0], number)
        except (KafkaException, TimeoutError) as error:
            why = error or "no answer"
            raise Unreachable(f"partition {number}: the group's offsets: {why}") from error

    def ends(self, numbers: Sequence[int]) -> dict[tuple[int, int], int]:
        """(kind, partition) → the offset after its last committed record, of those whose leader answers.

        A reader's own cached offsets would do, but asking it from another thread can
        block for many seconds while it is reading.
        """
        admin = admin_of(self.base)
        at = {TopicPartition(topic, n): (kind, n) for kind, topic in enumerate(self.topics) for n in numbers}
        asked = dict.fromkeys(at, OffsetSpec.latest())
        answers = admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ASK_SECONDS
        )
        found: dict[tuple[int, int], int] = {}
        for each, future in answers.items():
            try:
                [answer] = ask([future])
                found[at[each]] = offset_in(answer)
            except KafkaException:
                continue
            except TimeoutError:
                break  # they were asked together: the others will not answer either
        return found

    def _beginning(self, number: int) -> list[int]:
        """The oldest offsets that are still there."""
        admin = admin_of(self.base)
        asked = {TopicPartition(topic, number): OffsetSpec.earliest() for topic in self.topics}
        try:
            found = log_offsets(admin, asked, seconds=ASK_SECONDS)
        except (KafkaException, TimeoutError) as error:
            why = error or "no answer"
            raise Unreachable(f"partition {number}: the oldest offsets: {why}") from error
        return [found[topic, number] for topic in self.topics]


def commit_seen_by_group(base: ClientConfig, group: str, topic: str, number: int) -> int | None:
    """The commit number that the group's offset of one partition carries, None where there is none.

    Raises:
        KafkaException, TimeoutError: no answer.
    """
    with offsets_of(base, group, ASK_SECONDS) as offsets:
        [found] = offsets([TopicPartition(topic, number)])
    metadata = found.metadata or ""
    return int(metadata) if metadata.isdigit() else None
