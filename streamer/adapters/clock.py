"""The brokers' clock, as far as a worker can tell, and whether it agrees with the worker's own.

Record time is the brokers'. Where nothing arrives it has to go on all the
same, and the broker's answer to each commit says what time it is there. The
worker's own clock decides nothing; it is a second opinion. Where the two
differ by more than ``DOUBT_SECONDS`` one of them is wrong, nobody here knows
which, and time stands still: a clock that is a year ahead would expire all
that waits for its label, and nothing brings that back.
"""

from __future__ import annotations

import time

DOUBT_SECONDS = 60.0


class BrokersClock:
    """The clock of one partition's leaders. ``learn`` may be called from any thread."""

    def __init__(self) -> None:
        self._since_ms: float | None = None  # the broker's time minus the monotonic clock's
        self._seen_ms = 0

    def learn(self, broker_ms: int) -> None:
        """A broker has just stamped a record with this time."""
        self._since_ms = broker_ms - time.monotonic() * 1000

    def saw(self, record_ms: int) -> None:
        """A record has arrived that bears this time: it is at least so late there."""
        self._seen_ms = max(self._seen_ms, record_ms)

    def ahead(self) -> float | None:
        """By how many s the brokers' clock is ahead of this worker's; None while that is not known."""
        own_ms = time.time() * 1000
        seen = (self._seen_ms - own_ms) / 1000
        if self._since_ms is None:
            return seen if seen > DOUBT_SECONDS else None
        told = (self._since_ms + time.monotonic() * 1000 - own_ms) / 1000
        return seen if seen > max(told, DOUBT_SECONDS) else told

    @property
    def in_doubt(self) -> bool:
        """The two clocks differ, or nobody knows."""
        ahead = self.ahead()
        return ahead is None or abs(ahead) > DOUBT_SECONDS

    @property
    def holds(self) -> bool:
        """Records have come from the future: they wait until it is there, or a clock was set."""
        return self._seen_ms > (time.time() + DOUBT_SECONDS) * 1000

    def now_ms(self) -> int | None:
        """The time at the broker in ms; None while it is in doubt."""
        if self._since_ms is None or self.in_doubt:
            return None
        return int(self._since_ms + time.monotonic() * 1000)


def why_in_doubt(ahead: dict[int, float]) -> str:
    """What is wrong and the cure, or nothing. ``ahead``: partition → s, as ``BrokersClock.ahead``."""
    wrong = {number: seconds for number, seconds in ahead.items() if abs(seconds) > DOUBT_SECONDS}
    if not wrong:
        return ""
    worst = max(wrong.values(), key=abs)
    return (
        f"partitions {sorted(wrong)}: the brokers' clock is {abs(worst):.0f} s"
        f" {'ahead of' if worst > 0 else 'behind'} this worker's, so one of them is wrong: no time passes"
        " where nothing arrives, and records from the future wait. Set it (NTP, chrony); all goes on by"
        " itself then, with nothing lost"
    )
