"""A deployment with a past, on a real broker, without a worker: topics, records, committed state, alerts."""

from __future__ import annotations

import random
from typing import Any

import orjson

from streamer.adapters import codec
from streamer.adapters.deployment import Deployment, await_visible, look_at, read_raw, tell_group
from streamer.adapters.topics import Topics
from streamer.adapters.transactions import PartitionWriter, Rooms
from streamer.checkpoint import Checkpoint, Commit, OutRecord
from streamer.domain.objectives import Limits, Objectives
from streamer.domain.partition import Partition
from streamer.home import home
from streamer.pipeline import Pipeline
from tests.domain.feed import feed
from tests.domain.traffic import objectives, traffic
from tests.e2e.oracle import committed, write
from tests.test_stored import split

RECORDS = 400


class Stage:
    """``pipelines``: what lives in the state topic, as nobody ever stopped it."""

    def __init__(
        self, bootstrap: str, names: Topics, partitions: int, seed: int = 1, group: str | None = None
    ) -> None:
        self.bootstrap, self.names, self.partitions = bootstrap, names, partitions
        self.base: dict[str, Any] = {"bootstrap.servers": bootstrap}
        self.group = group or f"{names.state}-group"
        self.objectives = objectives(Limits())
        self.commits = dict.fromkeys(range(partitions), 0)
        self.pipelines = self._live(seed)

    @property
    def at(self) -> Deployment:
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
        at, found = self.at, {}
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
        positions = {number: (each.positions[0], each.positions[1]) for number, each in found.items()}
        await_visible(at, range(self.partitions))
        tell_group(at, positions, self.commits)
        return found

    def write_over(self, number: int, changes: dict[bytes, bytes | None]) -> None:
        """Write these records of state, past all checks."""
        records = [OutRecord("state", key, value) for key, value in changes.items()]
        rooms = Rooms({"trace": None, **self.names.by_role()})
        writer = PartitionWriter(self.base, self.group, number, rooms)
        writer.take_over()
        writer.write(Commit(0, records, (0, 0), 0, 0))
        writer.close()
        await_visible(self.at, [number])

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


def build(wanted: Objectives, names: Topics, number: int, partitions: int) -> Pipeline:
    partition = Partition(wanted, lambda name: home(name, partitions) == number)
    return Pipeline(partition, number, (names.predictions, names.labels), codec.decode_event)
