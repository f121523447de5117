"""Plays one schedule on a broker: workers, traffic, faults, and in the end the judge."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase
from typing import TypeVar

from confluent_kafka.admin import AdminClient

from streamer.adapters.topics import Topics, create
from tests.chaos.diary import Diary
from tests.chaos.judge import Verdict, counters_of, judge, judge_counters
from tests.chaos.moments import Moments
from tests.chaos.routing import cut_in, judge_routing, make_sources, scattered
from tests.chaos.schedule import NEWCOMERS, Fault, Kind, Moment, Schedule
from tests.deadline import wait_until
from tests.e2e.feeder import Feeder
from tests.e2e.oracle import aborted, gather
from tests.e2e.scene import Scene
from tests.e2e.wiretap import Wiretap
from tests.e2e.worker_process import WorkerProcess

T = TypeVar("T")

SESSION_SECONDS = 6  # the shortest that a broker takes
STOP_SECONDS = 20.0
PATIENCE = 90.0
AT_WORK = 10  # commits of the victim's partitions since the last fault, before the next
TRIES = 40
SIGNALS = {
    Kind.KILL: "SIGKILL",
    Kind.STOP: "SIGTERM",
    Kind.LEAVE: "SIGTERM",
    Kind.FREEZE: "SIGSTOP",
    Kind.DOUBLE: "SIGSTOP",
}
SETTLE_SECONDS = 20.0
EXPELLED = "the group has expelled this worker"
_BY_OFFSETS = 2  # a commit of the trace takes two: the record and the transaction's marker


class Abandoned(Exception):
    """Somebody pressed Ctrl-C: the schedule was not played to its end."""


@dataclass(slots=True)
class Outcome:
    """``hits``: faults that met the moment they were aimed at. ``refused``: zombies whose write was refused.

    ``expelled``: workers that were left of two of one name, and then had to go as well.
    ``cut``: transactions that never came to their commit. ``unrouted``: records in such ones of a router.
    ``verdict``: of all partitions together.
    """

    verdict: Verdict = field(default_factory=Verdict)
    kills: Counter[str] = field(default_factory=Counter)
    joins: int = 0
    aimed: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    zombies: int = 0
    refused: int = 0
    expelled: int = 0
    cut: int = 0
    unrouted: int = 0
    restores: int = 0
    longest_restore: float = 0.0
    seconds: float = 0.0


class Play:
    """One schedule; ``run`` it once. ``abandon`` may come from any thread."""

    def __init__(self, schedule: Schedule, bootstrap: str, scratch: Path) -> None:
        self.schedule, self.bootstrap, self.scratch = schedule, bootstrap, scratch
        self.outcome = Outcome()
        names = Topics(trace="trace").prefixed(f"chaos-{schedule.seed}-{uuid.uuid4().hex[:6]}-")
        self.names = names.repartitioned() if schedule.sources else names
        self._diaries: dict[WorkerProcess, Diary] = {}
        self._instances: dict[WorkerProcess, str] = {}
        self._namesakes: set[WorkerProcess] = set()
        self._abandoned = threading.Event()
        self._commits: dict[int, int] = {}

    def abandon(self) -> None:
        """End as soon as possible."""
        self._abandoned.set()

    def run(self) -> Outcome:
        """Play it to its end, whatever happens on the way. Raises Abandoned."""
        began = time.monotonic()
        conf = {"bootstrap.servers": self.bootstrap}
        if self.schedule.sources:
            make_sources(conf, self.names, self.schedule.sources)
        create(conf, self.names, partitions=self.schedule.partitions)
        self.scene = Scene(self.bootstrap, self.names, self.schedule.partitions, self.scratch)
        self.moments = Moments(conf, self.names)
        self.tap = Wiretap(conf, self.names.state, self.schedule.partitions)
        self.router_tap = Wiretap(conf, self.names.inputs[0], self.schedule.partitions)
        try:
            self._attempt(self._disturb)
            self._attempt(self._finish)
            self._attempt(self._still)
            self._attempt(self._read_logs)
            self._attempt(self._judge)
        finally:
            self.tap.close()
            self.router_tap.close()
            self.scene.close(tell=False)
            admin = AdminClient({**conf, "log_level": 0})
            for future in admin.delete_topics(list(self.names.by_role().values())).values():
                future.exception(30)
        self.outcome.seconds = round(time.monotonic() - began, 1)
        return self.outcome

    def _attempt(self, step: Callable[[], None]) -> None:
        """What failed is written down, and the judge still sees what there is."""
        try:
            step()
        except Abandoned:
            raise
        except Exception as error:
            if self._abandoned.is_set():
                raise Abandoned from error
            self._fail(f"{step.__name__.strip('_')}: {error!s:.2000}")

    def _fail(self, problem: str) -> None:
        self.outcome.verdict.problems.append(problem)

    # -- the three acts -------------------------------------------------------------------

    def _disturb(self) -> None:
        schedule = self.schedule
        for _ in range(schedule.workers):
            self._start()
        how = {"seed": schedule.seed, "period": schedule.period}
        if schedule.sources is None:
            self.feeder = self.scene.feed(schedule.records, schedule.rate, **how)
        else:
            source = scattered(schedule.sources, schedule.partitions, **how)
            self.feeder = Feeder(self.bootstrap, self.names, source, schedule.records, schedule.rate)
            self.scene.feeders.append(self.feeder)
        for fault in schedule.faults:
            due = int(fault.after * schedule.records)
            self._until(lambda due=due: self.feeder.sent >= due, f"{due} records are sent")  # type: ignore[misc]
            self._strike(fault)

    def _finish(self) -> None:
        self._until(lambda: self.feeder.sent >= self.schedule.records, "all records are sent")
        records = self.feeder.finish()
        try:
            self._until(lambda: self._consumed() == records, f"{records} records are processed")
        except AssertionError as error:
            self._fail(f"not all was processed: {error!s:.2000}")
        try:
            self._until(lambda: all(worker.ready() for worker in self.scene.running), "all are ready")
        except AssertionError as error:
            words = "; ".join(worker.readiness()[1].strip() for worker in self.scene.running)
            raise AssertionError(f"{words}: {error}") from error
        # A zombie that comes back moves partitions once more, and nobody shows those on their way.
        deadline = time.monotonic() + SETTLE_SECONDS
        while (found := self._counters()).problems and time.monotonic() < deadline:
            self._wait(0.2)
        self.outcome.verdict.add(found)
        self.scene.stop()

    def _consumed(self) -> float:
        try:
            return self.scene.consumed()
        except AssertionError:  # one of them has just ended: whoever waits looks whether it may
            return -1.0

    def _counters(self) -> Verdict:
        scrapes = [scrape for worker in self.scene.running if (scrape := worker.scrape()) is not None]
        return judge_counters(counters_of(scrapes), self.feeder.by_kind)

    def _still(self) -> None:
        """Nobody writes any more, and no transaction is open: all topics tell of the same moment."""
        for feeder in self.scene.feeders:
            feeder.abandon()
        for worker in self.scene.workers:
            worker.kill()
        everywhere = range(self.schedule.partitions)
        self._until(lambda: not self.moments.under_way(everywhere), "no transaction is open")
        if self.names.routed:
            self._until(lambda: not self._routing(), "no transaction of a router is open")

    def _read_logs(self) -> None:
        for diary in self._diaries.values():
            diary.read()
            self.outcome.restores += len(diary.restored)
            self.outcome.longest_restore = max([self.outcome.longest_restore, *diary.seconds])
            self.outcome.verdict.problems += [f"quarantined: {why}" for why in diary.quarantined]

    def _judge(self) -> None:
        schedule, objectives = self.schedule, self.scene.objectives
        assert self.names.trace

        def one(number: int) -> tuple[Verdict, int]:
            evidence = gather(self.bootstrap, self.names, number)
            assert self.names.trace
            cut = aborted(self.bootstrap, self.names.trace, number)
            return judge(evidence, self.names, number, schedule.partitions, objectives), cut

        verdict = Verdict()
        with ThreadPoolExecutor(schedule.partitions) as pool:  # most of it is waiting for the broker
            for found, cut in pool.map(one, range(schedule.partitions)):
                verdict.add(found)
                self.outcome.cut += cut
        whole = self.outcome.verdict
        if schedule.sources is not None:
            routing = judge_routing(self.bootstrap, self.names, schedule.sources, schedule.partitions)
            whole.lost, whole.twice = max(whole.lost, routing.lost), max(whole.twice, routing.twice)
            whole.problems += routing.problems
            self.outcome.unrouted = cut_in(self.bootstrap, self.names, schedule.partitions)
        # The counters and the topics are two views of the same records: one lost shows in both.
        verdict.lost, verdict.twice = max(verdict.lost, whole.lost), max(verdict.twice, whole.twice)
        verdict.problems = whole.problems + verdict.problems
        self.outcome.verdict = verdict
        if verdict.records != self.feeder.sent:
            self._fail(f"{self.feeder.sent} records were acknowledged, {verdict.records} are there")
        if not (verdict.fired and verdict.resolved):
            self._fail("no alert fired and was resolved: nothing was proven about alerts")

    # -- faults ---------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        if fault.kind is Kind.JOIN:
            self._start()
            return
        victim = self._victim(fault)
        self._check_committed(victim)
        if fault.moment is not Moment.ANY:
            self.outcome.aimed[fault.moment] += 1
        self.outcome.kills[SIGNALS[fault.kind]] += 1
        if fault.kind in (Kind.FREEZE, Kind.DOUBLE):
            self._freeze(fault, victim)
            return
        if fault.kind is Kind.KILL:
            victim.kill()
            self._note_hit(fault, victim)  # a transaction that is open now, its heir has to end
        else:
            self._stop(fault, victim)
        if fault.kind is Kind.LEAVE or fault.moment in NEWCOMERS:
            return  # who joined for it is there in its place
        if fault.heirs_first and self.scene.running:
            self._await_heirs(victim)
        self._start(self._instances.get(victim))

    def _victim(self, fault: Fault) -> WorkerProcess:
        """Somebody in the very moment."""
        if fault.moment not in NEWCOMERS:
            victim = self._at_work(fault.victim)
            if fault.moment is Moment.COMMIT:
                # A router is caught to be killed only: a zombie is waited for until it has tried to commit.
                its_router = self.names.routed and fault.kind is Kind.KILL and fault.victim % 2 == 0
                self._catch_in_commit(victim, its_router)
            return victim
        self._at_work(fault.victim)
        self._start()
        chosen = self._until(
            lambda: self._found_in(fault), f"somebody is in the middle of a {fault.moment}", often=True
        )
        if fault.moment is Moment.RESTORE:
            self._wait(fault.depth)
        return chosen

    def _found_in(self, fault: Fault) -> WorkerProcess | None:
        found = [worker for worker in self.scene.running if self._in_moment(fault.moment, worker)]
        return found[fault.victim % len(found)] if found else None

    def _in_moment(self, moment: Moment, worker: WorkerProcess) -> bool:
        diary = self._diaries[worker].read()
        if moment is Moment.COMMIT:
            return bool(self.moments.under_way(diary.held)) or self._routing()
        if moment is Moment.RESTORE:
            return bool(diary.restoring)
        return bool(diary.held) and (diary.giving_up or self.moments.rebalancing(self.scene.group))

    def _note_hit(self, fault: Fault, victim: WorkerProcess) -> bool:
        """Whether it was still in the moment when it was struck."""
        hit = fault.moment is not Moment.ANY and self._in_moment(fault.moment, victim)
        self.outcome.hits[fault.moment] += hit
        return hit

    def _stop(self, fault: Fault, victim: WorkerProcess) -> None:
        """Politely; it has to end in time, and well."""
        self._note_hit(fault, victim)
        began = time.monotonic()
        try:
            status = victim.stop(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._fail(f"SIGTERM ({fault.moment}): not ended after {STOP_SECONDS:.0f} s\n{victim.said()}")
            victim.kill()
            return
        if status:
            took = time.monotonic() - began
            self._fail(f"SIGTERM ({fault.moment}): status {status} after {took:.1f} s\n{victim.said()}")

    def _freeze(self, fault: Fault, zombie: WorkerProcess) -> None:
        """It sleeps until others have done its work for a while, and must not be able to tell anybody."""
        zombie.freeze()
        self._note_hit(fault, zombie)
        diary = self._diaries[zombie].read()
        moves, refused, tried = diary.moves, diary.refused, diary.refused + diary.unsaved
        slept_at, restored = time.monotonic(), len(diary.seconds)
        heir = self._start(self._instances[zombie]) if fault.kind is Kind.DOUBLE else None
        self._await_heirs(zombie, heir)
        self.outcome.zombies += 1
        slept = time.monotonic() - slept_at
        zombie.thaw()
        if heir is not None:
            self._await_only_one(zombie, heir)
        else:
            self._until(lambda: diary.read().moves > moves, "the zombie knows that it was replaced")
        if fault.moment is Moment.COMMIT:  # it had one in hand when it fell asleep
            self._until(lambda: diary.read().refused + diary.unsaved > tried, "the zombie has tried to write")
        self.outcome.refused += diary.refused > refused
        # A restore that it slept through says nothing about how long restores take.
        diary.seconds[restored:] = [each for each in diary.seconds[restored:] if each < slept]

    def _await_only_one(self, *both: WorkerProcess) -> None:
        """Of two that bear one name the group keeps one; the other ends, and says why."""

        def ended() -> WorkerProcess | None:
            return next((each for each in both if each.process.poll() is not None), None)

        self._namesakes.update(both)
        gone = self._until(ended, "one of two workers under one name has ended", but_for=both)
        gone.ended = True
        if gone.process.returncode != 1:
            status = gone.process.returncode
            self._fail(f"a worker whose name was taken ended with {status}\n{gone.said()}")

    def _came_again(self, worker: WorkerProcess) -> bool:
        """Of two that bore one name the group may expel the one that was left as well: whoever watches
        over it starts it again, as after every end with status 1.
        """
        if worker not in self._namesakes or worker.process.poll() != 1 or EXPELLED not in worker.said():
            return False
        worker.ended = True
        self.outcome.expelled += 1
        self._start(self._instances[worker])
        return True

    # -- workers --------------------------------------------------------------------------

    def _start(self, instance: str | None = None) -> WorkerProcess:
        """One that comes back under its name, or a new one; under an old name it would join nobody."""
        settings = {"session_timeout": str(SESSION_SECONDS), "repartition": str(self.names.routed)}
        if self.schedule.static:
            used = set(self._instances.values())
            instance = instance or next(name for name in ascii_lowercase if name not in used)
            settings["instance_id"] = instance
        worker = self.scene.start(**settings)
        self.outcome.joins += 1
        self._diaries[worker] = Diary(worker.log)
        if instance is not None:
            self._instances[worker] = instance
        return worker

    def _at_work(self, choice: int) -> WorkerProcess:
        """One that has partitions, and whose partitions have gone on since the last fault."""

        def found() -> WorkerProcess | None:
            able = [
                worker
                for worker in self.scene.running
                if (diary := self._diaries[worker].read()).owned and not diary.restoring
            ]
            if not able:
                return None
            victim = able[choice % len(able)]
            owned = self._diaries[victim].owned
            now = self.moments.committed(range(self.schedule.partitions))
            if not all(now.values()):
                return None  # there has to be something to lose everywhere
            done = sum(now[number] - self._commits.get(number, 0) for number in owned)
            return victim if done >= AT_WORK * _BY_OFFSETS else None

        victim = self._until(found, "a worker with partitions commits")
        self._commits |= self.moments.committed(range(self.schedule.partitions))
        return victim

    def _check_committed(self, victim: WorkerProcess) -> None:
        """There has to be something to lose: state, in every partition that the victim has."""
        bare = [
            number for number, end in self.moments.committed(self._diaries[victim].held).items() if not end
        ]
        if bare:
            self._fail(f"nothing was committed in partitions {bare} before the fault: it proves nothing")

    def _routing(self) -> bool:
        """Whether a router's transaction is open that nobody is about to end."""
        everywhere = range(self.schedule.partitions)
        return self.names.routed and any(
            self.moments.under_way(everywhere, each) for each in self.names.inputs
        )

    def _catch_in_commit(self, victim: WorkerProcess, its_router: bool) -> None:
        """Leave it frozen with a transaction open, which is over in milliseconds otherwise."""
        diary = self._diaries[victim]
        everywhere = range(self.schedule.partitions)
        for _ in range(TRIES):
            if its_router:
                self._until(lambda: self.router_tap.hears(everywhere), "a router writes")
            else:
                self._until(lambda: self.tap.hears(diary.read().owned), "it begins a commit")
            victim.freeze()
            if self._routing() if its_router else self.moments.under_way(diary.held):
                return
            victim.thaw()
            if self._abandoned.is_set():
                raise Abandoned

    def _await_heirs(self, victim: WorkerProcess, heir: WorkerProcess | None = None) -> None:
        """Until what the victim had is committed by others; ``heir``: who must be one of them."""
        wanted = set(self._diaries[victim].held)
        before = self.moments.committed(wanted)

        def taken_over() -> bool:
            others = [each for each in self.scene.running if each is not victim]
            diaries = {each: self._diaries[each].read() for each in others}
            has = {number for diary in diaries.values() for number in diary.owned - diary.restoring}
            if not wanted <= has or (heir is not None and not diaries[heir].owned):
                return False
            now = self.moments.committed(wanted)
            return all(now[number] > before[number] for number in wanted)

        self._until(taken_over, f"others have taken over partitions {sorted(wanted)}", but_for=(victim,))

    # -- waiting --------------------------------------------------------------------------

    def _until(
        self,
        condition: Callable[[], T | None],
        why: str,
        but_for: Collection[WorkerProcess] = (),
        often: bool = False,
    ) -> T:
        """Wait while all workers live that should, and nobody has pressed Ctrl-C.

        ``often``: for what is over in some hundredths of a second.
        """

        def answer() -> T | None:
            if self._abandoned.is_set():
                raise Abandoned
            for worker in self.scene.running:
                if worker not in but_for and not self._came_again(worker):
                    worker.check()
            return condition()

        deadline = time.monotonic() + PATIENCE
        while often and time.monotonic() < deadline:
            if found := answer():
                return found
            self._wait(0.002)
        found = wait_until(answer, 0.0 if often else PATIENCE, why)
        assert found is not None
        return found

    def _wait(self, seconds: float) -> None:
        """Go deeper into a moment; that is a matter of time."""
        if self._abandoned.wait(seconds):
            raise Abandoned
