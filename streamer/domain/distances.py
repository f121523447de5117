"""How far apart two distributions are, from counts over the same cells.

All take counts, not shares: how sure a distance is depends on how many rows
are behind it. 0 is "the same" for each of them.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Distance = Literal["psi", "jensen_shannon", "total_variation", "wasserstein"]
Shares = NDArray[np.float64]
HALF_A_ROW = 0.5
GROUPS = 10


def shares(counts: ArrayLike) -> Shares:
    """Counts as shares of their sum; all 0 where there are none."""
    found = np.asarray(counts, np.float64)
    total = found.sum()
    return found / total if total else np.zeros_like(found)


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Population stability index, in nats: the symmetrised Kullback-Leibler divergence.

    Half a row is added to every cell, so that one that is empty on one side
    weighs as much as its rows, and not infinitely.

    Args:
        reference: counts, shape ``(cells,)``.
        current: counts over the same cells.

    Source: N. Siddiqi, Credit Risk Scorecards, Wiley 2006.
    """
    before = shares(np.asarray(reference, np.float64) + HALF_A_ROW)
    after = shares(np.asarray(current, np.float64) + HALF_A_ROW)
    return float(((after - before) * np.log(after / before)).sum())


def expected_psi(cells: int, reference_rows: float, current_rows: float) -> float:
    """The PSI that chance alone makes on average where nothing has changed.

    Source: B. Yurdakul, J. Naranjo, Statistical properties of the population
    stability index, Journal of Risk Model Validation 14(4), 2020.
    """
    return (cells - 1) * (1 / reference_rows + 1 / current_rows)


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen-Shannon distance to the base 2, from 0 to 1: the root of the divergence.

    Source: D. Endres, J. Schindelin, A new metric for probability
    distributions, IEEE Transactions on Information Theory 49(7), 2003.
    """
    before, after = shares(reference), shares(current)
    middle = (before + after) / 2
    divergence = (_relative_entropy(before, middle) + _relative_entropy(after, middle)) / 2
    return float(np.sqrt(max(0.0, divergence) / np.log(2)))


def total_variation(reference: ArrayLike, current: ArrayLike) -> float:
    """The share of rows that would have to change their cell, from 0 to 1."""
    return float(np.abs(shares(current) - shares(reference)).sum() / 2)


def wasserstein(reference: ArrayLike, current: ArrayLike, places: ArrayLike) -> float:
    """How far a row has moved on average, in standard deviations of the reference.

    Infinite where the reference has only one value and the current rows have others.

    Args:
        reference: counts, shape ``(cells,)``.
        current: counts over the same cells.
        places: where on the axis each cell is, ascending; shape ``(cells,)``.

    Source: A. Ramdas, N. Garcia Trillos, M. Cuturi, On Wasserstein two-sample
    testing, Entropy 19(2), 2017 (order 1, in one dimension).
    """
    before, after, at = shares(reference), shares(current), np.asarray(places, np.float64)
    moved = float((np.abs(np.cumsum(after - before))[:-1] * np.diff(at)).sum())
    mean = float((before * at).sum())
    deviation = float(np.sqrt((before * (at - mean) ** 2).sum()))
    if deviation:
        return moved / deviation
    return float("inf") if moved > 0 else 0.0


def equal_groups(reference: NDArray[np.int64], groups: int = GROUPS) -> NDArray[np.intp]:
    """Where to cut fine cells, so that each group holds about as many rows of the reference.

    Fewer groups come back where single cells hold more than their part.

    Args:
        reference: counts, shape ``(cells,)``; at least one row.
        groups: how many there are at most.

    Returns:
        The first cell of every group, ascending, beginning with 0, as ``np.add.reduceat`` takes it.
    """
    below = np.cumsum(reference)
    quantiles = below[-1] * np.arange(1, groups) / groups
    cuts = np.searchsorted(below, quantiles, side="left") + 1
    return np.unique(np.concatenate([[0], cuts[cuts < len(reference)]])).astype(np.intp)


def grouped(counts: NDArray[Any], starts: NDArray[np.intp]) -> NDArray[Any]:
    """Counts of groups of cells; see ``equal_groups``."""
    found: NDArray[Any] = np.add.reduceat(counts, starts)
    return found


def _relative_entropy(of: Shares, against: Shares) -> float:
    there = of > 0
    return float((of[there] * np.log(of[there] / against[there])).sum())
