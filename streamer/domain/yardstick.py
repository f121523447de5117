"""A reference made ready to measure stretches with: every column in one go, a few hundred times a second.

``measure`` decides; ``comparison`` tells people what was found, from the same
counts, and comes to the same distances and findings (tests hold them together).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.domain import distances
from streamer.domain.bins import FEATURE_BINS, NO_SCORE, SCORE_CENTERS, filled_cells
from streamer.domain.comparison import (
    BURST,
    NOTABLE,
    beyond_range,
    new_names,
    number_places,
    out_of_range,
    stuck,
    surely_more,
)
from streamer.domain.distances import HALF_A_ROW, Distance
from streamer.domain.profile import OTHER
from streamer.domain.reference import Column, Reference
from streamer.domain.relations import parted
from streamer.domain.stretch import ANSWERS, Counts, Layout, Stretch

Floats = NDArray[np.float64]
ABOVE_CHANCE = 3.0
"""So many times the distance that chance makes on average is the least that counts as a change."""

MIN_PARTS = 2
_NO_GROUP = -1
_ZERO = np.zeros(1, np.int64)


class Measured(NamedTuple):
    """One column of one stretch; see ``comparison.Change``. All but ``distance`` are shares.

    ``chance``: the distance that chance alone makes on average, None where it is not known. ``wrong``:
    something is the matter with the data, whatever the distance.
    """

    column: str
    distance: float
    chance: float | None
    missing: float
    unseen: float
    out_of_range: float
    wrong: bool

    def beyond(self, limit: float) -> bool:
        """Has it changed?"""
        least = 0.0 if self.chance is None else ABOVE_CHANCE * self.chance
        return self.wrong or self.distance > max(limit, least)


@dataclass(slots=True)
class _Column:
    """One column of the reference and where its cells and groups are.

    ``missing``, ``odd`` and ``unseen``: the groups of what has no value, is of the other type, or was
    never seen.
    """

    name: str
    before: Column
    rows: int
    numeric: bool
    feature: bool
    missing: int = _NO_GROUP
    odd: int = _NO_GROUP
    unseen: int = _NO_GROUP
    start: int | None = None


class Yardstick:
    """Built of a reference for a layout; another layout needs another one. See ``measure``."""

    def __init__(
        self, reference: Reference, layout: Layout, distance: Distance, features: Iterable[str] = ()
    ) -> None:
        self.layout, self.distance = layout, distance
        self.columns: list[_Column] = []
        self._before: list[float] = []
        self._owner: list[int] = []  # which column a group belongs to
        self._starts: dict[int, int] = {0: _NO_GROUP}  # first cell of a run → its group
        self._named: dict[tuple[str, str], int] = {}
        self._relations = reference.relations
        self._wanted = set(features)
        rows = reference.rows
        for name in sorted(reference.columns):
            if self._watched(name) and reference.columns[name].values:
                self._add_feature(name, reference.columns[name], rows)
        output = reference.predictions if layout.output == "prediction" else reference.labels
        if output.values:
            self._add_output(output)
        self.scores = reference.scores
        if layout.output == "prediction" and self.scores[:NO_SCORE].any():
            self._add_score(self.scores)
        for at in range(len(layout.features)):
            self._starts.setdefault(layout.start(at), _NO_GROUP)
        self._at = np.array(sorted(self._starts), np.intp)
        self._group = np.array([self._starts[at] for at in self._at.tolist()], np.intp)
        self._places = number_places()
        self._ends = np.append(self._at[1:], layout.cells)
        self._counted = np.flatnonzero(self._group >= 0)
        self._owners, self._rows = np.array(self._owner, np.intp), np.array(self._before)
        self._column_rows = _sums(self._owners, self._rows, len(self.columns))
        self._known = {column.name.removeprefix("feature:") for column in self.columns if column.feature}
        self._unknown = {
            name: layout.start(at) for at, name in enumerate(layout.features) if name not in self._known
        }
        self._wide = [
            column
            for column in self.columns
            if column.feature and column.numeric and column.start is not None
        ]
        self._edges = np.array([_edges(column) for column in self._wide], np.intp).reshape(-1, 4)

    def _watched(self, name: str) -> bool:
        return not self._wanted or name in self._wanted

    # -- making ready --------------------------------------------------------------------------

    def _new_group(self, before: float) -> int:
        self._before.append(before)
        self._owner.append(len(self.columns))
        return len(self._before) - 1

    def _add_feature(self, name: str, before: Column, rows: int) -> None:
        found = _Column(f"feature:{name}", before, rows, before.numeric, feature=True)
        places = {each: at for at, each in enumerate(self.layout.features)}
        start = self.layout.start(places[name]) if name in places else None
        found.start = start
        if before.numeric:
            self._add_numbers(before.bins, start)
            found.odd = self._new_group(before.names.total())
        else:
            self._add_names(name, found, before)
            found.odd = self._new_group(before.numbers)
            if start is not None:
                self._starts[start] = found.odd
        found.missing = self._new_group(max(0, rows - before.values))
        self.columns.append(found)

    def _add_numbers(self, bins: Counts, start: int | None) -> None:
        starts = distances.equal_groups(bins)
        for first, count in zip(starts.tolist(), distances.grouped(bins, starts).tolist(), strict=True):
            group = self._new_group(count)
            if start is not None:
                self._starts[start + first] = group

    def _add_names(self, name: str, found: _Column, before: Column) -> None:
        for value, count in sorted(before.names.items(), key=lambda item: (-item[1], item[0])):
            self._named[name, value] = self._new_group(count)
        found.unseen = self._new_group(0)

    def _add_output(self, before: Column) -> None:
        found = _Column(self.layout.output, before, before.values, self.layout.classes is None, feature=False)
        found.start = ANSWERS
        if found.numeric:
            self._add_numbers(before.bins, ANSWERS)
        else:
            groups = {value: self._new_group(count) for value, count in sorted(before.names.items())}
            found.unseen = self._new_group(0)
            for index in range(FEATURE_BINS):
                value = self.layout.name_of(index)
                self._starts[ANSWERS + index] = groups.get(value, found.unseen)
                if value == OTHER:  # and so are all that follow
                    break
        self.columns.append(found)

    def _add_score(self, scores: Counts) -> None:
        found = _Column("score", Column(), int(scores[:NO_SCORE].sum()), numeric=True, feature=False)
        starts = distances.equal_groups(scores[:NO_SCORE])
        for first, count in zip(
            starts.tolist(), distances.grouped(scores[:NO_SCORE], starts).tolist(), strict=True
        ):
            self._starts[2 * first] = self._new_group(count)
        self._starts[2 * NO_SCORE] = _NO_GROUP
        self.columns.append(found)

    # -- measuring -----------------------------------------------------------------------------

    def measure(self, stretch: Stretch, parts: Sequence[Stretch] = ()) -> list[Measured]:
        """Every column of the reference, and the features that it does not know and that are there now.

        ``parts``: what the stretch is made of; a relation then counts as changed where it is in two of them.
        """
        below = np.concatenate([_ZERO, np.cumsum(stretch.counts)])
        fine = self._all_numbers(stretch, below)
        after, left = self._grouped(stretch, below, fine)
        apart, chance = self._distances(after, stretch)
        found = []
        gone = self._parted(stretch, parts)
        for at, column in enumerate(self.columns):
            rates = fine.get(column.name)
            if rates is None:
                rates = self._rates(column, stretch, after, left.get(column.name))
            one = Measured(column.name, apart[at], chance[at], *rates)
            found.append(one._replace(wrong=True) if column.name in gone else one)
        return found + self._new(stretch)

    def _all_numbers(self, stretch: Stretch, sums: Counts) -> dict[str, tuple[float, float, float, bool]]:
        """Rates of the columns of numbers with nothing the matter: nearly all, nearly always, in one go.

        A number in every row, several of them, (nearly) all of them within the range. ``sums``: of the
        first so many filled cells.
        """
        if not self._wide:
            return {}
        found = stretch.codes.searchsorted(self._edges)
        below = sums[found]
        whole = below[:, 3] - below[:, 0] == stretch.rows
        outside = (below[:, 1] - below[:, 0] + below[:, 3] - below[:, 2]) / max(1, stretch.rows)
        fine = whole & (found[:, 3] - found[:, 0] > 1) & (outside < NOTABLE)
        return {
            column.name: (0.0, 0.0, share, False)
            for column, well, share in zip(self._wide, fine.tolist(), outside.tolist(), strict=True)
            if well
        }

    def _parted(self, stretch: Stretch, parts: Sequence[Stretch]) -> set[str]:
        """The columns that go with others as they never did."""
        if not self._relations.features:
            return set()
        found = {*parted(self._relations, stretch.relations)}
        if found and parts:  # a single giant is in one part only
            seen = Counter(name for part in parts for name in parted(self._relations, part.relations))
            found = {name for name in found if seen[name] >= MIN_PARTS}
        return {f"feature:{name}" for name in found}

    def _grouped(
        self, stretch: Stretch, sums: Counts, fine: Container[str]
    ) -> tuple[Floats, dict[str, Column]]:
        """Rows per group; and the counts of those columns that are not ``fine``, by name."""
        after = np.zeros(len(self._before))
        runs = sums[stretch.codes.searchsorted(self._ends)] - sums[stretch.codes.searchsorted(self._at)]
        np.add.at(after, self._group[self._counted], runs[self._counted])
        own: dict[str, Column] = {}
        for column in self.columns:
            if column.name in fine:
                continue
            if not column.feature:
                if column.name != "score":
                    own[column.name] = self.layout.output_column(stretch)
                continue
            name = column.name.removeprefix("feature:")
            names = stretch.names.get(name)
            bins = _ZERO[:0] if column.start is None else _bins(stretch, column.start)
            mine = own[column.name] = Column(bins) if names is None else Column(bins, names)
            if names is not None and column.numeric:
                after[column.odd] += names.total()
            elif names is not None:
                for value, count in names.items():
                    after[self._named.get((name, value), column.unseen)] += count
            after[column.missing] = max(0, stretch.rows - mine.values)
        return after, own

    def _distances(self, after: Floats, stretch: Stretch) -> tuple[list[float], list[float | None]]:
        before, owner, many = self._rows, self._owners, len(self.columns)
        apart: Floats
        chance: Floats = np.full(many, np.nan)
        rows_before, rows_after = self._column_rows, _sums(owner, after, many)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.distance == "psi":
                kept = (before + after) > 0  # a group that neither has would only add to what chance makes
                groups = _sums(owner, kept, many)
                b = (before + HALF_A_ROW) / (rows_before + HALF_A_ROW * groups)[owner]
                a = (after + HALF_A_ROW) / (rows_after + HALF_A_ROW * groups)[owner]
                parts = np.where(kept, (a - b) * np.log(a / b), 0.0)
                apart = _sums(owner, parts, many)
                chance = (groups - 1) * (1 / rows_before + 1 / rows_after)
            elif self.distance == "jensen_shannon":
                shares = before / rows_before[owner], after / rows_after[owner]
                middle = (shares[0] + shares[1]) / 2
                logs = [np.where(each > 0, each * np.log(each / middle), 0.0) for each in shares]
                divergence = _sums(owner, logs[0] + logs[1], many) / 2
                apart = np.sqrt(np.maximum(0.0, divergence) / np.log(2))
            else:
                moved = np.abs(after / rows_after[owner] - before / rows_before[owner])
                apart = _sums(owner, moved, many) / 2
        told: list[float] = np.where(rows_after > 0, apart, 0.0).tolist()
        if self.distance == "wasserstein":
            pairs = zip(self.columns, told, strict=True)
            told = [self._moved(column, value, stretch) for column, value in pairs]
        return told, [each if math.isfinite(each) else None for each in chance.tolist()]

    def _moved(self, column: _Column, otherwise: float, stretch: Stretch) -> float:
        """How far the numbers have moved; columns without numbers have the total variation instead."""
        if column.name == "score":
            pairs = stretch.by_score[:NO_SCORE].sum(axis=1)
            before, places = self.scores[:NO_SCORE], SCORE_CENTERS[:NO_SCORE]
            return distances.wasserstein(before, pairs, places) if pairs.any() else otherwise
        if not column.numeric or column.start is None:
            return otherwise
        after = _bins(stretch, column.start)
        if not after.any():
            return otherwise
        return distances.wasserstein(column.before.bins, after, self._places)

    def _rates(
        self, column: _Column, stretch: Stretch, after: Floats, own: Column | None
    ) -> tuple[float, float, float, bool]:
        """Missing, unseen, out of range, and whether something is wrong; as ``comparison`` finds it."""
        if own is None:
            return self._without_score(stretch)
        before, values = column.before, own.values
        if not column.feature and len(own.names) > 1 and own.names.keys() <= before.names.keys():
            return 0.0, 0.0, 0.0, False  # several classes, all of them known: nearly always
        rows = stretch.rows if column.feature else values
        missing = (rows - values) / rows if rows else 0.0
        if not values:
            return missing, 0.0, 0.0, rows > 0
        missed = max(0, column.rows - before.values) / column.rows
        wrong = surely_more(missed, missing, column.rows, rows, BURST)
        odd = (own.names.total() if column.numeric else own.numbers) / values
        odd_before = (before.names.total() if column.numeric else before.numbers) / before.values
        wrong = wrong or surely_more(odd_before, odd, before.values, values, NOTABLE)
        if stuck(before, own):
            return missing, 0.0, 0.0, True
        unseen = outside = 0.0
        if not column.numeric:
            unseen = 0.0 if before.names[OTHER] else float(after[column.unseen]) / values
            wrong = wrong or sum(new_names(before, own).values()) / values >= NOTABLE
        elif own.bins.size:
            ends = beyond_range(before, own)
            outside = sum(ends) / values
            wrong = wrong or any(out_of_range(count, before, own) for count in ends)
        return missing, unseen, outside, wrong

    def _without_score(self, stretch: Stretch) -> tuple[float, float, float, bool]:
        before, after = self.scores, stretch.by_score.sum(axis=1)
        rows_before, rows = int(before.sum()), int(after.sum())
        if not rows:
            return 0.0, 0.0, 0.0, False
        missing = float(after[NO_SCORE]) / rows
        missed = float(before[NO_SCORE]) / rows_before
        wrong = surely_more(missed, missing, rows_before, rows, BURST)
        return missing, 0.0, 0.0, wrong

    def _new(self, stretch: Stretch) -> list[Measured]:
        """Features that the reference has no values of, and many rows have by now."""
        found = []
        for name in sorted(self._unknown.keys() | (stretch.names.keys() - self._known)):
            if not self._watched(name):
                continue
            values = stretch.names[name].total() if name in stretch.names else 0
            if name in self._unknown:
                values += int(_bins(stretch, self._unknown[name]).sum())
            if stretch.rows and values / stretch.rows >= BURST:
                missing = 1 - values / stretch.rows
                found.append(Measured(f"feature:{name}", 0.0, None, missing, 0.0, 0.0, wrong=True))
        return found


def _edges(column: _Column) -> tuple[int, int, int, int]:
    """Where a feature's cells begin and end, and in between those that the reference has filled."""
    assert column.start is not None
    seen = filled_cells(column.before.bins)
    low, high = int(seen[0]), int(seen[-1])
    return column.start, column.start + low, column.start + high + 1, column.start + FEATURE_BINS


def _bins(stretch: Stretch, start: int) -> Counts:
    """The counts of the numbers whose cells begin there."""
    return stretch.run(start, start + FEATURE_BINS)


def _sums(owner: NDArray[np.intp], values: NDArray[Any], many: int) -> Floats:
    """Of each column."""
    found: Any = np.bincount(owner, values, many)
    return found  # type: ignore[no-any-return]
