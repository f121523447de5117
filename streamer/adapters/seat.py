"""One partition while it is ours: its pipeline, its queue, and where it stands."""

from __future__ import annotations

import asyncio
import threading
import time
from enum import StrEnum
from typing import Any

from streamer.adapters.clock import BrokersClock
from streamer.adapters.readers import Chunk
from streamer.adapters.transactions import PartitionWriter
from streamer.adapters.transport import Run
from streamer.checkpoint import Checkpoint
from streamer.domain.readings import PartitionReadings
from streamer.merge import Merger
from streamer.pipeline import Pipeline, Poison

IDLE_COMMIT_SECONDS = 60.0
PAUSE_SECONDS = 0.2
BURST_RECORDS = 1_000
FRESH_SECONDS = 10.0
POISONS = 10
HEALTHY_RECORDS = 1_000


class Standing(StrEnum):
    """Only a live seat processes and commits."""

    RESTORING = "restoring"
    LIVE = "live"
    LEAVING = "leaving"
    QUARANTINED = "quarantined"


def record_time(record: Any) -> int:
    """The broker's time of a record in ms."""
    time_ms: int = record.timestamp()[1]
    return time_ms


class Seat:
    """Memory of one owned partition. ``epoch`` tells its chunks from those of an earlier ownership.

    ``gone``: set once the partition is given up; threads that work for it end.
    """

    def __init__(self, number: int, epoch: int) -> None:
        self.number, self.epoch = number, epoch
        self.standing = Standing.RESTORING
        self.gone = threading.Event()
        self.clock = BrokersClock()
        self.writer: PartitionWriter | None = None
        self.checkpoint: Checkpoint | None = None
        self.pipeline: Pipeline | None = None
        self.readings: PartitionReadings | None = None
        self.commit: asyncio.Task[bool] | None = None
        self.committed_at = time.monotonic()
        self.commit_cost = 0.0
        self.dirty = False
        self.unsaved = 0
        self.skip: set[tuple[int, int]] = set()
        self.poisons = 0
        self._poison = (0, -1)
        self.begin(epoch)

    def begin(self, epoch: int) -> None:
        """Start with an empty queue, under a new epoch."""
        self.epoch = epoch
        self.merger = Merger(record_time)
        self.queued = [0, 0]
        self.under_way = 0
        self.next = [-1, -1]
        self.head_at = [0.0, 0.0]
        self.moved_at = time.monotonic()

    def live(self, pipeline: Pipeline, checkpoint: Checkpoint) -> tuple[int, int]:
        """Ready to process; answers the offsets to read from."""
        self.pipeline, self.checkpoint = pipeline, checkpoint
        self.standing = Standing.LIVE
        self.next = list(pipeline.positions)
        pipeline.skip = self.skip
        return pipeline.positions[0], pipeline.positions[1]

    # -- the queue --------------------------------------------------------------------

    def accept(self, chunk: Chunk) -> bool:
        """Queue a chunk; False where it does not begin where the last one ended."""
        if chunk.begins != self.next[chunk.kind]:
            return False
        self.next[chunk.kind] = chunk.end
        self.queued[chunk.kind] += len(chunk.records)
        self.merger.push(chunk.kind, chunk.records)
        self.clock.saw(record_time(chunk.records[-1]))
        return True

    def end(self, kind: int, offset: int) -> None:
        """The topic's log has no record below ``offset`` that was not delivered, and ends there for now."""
        self.merger.end(kind)
        self.next[kind] = max(self.next[kind], offset)
        self.head_at[kind] = time.monotonic()

    def next_run(self) -> Run | None:
        """The next records in the merged order, if it is known which they are and their time has come."""
        found = None if self.clock.holds else self.merger.next_run()
        if found is None:
            return None
        kind, records = found
        self.queued[kind] -= len(records)
        self.under_way += 1
        self.moved_at = time.monotonic()
        return Run(kind, self.number, self.epoch, list(records))

    def drop_queue(self) -> tuple[int, int]:
        """Let go of what is queued; answers how many records of each topic that were."""
        dropped = (self.queued[0], self.queued[1])
        self.queued = [0, 0]
        self.merger = Merger(record_time)
        return dropped

    def stuck(self, kind: int, now: float) -> float:
        """For how many seconds the records of this topic have waited: for the other's, or for their time."""
        waits = self.merger.waiting_for == 1 - kind or self.clock.holds
        return now - self.moved_at if waits else 0.0

    # -- the head -----------------------------------------------------------------------

    @property
    def at_head(self) -> bool:
        """Everything there is has been processed."""
        return self.standing is Standing.LIVE and self.under_way == 0 and self.merger.at_head

    def confirm_head(self, kind: int, end: int, asked_at: float) -> None:
        """The topic's leader has said where its log ends: not beyond what has arrived, if it is the head."""
        if self.next[kind] >= end:
            self.head_at[kind] = asked_at

    def sure_of_head(self, now: float) -> bool:
        """Is it known of both topics that there was no more a moment ago? A lost leader says nothing."""
        return self.at_head and now - min(self.head_at) < FRESH_SECONDS

    def tick(self, now: float, now_ms: int | None) -> None:
        """Time passes at the head of both topics, and only there. ``now_ms``: None while it is in doubt."""
        if self.pipeline is None or not self.at_head:
            return
        for kind in (0, 1):
            self.pipeline.settle(kind, self.next[kind])
        if now_ms is not None and self.sure_of_head(now):
            self.dirty |= self.pipeline.tick(now_ms)

    def lag(self, kind: int, high_offset: int, now_ms: int | None) -> tuple[int, float]:
        """Records and seconds behind. At the head both are 0. ``now_ms``: this worker's time where None."""
        if self.pipeline is None or self.at_head:
            return 0, 0.0
        records = max(0, high_offset - self.pipeline.positions[kind])
        clock = self.pipeline.partition.now
        late = (now_ms or int(time.time() * 1000)) - clock
        return records, max(0.0, late / 1000) if records and clock else 0.0

    # -- commits ------------------------------------------------------------------------

    @property
    def urgent(self) -> bool:
        """Something has to be published: do not wait for the interval."""
        return self.pipeline is not None and bool(self.pipeline.effects.alerts)

    def due(self, now: float, shortest: float, interval: float, many: int = 10_000) -> bool:
        """Is it time to commit?

        Seconds between two: ``interval``, ``shortest`` once the traffic pauses. What
        a burst has left behind is saved as soon as it is over. Where there is nothing
        to save, each commit still tells what time it is at the broker.
        """
        if self.standing is not Standing.LIVE or self.commit is not None or self.pipeline is None:
            return False
        if len(self.pipeline.effects) >= many or self.urgent:
            return True
        waited = now - self.committed_at
        if not self.dirty:
            asking = self.at_head and self.clock.in_doubt
            return waited >= (shortest if asking else IDLE_COMMIT_SECONDS)
        resting = now - self.moved_at >= min(shortest, PAUSE_SECONDS) and self.at_head
        if resting and self.unsaved >= BURST_RECORDS:
            return True
        return waited >= (shortest if resting else interval)

    # -- poison -------------------------------------------------------------------------

    def set_aside(self, poison: Poison) -> bool:
        """Note a record on which our code fails; False: setting records aside does not help.

        It did not if that very record is to blame again, or if record after
        record is: then something in the state is, and good ones would follow it.
        """
        self._poison = (poison.kind, poison.offset)
        again = self._poison in self.skip
        self.skip.add(self._poison)
        self.poisons += 1
        return not again and self.poisons <= POISONS

    def passed(self, positions: tuple[int, int]) -> None:
        """These are committed: forget what was set aside well before them."""
        kind, offset = self._poison
        if self.poisons and positions[kind] - offset > HEALTHY_RECORDS:
            self.poisons = 0
            self.skip.difference_update([(k, o) for k, o in self.skip if o < positions[k]])
