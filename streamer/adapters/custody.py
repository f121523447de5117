"""The seats that are ours, and every way in which one stops being so.

A commit or a restore may outlive its seat: whoever waited for something asks
``holds`` before acting on it, and what is undone is undone by epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from streamer.adapters.exposition import Exposition, ProcessorStats
from streamer.adapters.readers import Readers
from streamer.adapters.seat import Seat, Standing
from streamer.adapters.transactions import Fenced

# What becomes of our partitions is always told; what every client repeats, seldom (``kafka.log``).
log = logging.getLogger("streamer.partitions")


class OutOfMemory(Exception):
    """The worker cannot go on; the message names the cure."""

    def __init__(self) -> None:
        super().__init__("no memory is left: give this worker more, or lower `limits:` in its objectives")


class Custody:
    """``seats``: by partition. ``kept``: given up a moment ago, saved, and nobody else has had it since.

    ``starved``: why the worker has to stop, once there is no memory left.
    """

    def __init__(self, exposition: Exposition, stats: ProcessorStats) -> None:
        self.exposition, self.stats = exposition, stats
        self.readers: Readers
        self.seats: dict[int, Seat] = {}
        self.kept: dict[int, Seat] = {}
        self.rejoining = self.ending = False
        self.starved: OutOfMemory | None = None
        self._epoch = 0

    def new_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def holds(self, seat: Seat, epoch: int | None = None) -> bool:
        """Is this very seat still ours (in this very epoch)?"""
        return self.seats.get(seat.number) is seat and epoch in (None, seat.epoch)

    def add(self, number: int) -> Seat:
        """A seat with nothing in it yet."""
        seat = self.seats[number] = Seat(number, self.new_epoch())
        return seat

    def release(self, seat: Seat) -> None:
        """Stop reading; give back the credit of records that will never be processed."""
        self.readers.stop_reading(seat.number, seat.epoch)
        for kind, records in enumerate(seat.drop_queue()):
            self.readers.done[kind] += records

    def keep(self, seat: Seat) -> None:
        """Given up and saved: should it come straight back, its memory is still right."""
        self.release(seat)
        del self.seats[seat.number]
        self.kept[seat.number] = seat

    def forget(self, seat: Seat) -> None:
        """It is not ours any more: nothing of it may be shown, read or written."""
        if self.holds(seat):
            del self.seats[seat.number]
        seat.standing = Standing.LEAVING
        self.release(seat)
        self.exposition.withdraw(seat.number)
        self.stats.quarantined.pop(seat.number, None)
        seat.gone.set()
        if seat.writer is not None:
            seat.writer.close()

    def forget_kept(self, numbers: Iterable[int] | None = None) -> None:
        """Others may have them, or may have had them. None: all."""
        for number in list(self.kept) if numbers is None else list(numbers):
            self.forget(self.kept.pop(number))

    def quarantine(self, seat: Seat, why: str) -> None:
        """Ours, but not worked on: what is wrong and its cure are for a person to read."""
        if not self.holds(seat):
            return
        seat.standing = Standing.QUARANTINED
        seat.pipeline = seat.checkpoint = None
        self.release(seat)
        log.error("quarantined: %s", why)
        self.stats.quarantined[seat.number] = why

    def broken(self, seat: Seat, doing: str, error: BaseException) -> None:
        """Our own code failed while ``doing`` something: what it was doing it to may be half done.

        For want of memory neither a record nor the state is to blame: the worker has to end,
        and whoever starts it again with more goes on from the last commit.
        """
        if isinstance(error, MemoryError):
            self.starved = self.starved or OutOfMemory()
            self.quarantine(seat, f"partition {seat.number}: no memory was left while {doing}")
            return
        self.quarantine(
            seat,
            f"partition {seat.number}: our own code failed while {doing} ({error!r}); nothing after the last"
            " commit was kept. Please report it with the log's traceback; a restart begins at that commit",
        )
        log.error("partition %d: %s", seat.number, doing, exc_info=error)

    def fenced(self, seat: Seat, error: Fenced) -> None:
        """Somebody else has it (or our transaction outlived its timeout: it looks the same)."""
        self.stats.fenced += 1
        if not self.holds(seat):
            log.info("partition %d: a commit of an earlier ownership was refused", seat.number)
            return
        log.warning("partition %d: replaced (%s); leaving and joining the group again", seat.number, error)
        self.forget(seat)
        self.forget_kept()
        if not self.rejoining and not self.ending:
            self.rejoining = True
            self.readers.rejoin()
