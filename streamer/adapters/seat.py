"""One partition while it is ours: its pipeline, its queue, and where it stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from streamer.adapters.readers import Chunk
from streamer.adapters.transactions import PartitionWriter
from streamer.adapters.transport import Run
from streamer.checkpoint import Checkpoint
from streamer.domain.readings import PartitionReadings
from streamer.merge import Merger
from streamer.pipeline import Pipeline

IDLE_COMMIT_SECONDS = 60.0


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
    """Memory of one owned partition. ``epoch`` tells its chunks from those of an earlier ownership."""

    def __init__(self, number: int, epoch: int) -> None:
        self.number, self.epoch = number, epoch
        self.standing = Standing.RESTORING
        self.writer: PartitionWriter | None = None
        self.checkpoint: Checkpoint | None = None
        self.pipeline: Pipeline | None = None
        self.readings: PartitionReadings | None = None
        self.commit: asyncio.Task[bool] | None = None
        self.committed_at = time.monotonic()
        self.commit_cost = 0.0
        self.dirty = False
        self.skip: set[tuple[int, int]] = set()
        self.begin(epoch)

    def begin(self, epoch: int) -> None:
        """Start with an empty queue, under a new epoch."""
        self.epoch = epoch
        self.merger = Merger(record_time)
        self.queued = [0, 0]
        self.under_way = 0
        self.next = [-1, -1]

    def live(self, pipeline: Pipeline, checkpoint: Checkpoint) -> tuple[int, int]:
        """Ready to process; answers the offsets to read from."""
        self.pipeline, self.checkpoint = pipeline, checkpoint
        self.standing = Standing.LIVE
        self.next = list(pipeline.positions)
        pipeline.skip = self.skip
        return pipeline.positions[0], pipeline.positions[1]

    def accept(self, chunk: Chunk) -> bool:
        """Queue a chunk; False where it does not begin where the last one ended."""
        if chunk.begins != self.next[chunk.kind]:
            return False
        self.next[chunk.kind] = chunk.end
        self.queued[chunk.kind] += len(chunk.records)
        self.merger.push(chunk.kind, chunk.records)
        return True

    def next_run(self) -> Run | None:
        """The next records in the merged order, if it is known which they are."""
        found = self.merger.next_run()
        if found is None:
            return None
        kind, records = found
        self.queued[kind] -= len(records)
        self.under_way += 1
        return Run(kind, self.number, self.epoch, list(records))

    @property
    def at_head(self) -> bool:
        """Everything there is has been processed."""
        return self.standing is Standing.LIVE and self.under_way == 0 and self.merger.at_head

    @property
    def urgent(self) -> bool:
        """Something has to be published: do not wait for the interval."""
        return self.pipeline is not None and bool(self.pipeline.effects.alerts)

    def due(self, now: float, interval: float, many: int = 10_000) -> bool:
        """Is it time to commit?"""
        if self.standing is not Standing.LIVE or self.commit is not None or self.pipeline is None:
            return False
        waited = now - self.committed_at
        if len(self.pipeline.effects) >= many or self.urgent:
            return True
        return waited >= (interval if self.dirty else IDLE_COMMIT_SECONDS)

    def lag(self, kind: int, high_offset: int, now_ms: int) -> tuple[int, float]:
        """Records and seconds behind. At the head both are 0."""
        if self.pipeline is None or self.at_head:
            return 0, 0.0
        records = max(0, high_offset - self.pipeline.positions[kind])
        clock = self.pipeline.partition.now
        return records, max(0.0, (now_ms - clock) / 1000) if records and clock else 0.0


def release(seats: Sequence[Seat], done: list[int]) -> None:
    """Give back the credit of records that will never be processed."""
    for seat in seats:
        for kind in (0, 1):
            done[kind] += seat.queued[kind]
            seat.queued[kind] = 0
