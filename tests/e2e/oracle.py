"""Everything that a topic holds, as a read_committed subscriber sees it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from streamer.adapters import codec
from streamer.adapters.kafka import reader_config
from streamer.adapters.topics import Topics
from streamer.adapters.transactions import read_state
from streamer.checkpoint import Checkpoint
from streamer.domain.objectives import Objectives
from streamer.domain.partition import Partition
from streamer.home import home
from streamer.pipeline import Pipeline, Unreadable
from tests.domain.feed import by_version, facts


def committed(
    bootstrap: str,
    topic: str,
    partition: int,
    unreadable: Sequence[Unreadable] = (),
    isolation: str = "read_committed",
) -> list[Any]:
    """The records of one partition, in order of their offsets, with what stands for those ``unreadable``."""
    gaps = iter(unreadable)
    conf = reader_config({"bootstrap.servers": bootstrap}, "tests")
    consumer = Consumer(conf | {"auto.offset.reset": "earliest", "isolation.level": isolation})
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Any] = []
    deadline = time.monotonic() + 60
    while True:
        # It answers when it has that many or the time is over, so both are small.
        messages: list[Any] = consumer.consume(1_000, 0.1)
        assert time.monotonic() < deadline, f"{topic}/{partition}: no end after {len(found)} records"
        for message in messages:
            if message.error() is None:
                found.append(message)
            elif message.error().code() == message.error()._PARTITION_EOF:
                consumer.close()
                for gap in unreadable:
                    found.insert(bisect_left(found, gap.last, key=lambda record: int(record.offset())), gap)
                return found
            elif message.error().code() == message.error()._BAD_COMPRESSION:
                gap = next(gaps, None)
                assert gap is not None, f"{topic}/{partition}: {message.error()}, and no trace of it"
                assert message.offset() == gap.first
                consumer.assign([TopicPartition(topic, partition, gap.last + 1)])
                break
            else:
                raise AssertionError(message.error())


def aborted(bootstrap: str, topic: str, partition: int) -> int:
    """How many records were written in transactions that never came to their commit."""
    everything = committed(bootstrap, topic, partition, isolation="read_uncommitted")
    return len(everything) - len(committed(bootstrap, topic, partition))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the topics hold of one partition: records, the decoded commits of the trace, the live state."""

    trace: list[dict[str, Any]]
    sources: tuple[list[Any], list[Any]]
    alerts: list[Any]
    reports: list[Any]
    dead_letters: list[Any]
    state: dict[bytes, bytes]


def gather(bootstrap: str, names: Topics, partition: int) -> Evidence:
    """Read everything there is about one partition."""
    assert names.trace
    trace = [orjson.loads(record.value()) for record in committed(bootstrap, names.trace, partition)]
    gaps: tuple[list[Unreadable], list[Unreadable]] = ([], [])
    for commit in trace:
        for kind, *gap in commit.get("unreadable", ()):
            gaps[kind].append(Unreadable(*gap))
    return Evidence(
        trace,
        (
            committed(bootstrap, names.inputs[0], partition, gaps[0]),
            committed(bootstrap, names.inputs[1], partition, gaps[1]),
        ),
        committed(bootstrap, names.alerts, partition),
        committed(bootstrap, names.reports, partition),
        committed(bootstrap, names.dead_letters, partition),
        read_state({"bootstrap.servers": bootstrap}, "tests", names.state, partition),
    )


class Oracle:
    """Replays the recorded order of one partition through a pipeline that nothing ever interrupts.

    The order comes from the trace topic: how many records of which topic each
    commit took, and the ticks in between. Everything else, it works out itself.
    """

    def __init__(
        self, evidence: Evidence, names: Topics, partition: int, partitions: int, objectives: Objectives
    ) -> None:
        self.evidence, self.names, self.partition = evidence, names, partition
        self.objectives, self.partitions = objectives, partitions
        self.commits = 0
        self.pipeline = self._build()

    def _build(self) -> Pipeline:
        partition = Partition(self.objectives, lambda model: home(model, self.partitions) == self.partition)
        names = self.names
        return Pipeline(partition, self.partition, names.inputs, codec.decode_event, routed=names.routed)

    def replay(self) -> Oracle:
        """Take every record in the traced order; the commits must be numbered without a gap or a repeat."""
        sources = self.evidence.sources
        at = [0, 0]
        for commit in self.evidence.trace:
            self.commits += 1
            assert commit["commit"] == self.commits, "a commit is missing, or is there twice"
            for kind, count in commit["order"]:
                if kind < 0:
                    self.pipeline.tick(count)
                    continue
                self.pipeline.run(kind, sources[kind][at[kind] : at[kind] + count])
                at[kind] += count
            self._settle(at, commit["positions"])
        assert at == [len(each) for each in sources], "some records were never processed"
        self.effects = self.pipeline.take_effects()
        return self

    def _settle(self, at: list[int], positions: list[int]) -> None:
        """A commit's positions are behind its records, or behind what is no record and follows them."""
        for kind, (records, position) in enumerate(zip(self.evidence.sources, positions, strict=True)):
            assert self.pipeline.positions[kind] <= position
            assert at[kind] == len(records) or records[at[kind]].offset() >= position
            self.pipeline.settle(kind, position)

    def judge(self) -> dict[str, Any]:
        """Compare state, alerts, reports and dead letters with what the topics hold; answers the facts."""
        evidence, alerts = self.evidence, self.effects.alerts
        assert [message.value() for message in evidence.alerts] == list(map(codec.encode_json, alerts))
        reports = [orjson.loads(message.value()) for message in evidence.reports]
        told = [report["alert_id"] for report in reports if report["type"] == "alert"]
        assert told == [alert["alert_id"] for alert in alerts]
        assert by_version(reports) == by_version(self.effects.reports)
        assert [
            (dict(letter.headers())["reason"].decode(), letter.value()) for letter in evidence.dead_letters
        ] == [(letter.reason.value, _bytes(letter.record.value())) for letter in self.effects.dead_letters]
        found = facts(self.pipeline)
        assert facts(self.restored()) == found
        return found

    def restored(self) -> Pipeline:
        """What the next owner would begin with."""
        return Checkpoint(codec, {}).restore(self.evidence.state, self._build, None)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b""


def identities_hold(found: dict[str, Any]) -> bool:
    """Promise 2 on the facts of one partition."""
    terms = found["identity"]
    return all(
        terms[topic]["consumed"] == sum(terms[topic].values()) - terms[topic]["consumed"]
        for topic in ("predictions", "labels")
    )


def write(bootstrap: str, steps: list[tuple[str, int, bytes | None, bytes | None]]) -> None:
    """Write (topic, partition, key, value) exactly so."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
    for topic, partition, key, value in steps:
        while True:
            try:
                producer.produce(topic, value, key, partition)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0
