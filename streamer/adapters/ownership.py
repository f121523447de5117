"""Which partitions are ours, what arrives for them, and what is processed when.

assigned → restoring → live → leaving → (back at once: live | gone). State
that cannot be trusted is quarantined: assigned, not read, reported. A worker
that was replaced learns it from its own commit (``Fenced``) and forgets.

``custody`` keeps the seats, ``recovery`` brings them to life, ``commits``
saves them; here is when. All methods run on the event loop, but for those of
``readers.Listener``, which the poll thread calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from confluent_kafka import KafkaError

from streamer.adapters.clock import why_in_doubt
from streamer.adapters.commits import Commits, Pace
from streamer.adapters.custody import Custody, log
from streamer.adapters.exposition import Exposition, ProcessorStats
from streamer.adapters.heads import Heads
from streamer.adapters.health import Answer, check_alive, check_ready
from streamer.adapters.kafka import log as kafka_log
from streamer.adapters.readers import Chunk, Readers
from streamer.adapters.recovery import Recovery
from streamer.adapters.restore import Restorer
from streamer.adapters.seat import Seat, Standing
from streamer.adapters.tasks import Tasks
from streamer.adapters.transport import Run
from streamer.pipeline import Poison

LEAVE_SECONDS = 8.0


class Expelled(Exception):
    """The group will not have this worker back; the message names the cure."""


class Repartitioned(Exception):
    """Somebody has added partitions: models have other homes now, and their state has to move first."""

    def __init__(self) -> None:
        super().__init__(
            "the topics have more partitions than when this worker started, so models have other homes: stop"
            " all workers, `streamer state export FILE`, then `streamer state import FILE --replace`"
        )


class Ownership:
    """The source of Faust's runs and the keeper of the partitions' state."""

    def __init__(
        self,
        restorer: Restorer,
        make_readers: Callable[[Any], Readers],
        exposition: Exposition,
        stats: ProcessorStats,
        pace: Pace,
        trace: bool = False,
    ) -> None:
        self.topics, self.partitions = restorer.topics, restorer.partitions
        self.stats = stats
        self.tasks = Tasks()
        self.custody = Custody(exposition, stats)
        self.commits = Commits(self.custody, self.tasks, exposition, stats, pace, trace)
        self.recovery = Recovery(self.custody, self.tasks, self.commits, restorer, exposition, stats)
        self.heads = Heads(self.custody, self.tasks, restorer, stats)
        self.seats = self.custody.seats
        self.readers = self.custody.readers = make_readers(self)
        self._arrival = asyncio.Event()
        self._in_turn = asyncio.Lock()
        self._ready: set[int] = set()
        self._wanted: frozenset[int] = frozenset()
        self._joined = False
        self._doubt = ""
        self.caught_up: Callable[[], bool] = lambda: True  # a router knows if what we read is all there is
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_at = time.monotonic()

    # -- Faust's side --------------------------------------------------------------

    async def begin(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        self.readers.start()

    async def next_runs(self, timeout: float) -> list[Run]:
        """One run of each partition that has one; waits up to ``timeout`` seconds for the first."""
        runs = self._take_runs()
        if not runs:
            self._arrival.clear()
            self._wanted = frozenset(
                kind for seat in self.seats.values() if (kind := seat.merger.waiting_for) is not None
            )
            try:
                await asyncio.wait_for(self._arrival.wait(), timeout)
            except TimeoutError:
                return []
            runs = self._take_runs()
        return runs

    def _take_runs(self) -> list[Run]:
        runs = []
        for number in list(self._ready):
            seat = self.seats.get(number)
            run = seat.next_run() if seat is not None and seat.standing is Standing.LIVE else None
            if run is None:
                self._ready.discard(number)
            else:
                runs.append(run)
        if runs:
            self._wanted = frozenset()
        return runs

    def process(self, run: Run) -> None:
        """Feed one run; called by the agent, one at a time."""
        self.readers.done[run.kind] += len(run.records)
        seat = self.seats.get(run.partition)
        if seat is None or seat.epoch != run.epoch:
            return
        seat.under_way -= 1
        if seat.standing is not Standing.LIVE or seat.pipeline is None:
            return
        began = time.perf_counter()
        try:
            seat.pipeline.run(run.kind, run.records)
        except Poison as poison:
            self._poisoned(seat, poison)
            return
        except Exception as error:
            self.custody.broken(seat, "processing it", error)
            return
        seat.dirty = True
        seat.unsaved += len(run.records)
        self.stats.chunks += 1
        busy = self.stats.busy_seconds
        busy[run.partition] = busy.get(run.partition, 0.0) + time.perf_counter() - began
        self.commits.if_due(seat)

    def _poisoned(self, seat: Seat, poison: Poison) -> None:
        log.error("partition %d: %s", seat.number, poison, exc_info=poison)
        if seat.set_aside(poison):
            log.warning("partition %d: restoring, then setting that record aside", seat.number)
            self.recovery.reset(seat)
        else:
            what = f"processing it: {poison}, and setting records aside did not help"
            self.custody.broken(seat, what, poison.__cause__ or poison)

    def beat(self) -> None:
        """A few times a second: ticks at the head, commits that are due, where the logs end."""
        self._loop_at = now = time.monotonic()
        if self.custody.ending:
            return
        caught_up = self.caught_up()
        for seat in list(self.seats.values()):
            try:
                seat.tick(now, seat.clock.now_ms() if caught_up else None)
            except Exception as error:
                self.custody.broken(seat, "letting time pass", error)
            self.commits.if_due(seat)
        self._compare_clocks()
        self.heads.look_if_due(now)

    def _compare_clocks(self) -> None:
        """Say once when they begin to differ, and once when they agree again."""
        live = [seat for seat in self.seats.values() if seat.standing is Standing.LIVE]
        self.stats.clock_ahead = {
            seat.number: ahead for seat in live if (ahead := seat.clock.ahead()) is not None
        }
        doubt = why_in_doubt(self.stats.clock_ahead)
        if doubt and not self._doubt:
            log.error("%s", doubt)
        elif self._doubt:
            self._ready.update(seat.number for seat in live)  # what was held may go on
            self._arrival.set()
            if not doubt:
                log.info("the brokers' clock and this worker's agree again")
        self._doubt = doubt

    async def end(self) -> None:
        """Commit what there is, leave the group, stop the poll thread. Takes at most some seconds."""
        self.custody.ending = True
        deadline = time.monotonic() + LEAVE_SECONDS - 1
        try:
            await self._finish_turn(deadline)
            await self._leave(set(self.seats), False, deadline)
        finally:
            # From here on no thread waits for a broker any more.
            for seat in list(self.seats.values()):
                self.custody.forget(seat)
            self.custody.forget_kept()
            self.readers.stop()
            if self.readers.is_alive():
                await asyncio.get_running_loop().run_in_executor(None, self.readers.join, LEAVE_SECONDS)
            self.tasks.cancel()
            for each in (self.commits, self.recovery, self.heads):
                each.close()

    async def _finish_turn(self, deadline: float) -> None:
        """A rebalance may be at its last commits: cutting them off would leave them to the next owner."""
        try:
            await asyncio.wait_for(self._in_turn.acquire(), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return
        self._in_turn.release()

    # -- the poll thread's side (readers.Listener) -----------------------------------

    def assigned(self, partitions: set[int]) -> None:
        self._call(self._spawn_assigned, partitions)

    def revoked(self, partitions: set[int], lost: bool) -> None:
        """Blocks the rebalance until the last commit, never for a loop that is stopping."""
        if self.custody.ending or self.readers.stopping or self._loop is None:
            return
        future = asyncio.run_coroutine_threadsafe(self._revoked(partitions, lost), self._loop)
        try:
            future.result(LEAVE_SECONDS)
        except TimeoutError:
            log.warning("partitions %s: no last commit within %.0f s", sorted(partitions), LEAVE_SECONDS)
        except CancelledError:
            log.info("partitions %s: the worker stops", sorted(partitions))
        except Exception as error:
            self.tasks.crash("giving up partitions", error)

    def arrived(self, chunks: list[Chunk]) -> None:
        self._call(self._arrived, chunks)

    def ended(self, kind: int, partition: int, epoch: int, offset: int) -> None:
        self._call(self._ended, kind, partition, epoch, offset)

    def failed(self, kind: int, partition: int, epoch: int, error: KafkaError) -> None:
        self._call(self._failed, kind, partition, epoch, error)

    def unstarted(self, partition: int, epoch: int, error: KafkaError) -> None:
        self._call(self._unstarted, partition, epoch, error)

    def expelled(self, error: KafkaError) -> None:
        """The group wants us no more, for good: two workers under one ``instance_id``, as a rule."""
        why = (
            f"the group has expelled this worker ({error.str()}): does another one run under the same"
            " instance_id (STREAMER_INSTANCE_ID)? Give each its own"
        )
        self.tasks.crash("the group's member", Expelled(why))

    def died(self, error: BaseException) -> None:
        self.tasks.crash("the poll thread", error)

    def starving(self) -> frozenset[int]:
        return self._wanted

    def hoards(self) -> dict[tuple[int, int], tuple[int, float]]:
        """(kind, partition) → how many records are queued, and for how many s they have waited."""
        now = time.monotonic()
        return {
            (kind, seat.number): (seat.queued[kind], seat.stuck(kind, now))
            for seat in list(self.seats.values())
            for kind in (0, 1)
        }

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    # -- what has arrived ---------------------------------------------------------------

    def _arrived(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            seat = self.seats.get(chunk.partition)
            if seat is None or seat.epoch != chunk.epoch or seat.standing is not Standing.LIVE:
                self.readers.done[chunk.kind] += len(chunk.records)
            elif seat.accept(chunk):
                self._ready.add(chunk.partition)
            else:
                self.readers.done[chunk.kind] += len(chunk.records)
                log.error(
                    "partition %d: a chunk is missing before %d; restoring", chunk.partition, chunk.begins
                )
                self.recovery.reset(seat)
        self._arrival.set()

    def _current(self, partition: int, epoch: int) -> Seat | None:
        seat = self.seats.get(partition)
        return seat if seat is not None and seat.epoch == epoch else None

    def _ended(self, kind: int, partition: int, epoch: int, offset: int) -> None:
        seat = self._current(partition, epoch)
        if seat is not None:
            seat.end(kind, offset)
            self._ready.add(partition)
            self._arrival.set()

    def _failed(self, kind: int, partition: int, epoch: int, error: KafkaError) -> None:
        seat = self._current(partition, epoch)
        if seat is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
            self.custody.quarantine(
                seat,
                f"{self.topics[kind]}/{partition}: the next offset is no longer there ({error.str()}):"
                " retention has eaten records that were never read, or the topic was made anew. Keep what is"
                " known and go on with what there is: `streamer state export FILE`, then"
                " `streamer state import FILE --replace --from earliest`. Or begin anew with"
                f" `streamer state reset --partition {partition}`",
            )
        else:
            kafka_log.warning("%s/%d: %s", self.topics[kind], partition, error)

    def _unstarted(self, partition: int, epoch: int, error: KafkaError) -> None:
        seat = self._current(partition, epoch)
        if seat is not None:
            self.custody.quarantine(
                seat, f"partition {partition}: it cannot be read ({error.str()}); restart this worker"
            )

    # -- assignment -----------------------------------------------------------------------

    def _spawn_assigned(self, partitions: set[int]) -> None:
        self.tasks.spawn(self._assigned(partitions))

    async def _assigned(self, partitions: set[int]) -> None:
        async with self._in_turn:  # the group's events in their order, however long one takes
            if self.custody.ending:
                return
            log.info("assigned partitions %s", sorted(partitions))
            if max(partitions, default=0) >= self.partitions:
                self.tasks.crash("the group's member", Repartitioned())
                return
            self._joined, self.custody.rejoining = True, False
            self.custody.forget_kept(set(self.custody.kept) - partitions)
            for number in sorted(partitions):
                if number in self.seats:
                    self.custody.forget(self.seats[number])
                seat = self.custody.kept.pop(number, None)
                if seat is None:
                    self.recovery.begin(self.custody.add(number))
                else:
                    self.seats[number] = seat
                    self.recovery.resume(seat)

    async def _revoked(self, partitions: set[int], lost: bool) -> None:
        async with self._in_turn:
            log.info("%s partitions %s", "lost" if lost else "giving up", sorted(partitions))
            self._joined = False
            mine = partitions & set(self.seats)
            if lost:
                self.stats.lost += len(mine)
                self.custody.forget_kept()
            else:
                # Who leaves the group comes back as somebody else: others may have had it meanwhile.
                keep = not self.custody.rejoining
                await self._leave(mine, keep, time.monotonic() + LEAVE_SECONDS - 1)
            for number in partitions & set(self.seats):
                self.custody.forget(self.seats[number])

    async def _leave(self, numbers: set[int], keep: bool, deadline: float) -> None:
        """One last commit of each, side by side; those that made it may keep their memory."""
        seats = [seat for number in numbers if (seat := self.seats[number]).standing is Standing.LIVE]
        for seat in seats:
            seat.standing = Standing.LEAVING
        work = [self.tasks.spawn(self.commits.last(seat)) for seat in seats]
        if work:
            await asyncio.wait(work, timeout=max(0.0, deadline - time.monotonic()))
        for seat, task in zip(seats, work, strict=True):
            saved = task.done() and not task.cancelled() and task.exception() is None and task.result()
            if saved and keep and self.custody.holds(seat) and seat.standing is Standing.LEAVING:
                self.custody.keep(seat)

    # -- health -----------------------------------------------------------------------------

    @property
    def crashed(self) -> BaseException | None:
        """Why the worker has to stop, if it has to."""
        return self.tasks.crashed or self.custody.starved

    def health(self) -> Answer:
        """Are the loop and the poll thread alive?"""
        moved_at = {"event loop": self._loop_at, "poll thread": self.readers.alive_at}
        return check_alive(time.monotonic(), moved_at)

    def ready(self) -> Answer:
        """In the group, the brokers answer, all restored, nothing quarantined, clocks that agree."""
        reachable = self.heads.reachable(time.monotonic())
        seats = list(self.seats.values())
        return check_ready(self._joined, reachable, self.readers.trouble, seats, self._doubt)
