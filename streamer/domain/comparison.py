"""What changed between two stretches of a model's traffic: column by column, the most changed first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import distances
from streamer.domain.bins import (
    FEATURE_BINS,
    FEATURE_INNER_EDGES,
    FEATURE_LOWER_EDGES,
    NO_SCORE,
    SCORE_CENTERS,
    SCORE_EDGES,
    feature_bins,
    filled_cells,
)
from streamer.domain.profile import OTHER
from streamer.domain.reference import Column, Reference
from streamer.domain.relations import Parted, parted

FACTORS = (10, 12, 60, 100, 1000, 3600, 1_000_000)
"""Between units that people mix up; their inverses too."""

NOTABLE = 0.01  # of the rows: what is rarer is no finding
BURST = 0.05
FEW_ROWS = 100
NAMES_TOLD = 3
LARGEST_WHOLE = 16  # up to here every whole number has a bin of its own
SAME_SHAPE = 0.15  # total variation up to which a scaled reference is the current column
_CERTAIN = 3.0  # standard errors
_BY_CHANCE = 1e-6
_LONG = 1e9  # from here on numbers are told as powers of ten


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a distribution, as people read it, and the share of the rows that fell into it."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Change:
    """How one column differs. ``column``: a feature as ``feature:NAME``, or score, prediction, label.

    ``psi``: in nats; ``chance``: what it would be on average if nothing had changed. ``wasserstein``:
    in the reference's standard deviations, None for columns without numbers. ``missing``: shares of the
    rows, before and after. ``middle``: medians, or the commonest values. ``findings``: what is wrong
    with the data, in sentences; empty where only the distribution has moved.
    """

    column: str
    psi: float
    chance: float
    jensen_shannon: float
    total_variation: float
    wasserstein: float | None
    missing: tuple[float, float]
    middle: tuple[float | str | None, float | str | None]
    cells: tuple[Cell, ...]
    findings: tuple[str, ...]


def compare(reference: Reference, current: Reference) -> list[Change]:
    """Every column that either has, the most changed first (by PSI, then by name).

    Raises:
        ValueError: one of them has no rows.
    """
    for each in (reference, current):
        if not each.rows:
            raise ValueError(f"there are no rows in {each.made_of or each.model}")
    rows = (reference.rows, current.rows)
    nothing, apart = Column(), parted(reference.relations, current.relations)
    changes = [
        _column(
            f"feature:{name}",
            reference.columns.get(name, nothing),
            current.columns.get(name, nothing),
            rows,
            apart.get(name),
        )
        for name in reference.columns.keys() | current.columns.keys()
    ]
    # A label that has not come yet is no missing value.
    for (name, before), (_, after) in zip(reference.outputs(), current.outputs(), strict=True):
        if before.values and after.values:
            changes.append(_column(name, before, after, (before.values, after.values)))
    if reference.scores[:NO_SCORE].any() and current.scores[:NO_SCORE].any():
        changes.append(_score(reference.scores, current.scores))
    return sorted(changes, key=lambda change: (-change.psi, change.column))


def _column(
    name: str, before: Column, after: Column, rows: tuple[int, int], apart: Parted | None = None
) -> Change:
    missing = (_left_over(before, rows[0]), _left_over(after, rows[1]))
    # A column that is new, or gone, is of the type that it has where it is.
    numeric = before.numeric if before.values else after.numeric
    cells = _number_cells(before, after) if numeric else _name_cells(before, after)
    labels, old, new = (list(part) for part in zip(*cells, ("missing", *missing), strict=True))
    moved = None
    if numeric and before.numbers and after.numbers:
        moved = distances.wasserstein(before.bins, after.bins, number_places())
    shares = (missing[0] / rows[0], missing[1] / rows[1])
    return _change(
        name, labels, old, new, moved, shares, (_middle(before), _middle(after)),
        (*_findings(before, after, rows, shares, numeric), *_relation(apart)),
    )  # fmt: skip


def _score(before: NDArray[np.int64], after: NDArray[np.int64]) -> Change:
    starts = distances.equal_groups(before[:NO_SCORE])
    edges = [0.0, *SCORE_EDGES, 1.0]
    labels = [f"{_told(edges[a])} to {_told(edges[b])}" for a, b in pairwise([*starts.tolist(), -1])]
    old, new = (distances.grouped(counts[:NO_SCORE], starts).tolist() for counts in (before, after))
    moved = distances.wasserstein(before[:NO_SCORE], after[:NO_SCORE], SCORE_CENTERS[:NO_SCORE])
    shares = tuple(float(counts[NO_SCORE] / counts.sum()) for counts in (before, after))
    middles = tuple(_median(counts[:NO_SCORE], SCORE_CENTERS) for counts in (before, after))
    rows = (int(before.sum()), int(after.sum()))
    return _change(
        "score", labels, old, new, moved, (shares[0], shares[1]), (middles[0], middles[1]),
        tuple(_missed((shares[0], shares[1]), rows)),
    )  # fmt: skip


def _change(
    name: str,
    labels: Sequence[str],
    old: Sequence[float],
    new: Sequence[float],
    moved: float | None,
    missing: tuple[float, float],
    middle: tuple[float | str | None, float | str | None],
    findings: tuple[str, ...],
) -> Change:
    # A cell that neither has would only add to what chance makes.
    kept = [at for at in range(len(labels)) if old[at] or new[at]]
    before, after = np.array([old[at] for at in kept]), np.array([new[at] for at in kept])
    shares = zip(distances.shares(before).tolist(), distances.shares(after).tolist(), strict=True)
    return Change(
        name,
        distances.psi(before, after),
        distances.expected_psi(len(kept), float(before.sum()), float(after.sum())),
        distances.jensen_shannon(before, after),
        distances.total_variation(before, after),
        moved,
        missing,
        middle,
        tuple(Cell(labels[at], *pair) for at, pair in zip(kept, shares, strict=True)),
        findings,
    )


def _left_over(column: Column, rows: int) -> int:
    return max(0, rows - column.values)


def _number_cells(before: Column, after: Column) -> Iterator[tuple[str, int, int]]:
    """Groups with about as many rows of the reference in each, and what is no number."""
    starts = distances.equal_groups(before.bins if before.numbers else after.bins)
    labels = _ranges(before.bins + after.bins, starts)
    old, new = distances.grouped(before.bins, starts), distances.grouped(after.bins, starts)
    yield from zip(labels, old.tolist(), new.tolist(), strict=True)
    yield "no number", before.names.total(), after.names.total()


def _name_cells(before: Column, after: Column) -> Iterator[tuple[str, int, int]]:
    """Every value of the reference, the commonest first, and what it never had."""
    known = before.names or after.names
    for name, _ in sorted(known.items(), key=lambda item: (-item[1], item[0])):
        yield name, before.names[name], after.names[name]
    yield "never seen", 0, sum(count for name, count in after.names.items() if name not in known)
    yield "a number", before.numbers, after.numbers


def _ranges(counts: NDArray[np.int64], starts: NDArray[np.intp]) -> list[str]:
    """What each group of bins holds, for people, as far as there are values: ``10.4 to 12``.

    Small whole numbers each have a bin whose edge they are: ``2``, and nothing above it.
    """
    inner = FEATURE_INNER_EDGES[counts > 0]
    whole = bool((inner == np.round(inner)).all() and (np.abs(inner) <= LARGEST_WHOLE).all())
    highs = np.append(FEATURE_LOWER_EDGES[1:], np.inf)
    filled = filled_cells(counts)
    found = []
    for first, end in pairwise([*filled.searchsorted(starts).tolist(), len(filled)]):
        if first == end:
            found.append("")
            continue
        low, high = filled[first], filled[end - 1]
        ends = (
            (FEATURE_INNER_EDGES[low], FEATURE_INNER_EDGES[high])
            if whole
            else (FEATURE_LOWER_EDGES[low], highs[high])
        )
        found.append(" to ".join(dict.fromkeys(_told(float(edge)) for edge in ends)))
    return found


def number_places() -> NDArray[np.float64]:
    """A value that stands for each bin of numbers: the middle between its edges."""
    lows = np.array(FEATURE_LOWER_EDGES)
    lows[0] = 2 * lows[1]
    highs = np.append(lows[1:], 2 * lows[-1])
    middles: NDArray[np.float64] = (lows + highs) / 2
    middles[FEATURE_BINS // 2] = 0.0  # the bin of zero
    return middles


def _median(counts: NDArray[np.int64], places: NDArray[np.float64]) -> float | None:
    total = int(counts.sum())
    return float(places[int(np.searchsorted(np.cumsum(counts), (total + 1) // 2))]) if total else None


def _middle(column: Column) -> float | str | None:
    if column.numeric:
        return column.quantile(0.5)
    return min(column.names, key=lambda name: (-column.names[name], name), default=None)


# -- what is wrong with the data ---------------------------------------------------------------------


def _findings(
    before: Column, after: Column, rows: tuple[int, int], missing: tuple[float, float], numeric: bool
) -> Iterator[str]:
    if not before.values:
        yield "it is new"
        return
    if not after.values:
        yield "it is gone"
        return
    yield from _missed(missing, rows)
    odd = (after.names.total() if numeric else after.numbers) / after.values
    odd_before = (before.names.total() if numeric else before.numbers) / before.values
    if surely_more(odd_before, odd, before.values, after.values, NOTABLE):
        yield f"{odd:.1%} of the values are {'no numbers' if numeric else 'numbers'}, before {odd_before:.1%}"
    factor = _factor(before.bins, after.bins) if numeric and before.numbers and after.numbers else None
    if factor is not None:
        yield f"values are {_told(factor)} times what they were: another unit?"
        return
    if stuck(before, after):
        alike = "all its values are within an eighth of" if after.numeric else "it has one value any more,"
        yield f"{alike} {_told(_middle(after))}"
        return
    if not numeric:
        yield from _never_seen(before, after)
    elif before.numbers and after.numbers:
        yield from _out_of_range(before, after)


def _relation(apart: Parted | None) -> Iterator[str]:
    if apart is not None:
        now = f"correlation {apart.before:.2f} before, {apart.after:.2f} now"
        yield f"it goes with feature:{apart.other} as it never did: {now}"


def _missed(missing: tuple[float, float], rows: tuple[int, int]) -> Iterator[str]:
    if surely_more(*missing, *rows, BURST):
        yield f"missing in {missing[1]:.1%} of the rows, before in {missing[0]:.1%}"


def _never_seen(before: Column, after: Column) -> Iterator[str]:
    new = new_names(before, after)
    share = sum(new.values()) / after.values
    if share >= NOTABLE:
        first = sorted(new, key=lambda name: (-new[name], name))[:NAMES_TOLD]
        more = ", …" if len(new) > len(first) else ""
        yield f"{share:.1%} of the values were never seen before: {', '.join(first)}{more}"


def new_names(before: Column, after: Column) -> dict[str, int]:
    """Names that were never seen, and now more often than chance explains; with their counts."""
    # Once names are too many they are counted together, and nobody knows what was among them.
    if before.names[OTHER]:
        return {}
    return {
        name: count
        for name, count in after.names.items()
        if name not in before.names and surely_new(count, before.values, after.values)
    }


def _out_of_range(before: Column, after: Column) -> Iterator[str]:
    below, above = beyond_range(before, after)
    seen = filled_cells(before.bins)
    least, most = (_told(float(FEATURE_INNER_EDGES[at])) for at in (seen[0], seen[-1]))
    for count, words in ((below, f"below {least}"), (above, f"above {most}")):
        if out_of_range(count, before, after):
            yield f"{count / after.values:.1%} of the values are {words}, before none"


def beyond_range(before: Column, after: Column) -> tuple[int, int]:
    """How many numbers are below and above all that there were."""
    seen = filled_cells(before.bins)
    return int(after.bins[: seen[0]].sum()), int(after.bins[seen[-1] + 1 :].sum())


def out_of_range(count: int, before: Column, after: Column) -> bool:
    """Are so many numbers on one side of the range worth a word?"""
    return count / after.values >= NOTABLE and surely_new(count, before.values, after.values)


def surely_new(count: int, rows_before: int, rows_after: int) -> bool:
    """Is it no chance that so many rows of a kind are all among the later ones?

    If nothing had changed, each of them would be of the later ones with the
    probability of their share of all rows: the largest values of two samples of
    one distribution, for example, fall on either of them like that.
    """
    return count * math.log(rows_after / (rows_before + rows_after)) < math.log(_BY_CHANCE)


def _factor(before: NDArray[np.int64], after: NDArray[np.int64]) -> float | None:
    """By what all values look multiplied: after it the columns are alike, and were not before."""
    starts = distances.equal_groups(before)
    apart = distances.total_variation(distances.grouped(before, starts), distances.grouped(after, starts))
    if apart < 2 * SAME_SHAPE:
        return None
    found: list[tuple[float, float]] = []
    filled = filled_cells(before)
    places = number_places()[filled]
    for factor in (scale for each in FACTORS for scale in (float(each), 1.0 / each)):
        scaled = np.bincount(feature_bins(places * factor), before[filled], FEATURE_BINS)
        groups = distances.equal_groups(scaled.astype(np.int64))
        left = distances.total_variation(distances.grouped(scaled, groups), distances.grouped(after, groups))
        found.append((left, factor))
    left, factor = min(found)
    return factor if left <= SAME_SHAPE else None


def stuck(before: Column, after: Column) -> bool:
    """Has it one value any more, of several that it had, and is that no chance?"""
    if after.values < FEW_ROWS or _kinds(after) != 1 or _kinds(before) <= 1:
        return False
    same = before.names[next(iter(after.names))] if after.names else int(before.bins[np.argmax(after.bins)])
    # A flag that is set in one row of a thousand may well be unset in the next two thousand.
    return not same or after.values * math.log(same / before.values) < math.log(_BY_CHANCE)


def _kinds(column: Column) -> int:
    """How many different values it has, as far as can be told."""
    return int(np.count_nonzero(column.bins)) + len(column.names)


def surely_more(before: float, after: float, rows_before: int, rows_after: int, least: float) -> bool:
    """Is a share larger than it was by at least ``least``, and beyond what chance makes of so many rows?"""
    together = (before * rows_before + after * rows_after) / (rows_before + rows_after)
    error = math.sqrt(together * (1 - together) * (1 / rows_before + 1 / rows_after))
    return after - before >= max(least, _CERTAIN * error)


def _told(value: Any) -> str:
    """To four digits, in full as long as that is short."""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.4g}"
    return f"{float(text):.0f}" if "e+0" in text and abs(value) < _LONG else text
