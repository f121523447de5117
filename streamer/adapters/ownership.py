"""Which partitions are ours, and everything that may happen to one.

assigned → restoring → live → leaving → (back at once: live | gone). State
that cannot be trusted is quarantined: assigned, not read, reported. A worker
that was replaced learns it from its own commit (``Fenced``) and forgets.

All methods run on the event loop, but for those of ``readers.Listener``,
which the poll thread calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitedTooLong
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError

from streamer.adapters.exposition import Exposition, ProcessorStats
from streamer.adapters.kafka import log
from streamer.adapters.readers import Chunk, Readers
from streamer.adapters.restore import Restorer
from streamer.adapters.seat import Seat, Standing, release
from streamer.adapters.transactions import Fenced, Unreachable
from streamer.adapters.transport import Run
from streamer.checkpoint import UntrustedState
from streamer.domain.readings import read_partition
from streamer.pipeline import KINDS, Poison

LEAVE_SECONDS = 8.0
RETRY_SECONDS = 1.0
LAG_SECONDS = 2.0
STALLED_SECONDS = 10.0


class Expelled(Exception):
    """The group will not have this worker back; the message names the cure."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to commit: every ``interval`` seconds, stretched so that commits cost at most ``share``."""

    interval: float = 1.0
    longest: float = 10.0
    share: float = 0.10


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
        self.restorer, self.exposition, self.stats, self.pace = restorer, exposition, stats, pace
        self.topics, self.partitions = restorer.topics, restorer.partitions
        self.trace = trace
        self.seats: dict[int, Seat] = {}
        self.kept: dict[int, Seat] = {}
        self.readers = make_readers(self)
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="commit")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restores: dict[int, asyncio.Task[Any]] = {}
        self._arrival = asyncio.Event()
        self._ready: set[int] = set()
        self._wanted: frozenset[int] = frozenset()
        self._epoch = 0
        self._joined = self._rejoining = self._ending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[Any] | None = None
        self.loop_at = self._looked_at = time.monotonic()

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
            log.exception("partition %d: %s; restoring, then setting it aside", run.partition, poison)
            seat.skip = {*seat.skip, (poison.kind, poison.offset)}
            self._reset(seat)
            return
        seat.dirty = True
        self.stats.chunks += 1
        busy = self.stats.busy_seconds
        busy[run.partition] = busy.get(run.partition, 0.0) + time.perf_counter() - began
        self._commit_if_due(seat)

    async def end(self) -> None:
        """Commit what there is, leave the group, stop the poll thread. Takes at most some seconds."""
        self._ending = True
        await self._leave(set(self.seats), keep=False)
        self.readers.stop()
        if self.readers.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self.readers.join, LEAVE_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- the poll thread's side (readers.Listener) -----------------------------------

    def assigned(self, partitions: set[int]) -> None:
        self._call(self._assigned, partitions)

    def revoked(self, partitions: set[int], lost: bool) -> None:
        """Blocks the rebalance until the last commit, never for a loop that is stopping."""
        if self._ending or self.readers.stopping or self._loop is None:
            return
        future = asyncio.run_coroutine_threadsafe(self._revoked(partitions, lost), self._loop)
        try:
            future.result(LEAVE_SECONDS)
        except WaitedTooLong:
            log.warning("partitions %s: no last commit within %.0f s", sorted(partitions), LEAVE_SECONDS)

    def arrived(self, chunks: list[Chunk]) -> None:
        self._call(self._arrived, chunks)

    def ended(self, kind: int, partition: int, epoch: int) -> None:
        self._call(self._ended, kind, partition, epoch)

    def failed(self, kind: int, partition: int, error: KafkaError) -> None:
        self._call(self._failed, kind, partition, error)

    def expelled(self, error: KafkaError) -> None:
        self._call(self._expelled, error)

    def starving(self) -> frozenset[int]:
        return self._wanted

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
                self._reset(seat)
        self._arrival.set()

    def _ended(self, kind: int, partition: int, epoch: int) -> None:
        seat = self.seats.get(partition)
        if seat is not None and seat.epoch == epoch:
            seat.merger.end(kind)
            self._ready.add(partition)
            self._arrival.set()

    def _failed(self, kind: int, partition: int, error: KafkaError) -> None:
        seat = self.seats.get(partition)
        if seat is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._quarantine(
                seat,
                f"{self.topics[kind]}/{partition}: the next offset is no longer there ({error.str()}):"
                " retention has eaten records that were never read, or the topic was made anew. Begin anew"
                " under another --group, or bring the records back",
            )
        else:
            log.warning("%s/%d: %s", self.topics[kind], partition, error)

    def _expelled(self, error: KafkaError) -> None:
        """The group wants us no more, for good: two workers under one ``instance_id``, as a rule."""
        self.crashed = self.crashed or Expelled(
            f"the group has expelled this worker ({error.str()}): does another one run under the same"
            " instance_id (STREAMER_INSTANCE_ID)? Give each its own"
        )

    # -- assignment -----------------------------------------------------------------------

    def _assigned(self, partitions: set[int]) -> None:
        log.info("assigned partitions %s", sorted(partitions))
        self._joined, self._rejoining = True, False
        for number in set(self.kept) - partitions:
            self._forget(self.kept.pop(number))
        for number in partitions:
            self._epoch += 1
            seat = self.kept.pop(number, None)
            if seat is not None and seat.pipeline is not None and seat.checkpoint is not None:
                seat.begin(self._epoch)  # it came straight back: nobody else can have had it
                self.seats[number] = seat
                self._start(seat, seat.live(seat.pipeline, seat.checkpoint))
            else:
                seat = self.seats[number] = Seat(number, self._epoch)
                self._begin_restore(seat)

    async def _revoked(self, partitions: set[int], lost: bool) -> None:
        log.info("%s partitions %s", "lost" if lost else "giving up", sorted(partitions))
        if not lost:
            await self._leave(partitions & set(self.seats), keep=True)
        for number in partitions & set(self.seats):
            self._forget(self.seats.pop(number))

    async def _leave(self, numbers: set[int], keep: bool) -> None:
        """One last commit of each, side by side; those that made it may keep their memory."""
        seats = [self.seats[number] for number in numbers]
        was_live = [seat for seat in seats if seat.standing is Standing.LIVE]
        for seat in seats:
            seat.standing = Standing.LEAVING if seat.standing is Standing.LIVE else seat.standing
        try:
            async with asyncio.timeout(LEAVE_SECONDS - 1):
                saved = await asyncio.gather(*(self._last_commit(seat) for seat in was_live))
        except TimeoutError:
            saved = [False] * len(was_live)
        for seat, done in zip(was_live, saved, strict=True):
            if done and keep and self.seats.get(seat.number) is seat:
                release([seat], self.readers.done)
                self.kept[seat.number] = self.seats.pop(seat.number)

    async def _last_commit(self, seat: Seat) -> bool:
        if seat.commit is not None and not await asyncio.shield(seat.commit):
            return False
        return await self._commit(seat) if seat.dirty or seat.urgent else True

    def _forget(self, seat: Seat) -> None:
        seat.standing = Standing.LEAVING
        release([seat], self.readers.done)
        self.exposition.withdraw(seat.number)
        self.stats.quarantined.pop(seat.number, None)
        if seat.writer is not None:
            seat.writer.close()

    # -- restore ---------------------------------------------------------------------------

    def _reset(self, seat: Seat) -> None:
        """Drop the memory and go back to the last commit."""
        seat.standing = Standing.RESTORING
        release([seat], self.readers.done)
        self.readers.stop_reading(seat.number)
        self._begin_restore(seat)

    def _begin_restore(self, seat: Seat) -> None:
        before = self._restores.get(seat.number)
        self._restores[seat.number] = self._spawn(self._restore(seat, before))

    async def _restore(self, seat: Seat, before: asyncio.Task[Any] | None) -> None:
        # One at a time: one that outlived its seat would take the partition over from its own successor.
        if before is not None:
            await asyncio.wait([before])
        loop, began = asyncio.get_running_loop(), time.monotonic()
        if seat.commit is not None:
            await asyncio.wait([seat.commit])
        while self.seats.get(seat.number) is seat:
            try:
                restored = await loop.run_in_executor(
                    self._pool, self.restorer.restore, seat.number, seat.writer
                )
            except UntrustedState as error:
                return self._quarantine(seat, str(error))
            except (Unreachable, Fenced) as error:
                log.warning("partition %d: %s; trying again", seat.number, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            seat.writer = restored.writer
            break
        else:
            return None
        if self.seats.get(seat.number) is not seat or self._ending:
            return self._forget(seat)
        self._epoch += 1
        seat.begin(self._epoch)
        positions = seat.live(restored.pipeline, restored.checkpoint)
        if restored.first and not await self._commit(seat):
            return None
        seconds = time.monotonic() - began
        self.stats.restores += 1
        self.stats.restore_seconds += seconds
        seat.readings = read_partition(restored.pipeline.partition, None)
        self.exposition.publish(seat.number, seat.readings)
        log.info(
            "partition %d: at commit %d, offsets %s, after %.2f s",
            seat.number,
            restored.checkpoint.number,
            positions,
            seconds,
        )
        self._start(seat, positions)
        return None

    def _start(self, seat: Seat, positions: tuple[int, int]) -> None:
        self.readers.start_reading(seat.number, seat.epoch, positions)

    def _quarantine(self, seat: Seat, why: str) -> None:
        log.error("quarantined: %s", why)
        seat.standing = Standing.QUARANTINED
        release([seat], self.readers.done)
        self.readers.stop_reading(seat.number)
        self.stats.quarantined[seat.number] = why

    # -- commits -----------------------------------------------------------------------------

    @property
    def interval(self) -> float:
        """Seconds between two commits of a partition, so that all of them cost at most the share."""
        cost = sum(seat.commit_cost for seat in self.seats.values())
        return min(max(self.pace.interval, cost / self.pace.share), self.pace.longest)

    def _commit_if_due(self, seat: Seat) -> None:
        if seat.due(time.monotonic(), self.interval):
            seat.commit = self._spawn(self._commit(seat))

    async def _commit(self, seat: Seat) -> bool:
        """Steps 1 to 6 of ``checkpoint``. False: fenced, and the seat is lost."""
        assert seat.checkpoint
        assert seat.pipeline
        assert seat.writer
        began = time.perf_counter()
        seat.dirty = False
        seat.committed_at = time.monotonic()
        commit = seat.checkpoint.prepare(seat.pipeline, self.trace)
        readings = read_partition(seat.pipeline.partition, seat.readings)
        cost = time.perf_counter() - began
        try:
            cost += await asyncio.get_running_loop().run_in_executor(
                self._pool, _timed, seat.writer.write, commit
            )
        except Fenced as error:
            self._fenced(seat, error)
            return False
        finally:
            seat.commit = None
        seat.commit_cost = cost
        seat.readings = readings
        self.exposition.publish(seat.number, readings)
        self.readers.commit_offsets(seat.number, commit.positions, commit.number)
        self.stats.commits += 1
        self.stats.commit_seconds += time.perf_counter() - began
        if seat.standing is Standing.LIVE:
            self._commit_if_due(seat)
        return True

    def _fenced(self, seat: Seat, error: Fenced) -> None:
        """Somebody else has it (or our transaction outlived its timeout: it looks the same)."""
        log.warning("partition %d: replaced (%s); leaving and joining the group again", seat.number, error)
        self.stats.fenced += 1
        if self.seats.get(seat.number) is seat:
            del self.seats[seat.number]
        self.readers.stop_reading(seat.number)
        self._forget(seat)
        if not self._rejoining and not self._ending:
            self._rejoining = True
            self.readers.rejoin()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the worker failed", exc_info=task.exception())
            self.crashed = task.exception()

    crashed: BaseException | None = None

    # -- the clock -----------------------------------------------------------------------------

    def beat(self) -> None:
        """A few times a second: ticks at the head, commits that are due, lag."""
        self.loop_at = time.monotonic()
        now_ms = int(time.time() * 1000)
        for seat in list(self.seats.values()):
            if seat.at_head and seat.pipeline is not None:
                seat.pipeline.tick(now_ms)
            self._commit_if_due(seat)
        if self._looking is None and self.loop_at - self._looked_at > LAG_SECONDS:
            self._looked_at = self.loop_at
            self._looking = self._spawn(self._look_at_lag())

    async def _look_at_lag(self) -> None:
        live = [seat for seat in self.seats.values() if seat.standing is Standing.LIVE]
        try:
            if not live:
                return
            loop = asyncio.get_running_loop()
            ends = await loop.run_in_executor(self._pool, self.restorer.ends, [seat.number for seat in live])
        finally:
            self._looking = None
        now_ms = int(time.time() * 1000)
        lags = {
            (KINDS[kind], seat.number): seat.lag(kind, ends[kind, seat.number], now_ms)
            for seat in live
            for kind in (0, 1)
            if (kind, seat.number) in ends and self.seats.get(seat.number) is seat
        }
        self.stats.lag_records = {at: records for at, (records, _) in lags.items()}
        self.stats.lag_seconds = {at: seconds for at, (_, seconds) in lags.items()}

    def health(self) -> tuple[bool, str]:
        """Are the loop and the poll thread alive?"""
        now = time.monotonic()
        for name, at in (("event loop", self.loop_at), ("poll thread", self.readers.alive_at)):
            if now - at > STALLED_SECONDS:
                return False, f"the {name} has not moved for {now - at:.0f} s"
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Assigned, restored, nothing quarantined."""
        if not self._joined:
            return False, "not in the group yet: no answer from the broker, or a rebalance is under way"
        for standing in (Standing.QUARANTINED, Standing.RESTORING, Standing.LEAVING):
            numbers = sorted(n for n, seat in self.seats.items() if seat.standing is standing)
            if numbers:
                return False, f"partitions {standing}: {numbers}"
        return True, f"{len(self.seats)} partitions live"


def _timed(call: Callable[[Any], None], argument: Any) -> float:
    """Run it in this thread; answers the CPU seconds it took."""
    began = time.thread_time()
    call(argument)
    return time.thread_time() - began
