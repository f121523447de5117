"""Confidence sequences: intervals for a mean that hold at all times at once, however often one looks.

An ordinary interval that is looked at after every row excludes the truth
sooner or later. These do so in at most a share ``alpha`` of all runs, ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

ALPHA = 0.05
TIGHT_AT = 2_000  # pairs: for so many the asymptotic sequence is made narrowest
FEWEST = 100
"""Before so many values the asymptotic sequence says nothing."""


class ConfidenceSequence(Protocol):
    """What both have in common."""

    def update(self, value: float) -> None:
        """Take one value."""

    def interval(self) -> tuple[float, float]:
        """Where the mean is, as of now."""

    def snapshot(self) -> list[float]: ...

    def restore(self, state: Sequence[float]) -> None: ...


class _Sums:
    """Numbers in slots are all that there is to save."""

    __slots__: tuple[str, ...] = ()

    def snapshot(self) -> list[float]:
        return [getattr(self, name) for name in self.__slots__]

    def restore(self, state: Sequence[float]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)


class BoundedSequence(_Sums):
    """For values from -1 to 1, exact for any number of rows: empirical Bernstein, gamma-exponential mixture.

    It is about the mean of the rows so far, so it also holds where what they are drawn from changes
    with time. Intervals of different times are about different means, so none is kept for later.
    Source: S. Howard, A. Ramdas, J. McAuliffe, J. Sekhon, Time-uniform,
    nonparametric, nonasymptotic confidence sequences, Annals of Statistics
    49(2), 2021, theorem 4 with the mixture of proposition S5 as a sum over a
    grid (section 3.3), which is no less exact; Y. J. Choe, A. Ramdas, Comparing
    sequential forecasters, Operations Research, 2024.
    """

    __slots__ = ("_rows", "_spread", "_sum")

    def __init__(self) -> None:
        self._rows = self._sum = 0.0
        self._spread = 0.0  # squared distances from the mean so far; of values brought to 0 … 1

    def update(self, value: float) -> None:
        away = (value - self._sum / (self._rows + 1)) / 2
        self._spread += away * away
        self._sum += value
        self._rows += 1

    def interval(self) -> tuple[float, float]:
        if not self._rows:
            return -1.0, 1.0
        mean, margin = self._sum / self._rows, 2 * _boundary(self._spread) / self._rows
        return max(-1.0, mean - margin), min(1.0, mean + margin)


def _boundary(spread: float) -> float:
    """How far the sum may be from its expectation, at this sum of squares, ever."""
    weights = _LOG_WEIGHTS - _COSTS * spread
    log = math.log(2 / ALPHA)  # half of it on each side
    # Where one bet alone is enough. From there Newton's steps fall: the logarithm of the sum is convex.
    found = float(((log - weights) / _BETS).min())
    for _ in range(50):
        each = weights + _BETS * found
        most = float(each.max())
        parts = np.exp(each - most)
        total = float(parts.sum())
        step = (most + math.log(total) - log) * total / float(parts @ _BETS)
        if step <= found * 1e-14:
            break
        found -= step
    return found


class AsymptoticSequence(_Sums):
    """For values without bounds: Robbins' normal mixture with the deviation that was seen.

    It holds like an ordinary interval of the central limit theorem does, for
    enough rows, but at all times at once.
    Source: I. Waudby-Smith, D. Arbour, R. Sinha, E. Kennedy, A. Ramdas,
    Time-uniform central limit theory and asymptotic confidence sequences,
    Annals of Statistics 52(6), 2024, theorem 2.2.
    """

    __slots__ = ("_mean", "_rows", "_squares")

    def __init__(self) -> None:
        self._rows = self._mean = self._squares = 0.0

    def update(self, value: float) -> None:
        self._rows += 1
        away = value - self._mean
        self._mean += away / self._rows
        self._squares += away * (value - self._mean)

    def interval(self) -> tuple[float, float]:
        rows = self._rows
        if rows < FEWEST:
            return -math.inf, math.inf
        grown = rows * _RHO_SQUARED + 1
        deviation = math.sqrt(self._squares / rows)
        margin = deviation * math.sqrt(
            2 * grown / (rows**2 * _RHO_SQUARED) * math.log(math.sqrt(grown) / ALPHA)
        )
        return self._mean - margin, self._mean + margin


_TIGHT = -2 * math.log(ALPHA)
_RHO_SQUARED = (_TIGHT + math.log(_TIGHT + 1)) / TIGHT_AT

_RHO = 5.0  # narrowest for about 2,000 pairs of which a tenth differ
_BETS = np.geomspace(1e-5, 0.95, 96)
_COSTS = -np.log1p(-_BETS) - _BETS
_DENSITY = _BETS * (1 - _BETS) ** (_RHO - 1) * np.exp(_RHO * _BETS)  # on a logarithmic grid
_LOG_WEIGHTS = np.log(_DENSITY / _DENSITY.sum())
