"""Quantiles of latency from counts per bin, and whether they break a limit.

``confidence`` is the level of each one-sided bound, None for no bounds.
"""

from __future__ import annotations

import math

from streamer.domain.bins import LATENCY_EDGES, latency_bin
from streamer.domain.scores import Counts, Estimate, z_of


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
