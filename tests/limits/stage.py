"""What all scenes have in common: topics of their own, workers on them, and the judge at the end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from streamer.adapters.kafka import admin_of
from streamer.adapters.topics import Topics, create
from tests.chaos.judge import Verdict, counters_of, judge, judge_counters
from tests.deadline import wait_until
from tests.e2e.feeder import Feeder
from tests.e2e.oracle import Evidence, gather
from tests.e2e.scene import Scene
from tests.e2e.traffic import Written
from tests.e2e.worker_process import WorkerProcess

MB = 1_000_000
AS_FAST_AS_IT_GOES = 1_000_000_000
DELETE_SECONDS = 30
Say = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """``figures``: what was measured, by name; the name says the unit."""

    verdict: Verdict = field(default_factory=Verdict)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def expect(self, holds: bool, problem: str) -> None:
        """Note the problem unless it holds."""
        if not holds:
            self.verdict.problems.append(problem)


@contextmanager
def stage(bootstrap: str, scratch: Path, partitions: int, objectives: str) -> Iterator[Scene]:
    """A scene on topics that nobody else uses, with a trace; workers end before their topics go."""
    base = {"bootstrap.servers": bootstrap}
    names = Topics(trace="trace").prefixed(f"limits-{uuid.uuid4().hex[:6]}-")
    create(base, names, partitions)
    room = scratch / names.predictions.removesuffix("-predictions")
    room.mkdir()
    scene = Scene(bootstrap, names, partitions, room, objectives)
    try:
        yield scene
    finally:
        scene.close(tell=False)
        try:
            for future in admin_of(base).delete_topics(list(names.by_role().values())).values():
                future.result(DELETE_SECONDS)
        except (KafkaException, TimeoutError):
            pass  # the broker goes as well, as a rule


def feed(scene: Scene, records: Iterable[Written], rate: int = AS_FAST_AS_IT_GOES) -> Feeder:
    """All of these records and no more, at ``rate`` a second."""
    feeder = Feeder(scene.bootstrap, scene.names, lambda _: records, 0, rate)
    scene.feeders.append(feeder)
    return feeder


def judged(scene: Scene, sent: Sequence[int]) -> tuple[Verdict, list[Evidence]]:
    """Stops the workers; promises 1 and 2 for all partitions. ``sent``: predictions, labels."""
    scrapes = [scrape for worker in scene.running if (scrape := worker.scrape()) is not None]
    verdict = judge_counters(counters_of(scrapes), sent)
    scene.stop()
    found = [gather(scene.bootstrap, scene.names, number) for number in range(scene.partitions)]
    for number, evidence in enumerate(found):
        verdict.add(judge(evidence, scene.names, number, scene.partitions, scene.objectives))
    return verdict, found


def await_end(worker: WorkerProcess, seconds: float) -> int | None:
    """The exit status of a worker that ends by itself, negative for a signal; None: it did not."""
    try:
        wait_until(lambda: worker.process.poll() is not None, seconds, "the worker ends by itself")
    except AssertionError:
        return None
    worker.ended = True
    return worker.process.returncode


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._began
