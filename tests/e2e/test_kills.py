"""Promises 1 to 3 under fire: workers are killed in the middle of commits, and nobody can tell afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamer.adapters.status import read_status
from streamer.adapters.topics import Topics
from streamer.config import parse_objectives
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.e2e.oracle import Oracle, identities_hold
from tests.e2e.traffic import OBJECTIVES, traffic
from tests.e2e.worker_process import WorkerProcess

PARTITIONS = 4
EVENTS = 200_000
KILLS = 10
RATE = 7_000


class Feeder:
    """Writes traffic at a steady rate: ``least`` records, and more until it is ``enough``."""

    def __init__(self, bootstrap: str, names: Topics, partitions: int, least: int) -> None:
        self.topics = (names.predictions, names.labels)
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
        self.enough = threading.Event()
        self.events = traffic(lambda made: made < least or not self.enough.is_set(), partitions)
        self.sent = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        for kind, partition, key, value in self.events:
            self.producer.produce(self.topics[kind], value, key, partition)
            self.sent += 1
            if self.sent % 500 == 0:
                self.producer.poll(0)
                time.sleep(max(0.0, began + self.sent / RATE - time.monotonic()))
        self.producer.flush(60)

    def finish(self) -> None:
        self.enough.set()
        self.thread.join(180)
        assert not self.thread.is_alive()


class Cluster:
    """Two workers that share the partitions."""

    def __init__(self, bootstrap: str, names: Topics, scratch: Path) -> None:
        self.bootstrap, self.names, self.scratch = bootstrap, names, scratch
        self.prefix = names.predictions.removesuffix("predictions")
        self.objectives = scratch / "objectives.yml"
        self.objectives.write_text(OBJECTIVES)
        self.workers = [self.start("a"), self.start("b")]

    def start(self, name: str) -> WorkerProcess:
        # A static member's place is kept, so that a restart needs no rebalance.
        settings = {"instance_id": name, "commit_interval": "0.1", "commit_share": "0.5"}
        return WorkerProcess(self.bootstrap, self.prefix, self.scratch, self.objectives, **settings)

    def drained(self) -> bool:
        for worker in self.workers:
            worker.check()
        status = read_status({"bootstrap.servers": self.bootstrap}, f"{self.prefix}group", self.names)
        assert not [each.problem for each in status.partitions if each.problem]
        return all(each.lag == (0, 0) for each in status.partitions)


@pytest.fixture
def cluster(bootstrap: str, topics: TopicsFactory, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(bootstrap, topics(PARTITIONS, trace="trace"), tmp_path)
    yield cluster
    for worker in cluster.workers:
        if worker.process.poll() is None:
            worker.kill()


@pytest.mark.timeout(600)
def test_ten_kills_in_the_middle_of_commits_leave_no_trace(bootstrap: str, cluster: Cluster) -> None:
    for worker in cluster.workers:
        worker.await_ready()
    chance = random.Random(3)
    feeder = Feeder(bootstrap, cluster.names, PARTITIONS, EVENTS)
    kills = 0
    while kills < KILLS:
        place = chance.randrange(2)
        victim = cluster.workers[place]
        # It has committed since it came, and is at work: a kill that hits nothing would prove nothing.
        try:
            wait_until(lambda v=victim: v.total("streamer_commits_total") > 20, 90, "commits before the kill")
        except AssertionError as error:
            raise AssertionError(f"{error}; kill {kills}; it said:\n{victim.said()}") from None
        time.sleep(chance.random() * 0.2)
        victim.kill()
        kills += 1
        cluster.workers[place] = cluster.start("ab"[place])
    feeder.finish()
    assert feeder.sent >= EVENTS
    wait_until(cluster.drained, 120, "everything is processed and committed")
    for worker in cluster.workers:
        assert worker.stop() == 0, worker.said()
    _judge(bootstrap, cluster, commits=KILLS * 20)


def _judge(bootstrap: str, cluster: Cluster, commits: int) -> None:
    objectives = parse_objectives(OBJECTIVES)
    seen = alerts = consumed = 0
    for number in range(PARTITIONS):
        oracle = Oracle(bootstrap, cluster.names, number, PARTITIONS, objectives).replay()
        found = oracle.judge()
        assert identities_hold(found)
        seen += oracle.commits
        alerts += len(oracle.effects.alerts)
        consumed += sum(found["identity"][topic]["consumed"] for topic in ("predictions", "labels"))
    assert consumed >= EVENTS
    assert seen >= commits
    assert alerts > 20, "nothing was told, so nothing was proven about alerts"


@pytest.mark.timeout(300)
def test_a_worker_that_slept_through_its_replacement_writes_nothing(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    names = topics(1, trace="trace")
    prefix = names.predictions.removesuffix("predictions")
    settings = {"commit_interval": "0.1"}
    zombie = WorkerProcess(bootstrap, prefix, tmp_path, **settings).await_ready()
    feeder = Feeder(bootstrap, names, 1, 30_000)
    wait_until(lambda: zombie.total("streamer_commits_total") > 10, 60, "the first worker has committed")
    zombie.freeze()
    heir = WorkerProcess(bootstrap, prefix, tmp_path, **settings)
    try:
        wait_until(lambda: heir.total("streamer_commits_total") > 10, 90, "the second worker has taken over")
        zombie.thaw()
        # It wakes up with work in hand, tries to commit it, and learns that it was replaced.
        wait_until(lambda: zombie.total("streamer_fenced_total") > 0, 60, "the late commit is refused")
        feeder.finish()
        base, group = {"bootstrap.servers": bootstrap}, f"{prefix}group"
        wait_until(
            lambda: read_status(base, group, names).partitions[0].lag == (0, 0), 120, "all is processed"
        )
    finally:
        assert [worker.stop() for worker in (zombie, heir)] == [0, 0], zombie.said() + heir.said()
    Oracle(bootstrap, names, 0, 1, parse_objectives("models: {}")).replay().judge()
