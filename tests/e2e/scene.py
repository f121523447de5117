"""A set of topics, workers on them, traffic into them, and the judge of what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from streamer.adapters.topics import Topics
from streamer.config import parse_objectives
from tests.deadline import wait_until
from tests.e2e.feeder import Feeder
from tests.e2e.oracle import Oracle, gather, identities_hold
from tests.e2e.traffic import OBJECTIVES, Written, traffic
from tests.e2e.worker_process import PROGRAM, WorkerProcess

Alert = dict[str, Any]


class Scene:
    """Whatever it started is gone after ``close``, frozen or not.

    ``through``: where the workers find their brokers, if not at ``bootstrap`` like everybody else.
    """

    def __init__(
        self,
        bootstrap: str,
        names: Topics,
        partitions: int,
        scratch: Path,
        objectives: str = OBJECTIVES,
        through: str | None = None,
    ) -> None:
        self.bootstrap, self.names, self.partitions = bootstrap, names, partitions
        self.through = through or bootstrap
        self.base = {"bootstrap.servers": bootstrap}
        self.prefix = names.predictions.removesuffix("predictions")
        self.group = f"{self.prefix}group"
        self.scratch, self.objectives = scratch, parse_objectives(objectives)
        self.file = scratch / "objectives.yml"
        self.file.write_text(objectives)
        self.workers: list[WorkerProcess] = []
        self.feeders: list[Feeder] = []

    def start(self, program: Sequence[str] = PROGRAM, **settings: str) -> WorkerProcess:
        """One more worker, which commits often. Arguments as of ``WorkerProcess``."""
        settings = {"commit_interval": "0.1", "commit_share": "0.5", **settings}
        worker = WorkerProcess(self.through, self.prefix, self.scratch, self.file, program, **settings)
        self.workers.append(worker)
        return worker

    def feed(self, least: int, rate: int, **how: int) -> Feeder:
        """Records of all kinds, at ``rate`` a second, until ``finish``. ``how``: as of ``traffic``."""

        def source(more: Callable[[int], bool]) -> Iterable[Written]:
            return traffic(more, self.partitions, **how)

        feeder = Feeder(self.bootstrap, self.names, source, least, rate)
        self.feeders.append(feeder)
        return feeder

    @property
    def running(self) -> list[WorkerProcess]:
        """The workers that were neither stopped nor killed by the test."""
        return [worker for worker in self.workers if not worker.ended]

    def consumed(self) -> float:
        """How many records the running workers have consumed and committed, as they say."""
        topics = ("predictions", "labels")
        return sum(w.total(f"streamer_{topic}_consumed_total") for w in self.running for topic in topics)

    def await_consumed(self, records: int, seconds: float = 90.0) -> None:
        try:
            wait_until(lambda: self.consumed() == records, seconds, f"{records} records are processed")
        except AssertionError as error:
            said = "\n".join(worker.said() for worker in self.running)
            raise AssertionError(f"{error}\n{said}") from None

    def stop(self) -> None:
        """All of them, politely: it has to work."""
        workers = self.running
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            status = worker.stop()
            assert status == 0, f"status {status}\n{worker.said()}"

    def judge(self, partitions: Iterable[int] | None = None) -> list[Oracle]:
        """Hold every partition against a run that nothing ever disturbed; answers those runs."""
        numbers = range(self.partitions) if partitions is None else list(partitions)
        with ThreadPoolExecutor(len(numbers)) as pool:  # most of it is waiting for the broker
            return list(pool.map(self._judge, numbers))

    def _judge(self, number: int) -> Oracle:
        evidence = gather(self.bootstrap, self.names, number)
        oracle = Oracle(evidence, self.names, number, self.partitions, self.objectives).replay()
        assert identities_hold(oracle.judge())
        return oracle

    def close(self, tell: bool = True) -> None:
        """``tell``: what the workers said; pytest shows it where the test failed."""
        for feeder in self.feeders:
            feeder.abandon()
        for worker in self.workers:
            worker.kill()
            if tell:
                print(f"--- {worker.log.name}\n{worker.said()}")


def alerts_of(oracles: Iterable[Oracle]) -> list[Alert]:
    """All that was told, in each partition's order."""
    return [alert for oracle in oracles for alert in oracle.effects.alerts]
