"""A deployment with a past, on a real broker, without a worker: topics, records, committed state, alerts."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streamer.adapters import codec
from streamer.adapters.deployment import Deployment, await_visible, look_at, read_raw, tell_group
from streamer.adapters.kafka import admin_of, ask, reader_config
from streamer.adapters.topics import Topics, create
from streamer.adapters.transactions import PartitionWriter, Rooms
from streamer.checkpoint import Checkpoint, Commit, OutRecord
from streamer.domain.objectives import Limits, Objectives
from streamer.domain.partition import Partition
from streamer.home import home
from streamer.pipeline import Pipeline
from tests.deadline import wait_until
from tests.domain.feed import feed
from tests.domain.traffic import objectives, traffic
from tests.e2e.oracle import committed, write
from tests.test_stored import split

PARTITIONS = 2
RECORDS = 400
Place = tuple[str, int]  # topic and partition


class Stage:
    """``pipelines``: what lives in the state topic, as nobody ever stopped it."""

    def __init__(
        self, bootstrap: str, names: Topics, partitions: int, seed: int = 1, group: str | None = None
    ) -> None:
        self.bootstrap, self.names, self.partitions = bootstrap, names, partitions
        self.base: dict[str, Any] = {"bootstrap.servers": bootstrap}
        self.group = self.owner = group or f"{names.state}-group"
        self.objectives = objectives(Limits())
        self.commits = dict.fromkeys(range(partitions), 0)
        self._kept_at: Deployment | None = None
        self.pipelines = self._live(seed)
        self._kept: dict[Place, dict[bytes, bytes]] = {}

    @property
    def at(self) -> Deployment:
        kept = self._kept_at
        if kept is not None and (kept.group, kept.topics) == (self.group, self.names):
            return kept  # nobody touches its sources
        return look_at(self.base, self.group, self.names, "murmur2")

    def fill(self, records: int = RECORDS) -> None:
        """So many records in each partition of the sources; what is in them does not matter here."""
        sources = (self.names.predictions, self.names.labels)
        write(
            self.bootstrap,
            [(t, p, b"", b"{}") for t in sources for p in range(self.partitions) for _ in range(records)],
        )

    def _live(self, seed: int) -> dict[int, Pipeline]:
        self.fill()
        at: Deployment = self.at
        found: dict[int, Pipeline] = {}
        rooms = Rooms({"trace": None, **self.names.by_role()})
        for number, steps in split(traffic(random.Random(seed), 300).steps, self.partitions).items():
            pipeline = found[number] = build(self.objectives, self.names, number, self.partitions)
            checkpoint = Checkpoint(codec, at.identity)
            writer = PartitionWriter(self.base, self.group, number, rooms)
            writer.take_over()
            for start in range(0, len(steps) + 1, 60):
                feed(pipeline, steps[start : start + 60])
                writer.write(checkpoint.prepare(pipeline))
                self.commits[number] = checkpoint.number
            writer.close()
        await_visible(at, range(self.partitions))
        self._tell_group(at, found)
        return found

    def _tell_group(self, at: Deployment, pipelines: dict[int, Pipeline]) -> None:
        positions = {number: (each.positions[0], each.positions[1]) for number, each in pipelines.items()}
        tell_group(at, positions, self.commits)

    # -- as it was --------------------------------------------------------------------------------

    def keep(self) -> None:
        """Remember what lies in ``state`` and ``alerts``, and what lives, for ``put_back``."""
        self._alive, self._kept_at = deepcopy(self.pipelines), self.at
        self._admin, self._producer = admin_of(self.base), Producer({**self.base, "linger.ms": 0})
        self._kept = {
            (topic, number): read_raw(self.base, self.owner, topic, number)
            for topic in (self.names.state, self.names.alerts)
            for number in range(self.partitions)
        }
        self._ends = self._look_at_ends()

    def put_back(self) -> None:
        """As a worker left it: state, the last word on each alert, the group's offsets, ``pipelines``.

        Not the sources, and not the number of partitions.
        """
        self.group, self.pipelines = self.owner, deepcopy(self._alive)
        ends = self._look_at_ends()
        if ends == self._ends:
            return
        for (topic, number), key in self._written_since(ends):
            self._producer.produce(topic, self._kept[topic, number].get(key), key, number)
        assert self._producer.flush(30) == 0
        self._tell_group(self.at, self.pipelines)
        self._ends = self._look_at_ends()

    def _written_since(self, ends: dict[Place, int]) -> set[tuple[Place, bytes]]:
        """Whose records lie between the ends that were known and these."""
        left = {place for place, end in ends.items() if end != self._ends[place]}
        found: set[tuple[Place, bytes]] = set()
        consumer = Consumer(reader_config(self.base, "tests"))
        consumer.assign([TopicPartition(*place, self._ends[place]) for place in left])

        def read() -> bool:
            messages: list[Any] = consumer.consume(10_000, 0.02)
            for message in messages:
                place = (message.topic(), message.partition())
                if message.error() is None:
                    found.add((place, message.key()))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(place)
            return not left

        wait_until(read, 60, "all is read that was written")
        consumer.close()
        return found

    def _look_at_ends(self) -> dict[Place, int]:
        asked = {TopicPartition(*place): OffsetSpec.latest() for place in self._kept}
        answers = self._admin.list_offsets(asked)
        ask(answers.values())
        return {(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}

    # -- what lies there ------------------------------------------------------------------------------

    def write_over(self, number: int, changes: dict[bytes, bytes | None]) -> None:
        """Write these records of state, past all checks."""
        self._commit(number, [OutRecord("state", key, value) for key, value in changes.items()])
        await_visible(self.at, [number])

    def _commit(self, number: int, records: list[OutRecord]) -> None:
        if not records:
            return
        rooms = Rooms({"trace": None, **self.names.by_role()})
        writer = PartitionWriter(self.base, self.group, number, rooms)
        writer.take_over()
        writer.write(Commit(0, records, (0, 0), 0, 0))
        writer.close()

    def raw(self, number: int) -> dict[bytes, bytes]:
        return read_raw(self.base, self.group, self.names.state, number)

    def restored(self, number: int) -> Pipeline:
        """The partition as a worker would have it."""

        def fresh() -> Pipeline:
            return build(self.objectives, self.names, number, self.partitions)

        return Checkpoint(codec, self.at.identity).restore(self.raw(number), fresh, None)

    def told(self, topic: str | None = None) -> list[list[dict[str, Any]]]:
        """Every alert of each partition, in order; None for one that was taken back."""
        return [
            [orjson.loads(message.value() or b"null") for message in committed(self.bootstrap, name, number)]
            for name in [topic or self.names.alerts]
            for number in range(self.partitions)
        ]

    def firing(self) -> dict[str, tuple[int, dict[str, Any]]]:
        """Fingerprint → partition and last word of what a new subscriber takes for firing."""
        found = {}
        for number in range(self.partitions):
            raw = read_raw(self.base, self.group, self.names.alerts, number)
            for key, value in raw.items():
                alert = orjson.loads(value)
                if alert["status"] != "resolved":
                    found[key.decode()] = (number, alert)
        return found


@contextmanager
def shared_stage(bootstrap: str, partitions: int) -> Iterator[Stage]:
    """One that many tests change, each after the other: ``put_back`` between them."""
    names = Topics().prefixed(f"stage-{uuid.uuid4().hex[:8]}-")
    base = {"bootstrap.servers": bootstrap}
    create(base, names, partitions)
    try:
        made = Stage(bootstrap, names, partitions)
        made.keep()
        yield made
    finally:
        admin = admin_of(base)  # held: a client that is collected cancels what it was asked
        ask(admin.delete_topics([*names.by_role().values()]).values(), 30)


def build(wanted: Objectives, names: Topics, number: int, partitions: int) -> Pipeline:
    partition = Partition(wanted, lambda name: home(name, partitions) == number)
    return Pipeline(partition, number, (names.predictions, names.labels), codec.decode_event)
