"""Confidence sequences: intervals for a mean that hold at all times at once, however often one looks.

An ordinary interval that is looked at after every row excludes the truth
sooner or later. These do so in at most a share ``alpha`` of all runs, ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

ALPHA = 0.05
TIGHT_AT = 2_000  # pairs: for so many the asymptotic sequence is made narrowest
FEWEST = 100
"""Before so many values the asymptotic sequence says nothing."""

_MOST_BET = 0.5


class ConfidenceSequence(Protocol):
    """What both have in common."""

    def update(self, value: float) -> None:
        """Take one value."""

    def interval(self) -> tuple[float, float]:
        """Where the mean is, as of now."""

    def snapshot(self) -> list[float]: ...

    def restore(self, state: Sequence[float]) -> None: ...


class BoundedSequence:
    """For values from -1 to 1, exact for any number of rows: empirical Bernstein, predictable plug-in.

    Source: I. Waudby-Smith, A. Ramdas, Estimating means of bounded random
    variables by betting, Journal of the Royal Statistical Society B 86(1),
    2024, theorem 2; the values are brought to 0 … 1, and the intervals of all
    times are intersected, which costs nothing.
    """

    __slots__ = ("_bets", "_deviations", "_high", "_low", "_rows", "_sum", "_variance", "_weighted")

    def __init__(self) -> None:
        self._rows = 0.0
        self._sum = self._deviations = 0.0  # of the values; of their squared distances from the mean so far
        self._bets = self._weighted = self._variance = 0.0
        self._low, self._high = 0.0, 1.0

    def update(self, value: float) -> None:
        x, rows, log = (value + 1) / 2, self._rows, _LOG
        before = (0.5 + self._sum) / (rows + 1)
        spread = (0.25 + self._deviations) / (rows + 1)
        bet = min(_MOST_BET, math.sqrt(2 * log / (spread * (rows + 1) * math.log(rows + 2))))
        self._rows = rows = rows + 1
        self._sum += x
        mean = (0.5 + self._sum) / (rows + 1)
        self._deviations += (x - mean) ** 2
        self._bets += bet
        self._weighted += bet * x
        self._variance += (x - before) ** 2 * (-math.log1p(-bet) - bet)
        centre, margin = self._weighted / self._bets, (log + self._variance) / self._bets
        self._low = max(self._low, centre - margin)
        self._high = min(self._high, centre + margin)

    def interval(self) -> tuple[float, float]:
        return 2 * self._low - 1, 2 * self._high - 1

    def snapshot(self) -> list[float]:
        return [getattr(self, name) for name in self.__slots__]

    def restore(self, state: Sequence[float]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)


class AsymptoticSequence:
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

    def snapshot(self) -> list[float]:
        return [getattr(self, name) for name in self.__slots__]

    def restore(self, state: Sequence[float]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)


_LOG = math.log(2 / ALPHA)
_TIGHT = -2 * math.log(ALPHA)
_RHO_SQUARED = (_TIGHT + math.log(_TIGHT) + 1) / TIGHT_AT
