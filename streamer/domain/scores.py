"""Every score of a classifier as a pure function of counts, with its bounds.

Counts are arrays over the codes of ``bins``; ``moments`` holds the scores of
regression, ``latency`` the quantiles. All sums underneath are integers, so a
figure does not depend on the order or the chunks in which rows came, and is
the same to the last bit on any machine.

An undefined figure is None, never 0. ``confidence`` is the level of each
one-sided bound (0.95: the truth lies below ``lower`` in at most one case of
twenty), None for no bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamer.domain.bins import (
    MAX_CLASSES,
    NO_SCORE,
    SCORE_BINS,
    SCORE_CENTERS,
    SCORE_EDGES,
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


def half_width(variance: float, n: int, confidence: float | None, slope: float = 1.0) -> float | None:
    """Distance of either bound from a mean of ``n`` rows, by the central limit theorem.

    ``variance``: of the rows, divided by ``n``. ``slope``: derivative that
    carries the standard error over to a function of the mean (delta method).
    None below two rows: their variance is not known.
    """
    if confidence is None or n < 2:
        return None
    return slope * z_of(confidence) * math.sqrt(max(0.0, variance) / (n - 1))


def around(
    value: float,
    n: int,
    reach: float | None,
    error: float = 0.0,
    least: float = -math.inf,
    most: float = math.inf,
) -> Estimate:
    """An estimate with bounds on both sides, kept within what the figure can be."""
    if reach is None:
        return Estimate(value, n, error=error)
    lower, upper = value - reach - error, value + reach + error
    return Estimate(value, n, max(least, lower), min(most, upper), error)


# -- binary ------------------------------------------------------------------

_ONES = np.ones(SCORE_BINS, dtype=np.int64)


def confusion(counts: Counts) -> tuple[int, int, int, int]:
    """``(tn, fn, fp, tp)`` of binary counts, shape ``(BINARY_CODES,)``."""
    tn, fn, fp, tp = _ONES.dot(counts.reshape(-1, 4)).tolist()
    return tn, fn, fp, tp


class Binary:
    """The scores of a binary model over one window, whose counts do not change meanwhile.

    ``counts``: rows per binary code, shape ``(BINARY_CODES,)``; exact up to 4
    billion rows. What several scores rest on is added up once.
    """

    __slots__ = ("_confusion", "_per_bin", "counts")

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._confusion: tuple[int, int, int, int] | None = None
        self._per_bin: tuple[PerBin, PerBin] | None = None

    def estimate(self, score: str, confidence: float | None = None) -> Estimate | None:
        """One score; see ``binary_estimate``."""
        by_score = _SCORES_OF_SCORED_ROWS.get(score)
        if by_score is not None:
            if self._per_bin is None:
                self._per_bin = _classes_per_bin(self.counts)
            return by_score(*self._per_bin, confidence)
        if self._confusion is None:
            self._confusion = confusion(self.counts)
        tn, fn, fp, tp = self._confusion
        if score == "accuracy":
            return _proportion(tn + tp, tn + fn + fp + tp, confidence)
        return _per_class(score, tp, fp, fn, confidence)


def binary_estimate(counts: Counts, score: str, confidence: float | None = None) -> Estimate | None:
    """One score of a binary model over a window.

    Args:
        counts: as of ``Binary``.
        score: one of ``BINARY_SCORES``.
        confidence: level of each bound, None for no bounds.

    Returns:
        None where the score is undefined: no rows, no predicted positive
        (precision), no actual one (recall), neither (F1), one class only
        (AUC). Rows without a score do not enter AUC, log loss and Brier.

    Raises:
        ValueError: no such score.
    """
    return Binary(counts).estimate(score, confidence)


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
    reach = half_width(mean_square - value * value, n, confidence)
    return around(value, n, reach, error, least=0.0, most=worst)


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
