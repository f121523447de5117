"""Alerts of one model that date from the same time are about one change.

A change of the world shows in the error, in a score, in a column, each found by its own rule after its
own delay: data at once, what needs labels when they have come, perhaps weeks later. But all of them say
since when, in the time of the predictions. So an alert belongs to the change of an open one of the same
model whose date is near its own; the first alert of a change gives it its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from streamer.domain.alerts import Incident, State, Transition

NEAR = 2
"""Dates are near up to so many of the longest window of rows that rules of a version look at."""


def join_change(
    step: Transition, mine: Incident, others: Iterable[Incident], now: int, near_ms: float
) -> None:
    """An alert fires: give it the change of the open incident that dates from nearest, if one is near.

    Args:
        step: the transition that tells of it.
        mine: its incident.
        others: those of the model's other rules.
        now: event time in ms, for an alert that has no date.
        near_ms: how far apart dates of one change may be.
    """
    since = step.evidence.get("since")
    mine.onset = now if since is None else round(datetime.fromisoformat(since).timestamp() * 1000)
    near = [
        (abs(each.onset - mine.onset), each.started_at, each.change)
        for each in others
        if each is not mine and each.state is State.FIRING and each.onset
    ]
    closest = min(near, default=None)
    if closest is not None and closest[0] <= near_ms:
        mine.change = step.change = closest[2]
