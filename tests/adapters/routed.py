"""Sources of any key and number of partitions, a router on them in this process, and what came of it."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streamer.adapters import codec
from streamer.adapters.exposition import RouterStats
from streamer.adapters.router import Membership, Router
from streamer.adapters.topics import Topics, create
from streamer.home import home
from streamer.origin import Origin, origin_of
from streamer.routing import Routes
from tests.deadline import wait_until
from tests.domain.feed import START_MS
from tests.e2e.oracle import committed

PARTITIONS = 4
COUNTS = (5, 2)
MODELS = tuple(f"m{number}" for number in range(9))
SESSION_MS = 6_000
Event = tuple[int, int, bytes | None, bytes | None, int]  # kind, source partition, key, value, time in ms


class Stage:
    """A set of topics with sources of other numbers of partitions, under their clients' clocks."""

    def __init__(self, bootstrap: str, counts: tuple[int, int] = COUNTS, **source: str) -> None:
        self.bootstrap, self.counts = bootstrap, counts
        self.base = {"bootstrap.servers": bootstrap}
        self.names = Topics().prefixed(f"routed-{uuid.uuid4().hex[:8]}-").repartitioned()
        self.group = f"{self.names.state}-group"
        self.admin = AdminClient({**self.base, "log_level": 0})
        # The tests' times are of years ago: with a retention the broker would delete them at once.
        config = {"message.timestamp.type": "CreateTime", "retention.ms": "-1", **source}
        wanted = [
            NewTopic(topic, count, 1, config=config)
            for topic, count in zip(self.names.sources, counts, strict=True)
        ]
        for future in self.admin.create_topics(wanted).values():
            future.result(20)
        create(self.base, self.names, partitions=PARTITIONS)

    def close(self) -> None:
        for future in self.admin.delete_topics(list(self.names.by_role().values())).values():
            future.result(30)

    def write(self, events: Iterable[Event]) -> None:
        settings = {"enable.idempotence": True, "linger.ms": 5, "message.max.bytes": 2_000_000}
        producer = Producer({**self.base, **settings})
        for kind, partition, key, value, time_ms in events:
            producer.produce(self.names.sources[kind], value, key, partition, timestamp=time_ms)
            producer.poll(0)
        assert producer.flush(60) == 0

    def router(self, **how: Any) -> Routing:
        return Routing(self, **how)

    def sources(self) -> dict[tuple[str, int, int], Any]:
        """Every record of the sources by its place."""
        return {
            (topic, number, record.offset()): record
            for topic, count in zip(self.names.sources, self.counts, strict=True)
            for number in range(count)
            for record in committed(self.bootstrap, topic, number)
        }

    def routed(self, kind: int) -> list[list[Any]]:
        """What workers will read, partition by partition."""
        return [committed(self.bootstrap, self.names.inputs[kind], number) for number in range(PARTITIONS)]

    def origins(self) -> list[Origin]:
        """Where each routed record says it came from, in the order of each partition."""
        return [origin(each) for kind in (0, 1) for records in self.routed(kind) for each in records]

    def is_routed_once(self) -> bool:
        """Each record of the sources is there, and no other."""
        places = Counter((each.topic, each.partition, each.offset) for each in self.origins())
        return places == Counter(self.sources().keys())


def origin(record: Any) -> Origin:
    found = origin_of(record)
    assert found is not None
    return found


class Routing:
    """A router in a thread. ``name``: as of ``Membership``; ``instance`` too."""

    def __init__(self, stage: Stage, name: str = "", instance: str | None = None, **how: Any) -> None:
        self.stats = RouterStats()
        self.expelled: list[KafkaError] = []
        self.died: list[BaseException] = []
        routes = Routes(
            stage.names.sources, PARTITIONS, lambda model: home(model, PARTITIONS), codec.decode_event
        )
        self.router = Router(
            stage.base, stage.group, stage.names, stage.counts, routes,
            Membership(SESSION_MS, name or uuid.uuid4().hex, instance), self.stats,
            self.expelled.append, self.died.append, **how,
        )  # fmt: skip

    def __enter__(self) -> Routing:
        self.router.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.router.stop()
        self.router.join(30)
        assert not self.router.is_alive()

    @property
    def count(self) -> int:
        return sum(self.stats.routed.values())

    def until_routed(self, records: int, seconds: float = 60.0) -> None:
        def done() -> bool:
            assert self.died == []
            return self.count >= records

        wait_until(done, seconds, f"{records} records are routed ({self.router.ready()})")


@contextmanager
def gate(routing: Routing) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Holds its next transaction between the records and the offsets: (it is there, it may go on)."""
    there, on = threading.Event(), threading.Event()
    writer = routing.router._writer
    produce = writer._produce

    def held(record: Any, on_delivery: Any) -> None:
        if record.room == "offsets" and routing.count and not on.is_set():
            writer._producer.flush(10)
            there.set()
            on.wait(60)
        produce(record, on_delivery)

    writer._produce = held  # type: ignore[method-assign]
    try:
        yield there, on
    finally:
        on.set()


def events(count: int, counts: Sequence[int] = COUNTS, first: int = 0, step_ms: int = 10) -> list[Event]:
    """Predictions and their labels, each under a key that says nothing, anywhere."""
    found: list[Event] = []
    for row in range(first, first + count):
        at = START_MS + row * step_ms
        event = {"prediction_id": str(row), "model": MODELS[row % len(MODELS)], "timestamp": START_MS}
        key = [None, b"user-%d" % row, b"m1"][row % 3]
        for kind, answer in ((0, {"prediction": 1}), (1, {"label": row % 2})):
            value = codec.encode_json(event | answer)
            found.append((kind, (row * 7 + kind) % counts[kind], key, value, at + kind))
    return found
