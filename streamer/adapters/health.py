"""The answers of /healthz and /readyz."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.adapters.seat import Seat, Standing

STALLED_SECONDS = 10.0
Answer = tuple[bool, str]


def check_alive(now: float, moved_at: Mapping[str, float]) -> Answer:
    """Does everything move that has to? ``moved_at``: what → when it last did."""
    for name, at in moved_at.items():
        if now - at > STALLED_SECONDS:
            return False, f"the {name} has not moved for {now - at:.0f} s"
    return True, "alive"


def check_ready(
    joined: bool, reachable: bool, trouble: str | None, seats: list[Seat], doubt: str = ""
) -> Answer:
    """In the group, a broker answers, everything assigned is restored, nothing is quarantined.

    ``trouble``: what the group's coordinator last complained of. ``doubt``: what is wrong with the clocks.
    """
    if not joined:
        why = trouble or "no answer from the broker, or a rebalance is under way"
        return False, f"not in the group yet: {why}"
    if not reachable:
        return False, "the brokers do not answer"
    for standing in (Standing.QUARANTINED, Standing.RESTORING, Standing.LEAVING):
        numbers = sorted(seat.number for seat in seats if seat.standing is standing)
        if numbers:
            return False, f"partitions {standing}: {numbers}"
    if doubt:
        return False, doubt
    return True, f"{len(seats)} partitions live"
