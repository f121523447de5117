"""Three brokers and the network before them fail under load, one trouble after another."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streamer.adapters.kafka import admin_of
from streamer.adapters.topics import Topics, create
from tests.chaos.judge import Verdict, counters_of, judge, judge_counters
from tests.chaos.moments import Moments
from tests.chaos.proxy import ProxiedKafka
from tests.deadline import wait_until
from tests.e2e.oracle import gather
from tests.e2e.scene import Scene
from tests.e2e.worker_process import WorkerProcess

NODES = 3
PARTITIONS = 4
WORKERS = 2
RATE = 1_500
PERIOD = 3_000
PATIENCE = 120.0
AT_WORK = 4  # offsets of each partition's trace: two commits


class Trouble(StrEnum):
    """What fails. The value is how it is called in the results."""

    LEADER = "leader killed"
    ROLLING = "rolling restart"
    FROZEN = "node frozen"
    ALL_AWAY = "all nodes away"
    LATENCY = "latency"
    BROKEN = "connections broken"
    HALF_OPEN = "connections half-open"
    COORDINATOR = "coordinator cut off"


@dataclass(frozen=True, slots=True)
class Bout:
    """One trouble, so many ``times``, or for so many ``seconds``."""

    trouble: Trouble
    times: int = 1
    seconds: float = 0.0


FULL = (
    Bout(Trouble.LEADER, times=5),
    Bout(Trouble.ROLLING, times=NODES),
    Bout(Trouble.FROZEN, seconds=20),
    Bout(Trouble.ALL_AWAY, seconds=60),
    Bout(Trouble.LATENCY, seconds=30),
    Bout(Trouble.BROKEN, times=10),
    Bout(Trouble.HALF_OPEN, seconds=20),
    Bout(Trouble.COORDINATOR, seconds=20),
)
# For CI; tests/e2e/test_outage.py has all brokers away as well.
SHORT = (
    Bout(Trouble.LEADER),
    Bout(Trouble.FROZEN, seconds=4),
    Bout(Trouble.LATENCY, seconds=1),
    Bout(Trouble.BROKEN, times=2),
    Bout(Trouble.COORDINATOR, seconds=7),
)


@dataclass(slots=True)
class Survival:
    """``recovered``: seconds from the end of each trouble until every partition committed again."""

    verdict: Verdict = field(default_factory=Verdict)
    troubles: dict[str, int] = field(default_factory=dict)
    recovered: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Siege:
    """Two workers behind the proxies; traffic and judge go straight to the brokers."""

    def __init__(self, kafka: ProxiedKafka, scratch: Path, say: Callable[[str], None]) -> None:
        self.kafka, self.scratch, self.say = kafka, scratch, say
        self.conf = {"bootstrap.servers": kafka.bootstrap}
        self.survival = Survival()
        self.names = Topics(trace="trace").prefixed(f"siege-{uuid.uuid4().hex[:6]}-")
        self.ways: Mapping[Trouble, Callable[[Bout], None]] = {
            Trouble.LEADER: self._kill_leaders,
            Trouble.ROLLING: self._restart_in_turn,
            Trouble.FROZEN: self._freeze,
            Trouble.ALL_AWAY: self._take_all_away,
            Trouble.LATENCY: self._slow_down,
            Trouble.BROKEN: self._break,
            Trouble.HALF_OPEN: self._hold_all,
            Trouble.COORDINATOR: self._hold_coordinator,
        }

    def run(self, bouts: tuple[Bout, ...]) -> Survival:
        """All of them, then the judge. Raises where a worker ended, or did not come back by itself."""
        began = time.monotonic()
        create(self.conf, self.names, PARTITIONS, replication=NODES)
        through = self.kafka.proxied_bootstrap
        self.scene = Scene(self.kafka.bootstrap, self.names, PARTITIONS, self.scratch, through=through)
        self.moments = Moments(self.conf, self.names)
        try:
            for _ in range(WORKERS):
                self.scene.start()
            self.feeder = self.scene.feed(20_000, RATE, period=PERIOD)
            self._await_work("the workers have begun")
            for bout in bouts:
                self.ways[bout.trouble](bout)
                ended = time.monotonic()
                self._await_work(f"after: {bout.trouble}")
                took = round(time.monotonic() - ended, 1)
                self.survival.troubles[bout.trouble] = bout.times
                self.survival.recovered[bout.trouble] = took
                self.say(f"{bout.trouble}: all partitions commit again after {took:.1f} s")
            self._judge()
        finally:
            self.scene.close(tell=False)
        self.survival.seconds = round(time.monotonic() - began, 1)
        return self.survival

    def _judge(self) -> None:
        records = self.feeder.finish()
        self.scene.await_consumed(records)
        scrapes = [scrape for worker in self.scene.running if (scrape := worker.scrape()) is not None]
        self.survival.verdict.add(judge_counters(counters_of(scrapes), self.feeder.by_kind))
        self.scene.stop()
        for number in range(PARTITIONS):
            evidence = gather(self.kafka.bootstrap, self.names, number)
            found = judge(evidence, self.names, number, PARTITIONS, self.scene.objectives)
            self.survival.verdict.add(found)

    # -- what goes wrong ----------------------------------------------------------------------

    def _kill_leaders(self, bout: Bout) -> None:
        """The node that leads a partition of the sources; when it is back and has caught up, another one."""
        for number in range(bout.times):
            node = self._admin().list_topics(timeout=20).topics[self.names.predictions].partitions
            leader = node[number % PARTITIONS].leader
            self.kafka.kill(leader)
            self._await_work("two of three nodes are enough")
            self.kafka.restart(leader)
            self._await_copies()

    def _restart_in_turn(self, bout: Bout) -> None:
        for node in range(1, bout.times + 1):
            self.kafka.restart(node)
            self._await_copies()

    def _freeze(self, bout: Bout) -> None:
        """Neither dead nor alive: its connections stand, and nobody answers."""
        node = self._coordinator()
        self.kafka.signal(node, signal.SIGSTOP)
        try:
            self._pass(bout.seconds)
        finally:
            self.kafka.signal(node, signal.SIGCONT)
        self._await_copies()

    def _take_all_away(self, bout: Bout) -> None:
        for node in range(1, NODES + 1):
            self.kafka.kill(node)
        until = time.monotonic() + bout.seconds
        for worker in self.scene.running:
            wait_until(lambda w=worker: _says_so(w), PATIENCE, "it says that it is not ready, and why")  # type: ignore[misc]
        self._pass(max(0.0, until - time.monotonic()))
        self.kafka.restart_all()
        self._await_copies()

    def _slow_down(self, bout: Bout) -> None:
        for proxy in self.kafka.proxies.values():
            proxy.latency = 0.1
        self._pass(bout.seconds)
        self._await_work("slowly, but it goes on")
        for proxy in self.kafka.proxies.values():
            proxy.latency = 0.0

    def _break(self, bout: Bout) -> None:
        for _ in range(bout.times):
            for proxy in self.kafka.proxies.values():
                proxy.cut()
            self._await_work("new connections")

    def _hold_all(self, bout: Bout) -> None:
        self._hold(list(self.kafka.proxies), bout.seconds)

    def _hold_coordinator(self, bout: Bout) -> None:
        self._hold([self._coordinator()], bout.seconds)

    def _hold(self, nodes: list[int], seconds: float) -> None:
        """Half-open for a while; then what was held arrives late, and the connections break."""
        for node in nodes:
            self.kafka.proxies[node].hold()
        self._pass(seconds)
        for node in nodes:
            self.kafka.proxies[node].release()
            self.kafka.proxies[node].cut()

    # -- waiting ------------------------------------------------------------------------------

    def _admin(self) -> AdminClient:
        return admin_of(self.conf)

    def _coordinator(self) -> int:
        """The node that keeps the workers' group."""
        admin = self._admin()
        described = admin.describe_consumer_groups([self.scene.group])
        return int(described[self.scene.group].result(20).coordinator.id)

    def _pass(self, seconds: float) -> None:
        """Time passes; that is the trouble. Nobody may end meanwhile."""
        until = time.monotonic() + seconds
        wait_until(lambda: self._check() and time.monotonic() > until, seconds + 10, "the time is over")

    def _check(self) -> bool:
        for worker in self.scene.running:
            worker.check()
        return True

    def _await_work(self, why: str) -> None:
        """Until every partition has committed twice more. By themselves: nobody is started again."""
        everywhere = range(PARTITIONS)
        before: dict[int, int] = {}

        def go_on() -> bool:
            self._check()
            try:
                now = self.moments.committed(everywhere)
            except (KafkaException, TimeoutError):  # the brokers are not all there yet
                return False
            before.update({number: end for number, end in now.items() if number not in before})
            return all(now[number] - before[number] >= AT_WORK for number in everywhere)

        wait_until(go_on, PATIENCE, why)

    def _await_copies(self) -> None:
        """Until every partition has all its copies again: the next trouble must not take the last one."""

        def copied() -> bool:
            listed = self._admin().list_topics(timeout=20)
            partitions = [each for topic in listed.topics.values() for each in topic.partitions.values()]
            return len(listed.brokers) == NODES and all(len(each.isrs) == NODES for each in partitions)

        wait_until(copied, PATIENCE, "every partition has all its copies")


def _says_so(worker: WorkerProcess) -> bool:
    status, words = worker.readiness()
    return status == 503 and "broker" in words
