"""Every figure as a pure function of counts: scores, their bounds, latency quantiles.

Counts are arrays over the codes of ``bins``; regression keeps ``Moments``.
All sums underneath are integers, so a figure does not depend on the order or
the chunks in which rows came, and is the same to the last bit on any machine.

An undefined figure is None, never 0. ``confidence`` is the level of each
one-sided bound (0.95: the truth lies below ``lower`` in at most one case of
twenty), None for no bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamer.domain.bins import (
    LATENCY_EDGES,
    MAX_CLASSES,
    NO_SCORE,
    SCORE_BINS,
    SCORE_CENTERS,
    SCORE_EDGES,
    latency_bin,
)

Counts = npt.NDArray[np.integer[Any]]
PerBin = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and how sure it is.

    ``n``: the rows it rests on, its denominator (predicted positives for
    precision, actual positives for recall, rows with a score for AUC).
    ``lower`` and ``upper``: one-sided bounds, each at the confidence asked
    for, None where none is known. ``error``: how far binning alone may have
    moved ``value``, both ways; already inside ``lower`` and ``upper``.
    """

    value: float
    n: int
    lower: float | None = None
    upper: float | None = None
    error: float = 0.0


# -- bounds ------------------------------------------------------------------


@lru_cache(maxsize=64)
def z_of(confidence: float) -> float:
    """The standard normal quantile of a one-sided confidence in (0, 1)."""
    return NormalDist().inv_cdf(confidence)


def wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Lower and upper bound of a proportion, each one-sided.

    The score interval of E. B. Wilson, "Probable inference, the law of
    succession, and statistical inference", JASA 22 (1927): honest near 0 and
    1 and for few rows. No rows say nothing: (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    z = z_of(confidence)
    share, z2 = successes / n, z * z / n
    center = (share + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    lower = 0.0 if successes == 0 else max(0.0, center - half)
    upper = 1.0 if successes == n else min(1.0, center + half)
    return lower, upper


def _proportion(successes: int, n: int, confidence: float | None) -> Estimate | None:
    if n == 0:
        return None
    lower, upper = (None, None) if confidence is None else wilson(successes, n, confidence)
    return Estimate(successes / n, n, lower, upper)


def _f1(tp: int, wrong: int, confidence: float | None) -> Estimate | None:
    """F1 from true positives and FP + FN.

    F1 = 2J / (1 + J) grows with the Jaccard index J = TP / (TP + FP + FN),
    which is a proportion: Wilson's bounds of J, carried over, bound F1.
    """
    jaccard = _proportion(tp, tp + wrong, confidence)
    if jaccard is None:
        return None
    lower, upper = (None if j is None else 2 * j / (1 + j) for j in (jaccard.lower, jaccard.upper))
    return Estimate(2 * tp / (2 * tp + wrong), jaccard.n, lower, upper)


def _half_width(variance: float, n: int, confidence: float | None, slope: float = 1.0) -> float | None:
    """Distance of either bound from a mean of ``n`` rows, by the central limit theorem.

    ``variance``: of the rows, divided by ``n``. ``slope``: derivative that
    carries the standard error over to a function of the mean (delta method).
    None below two rows: their variance is not known.
    """
    if confidence is None or n < 2:
        return None
    return slope * z_of(confidence) * math.sqrt(max(0.0, variance) / (n - 1))


def _around(
    value: float,
    n: int,
    half_width: float | None,
    error: float = 0.0,
    least: float = -math.inf,
    most: float = math.inf,
) -> Estimate:
    """An estimate with bounds on both sides, kept within what the figure can be."""
    if half_width is None:
        return Estimate(value, n, error=error)
    lower, upper = value - half_width - error, value + half_width + error
    return Estimate(value, n, max(least, lower), min(most, upper), error)


# -- binary ------------------------------------------------------------------

_ONES = np.ones(SCORE_BINS, dtype=np.int64)


def confusion(counts: Counts) -> tuple[int, int, int, int]:
    """``(tn, fn, fp, tp)`` of binary counts, shape ``(BINARY_CODES,)``."""
    tn, fn, fp, tp = _ONES.dot(counts.reshape(-1, 4)).tolist()
    return tn, fn, fp, tp


def binary_estimate(counts: Counts, score: str, confidence: float | None = None) -> Estimate | None:
    """One score of a binary model over a window.

    Args:
        counts: rows per binary code, shape ``(BINARY_CODES,)``; exact up to
            4 billion rows.
        score: one of ``BINARY_SCORES``.
        confidence: level of each bound, None for no bounds.

    Returns:
        None where the score is undefined: no rows, no predicted positive
        (precision), no actual one (recall), neither (F1), one class only
        (AUC). Rows without a score do not enter AUC, log loss and Brier.

    Raises:
        ValueError: no such score.
    """
    by_score = _SCORES_OF_SCORED_ROWS.get(score)
    if by_score is not None:
        return by_score(*_classes_per_bin(counts), confidence)
    tn, fn, fp, tp = confusion(counts)
    if score == "accuracy":
        return _proportion(tn + tp, tn + fn + fp + tp, confidence)
    return _per_class(score, tp, fp, fn, confidence)


def _per_class(score: str, tp: int, fp: int, fn: int, confidence: float | None) -> Estimate | None:
    match score:
        case "precision":
            return _proportion(tp, tp + fp, confidence)
        case "recall":
            return _proportion(tp, tp + fn, confidence)
        case "f1":
            return _f1(tp, fp + fn, confidence)
    raise ValueError(f"no score {score!r}")


def _classes_per_bin(counts: Counts) -> tuple[PerBin, PerBin]:
    """Actual negatives and positives per score bin, without the rows that have no score."""
    end = 4 * NO_SCORE
    negatives = np.add(counts[0:end:4], counts[2:end:4], dtype=np.int64)
    positives = np.add(counts[1:end:4], counts[3:end:4], dtype=np.int64)
    return negatives, positives


def _auc_roc(negatives: PerBin, positives: PerBin, confidence: float | None) -> Estimate | None:
    """The share of (positive, negative) pairs in the right order, ties half: Mann and Whitney's U.

    ``error``: pairs within one bin count as ties, and each may be wrong by a
    half. Bounds: see ``_auc_lower``, widened by ``error``.
    """
    n_positive, n_negative = int(positives.sum()), int(negatives.sum())
    pairs = n_positive * n_negative
    if pairs == 0:
        return None
    doubled = int(positives.dot(2 * negatives.cumsum() - negatives))
    value = doubled / (2 * pairs)
    error = int(positives.dot(negatives)) / (2 * pairs)
    n = n_positive + n_negative
    if confidence is None:
        return Estimate(value, n, error=error)
    z = z_of(confidence)
    lower = _auc_lower(value, n_positive, n_negative, z)
    upper = 1.0 - _auc_lower(1.0 - value, n_negative, n_positive, z)
    return Estimate(value, n, max(0.0, lower - error), min(1.0, upper + error), error)


def _auc_lower(value: float, n_positive: int, n_negative: int, z: float) -> float:
    """The smallest AUC from which ``value`` is still within ``z`` standard errors.

    The standard error is that of J. A. Hanley and B. J. McNeil, "The meaning
    and use of the area under a receiver operating characteristic (ROC)
    curve", Radiology 143 (1982). It is taken at the bound and not at
    ``value``, as Wilson does for a proportion: at ``value`` it would be 0
    where the two classes happen to be apart, and a handful of rows certain.
    """
    scale = z * z / (n_positive * n_negative)
    more_positives, more_negatives = n_positive - 1, n_negative - 1
    low, high = 0.0, value
    for _ in range(20):
        auc = (low + high) / 2
        rest = 1 - auc
        inflation = 1 + more_positives * rest / (1 + rest) + more_negatives * auc / (1 + auc)
        if (value - auc) ** 2 > scale * auc * rest * inflation:
            low = auc
        else:
            high = auc
    return low


class _Table(NamedTuple):
    """A figure per score bin and class, as integers in multiples of ``unit``."""

    negative: PerBin
    positive: PerBin
    unit: float

    def total(self, negatives: PerBin, positives: PerBin) -> float:
        return (int(negatives.dot(self.negative)) + int(positives.dot(self.positive))) * self.unit


_MAX_ROWS = 2.0**32


def _table(negative: npt.NDArray[np.float64], positive: npt.NDArray[np.float64]) -> _Table:
    """In the finest power of two in which ``_MAX_ROWS`` rows still fit 63 bits."""
    largest = max(float(negative.max()), float(positive.max()))
    scale = 2.0 ** math.floor(math.log2(2.0**63 / _MAX_ROWS / largest))
    return _Table(
        np.rint(negative * scale).astype(np.int64), np.rint(positive * scale).astype(np.int64), 1.0 / scale
    )


class _RowLoss(NamedTuple):
    value: _Table
    square: _Table
    error: _Table


def _row_loss(
    loss: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], edges: list[float]
) -> _RowLoss:
    """Tables of a loss of the probability given to the class that came true.

    The error of a bin is the largest distance from its center's loss to that
    of any of its probabilities; losses are monotone, so to one of its edges.
    """
    centers, low, high = SCORE_CENTERS[:NO_SCORE], np.array(edges[:-1]), np.array(edges[1:])
    values = loss(1.0 - centers), loss(centers)
    errors = (
        np.maximum(abs(loss(1.0 - low) - values[0]), abs(loss(1.0 - high) - values[0])),
        np.maximum(abs(loss(low) - values[1]), abs(loss(high) - values[1])),
    )
    return _RowLoss(_table(*values), _table(values[0] ** 2, values[1] ** 2), _table(*errors))


_LOG_LOSS = _row_loss(lambda p: -np.log(p), [SCORE_EDGES[0], *SCORE_EDGES, SCORE_EDGES[-1]])
_BRIER = _row_loss(lambda p: (1.0 - p) ** 2, [0.0, *SCORE_EDGES, 1.0])


def _mean_loss(
    row_loss: _RowLoss,
    worst: float,
    negatives: PerBin,
    positives: PerBin,
    confidence: float | None,
) -> Estimate | None:
    n = int(negatives.sum()) + int(positives.sum())
    if n == 0:
        return None
    value = row_loss.value.total(negatives, positives) / n
    error = row_loss.error.total(negatives, positives) / n + row_loss.value.unit
    mean_square = row_loss.square.total(negatives, positives) / n
    half_width = _half_width(mean_square - value * value, n, confidence)
    return _around(value, n, half_width, error, least=0.0, most=worst)


def _log_loss(negatives: PerBin, positives: PerBin, confidence: float | None) -> Estimate | None:
    """Mean -log of the probability given to what came true, in nats.

    Probabilities are first clipped to the first and last of ``SCORE_EDGES``
    (logit ±14), so that a certain and wrong row costs 14 nats and not
    infinitely many; ``error`` is relative to that.
    """
    return _mean_loss(_LOG_LOSS, math.inf, negatives, positives, confidence)


def _brier(negatives: PerBin, positives: PerBin, confidence: float | None) -> Estimate | None:
    """Mean square of (score - outcome): G. W. Brier, Monthly Weather Review 78 (1950)."""
    return _mean_loss(_BRIER, 1.0, negatives, positives, confidence)


_SCORES_OF_SCORED_ROWS: Mapping[str, Callable[[PerBin, PerBin, float | None], Estimate | None]] = {
    "auc_roc": _auc_roc,
    "log_loss": _log_loss,
    "brier": _brier,
}

# -- multiclass --------------------------------------------------------------


def multiclass_estimate(
    counts: Counts, score: str, confidence: float | None = None, klass_index: int | None = None
) -> Estimate | None:
    """One score of a multiclass model over a window.

    Without ``klass_index`` precision, recall and F1 are macro: the plain
    mean over the classes that occur in the window, as label or as
    prediction, a class whose own figure is undefined counting as 0. That is
    scikit-learn's ``average="macro", labels=<those present>,
    zero_division=0``. Macro figures have no bounds.

    Args:
        counts: rows per multiclass code, shape ``(MULTICLASS_CODES,)``.
        score: one of ``MULTICLASS_SCORES``.
        confidence: level of each bound, None for no bounds.
        klass_index: number of the class of a per-class figure (with Wilson
            bounds, None where undefined), None for all classes.

    Raises:
        ValueError: no such score, or accuracy asked of one class.
    """
    table = counts.astype(np.int64, copy=False).reshape(MAX_CLASSES, MAX_CLASSES)
    if score == "accuracy" and klass_index is None:
        return _proportion(int(table.trace()), int(table.sum()), confidence)
    if klass_index is None:
        return _macro(table, score)
    tp = int(table[klass_index, klass_index])
    fp, fn = int(table[:, klass_index].sum()) - tp, int(table[klass_index].sum()) - tp
    return _per_class(score, tp, fp, fn, confidence)


def _macro(table: Counts, score: str) -> Estimate | None:
    actual, predicted, tp = table.sum(axis=1), table.sum(axis=0), table.diagonal()
    numerator, denominator = {
        "precision": (tp, predicted),
        "recall": (tp, actual),
        "f1": (2 * tp, actual + predicted),
    }.get(score, (None, None))
    if numerator is None or denominator is None:
        raise ValueError(f"no score {score!r}")
    present = actual + predicted > 0
    if not present.any():
        return None
    figures = numerator[present] / np.maximum(denominator[present], 1)
    return Estimate(float(figures.mean()), int(actual.sum()))


# -- regression --------------------------------------------------------------

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

    def snapshot(self) -> list[str]:
        """The sums in hexadecimal: they outgrow the 64 bits of msgpack and JSON."""
        return [f"{total:x}" for total in astuple(self)]

    @classmethod
    def restore(cls, snapshot: Sequence[str]) -> Moments:
        """The moments that ``snapshot`` wrote; ValueError or TypeError on anything else."""
        n, sum_e, sum_abs, sum_sq, sum_4, sum_y, sum_yy = (int(total, 16) for total in snapshot)
        return cls(n, sum_e, sum_abs, sum_sq, sum_4, sum_y, sum_yy)


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
    half_width = _half_width(_variance(moments.sum_e, moments.sum_sq, n), n, confidence)
    return _around(_mean(moments.sum_e, n), n, half_width)


def _mae(moments: Moments, confidence: float | None) -> Estimate:
    n = moments.n
    half_width = _half_width(_variance(moments.sum_abs, moments.sum_sq, n), n, confidence)
    return _around(_mean(moments.sum_abs, n), n, half_width, least=0.0)


def _rmse(moments: Moments, confidence: float | None) -> Estimate:
    n = moments.n
    value = math.sqrt(_mean(moments.sum_sq, n, power=2))
    slope = 0.5 / value if value else 0.0
    half_width = _half_width(_variance(moments.sum_sq, moments.sum_4, n, power=2), n, confidence, slope)
    return _around(value, n, half_width, least=0.0)


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

# -- latency -----------------------------------------------------------------


def quantile(counts: Counts, q: float) -> float | None:
    """The ``q`` quantile (0 to 1) of latencies in milliseconds, None without rows.

    As ``numpy.quantile``: linear between the two neighbouring rows, each of
    them placed in its bin as if the bin's rows lay evenly. So it is off by at
    most a bin's width (10 %). Rows above the last edge count as that edge.
    """
    placed = _quantile(counts.cumsum(), q)
    return None if placed is None else placed[0]


def latency_estimate(
    counts: Counts, q: float, limit: float | None = None, confidence: float | None = None
) -> Estimate | None:
    """The ``q`` quantile of latencies in milliseconds with distribution-free bounds.

    The lower bound is the latency below which the share of rows is just as
    much under ``q`` as Wilson's interval allows, the upper bound likewise;
    None where there are too few rows for an upper one. ``error``: width of
    the widest bin used, infinite above the last edge.

    Args:
        counts: rows per latency bin, shape ``(LATENCY_BINS,)``.
        q: the quantile, between 0 and 1.
        limit: a threshold in milliseconds, or None. With it ``lower > limit``
            is true exactly where ``exceeds`` is.
        confidence: level of each bound, None for no bounds.
    """
    cumulative = counts.cumsum()
    placed = _quantile(cumulative, q)
    if placed is None:
        return None
    value, error = placed
    n = int(cumulative[-1])
    if confidence is None:
        return Estimate(value, n, error=error)
    low, high = _share_bounds(q, n, confidence)
    lower = min(value, _latency_at(cumulative, low * n)) if low > 0.0 else 0.0
    upper = max(value, _latency_at(cumulative, high * n)) if high < 1.0 else None
    if limit is not None:
        above = exceeds(counts, q, limit, confidence)
        lower = max(lower, math.nextafter(limit, math.inf)) if above else min(lower, limit)
    return Estimate(value, n, lower, upper, error)


def exceeds(counts: Counts, q: float, limit: float, confidence: float | None) -> bool | None:
    """Is the share of rows above ``limit`` milliseconds confidently more than ``1 - q``?

    Confidently: Wilson's lower bound of that share is above ``1 - q``; with
    ``confidence`` None the bare share. Exact where ``limit`` is one of
    ``LATENCY_EDGES``, as any number of two digits is. Any other limit is
    raised to the next edge, by less than 10 %: it may be missed, never held
    as broken in error; a limit above the last edge is never exceeded.

    Returns:
        None without rows.
    """
    n = int(counts.sum())
    if n == 0:
        return None
    below = int(counts[: latency_bin(limit) + 1].sum())
    share = q if confidence is None else _share_bounds(q, n, confidence)[0]
    return below < share * n


def _share_bounds(q: float, n: int, confidence: float) -> tuple[float, float]:
    """Shares of rows that are only just compatible with a true share ``q``.

    Wilson's interval of a share holds ``q`` exactly as long as the share lies
    between these two: his test, solved for the share.
    """
    half = z_of(confidence) * math.sqrt(q * (1.0 - q) / n)
    return q - half, q + half


def _quantile(cumulative: Counts, q: float) -> tuple[float, float] | None:
    """The quantile and the width of the wider of the bins of its two neighbours."""
    n = int(cumulative[-1])
    if n == 0:
        return None
    position = q * (n - 1)
    row = min(int(position), n - 1)
    next_row = min(row + 1, n - 1)
    first, second = _latency_at(cumulative, row + 0.5), _latency_at(cumulative, next_row + 0.5)
    value = first + (second - first) * (position - row)
    widths = (_bin_width(_bin_at(cumulative, rank + 0.5)) for rank in (row, next_row))
    return value, max(widths)


def _bin_at(cumulative: Counts, rank: float) -> int:
    """The bin in which the running count reaches ``rank`` (above 0, at most all rows)."""
    return int(cumulative.searchsorted(rank))


def _latency_at(cumulative: Counts, rank: float) -> float:
    """The latency at which the running count reaches ``rank``, its bin's rows evenly spread."""
    index = _bin_at(cumulative, rank)
    if index >= len(LATENCY_EDGES):
        return LATENCY_EDGES[-1]
    before = int(cumulative[index - 1]) if index else 0
    low = LATENCY_EDGES[index - 1] if index else 0.0
    return low + (LATENCY_EDGES[index] - low) * (rank - before) / (int(cumulative[index]) - before)


def _bin_width(index: int) -> float:
    if index >= len(LATENCY_EDGES):
        return math.inf
    return LATENCY_EDGES[index] - (LATENCY_EDGES[index - 1] if index else 0.0)
