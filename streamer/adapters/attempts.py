"""Trying a target of the relay again: when, what is said of it in the log, what is counted."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from streamer.adapters.http_post import Outcome, Reply, pause_after

log = logging.getLogger("streamer.relay")

SAID_EVERY = 60.0


@dataclass(slots=True)
class Counts:
    """Of one target since the process began. ``waiting_since``: of the oldest news it lacks, epoch seconds.

    ``firing``: alerts in the table, None for a target without one.
    """

    taken: int = 0
    failed: int = 0
    refused: int = 0
    waiting_since: float | None = None
    firing: int | None = None


@dataclass(slots=True)
class Attempts:
    """``tries``: that failed in a row. ``due``: when the next one may be, on the monotonic clock."""

    target: str
    counts: Counts = field(default_factory=Counts)
    tries: int = 0
    due: float = 0.0
    _say_at: float = 0.0

    def note(self, reply: Reply) -> None:
        """Remember how a try went; a failure puts the next one off."""
        now = time.monotonic()
        if reply.taken:
            if self.tries:
                log.info("%s takes alerts again, after %d tries in vain", self.target, self.tries)
            self.clear()
            return
        self.tries += 1
        self.counts.failed += 1
        pause = pause_after(self.tries, reply.wish)
        self.due = now + pause
        if now >= self._say_at:
            self._say_at = now + SAID_EVERY
            log.warning(
                "%s does not take alerts: %s. They wait; the next try is in %.0f s%s",
                self.target, reply.why, pause, "" if reply.outcome is Outcome.AWAY else ", and not many more",
            )  # fmt: skip

    def clear(self) -> None:
        self.tries, self.due, self._say_at = 0, 0.0, 0.0
