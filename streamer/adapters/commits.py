"""When a partition commits, and what becomes of the outcome: steps 1 to 6 of ``checkpoint``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from streamer.adapters.custody import Custody, log
from streamer.adapters.exposition import Exposition, ProcessorStats
from streamer.adapters.seat import Seat, Standing
from streamer.adapters.tasks import Tasks
from streamer.adapters.transactions import Fenced, Unreachable, Unwritable
from streamer.checkpoint import Commit
from streamer.domain.readings import PartitionReadings, read_partition

SIDE_BY_SIDE = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to commit: every ``interval`` seconds, stretched so that commits cost at most ``share``."""

    interval: float = 1.0
    longest: float = 10.0
    share: float = 0.10


class Commits:
    """Commits the seats in custody, at most one commit of each at a time."""

    def __init__(
        self,
        custody: Custody,
        tasks: Tasks,
        exposition: Exposition,
        stats: ProcessorStats,
        pace: Pace,
        trace: bool,
    ) -> None:
        self.custody, self.tasks, self.exposition, self.stats = custody, tasks, exposition, stats
        self.pace, self.trace = pace, trace
        # Restores and look-ups have threads of their own: a commit never waits for one of those.
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="commit")

    @property
    def interval(self) -> float:
        """Seconds between two commits of a partition, so that all of them cost at most the share."""
        cost = sum(seat.commit_cost for seat in self.custody.seats.values())
        return min(max(self.pace.interval, cost / self.pace.share), self.pace.longest)

    def if_due(self, seat: Seat) -> None:
        """Start a commit where it is time for one."""
        if seat.due(time.monotonic(), self.pace.interval, self.interval):
            self._begin(seat)

    async def first(self, seat: Seat) -> bool:
        """Write the manifest of a partition that never had one; False: it is lost, or quarantined."""
        return await asyncio.shield(self._begin(seat))

    async def last(self, seat: Seat) -> bool:
        """Wait for the commit under way, then save what came since; False: something was not saved."""
        if seat.commit is not None and not await asyncio.shield(seat.commit):
            return False
        if seat.pipeline is None:
            return False
        if not seat.dirty and not seat.urgent:
            return True
        return await asyncio.shield(self._begin(seat))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, seat: Seat) -> asyncio.Future[bool]:
        """Serialise here and now: before a task could, the next record may have spoilt it all."""
        began = time.perf_counter()
        prepared = self._prepare(seat)
        if prepared is None:
            nothing: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            nothing.set_result(False)
            return nothing
        took = time.perf_counter() - began
        seat.commit = self.tasks.spawn(self._commit(seat, *prepared, took))
        return seat.commit

    async def _commit(self, seat: Seat, commit: Commit, readings: PartitionReadings, took: float) -> bool:
        began = time.perf_counter()
        try:
            written = await self._write(seat, commit)
        finally:
            seat.commit = None
        if written is None:
            return False
        self.stats.commits += 1
        self.stats.commit_seconds += took + time.perf_counter() - began
        seat.commit_cost = took + written
        seat.passed(commit.positions)
        if self.custody.holds(seat):  # else it was written before it was lost: whoever has it now shows it
            seat.readings = readings
            self.exposition.publish(seat.number, readings)
            self.custody.readers.commit_offsets(seat.number, commit.positions, commit.number)
        if seat.standing is Standing.LIVE:
            self.if_due(seat)
        return True

    def _prepare(self, seat: Seat) -> tuple[Commit, PartitionReadings] | None:
        """Step 1. None: our own code failed, the partition is quarantined."""
        assert seat.checkpoint
        assert seat.pipeline
        seat.dirty, seat.unsaved = False, 0
        seat.committed_at = time.monotonic()
        try:
            commit = seat.checkpoint.prepare(seat.pipeline, self.trace)
            return commit, read_partition(seat.pipeline.partition, seat.readings)
        except Exception as error:
            self.custody.broken(seat, "saving its state", error)
            return None

    async def _write(self, seat: Seat, commit: Commit) -> float | None:
        """Steps 2 to 4, in a thread; answers the CPU seconds that took, None where it was not saved."""
        assert seat.writer
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, _timed, seat.writer.write, commit
            )
        except Fenced as error:
            self.custody.fenced(seat, error)
        except Unwritable as error:
            self.custody.quarantine(seat, str(error))
        except Unreachable as error:
            log.warning("commit %d was not saved: %s", commit.number, error)
        except Exception as error:
            self.custody.broken(seat, f"writing commit {commit.number}", error)
        return None


def _timed(call: Callable[[Any], None], argument: Any) -> float:
    """Run it in this thread; answers the CPU seconds it took."""
    began = time.thread_time()
    call(argument)
    return time.thread_time() - began
