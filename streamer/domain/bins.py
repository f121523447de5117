"""One row, one small integer: the fixed bins every figure is counted in.

A window is an array of counts over these codes. Counts are exact, they add up
(panes, segments, versions) and do not depend on how the rows were cut into
chunks. The edges never change: they are part of the format of the state.

Each lookup has a scalar twin for the hot loop (``bisect`` on a list) and a
vectorised one; both give the same bin. None of them accepts NaN: callers
check for finite values first.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from struct import Struct

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]


def filled_cells(counts: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> Indices:
    """The cells that are not empty, ascending. NumPy finds them in booleans several times faster."""
    return np.flatnonzero(counts != 0)


# -- scores: P(positive) -----------------------------------------------------

_LOGIT_LIMIT = 14.0
_LOGIT_STEPS = 1000


def _sigmoid(logit: float) -> float:
    """The probability of a logit, to twelve digits: there the libm of any two machines agree."""
    return float(f"{1.0 / (1.0 + math.exp(-logit)):.12g}")


def _logit_at(step: float) -> float:
    return (2.0 * step / _LOGIT_STEPS - 1.0) * _LOGIT_LIMIT


SCORE_EDGES: list[float] = [_sigmoid(_logit_at(step)) for step in range(_LOGIT_STEPS + 1)]
"""Ascending probabilities, uniform in logit from -14 to 14; 0.5 is one of them exactly.

Uniform in logit because rare positives live at tiny probabilities: with bins
uniform in probability nearly all rows would share one bin and tie.
"""

NO_SCORE: int = len(SCORE_EDGES) + 1
"""The bin of rows that came without a score."""

SCORE_BINS: int = NO_SCORE + 1
"""All score bins, ``NO_SCORE`` included."""

SCORE_CENTERS: npt.NDArray[np.float64] = np.array(
    [
        SCORE_EDGES[0],
        *(_sigmoid(_logit_at(step + 0.5)) for step in range(_LOGIT_STEPS)),
        SCORE_EDGES[-1],
        math.nan,
    ]
)
"""The probability that stands for each bin, shape ``(SCORE_BINS,)``.

The midpoint in logit; the two end bins, which hold 0 and 1 and have no
midpoint, are stood for by their only inner edge; ``NO_SCORE`` is NaN.
"""


def score_bin(p: float) -> int:
    """The bin of a probability in [0, 1]: a value on an edge belongs to the bin above it."""
    return bisect_right(SCORE_EDGES, p)


def score_bins(p: npt.NDArray[np.float64]) -> Indices:
    """The bins of many probabilities; see ``score_bin``."""
    return np.searchsorted(_SCORE_EDGES, p, side="right")


_SCORE_EDGES = np.array(SCORE_EDGES)

# -- codes of a labelled row -------------------------------------------------

BINARY_CODES: int = 4 * SCORE_BINS
CLASS_BITS: int = 6
MAX_CLASSES: int = 1 << CLASS_BITS
MULTICLASS_CODES: int = MAX_CLASSES * MAX_CLASSES


def binary_code(bin_: int, predicted: int, actual: int) -> int:
    """The code of a binary row: its score bin, and 1 or 0 for predicted and actually positive."""
    return 4 * bin_ + 2 * predicted + actual


def multiclass_code(actual: int, predicted: int) -> int:
    """The code of a multiclass row from two class numbers below ``MAX_CLASSES``."""
    return actual * MAX_CLASSES + predicted


def classes_of(codes: Indices, binary: bool) -> tuple[Indices, Indices]:
    """What was predicted and what is true, from codes of either kind; same shape each."""
    if binary:
        return codes >> 1 & 1, codes & 1
    return codes % MAX_CLASSES, codes // MAX_CLASSES


# -- latencies, milliseconds -------------------------------------------------

LATENCY_EDGES: list[float] = [
    *(float(f"{digits}e{exponent}") for exponent in range(-3, 4) for digits in range(10, 100)),
    100_000.0,
]
"""Ascending milliseconds, every number of two decimal digits from 0.01 ms to 100 s.

Parsed from decimal text, so that ``250.0 in LATENCY_EDGES``: thresholds and
Prometheus bucket bounds of two digits are edges exactly.
"""

LATENCY_BINS: int = len(LATENCY_EDGES) + 1
"""Bin 0 holds all up to the first edge, the last bin all above the last one."""


def latency_bin(ms: float) -> int:
    """The bin of a latency: a value on an edge belongs to the bin below it.

    So ``counts[: i + 1].sum()`` is exactly the number of rows with a latency
    ``<= LATENCY_EDGES[i]``, which is what Prometheus asks of ``le``.
    """
    return bisect_left(LATENCY_EDGES, ms)


def latency_bins(ms: npt.NDArray[np.float64]) -> Indices:
    """The bins of many latencies; see ``latency_bin``."""
    return np.searchsorted(_LATENCY_EDGES, ms, side="left")


_LATENCY_EDGES = np.array(LATENCY_EDGES)

# -- numeric features --------------------------------------------------------

_PARTS_BITS = 3
_PARTS = 1 << _PARTS_BITS
_MIN_EXPONENT, _MAX_EXPONENT = -40, 40
_MANTISSA_BITS, EXPONENT_BIAS = 52, 1023
_SIDE = (_MAX_EXPONENT - _MIN_EXPONENT + 1) * _PARTS
_FIRST_KEY = (_MIN_EXPONENT + EXPONENT_BIAS) << _PARTS_BITS
_SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)
_DOUBLE, _BITS = Struct("<d"), Struct("<q")
_MAGNITUDE_MASK = np.int64(0x7FFF_FFFF_FFFF_FFFF)

FEATURE_BINS: int = 2 * _SIDE + 1
"""Bins of one numeric feature: the negative side, zero in the middle, the positive side."""


def feature_bin(value: float) -> int:
    """The bin of one feature value; see ``feature_bins``."""
    bits: int = _BITS.unpack(_DOUBLE.pack(value))[0]
    key = (bits & 0x7FFF_FFFF_FFFF_FFFF) >> (_MANTISSA_BITS - _PARTS_BITS)
    steps = 0 if key < _PARTS else min(max(key - (_FIRST_KEY - 1), 1), _SIDE)
    return _SIDE - steps if bits < 0 else _SIDE + steps


def feature_bins(values: npt.NDArray[np.float64]) -> Indices:
    """The bins of feature values, by sign, power of two and eighth within it.

    Read from the bits of the float64 (exponent and top 3 bits of the
    mantissa), so a bin is 6 to 12.5 % wide whatever the unit, as in an
    exponential histogram of scale 3, but with equal parts within an octave.
    Monotone in the value. Zero and subnormals share the middle bin; beyond
    the exponents ±40 the outermost (or innermost) bin of the side takes all.

    Args:
        values: float64, any shape, contiguous or not; no NaN.

    Returns:
        Bins from 0 to ``FEATURE_BINS - 1``, same shape.
    """
    negative, keys = magnitudes(values, _PARTS_BITS)
    steps = np.clip(keys - (_FIRST_KEY - 1), 1, _SIDE)
    steps[keys < _PARTS] = 0
    found: Indices = (_SIDE + np.where(negative, -steps, steps)).astype(np.intp)
    return found.reshape(np.shape(values))


def magnitudes(
    values: npt.NDArray[np.float64], parts_bits: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which values are negative, and where their magnitudes are: whole numbers in their order.

    Exponent and first ``parts_bits`` of the mantissa, as they stand in the bits of a float64: an octave
    has ``2**parts_bits`` equal parts, and a magnitude of 1 is ``EXPONENT_BIAS << parts_bits``.
    """
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    return bits < 0, (bits & _MAGNITUDE_MASK) >> (_MANTISSA_BITS - parts_bits)


def _feature_lower_edges() -> Sequence[float]:
    octaves = range(_MIN_EXPONENT, _MAX_EXPONENT + 1)
    inner = [math.ldexp(1.0 + part / _PARTS, exponent) for exponent in octaves for part in range(_PARTS)]
    positive = [_SMALLEST_NORMAL, *inner[1:]]
    return [-math.inf, *(-edge for edge in reversed(positive)), *positive]


FEATURE_LOWER_EDGES: npt.NDArray[np.float64] = np.array(_feature_lower_edges())
"""Where each feature bin begins, shape ``(FEATURE_BINS,)``; ``-inf`` for the first.

The edge itself belongs to the bin on the positive side, and to the bin below
on the side of zero and the negatives: bins mirror each other.
"""

FEATURE_INNER_EDGES: npt.NDArray[np.float64] = np.array(
    [*FEATURE_LOWER_EDGES[1 : _SIDE + 1], 0.0, *FEATURE_LOWER_EDGES[_SIDE + 1 :]]
)
"""The edge of each feature bin that is nearest to zero, which belongs to it; shape ``(FEATURE_BINS,)``.

It is what stands for a column of few, small whole numbers: they are edges themselves.
"""
