"""Everything that a topic holds, as a read_committed subscriber sees it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
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
from tests.domain.feed import facts


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


class Oracle:
    """Replays the recorded order of one partition through a pipeline that nothing ever interrupts.

    The order comes from the trace topic: how many records of which topic each
    commit took, and the ticks in between. Everything else, it works out itself.
    """

    def __init__(
        self, bootstrap: str, names: Topics, partition: int, partitions: int, objectives: Objectives
    ) -> None:
        self.bootstrap, self.names, self.partition = bootstrap, names, partition
        self.objectives, self.partitions = objectives, partitions
        self.commits = 0
        self.pipeline = self._build()

    def _build(self) -> Pipeline:
        partition = Partition(self.objectives, lambda model: home(model, self.partitions) == self.partition)
        sources = (self.names.predictions, self.names.labels)
        return Pipeline(partition, self.partition, sources, codec.decode_event)

    def replay(self) -> Oracle:
        """Take every record in the traced order; the commits must be numbered without a gap or a repeat."""
        assert self.names.trace
        trace = [
            orjson.loads(record.value())
            for record in committed(self.bootstrap, self.names.trace, self.partition)
        ]
        gaps: tuple[list[Unreadable], list[Unreadable]] = ([], [])
        for commit in trace:
            for kind, *gap in commit.get("unreadable", ()):
                gaps[kind].append(Unreadable(*gap))
        sources = [
            committed(self.bootstrap, topic, self.partition, gaps[kind])
            for kind, topic in enumerate((self.names.predictions, self.names.labels))
        ]
        at = [0, 0]
        for commit in trace:
            self.commits += 1
            assert commit["commit"] == self.commits, "a commit is missing, or is there twice"
            for kind, count in commit["order"]:
                if kind < 0:
                    self.pipeline.tick(count)
                    continue
                self.pipeline.run(kind, sources[kind][at[kind] : at[kind] + count])
                at[kind] += count
            assert self.pipeline.positions == commit["positions"]
        assert at == [len(each) for each in sources], "some records were never processed"
        self.effects = self.pipeline.take_effects()
        return self

    def judge(self) -> dict[str, Any]:
        """Compare state, alerts, reports and dead letters with what the topics hold; answers the facts."""
        written = committed(self.bootstrap, self.names.alerts, self.partition)
        expected = [codec.encode_json(alert) for alert in self.effects.alerts]
        assert [message.value() for message in written] == expected
        reports = committed(self.bootstrap, self.names.reports, self.partition)
        assert [orjson.loads(message.value())["alert_id"] for message in reports] == [
            alert["alert_id"] for alert in self.effects.alerts
        ]
        dead = committed(self.bootstrap, self.names.dead_letters, self.partition)
        assert [(dict(m.headers())["reason"].decode(), m.value()) for m in dead] == [
            (letter.reason.value, _bytes(letter.record.value())) for letter in self.effects.dead_letters
        ]
        raw = read_state({"bootstrap.servers": self.bootstrap}, "tests", self.names.state, self.partition)
        restored = Checkpoint(codec, {}).restore(raw, self._build, None)
        found = facts(self.pipeline)
        assert facts(restored) == found
        return found


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
