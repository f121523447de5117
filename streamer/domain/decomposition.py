"""Which segments a change comes from: each segment's part of it, split into mix and rate.

E. M. Kitagawa, "Components of a difference between two rates", JASA 50 (1955):
a mean over segments changes because segments change (rate) and because their
shares of the rows do (mix). A share that grows matters as far as its segment is
off the mean, so mix is taken relative to that; all parts add up to the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streamer.domain.scores import Estimate

ADDITIVE = frozenset(("accuracy", "precision", "recall", "mae", "bias", "error"))
"""Scores that are means over the rows that ``Estimate.n`` counts."""


class Part(NamedTuple):
    """What a segment adds to a change, in the unit of the figure."""

    mix: float
    rate: float

    @property
    def total(self) -> float:
        return self.mix + self.rate


def decompose(before: Sequence[Estimate | None], after: Sequence[Estimate | None]) -> list[Part] | None:
    """The part of each segment of one field in the change of a mean over all of them.

    Args:
        before: each segment's mean and rows, None where it had none.
        after: the same of the same segments at the other time.

    Returns:
        Parts that sum to the difference of the two means; None where one of the means is undefined.
        Of a segment that is there at one time only, all of its part is mix.
    """
    rows = [sum(each.n for each in side if each is not None) for side in (before, after)]
    if not all(rows):
        return None
    means = [
        sum(each.value * (each.n / total) for each in side if each is not None)
        for side, total in zip((before, after), rows, strict=True)
    ]
    middle = (means[0] + means[1]) / 2
    found = []
    for old, new in zip(before, after, strict=True):
        first, last = old or new, new or old
        if first is None or last is None:
            found.append(Part(0.0, 0.0))
            continue
        weights = (0.0 if old is None else old.n / rows[0], 0.0 if new is None else new.n / rows[1])
        found.append(
            Part(
                mix=(weights[1] - weights[0]) * ((first.value + last.value) / 2 - middle),
                rate=(weights[0] + weights[1]) / 2 * (last.value - first.value),
            )
        )
    return found
