"""Whether the labels that came can speak for the predictions that got none: two warnings, as pure functions.

Labels are missing not at random where groups of predictions get them in
different shares; figures then tell of those groups alone. And where one class
is labelled later than others, figures of the youngest predictions see too little of it.

Both need a difference that matters and one that chance does not make. With
many rows every difference is significant, with few rows none that was seen is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from streamer.domain.labelling import LAG_EDGES_S, Coverage, Group, Ints, Labelling, median_lag
from streamer.domain.segment_figures import Row

MISSING = "missing_not_at_random"
LATER = "lag_differs_by_class"
WARNINGS = (MISSING, LATER)

MIN_ROWS = 50
"""Rows that a class or a segment needs to be compared."""
COVERAGE_GAP = 0.05
LAG_GAP = 0.2
"""Share of the rows of a class that come later, or earlier, than those of the others."""
SIGNIFICANCE = 0.001
_LAGS_FROM = next(at for at, edge in enumerate(LAG_EDGES_S) if edge >= 10)
"""The bin up to 10 s: what differs below that is no matter of labels."""
_KOLMOGOROV = math.sqrt(-math.log(SIGNIFICANCE / 2) / 2)


class Warned(NamedTuple):
    """``judged``: the warnings that there are enough rows for; ``texts``: those that hold, in words."""

    judged: frozenset[str]
    texts: dict[str, str]


def chi_squared_tail(value: float, freedom: int) -> float:
    """P(X >= value) of a chi-squared variable with ``freedom`` degrees of freedom.

    The finite sums of M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5.
    """
    half = value / 2
    if freedom % 2:
        total = math.erfc(math.sqrt(half))
        term = math.sqrt(2 * value / math.pi) * math.exp(-half)
        for step in range(1, freedom - 1, 2):
            total += term
            term *= value / (step + 2)
        return total
    total, term = 0.0, math.exp(-half)
    for step in range(1, freedom // 2 + 1):
        total += term
        term *= half / step
    return total


def differ(joined: Ints, expired: Ints) -> tuple[int, int] | None:
    """The cells with the least and the most coverage, where groups differ too much for chance; else None.

    Pearson's chi-squared test of independence on the table of cells by outcome.
    """
    settled = joined + expired
    cells = np.flatnonzero(settled >= MIN_ROWS)
    rows, with_label = settled[cells], joined[cells]
    share = with_label.sum() / rows.sum() if len(cells) > 1 else 1.0
    if not 0 < share < 1:
        return None
    each = with_label / rows
    low, high = int(each.argmin()), int(each.argmax())
    if each[high] - each[low] < COVERAGE_GAP:
        return None
    statistic = float(((with_label - rows * share) ** 2 / (rows * share * (1 - share))).sum())
    if chi_squared_tail(statistic, len(cells) - 1) >= SIGNIFICANCE:
        return None
    return int(cells[low]), int(cells[high])


def latest(lags: Ints) -> int | None:
    """The class whose lags are furthest from those of all others, where that is too far for chance.

    ``lags``: rows by class and bin. The distance of two distributions is Kolmogorov's and Smirnov's D;
    on bins it is at most what it would be on the values, so the test errs on the side of silence.
    """
    rows = lags.sum(axis=1)
    total, found, furthest = lags.sum(axis=0), None, LAG_GAP
    for at in np.flatnonzero(rows >= MIN_ROWS).tolist():
        mine, others = int(rows[at]), int(rows.sum() - rows[at])
        if others < MIN_ROWS:
            continue
        shares = lags[at].cumsum() / mine - (total - lags[at]).cumsum() / others
        distance = float(np.abs(shares[_LAGS_FROM:]).max())
        if distance >= furthest and distance > _KOLMOGOROV * math.sqrt(1 / mine + 1 / others):
            found, furthest = at, distance
    return found


def warn(labelling: Labelling, coverage: Coverage, lags: Ints, classes: Sequence[str]) -> Warned:
    """What there is to be said of a version. ``classes``: the names of its classes, none of a regression."""
    judged: set[str] = set()
    texts: dict[str, str] = {}
    for group in labelling.groups:
        joined, expired = coverage.joined[group.cells], coverage.expired[group.cells]
        if ((joined + expired) >= MIN_ROWS).sum() > 1:
            judged.add(MISSING)
            ends = differ(joined, expired)
            if ends is not None and MISSING not in texts:
                texts[MISSING] = _missing(labelling, group, joined, expired, ends, classes)
    if classes:
        mine = lags[labelling.groups[0].cells]
        if (mine.sum(axis=1) >= MIN_ROWS).sum() > 1:
            judged.add(LATER)
            at = latest(mine)
            if at is not None:
                name = labelling.name_of(labelling.groups[0], at, classes)
                texts[LATER] = (
                    f"label lag differs by class: half of the labels {name} within {_seconds(mine[at])},"
                    f" half of the others within {_seconds(mine.sum(axis=0) - mine[at])}"
                )
    return Warned(frozenset(judged), texts)


def _missing(
    labelling: Labelling,
    group: Group,
    joined: Ints,
    expired: Ints,
    ends: tuple[int, int],
    classes: Sequence[str],
) -> str:
    shares = [f"{joined[at] / (joined[at] + expired[at]):.0%}" for at in ends]
    names = [labelling.name_of(group, at, classes) for at in ends]
    by = "predicted class" if labelling.groups[0] is group and classes else group.name
    return (
        f"labels are missing not at random: by {by}, {shares[0]} of the matured predictions"
        f" of {names[0]} have one, {shares[1]} of {names[1]}"
    )


def _seconds(lags: Ints) -> str:
    return f"{median_lag(lags) or 0:.2g} s"


def readings(labelling: Labelling, now_ms: int, classes: Sequence[str]) -> Iterator[Row]:
    """Coverage and lag of each segment, and the warnings that can be judged: 1 where one holds, else 0."""
    coverage, lags = labelling.coverage(now_ms), labelling.lags
    for group in labelling.groups[1:] if classes else labelling.groups:
        joined, expired = coverage.joined[group.cells], coverage.expired[group.cells]
        settled, delays = joined + expired, lags[group.cells]
        for at in np.flatnonzero((settled > 0) | delays.any(axis=1)).tolist():
            label = (labelling.name_of(group, at, ()),)
            if settled[at]:
                share = float(joined[at] / settled[at])
                yield Row("model_segment_label_coverage_ratio", label, share)
            lag = median_lag(delays[at])
            if lag is not None:
                yield Row("model_segment_label_lag_seconds", label, lag)
    warned = warn(labelling, coverage, lags, classes)
    for name in WARNINGS:
        if name in warned.judged:
            yield Row("model_label_warning", (name,), float(name in warned.texts))
