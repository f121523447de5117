"""The worker's parts without a broker: real seats, commits and restores around clients that are not there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from streamer.adapters import codec
from streamer.adapters.commits import Pace
from streamer.adapters.exposition import Exposition, ProcessorStats
from streamer.adapters.ownership import Ownership
from streamer.adapters.readers import Chunk
from streamer.adapters.restore import Restored
from streamer.adapters.seat import Seat
from streamer.adapters.transport import Run
from streamer.checkpoint import Checkpoint, Commit
from streamer.domain.objectives import Objectives
from streamer.domain.partition import Partition
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline
from tests.domain.feed import START_MS, Record

TOPICS = ("p", "l")


class Writer:
    """Writes when ``gate`` is open; raises ``error`` instead, if there is one.

    ``told_ms``: the broker's time of a commit; None: the right one.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.written: list[Commit] = []
        self.stamped: Callable[[int], None] = lambda broker_ms: None
        self.told_ms: int | None = None
        self.closed = False

    def write(self, commit: Commit) -> None:
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.written.append(commit)
        self.stamped(self.told_ms or int(time.time() * 1000))

    def close(self) -> None:
        self.closed = True


class Restorer:
    """Restores an empty partition, when ``gate`` is open. ``prepare`` sees each new writer first."""

    topics = TOPICS
    partitions = 4

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.errors: list[BaseException] = []
        self.first = False
        self.calls = 0
        self.prepare: Callable[[Writer], None] = lambda writer: None
        self.log_ends: dict[tuple[int, int], int] = {}

    def restore(self, number: int, writer: Writer | None, gone: threading.Event) -> Restored:
        self.calls += 1
        assert self.gate.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        if writer is None:
            writer = Writer()
            self.prepare(writer)
        pipeline = Pipeline(Partition(Objectives(), lambda model: True), number, TOPICS, codec.decode_event)
        found: Any = writer
        return Restored(pipeline, Checkpoint(codec, {}), found, self.first)

    def ends(self, numbers: Sequence[int]) -> dict[tuple[int, int], int]:
        return dict(self.log_ends)


class Readers:
    """Notes what the loop asks of the poll thread."""

    def __init__(self) -> None:
        self.done = [0, 0]
        self.calls: list[tuple[Any, ...]] = []
        self.stopping = False
        self.alive_at = time.monotonic()
        self.trouble: str | None = None

    def start(self) -> None: ...

    def start_reading(self, partition: int, epoch: int, positions: tuple[int, int]) -> None:
        self.calls.append(("start", partition, epoch))

    def stop_reading(self, partition: int, epoch: int) -> None:
        self.calls.append(("stop", partition, epoch))

    def rejoin(self) -> None:
        self.calls.append(("rejoin",))

    def commit_offsets(self, partition: int, positions: tuple[int, int], number: int) -> None:
        self.calls.append(("offsets", partition, number))

    def stop(self) -> None:
        self.stopping = True

    def is_alive(self) -> bool:
        return False

    def reads(self) -> dict[int, int]:
        """Partition → epoch that is read once the thread has done all that it was asked."""
        found: dict[int, int] = {}
        for what, *rest in self.calls:
            if what == "start":
                found[rest[0]] = rest[1]
            elif what == "stop" and found.get(rest[0], -1) <= rest[1]:
                found.pop(rest[0], None)
        return found


class Bench:
    """An ``Ownership`` on these parts, and short ways to make things happen to it."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.restorer, self.readers, self.stats = Restorer(), Readers(), ProcessorStats()
        self.exposition = Exposition(self.stats)
        restorer: Any = self.restorer
        self.ownership = Ownership(
            restorer,
            lambda listener: self.readers,  # type: ignore[arg-type, return-value]
            self.exposition,
            self.stats,
            pace or Pace(0.0, 0.0, 1.0),
        )
        self.seats = self.ownership.seats

    async def assign(self, *partitions: int) -> None:
        """The group gives us these; returns when they are restored, if the gates let them."""
        await self.ownership._assigned(set(partitions))
        await settle()

    async def revoke(self, *partitions: int, lost: bool = False) -> None:
        await self.ownership._revoked(set(partitions), lost)
        await settle()

    def writer(self, partition: int) -> Any:
        return self.seats[partition].writer

    def deliver(self, partition: int, *offsets: int, kind: int = PREDICTIONS) -> None:
        """Records arrive, and the end of both topics after them."""
        seat = self.seats[partition]
        records = [prediction(offset) for offset in offsets]
        self.ownership._arrived([Chunk(kind, partition, seat.epoch, seat.next[kind], records)])
        for topic in (PREDICTIONS, LABELS):
            self.ownership._ended(topic, partition, seat.epoch, seat.next[topic])

    def runs(self) -> list[Run]:
        return self.ownership._take_runs()

    def work(self) -> None:
        """Process all that has arrived."""
        while runs := self.runs():
            for run in runs:
                self.ownership.process(run)

    def shown(self) -> list[int]:
        """The partitions whose readings are on /metrics."""
        return list(self.exposition.partitions)


def prediction(offset: int, at: int = START_MS, **more: Any) -> Record:
    event = {"prediction_id": str(offset), "model": "m", "timestamp": START_MS, "prediction": 1, **more}
    return Record(at, offset, codec.encode_json(event))


async def settle(seconds: float = 2.0) -> None:
    """Let tasks and threads come to rest: what can finish within a moment has."""
    quiet = 0
    deadline = time.monotonic() + seconds
    while quiet < 5 and time.monotonic() < deadline:
        before = len(asyncio.all_tasks())
        await asyncio.sleep(0.01)
        quiet = quiet + 1 if len(asyncio.all_tasks()) == before else 0


def with_bench(scenario: Callable[[Bench], Coroutine[Any, Any, None]], pace: Pace | None = None) -> Bench:
    """Run a scenario on a bench of its own; whatever waits at a gate goes free at the end."""
    benches: list[Bench] = []

    async def main() -> None:
        bench = Bench(pace)
        benches.append(bench)
        writers: list[Any] = []
        bench.restorer.prepare = writers.append
        await bench.ownership.begin()
        try:
            await asyncio.wait_for(scenario(bench), 30)
        finally:
            bench.restorer.gate.set()
            for seat in [*bench.seats.values(), *bench.ownership.custody.kept.values()]:
                writers.append(seat.writer)
            for writer in writers:
                if writer is not None:
                    writer.gate.set()
            await settle()

    asyncio.run(main())
    return benches[0]


def seat_of(bench: Bench, partition: int = 0) -> Seat:
    return bench.seats[partition]
