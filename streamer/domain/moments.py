"""The scores of regression, from sums that are exact.

All sums are integers, so a figure does not depend on the order or the chunks
in which rows came. An undefined figure is None, never 0; ``confidence`` is
the level of each one-sided bound, None for no bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

from streamer.domain.scores import Estimate, around, half_width

_FRACTION_BITS = 64
_SCALE = 2.0**_FRACTION_BITS


@dataclass(slots=True)
class Moments:
    """Sums over rows of a regression model; e = prediction - label, y = label.

    Each sum is a Python integer in fixed point: values are taken to 2**-64
    (5e-20), squares are in 2**-128, fourth powers in 2**-256. So order does
    not matter and a row that is taken back leaves no trace. With floats a
    single outlier of 1e6 would wipe out the fourth powers of a window of
    ordinary rows, and one of 1e100 would leave NaN behind.
    """

    WIDTH: ClassVar[int] = 2
    """How many numbers a row is."""

    n: int = 0
    sum_e: int = 0
    sum_abs: int = 0
    sum_sq: int = 0
    sum_4: int = 0
    sum_y: int = 0
    sum_yy: int = 0

    def update(self, e: float, y: float) -> None:
        """Add a row. OverflowError on infinity and beyond 1e288, ValueError on NaN: nothing changes then."""
        fixed_e, fixed_y = int(e * _SCALE), int(y * _SCALE)
        square = fixed_e * fixed_e
        self.n += 1
        self.sum_e += fixed_e
        self.sum_abs += abs(fixed_e)
        self.sum_sq += square
        self.sum_4 += square * square
        self.sum_y += fixed_y
        self.sum_yy += fixed_y * fixed_y

    def revert(self, e: float, y: float) -> None:
        """Take a row back that was added before; exact, in any order."""
        fixed_e, fixed_y = int(e * _SCALE), int(y * _SCALE)
        square = fixed_e * fixed_e
        self.n -= 1
        self.sum_e -= fixed_e
        self.sum_abs -= abs(fixed_e)
        self.sum_sq -= square
        self.sum_4 -= square * square
        self.sum_y -= fixed_y
        self.sum_yy -= fixed_y * fixed_y

    def merge(self, other: Moments) -> None:
        """Add all rows of another window (a pane, a segment)."""
        self.n += other.n
        self.sum_e += other.sum_e
        self.sum_abs += other.sum_abs
        self.sum_sq += other.sum_sq
        self.sum_4 += other.sum_4
        self.sum_y += other.sum_y
        self.sum_yy += other.sum_yy

    def less(self, other: Moments) -> Moments:
        """The same without the rows of a window that it holds; exact."""
        return Moments(*(mine - its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def snapshot(self) -> list[str]:
        """The sums in hexadecimal: they outgrow the 64 bits of msgpack and JSON."""
        return [f"{total:x}" for total in astuple(self)]

    @classmethod
    def restore(cls, snapshot: Sequence[str]) -> Moments:
        """The moments that ``snapshot`` wrote; ValueError or TypeError on anything else."""
        n, sum_e, sum_abs, sum_sq, sum_4, sum_y, sum_yy = (int(total, 16) for total in snapshot)
        return cls(n, sum_e, sum_abs, sum_sq, sum_4, sum_y, sum_yy)


class KeyedMoments:
    """Moments by a small whole number, such as the code of a segment. A row is (e, y, key)."""

    WIDTH: ClassVar[int] = 3
    __slots__ = ("by",)

    def __init__(self) -> None:
        self.by: dict[int, Moments] = {}

    @property
    def n(self) -> int:
        """How many rows there are in all."""
        return sum(moments.n for moments in self.by.values())

    def update(self, e: float, y: float, key: float) -> None:
        """Add a row; errors as of ``Moments.update``."""
        found = self.by.get(int(key))
        if found is None:
            found = self.by[int(key)] = Moments()
        found.update(e, y)

    def revert(self, e: float, y: float, key: float) -> None:
        """Take a row back that was added before."""
        self.by[int(key)].revert(e, y)

    def merge(self, other: KeyedMoments) -> None:
        """Add all rows of another window."""
        for key, moments in other.by.items():
            self.by.setdefault(key, Moments()).merge(moments)

    def snapshot(self) -> list[list[str]]:
        return [[f"{key:x}", *self.by[key].snapshot()] for key in sorted(self.by)]

    @classmethod
    def restore(cls, snapshot: Sequence[Sequence[str]]) -> KeyedMoments:
        """The moments that ``snapshot`` wrote; ValueError or TypeError on anything else."""
        found = cls()
        found.by = {int(key, 16): Moments.restore(sums) for key, *sums in snapshot}
        return found


def less(tally: Any, base: Any) -> Any:
    """What has come since: of moments, or of an array of counts."""
    return tally.less(base) if isinstance(tally, Moments) else tally - base


def regression_estimate(moments: Moments, score: str, confidence: float | None = None) -> Estimate | None:
    """One score of a regression model over a window, in the unit of the label (R²: none).

    MAE and bias (mean of prediction - label) have normal bounds from the
    rows' variance; RMSE from that of the squares by the delta method; R² has
    none. A single row has no bounds.

    Args:
        moments: the sums of the window.
        score: one of ``REGRESSION_SCORES``.
        confidence: level of each bound, None for no bounds.

    Returns:
        None without rows, for R² also while all labels are equal, and for
        figures beyond the range of a float.

    Raises:
        ValueError: no such score.
    """
    figure = _REGRESSION.get(score)
    if figure is None:
        raise ValueError(f"no score {score!r}")
    if moments.n == 0:
        return None
    try:
        return figure(moments, confidence)
    except OverflowError:
        return None


def _mean(total: int, n: int, power: int = 1) -> float:
    """The mean of a sum of fixed-point values to the given power, rounded once."""
    return total / (n << (_FRACTION_BITS * power))


def _variance(total: int, squares: int, n: int, power: int = 1) -> float:
    """Mean of the squares minus square of the mean; exact, so nothing cancels."""
    return (n * squares - total * total) / (n * n << (_FRACTION_BITS * 2 * power))


def _bias(moments: Moments, confidence: float | None) -> Estimate:
    n = moments.n
    reach = half_width(_variance(moments.sum_e, moments.sum_sq, n), n, confidence)
    return around(_mean(moments.sum_e, n), n, reach)


def _mae(moments: Moments, confidence: float | None) -> Estimate:
    n = moments.n
    reach = half_width(_variance(moments.sum_abs, moments.sum_sq, n), n, confidence)
    return around(_mean(moments.sum_abs, n), n, reach, least=0.0)


def _rmse(moments: Moments, confidence: float | None) -> Estimate:
    n = moments.n
    value = math.sqrt(_mean(moments.sum_sq, n, power=2))
    slope = 0.5 / value if value else 0.0
    reach = half_width(_variance(moments.sum_sq, moments.sum_4, n, power=2), n, confidence, slope)
    return around(value, n, reach, least=0.0)


def _r2(moments: Moments, confidence: float | None) -> Estimate | None:
    n = moments.n
    spread = n * moments.sum_yy - moments.sum_y**2
    return Estimate(1.0 - n * moments.sum_sq / spread, n) if spread else None


_REGRESSION: Mapping[str, Callable[[Moments, float | None], Estimate | None]] = {
    "mae": _mae,
    "rmse": _rmse,
    "bias": _bias,
    "r2": _r2,
}
