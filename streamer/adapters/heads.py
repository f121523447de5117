"""Where the logs end, asked of their leaders every other second.

From that: lag, whether a head is still the head, and whether a broker answers.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaException

from streamer.adapters.custody import Custody
from streamer.adapters.exposition import ProcessorStats
from streamer.adapters.kafka import log
from streamer.adapters.restore import Restorer
from streamer.adapters.seat import FRESH_SECONDS, Standing
from streamer.adapters.tasks import Tasks
from streamer.pipeline import KINDS

LOOK_SECONDS = 2.0


class Heads:
    """Looks from time to time; ``answered_at``: when a leader last answered, 0 while none has."""

    def __init__(self, custody: Custody, tasks: Tasks, restorer: Restorer, stats: ProcessorStats) -> None:
        self.custody, self.tasks, self.restorer, self.stats = custody, tasks, restorer, stats
        self.answered_at = 0.0
        self._looked_at = 0.0
        self._looking: asyncio.Task[Any] | None = None
        # One thread of its own: neither commits nor restores hold up the ticks.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="heads")

    def reachable(self, now: float) -> bool:
        """Has a leader answered of late?"""
        return now - self.answered_at < FRESH_SECONDS

    def look_if_due(self, now: float) -> None:
        if self._looking is None and now - self._looked_at > LOOK_SECONDS:
            self._looked_at = now
            self._looking = self.tasks.spawn(self._look(now))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _look(self, now: float) -> None:
        live = [seat for seat in self.custody.seats.values() if seat.standing is Standing.LIVE]
        # A worker without a live partition asks for one all the same: is there a broker?
        numbers = [seat.number for seat in live] or [0]
        loop = asyncio.get_running_loop()
        try:
            ends = await loop.run_in_executor(self._pool, self.restorer.ends, numbers)
        except KafkaException as error:
            log.warning("asking where the topics end: %s", error)
            ends = {}
        finally:
            self._looking = None
        if ends:
            self.answered_at = now
        records: dict[tuple[str, int], int] = {}
        seconds: dict[tuple[str, int], float] = {}
        for seat in live:
            for kind in (0, 1):
                end = ends.get((kind, seat.number))
                if end is not None and self.custody.holds(seat):
                    seat.confirm_head(kind, end, now)
                    at = (KINDS[kind], seat.number)
                    records[at], seconds[at] = seat.lag(kind, end, seat.clock.now_ms())
        self.stats.lag_records, self.stats.lag_seconds = records, seconds
