"""Bringing a partition to life, or back to its last commit: one restore of a partition at a time."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaException

from streamer.adapters.commits import Commits
from streamer.adapters.custody import Custody, log
from streamer.adapters.exposition import Exposition, ProcessorStats
from streamer.adapters.kafka import log as kafka_log
from streamer.adapters.restore import Restored, Restorer
from streamer.adapters.seat import Seat, Standing
from streamer.adapters.tasks import Tasks
from streamer.adapters.transactions import Fenced, Unreachable, Unwritable
from streamer.checkpoint import UntrustedState
from streamer.domain.readings import read_partition

RETRY_SECONDS = 1.0
SIDE_BY_SIDE = 4


class Recovery:
    """Restores seats in custody and has them read from there on."""

    def __init__(
        self,
        custody: Custody,
        tasks: Tasks,
        commits: Commits,
        restorer: Restorer,
        exposition: Exposition,
        stats: ProcessorStats,
    ) -> None:
        self.custody, self.tasks, self.commits, self.restorer = custody, tasks, commits, restorer
        self.exposition, self.stats = exposition, stats
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="restore")
        self._under_way: dict[int, asyncio.Task[Any]] = {}

    def begin(self, seat: Seat) -> None:
        """Restore a seat that has just been added."""
        before = self._under_way.get(seat.number)
        self._under_way[seat.number] = self.tasks.spawn(self._restore(seat, before))

    def reset(self, seat: Seat) -> None:
        """Drop the memory and go back to the last commit."""
        seat.standing = Standing.RESTORING
        self.custody.release(seat)
        self.begin(seat)

    def resume(self, seat: Seat) -> None:
        """It came straight back: nobody else can have had it, its memory is still right."""
        assert seat.pipeline
        assert seat.checkpoint
        seat.begin(self.custody.new_epoch())
        self._read_on(seat, seat.live(seat.pipeline, seat.checkpoint))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _restore(self, seat: Seat, before: asyncio.Task[Any] | None) -> None:
        # One at a time: one that outlived its seat would take the partition over from its own successor.
        if before is not None:
            await asyncio.wait([before])
        if seat.commit is not None:
            await asyncio.wait([seat.commit])
        began = time.monotonic()
        restored = await self._bring_back(seat)
        if restored is None:
            return
        if not self._wanted(seat):
            if restored.writer is not seat.writer:
                restored.writer.close()
            return
        seat.writer = restored.writer
        seat.writer.stamped = seat.clock.learn
        seat.begin(self.custody.new_epoch())
        epoch = seat.epoch
        positions = seat.live(restored.pipeline, restored.checkpoint)
        if restored.first and not await self.commits.first(seat):
            return
        if not self.custody.holds(seat, epoch) or seat.standing is not Standing.LIVE:
            return
        if not self._show(seat):
            return
        seconds = time.monotonic() - began
        self.stats.restores += 1
        self.stats.restore_seconds += seconds
        text = "partition %d: at commit %d, offsets %s, after %.2f s"
        log.info(text, seat.number, restored.checkpoint.number, positions, seconds)
        self._read_on(seat, positions)

    def _wanted(self, seat: Seat) -> bool:
        return self.custody.holds(seat) and seat.standing is Standing.RESTORING

    async def _bring_back(self, seat: Seat) -> Restored | None:
        """Try until it works; None: the seat is not ours any more, or quarantined."""
        loop = asyncio.get_running_loop()
        while self._wanted(seat):
            try:
                return await loop.run_in_executor(
                    self._pool, self.restorer.restore, seat.number, seat.writer, seat.gone
                )
            except (UntrustedState, Unwritable) as error:
                self.custody.quarantine(seat, str(error))
            except (Unreachable, Fenced, KafkaException) as error:
                kafka_log.warning("partition %d: %s; trying again", seat.number, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except Exception as error:
                self.custody.broken(seat, "restoring it", error)
            return None
        return None

    def _show(self, seat: Seat) -> bool:
        """What is restored is committed: show it. False: our own code failed, it is quarantined."""
        assert seat.pipeline
        try:
            seat.readings = read_partition(seat.pipeline.partition, None)
        except Exception as error:
            self.custody.broken(seat, "reading its figures", error)
            return False
        self.exposition.publish(seat.number, seat.readings)
        return True

    def _read_on(self, seat: Seat, positions: tuple[int, int]) -> None:
        self.custody.readers.start_reading(seat.number, seat.epoch, positions)
