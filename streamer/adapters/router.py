"""The router: brings each record of the sources to its model's home, exactly once.

A thread of the worker, a member of a group of its own. What arrives waits in
``lanes``; then, a load at a time, in one transaction (KIP-447):

1. Take from the lanes what is next in record time, and find each one's home.
2. Begin; write the records, each with the place that it came from.
3. Write how far the sources are routed, with the group's generation: from a
   router whose partitions others have, the broker does not take it.
4. Commit. Before that nobody sees any of it, and whoever comes next begins at
   the offsets of the last one that was committed.

It fails as a partition's commit does (``transactions``): the same again, abort
and again, or a new client that joins anew. While a broker is away it waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streamer.adapters.exposition import RouterStats
from streamer.adapters.health import Answer, check_alive
from streamer.adapters.kafka import ClientConfig, error_of
from streamer.adapters.lanes import At, Lanes, Load
from streamer.adapters.member import HEARTBEATS_IN_DOUBT
from streamer.adapters.progress import ANSWER_SECONDS, Progress, clock_of
from streamer.adapters.router_reader import SourceReader, log, source_config
from streamer.adapters.router_writer import RouterWriter
from streamer.adapters.topics import Topics
from streamer.adapters.transactions import (
    LONGEST_PAUSE,
    SHORTEST_PAUSE,
    Fenced,
    Rooms,
    Unreachable,
    Unwritable,
)
from streamer.origin import router_group
from streamer.pipeline import KINDS
from streamer.routing import Routed, Routes

IDLE_SECONDS = 0.02
COMMIT_SECONDS = 0.1
REST, LONGEST_REST = 4, 1.0  # times as long as a transaction took there is none, in s
SETTLE_SECONDS = 5.0  # until positions are told that no record has moved
LOOK_SECONDS = 0.5
FINISH_SECONDS = 3.0
LOAD_RECORDS = 10_000
MOST_BYTES = 32 * 1024 * 1024
# The group has other members by now, or another generation: what it refuses, others will write.
OUTDATED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
    }
)

STARTING = "it is starting"


@dataclass(frozen=True, slots=True)
class Membership:
    """How a router joins its group.

    ``name``: what no other router has, ever. ``instance``: what it is called after a restart too, or None.
    """

    session_ms: int
    name: str
    instance: str | None = None


class Router(threading.Thread):
    """Runs until ``stop``. ``expelled``, ``died``: told, from this thread, why the worker has to end."""

    def __init__(
        self,
        base: ClientConfig,
        group: str,
        topics: Topics,
        counts: tuple[int, int],
        routes: Routes,
        membership: Membership,
        stats: RouterStats,
        expelled: Callable[[KafkaError], None],
        died: Callable[[BaseException], None],
        chunk: int = 4_000,
        max_buffered: int = 24_000,
    ) -> None:
        super().__init__(name="router", daemon=True)
        self._base, self.group, self.topics = base, router_group(group), topics
        self.routes, self._as, self.stats = routes, membership, stats
        self._expelled, self._died, self._chunk = expelled, died, chunk
        self.progress = Progress(base, topics.sources, counts)
        self.lanes = Lanes(max_buffered, MOST_BYTES)
        self._stopping = threading.Event()
        self._lives = 0
        self.alive_at = time.monotonic()
        self._trouble: str | None = STARTING
        self._unanswered: str | None = None
        self._open()

    def _open(self) -> None:
        """New clients; the old ones are closed."""
        self._lives += 1
        self.lanes.clear()
        rooms = Rooms({f"routed_{kind}": each for kind, each in zip(KINDS, self.topics.inputs, strict=True)})
        # A name that is used again shuts out who had it before and ends its transaction at once; one
        # that is not leaves that to the coordinator, which ends it after its timeout.
        name = self._as.instance or f"{self._as.name}-{self._lives}"
        self._writer = RouterWriter(self._base, f"{self.group}-{name}", rooms, self._is_alive)
        config = source_config(self._base, self.group, self._as.session_ms, self._as.instance)
        self._reader = SourceReader(config, self.topics.sources, self.lanes, self._halt, self._is_expelled)
        self._pause = SHORTEST_PAUSE
        self._routed_at = self._looked_at = self._again_at = self._rest = 0.0

    # -- called by the worker -----------------------------------------------------------------

    def stop(self) -> None:
        """Finish the transaction under way, if the brokers answer, and leave the group."""
        self._stopping.set()
        # A transaction that is left open holds everybody's reading back until its timeout.
        patience = threading.Timer(FINISH_SECONDS, self._writer.gone.set)
        patience.daemon = True
        patience.start()

    def health(self) -> Answer:
        """Does it move?"""
        return check_alive(time.monotonic(), {"router": self.alive_at})

    def ready(self) -> Answer:
        """In its group, writing, and no partition of the sources is out of its reach."""
        if self.stats.halted:
            names = ", ".join(f"{topic}/{number}" for topic, number in sorted(self.stats.halted))
            return False, f"the router cannot go on with {names}: its log says why and what to do"
        trouble = self._trouble or self._unanswered or self._reader.trouble
        return (False, f"the router: {trouble}") if trouble else (True, "")

    def caught_up(self) -> bool:
        """May time pass where nothing arrives? Not while records lie in the sources and do not come."""
        return not self.stats.halted and self.progress.caught_up(time.monotonic())

    # -- the thread ---------------------------------------------------------------------------

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._live()
        except BaseException as error:
            self._died(error)

    def _live(self) -> None:
        """Until told to stop, or until somebody else has what we had."""
        try:
            self._take_over()
            self._reader.join()
            while not self._stopping.is_set():
                self._turn(time.monotonic())
        except Unreachable:
            return  # told to stop while a broker is away
        except Fenced as error:
            self.stats.fenced += 1
            log.warning("the router: replaced (%s); it joins again", error)
            self._doubt()
        finally:
            self._reader.close()
            self._writer.close()
        if not self._stopping.is_set():
            self._open()

    def _doubt(self) -> None:
        """Serve the group for some heartbeats: was it replaced under its own name, they expel it.

        Joining at once would throw its heir out.
        """
        beats = HEARTBEATS_IN_DOUBT * self._as.session_ms / 10_000 if self._as.instance else SHORTEST_PAUSE
        until = time.monotonic() + beats
        while (now := time.monotonic()) < until and not self._stopping.is_set():
            self.alive_at = now
            self._reader.read(self._chunk, IDLE_SECONDS, now)

    def _take_over(self) -> None:
        while True:
            try:
                self._writer.take_over()
                return
            except (Unreachable, Unwritable) as error:
                self._say(str(error))
                if self._stopping.wait(LONGEST_PAUSE):
                    raise Unreachable("stopped") from error

    def _turn(self, now: float) -> None:
        self.alive_at = now
        if self._reader.read(self._chunk, IDLE_SECONDS, now):
            self._guard(self._begin, now)
        if now - self._looked_at > LOOK_SECONDS:
            self._looked_at = now
            self._guard(self._look, now)
        if self._reader.membership is not None and not self._reader.newcomers:
            if self._trouble == STARTING:  # it was given nothing, and needs nothing to begin with
                self._trouble = None
            if now >= self._again_at:
                self._route_if_due(now)

    def _guard(self, step: Callable[[float], None], now: float) -> None:
        """Nobody answers: it is tried again, turn after turn."""
        try:
            step(now)
        except (KafkaException, TimeoutError) as error:
            why = error_of(error).str() if isinstance(error, KafkaException) else "no answer in time"
            if why != self._unanswered:
                log.warning("the router: %s", why)
            self._unanswered = why

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("the router: %s", trouble)
        self._trouble = trouble

    def _is_alive(self) -> None:
        self.alive_at = time.monotonic()

    def _is_expelled(self, error: KafkaError) -> None:
        self._expelled(error)
        self._stopping.set()

    # -- where to go on -----------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        """Find the newcomers' positions, tell those that nobody has told yet, and read."""
        mine, progress = self._reader.newcomers, self.progress
        for kind, number in mine:
            progress.counts[kind] = max(progress.counts[kind], number + 1)
        # Asked in this order: whatever lies there, some offset was committed before it or with it.
        inputs = [
            TopicPartition(each, number)
            for each in self.topics.inputs
            for number in range(self.routes.partitions)
        ]
        written = any(progress.offsets(inputs, OffsetSpec.latest()).values())
        found = {progress.at(each): each for each in self._committed(progress.places, ANSWER_SECONDS)}
        new = [at for at in mine if found[at].offset < 0]
        known = {at: (found[at].offset, clock_of(found[at])) for at in mine if found[at].offset >= 0}
        self.stats.halted = {}
        if new and written and all(each.offset < 0 for each in found.values()):
            self._halt(new, f"group {self.group} has no offsets any more, and records were routed before")
        elif new:
            places = [self._reader.place(*at, 0) for at in new]
            self._is_alive()
            oldest = progress.offsets(places, OffsetSpec.earliest())
            firsts = {at: (oldest[self.topics.sources[at[0]], at[1]], 0) for at in new}
            if not self._write([], firsts):
                return
            known |= firsts
        self._reader.start(known, time.monotonic())
        self._trouble = None

    def _committed(self, places: Sequence[TopicPartition], seconds: float) -> list[TopicPartition]:
        self._is_alive()
        return self._reader.committed(places, seconds)

    def _halt(self, ats: Iterable[At], why: str) -> None:
        """Go on without them: which models lie there, nobody knows."""
        places = [(self.topics.sources[kind], number) for kind, number in sorted(ats)]
        for at in ats:
            self.lanes.close(at)
        self.stats.halted |= dict.fromkeys(places, why)
        log.error(
            "the router cannot go on with %s: %s. Stop all workers of the group, say where to go on, and"
            " start them: `kafka-consumer-groups.sh --bootstrap-server … --group %s %s --reset-offsets"
            " --to-earliest --execute` takes all that is still there; --to-datetime leaves out what was"
            " routed before, which would else be counted twice",
            ", ".join(f"{topic}/{number}" for topic, number in places), why, self.group,
            " ".join(f"--topic {topic}:{number}" for topic, number in places),
        )  # fmt: skip

    # -- transactions ---------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        self.progress.look(self._committed, now)
        self._unanswered = None
        left = self.progress.left([lane.at for lane in self.lanes])
        self.stats.left = {(KINDS[kind], number): count for (kind, number), count in left.items()}

    def _route_if_due(self, now: float) -> None:
        """A whole load at once; less than that ten times a second, or as often as is not too dear."""
        mine = {lane.at for lane in self.lanes}
        load = self.lanes.next_load(LOAD_RECORDS, now, self.progress.others_ms(mine, now))
        count, waited = sum(load.values()), now - self._routed_at
        settled = waited > SETTLE_SECONDS and any(lane.after(0)[0] != lane.told for lane in self.lanes)
        if settled or count >= LOAD_RECORDS or (count and waited >= max(COMMIT_SECONDS, self._rest)):
            self._route(load)

    def _route(self, load: Load) -> None:
        records: list[Routed] = [
            self.routes.routed(lane.kind, lane.number, record) for lane, record in self.lanes.records_of(load)
        ]
        ends = {lane.at: lane.after(load.get(lane.at, 0)) for lane in self.lanes}
        fresh = {lane.at: ends[lane.at] for lane in self.lanes if ends[lane.at][0] != lane.told}
        if not self._write(records, fresh):
            return
        self.lanes.done(load, time.monotonic())
        for record in records:
            kind = record.room.removeprefix("routed_")
            self.stats.routed[kind] += 1
            self.stats.homeless[kind] += record.homeless

    def _write(self, records: list[Routed], ends: dict[At, tuple[int, int]]) -> bool:
        """One transaction; where it was aborted the same records come again, with the next load."""
        offsets = [self._reader.place(*at, offset, str(clock)) for at, (offset, clock) in ends.items()]
        began = time.monotonic()
        try:
            cause = self._writer.attempt(records, offsets, self._reader.membership)
        except Unwritable as error:
            self._say(str(error))
            cause = None
        else:
            if cause is None:
                self._routed_at = time.monotonic()
                self._rest = min(REST * (self._routed_at - began), LONGEST_REST)
                self._pause, self._trouble = SHORTEST_PAUSE, None
                return True
            self.stats.fenced += cause.code() in OUTDATED
            self._say(f"a transaction was aborted ({cause.str()}) and is tried again")
        self._again_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return False
