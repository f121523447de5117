"""What a model's traffic looked like over a stretch of it: small, mergeable, exact counts.

A reference is what later traffic is held against; the same summary of that
later traffic is what is held against it (``comparison``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import (
    BINARY_CODES,
    FEATURE_BINS,
    FEATURE_INNER_EDGES,
    NO_SCORE,
    SCORE_BINS,
    feature_bin,
    filled_cells,
    score_bin,
)
from streamer.domain.profile import Profile, count_name
from streamer.domain.relations import Relations

Counts = NDArray[np.int64]


@dataclass(slots=True)
class Column:
    """The values of one column. ``bins``: numbers, per ``bins.feature_bin``; ``names``: all other values."""

    bins: Counts = field(default_factory=lambda: np.zeros(FEATURE_BINS, np.int64))
    names: Counter[str] = field(default_factory=Counter)

    @property
    def numbers(self) -> int:
        return int(self.bins.sum())

    @property
    def values(self) -> int:
        """How many there are, whatever their type."""
        return self.numbers + self.names.total()

    @property
    def numeric(self) -> bool:
        """Is it a column of numbers? The majority says so."""
        return self.numbers > self.names.total()

    def take(self, value: Any) -> None:
        """Count one value: a number, or text."""
        if isinstance(value, str):
            count_name(self.names, value)
        else:
            self.bins[feature_bin(float(value))] += 1

    def quantile(self, q: float) -> float | None:
        """The edge nearest to zero of the bin that holds it; None without numbers."""
        total = self.numbers
        if not total:
            return None
        at = int(np.searchsorted(np.cumsum(self.bins), max(1, int(np.ceil(q * total)))))
        return float(FEATURE_INNER_EDGES[at])

    def add(self, other: Column) -> None:
        """Count all that the other one has counted."""
        self.bins += other.bins
        for name, count in sorted(other.names.items()):
            count_name(self.names, name, count)

    def since(self, earlier: Column) -> Column:
        """What came after; see ``Reference.since``."""
        names = {name: _left(self.names[name], earlier.names[name]) for name in self.names | earlier.names}
        new = Counter({name: count for name, count in names.items() if count})
        return Column(_all_left(self.bins, earlier.bins), new)

    def plain(self) -> dict[str, Any]:
        """As JSON has it: ``bins`` as pairs of bin and count, those that are not empty."""
        return {
            "bins": _sparse(self.bins),
            "names": dict(sorted(self.names.items())),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Column:
        """Raises KeyError, TypeError, ValueError, IndexError where that is no column."""
        names = Counter({str(name): _count(n) for name, n in plain["names"].items()})
        return cls(_dense(plain["bins"], FEATURE_BINS), names)


@dataclass(slots=True)
class Reference:
    """One model's traffic. ``made_of``: a sentence for people. ``wrong`` of ``judged`` rows were so.

    ``columns``: feature → its values. ``relations``: which of them go together. ``predictions`` and
    ``labels``: classes as text, or the numbers of a regression. ``answers``: of all rows, shape
    ``(SCORE_BINS, 2)``, the score's bin and whether the positive class was predicted. ``truths``: of the
    labelled rows of a binary model, counts per ``bins.binary_code``.
    """

    model: str
    version: str | None = None
    made_of: str = ""
    rows: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    answers: Counts = field(default_factory=lambda: np.zeros((SCORE_BINS, 2), np.int64))
    truths: Counts = field(default_factory=lambda: np.zeros(BINARY_CODES, np.int64))
    predictions: Column = field(default_factory=Column)
    labels: Column = field(default_factory=Column)
    judged: int = 0
    wrong: int = 0
    relations: Relations = field(default_factory=Relations)

    def take_features(self, profile: Profile) -> None:
        """The features' counts, of a profile that counts for nobody else."""
        profile.flush()
        for name in sorted(profile.numeric.keys() | profile.categories.keys() | profile.missing.keys()):
            column = self.columns.setdefault(name, Column())
            if name in profile.numeric:
                column.bins += profile.numeric[name]
            column.add(Column(names=profile.categories.get(name, Counter())))
        if profile.relations is not None:
            self.relations.add(profile.relations)

    def take_answer(self, score: float | None, positive: bool) -> int:
        """Count P(positive), from 0 to 1 or None, and the predicted class; answers the score's bin."""
        at = NO_SCORE if score is None else score_bin(score)
        self.answers[at, int(positive)] += 1
        return at

    @property
    def scores(self) -> Counts:
        """Counts per ``bins.score_bin``."""
        found: Counts = self.answers.sum(axis=1)
        return found

    def missing(self, name: str) -> float:
        """The share of rows without a value of this feature: null, not a number, or not sent."""
        column = self.columns.get(name)
        return 1.0 - (column.values if column else 0) / self.rows if self.rows else 0.0

    @property
    def error_rate(self) -> float | None:
        return self.wrong / self.judged if self.judged else None

    def merge(self, other: Reference) -> None:
        """Add another stretch of the same model."""
        self.rows += other.rows
        for name, column in other.columns.items():
            self.columns.setdefault(name, Column()).add(column)
        self.answers += other.answers
        self.truths += other.truths
        self.predictions.add(other.predictions)
        self.labels.add(other.labels)
        self.judged += other.judged
        self.wrong += other.wrong
        self.relations.add(other.relations)

    def since(self, earlier: Reference) -> Reference:
        """What came after an earlier state of the same counts.

        Raises:
            ValueError: the other one has counted what this one has not, or is of another version.
        """
        if (self.model, self.version) != (earlier.model, earlier.version):
            raise ValueError(f"it is of {earlier.model} {earlier.version or '(no version)'}")
        found = Reference(self.model, self.version, f"{self.made_of}, since {earlier.made_of}")
        empty = Column()
        found.rows = _left(self.rows, earlier.rows)
        for name in self.columns.keys() | earlier.columns.keys():
            column = self.columns.get(name, empty).since(earlier.columns.get(name, empty))
            found.columns[name] = column
        found.answers = _all_left(self.answers, earlier.answers)
        found.truths = _all_left(self.truths, earlier.truths)
        found.predictions = self.predictions.since(earlier.predictions)
        found.labels = self.labels.since(earlier.labels)
        found.judged = _left(self.judged, earlier.judged)
        found.wrong = _left(self.wrong, earlier.wrong)
        found.relations = self.relations.since(earlier.relations)
        return found

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "model": self.model,
            "version": self.version,
            "made_of": self.made_of,
            "rows": self.rows,
            "features": {name: column.plain() for name, column in sorted(self.columns.items())},
            "answers": _sparse(self.answers.ravel()),
            "truths": _sparse(self.truths),
            "predictions": self.predictions.plain(),
            "labels": self.labels.plain(),
            "judged": self.judged,
            "wrong": self.wrong,
            "relations": self.relations.plain(),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Reference:
        """Raises KeyError, TypeError, ValueError, AttributeError, IndexError: that is no reference."""
        found = cls(str(plain["model"]), plain["version"], str(plain["made_of"]), _count(plain["rows"]))
        found.columns = {name: Column.of_plain(column) for name, column in plain["features"].items()}
        found.answers = _dense(plain["answers"], 2 * SCORE_BINS).reshape(SCORE_BINS, 2)
        found.truths = _dense(plain["truths"], BINARY_CODES)
        found.predictions, found.labels = (Column.of_plain(plain[name]) for name in ("predictions", "labels"))
        found.judged, found.wrong = _count(plain["judged"]), _count(plain["wrong"])
        if "relations" in plain:  # not in those that were written before there were any
            found.relations = Relations.of_plain(plain["relations"])
        return found

    def outputs(self) -> Iterator[tuple[str, Column]]:
        """What it answered and what was true, as columns. The score is apart: it has bins of its own."""
        yield "prediction", self.predictions
        yield "label", self.labels


def _sparse(counts: Counts) -> list[list[int]]:
    """The cells that are not empty: their numbers and what they hold."""
    return [[int(at), int(counts[at])] for at in filled_cells(counts)]


def _dense(cells: Any, size: int) -> Counts:
    found = np.zeros(size, np.int64)
    for at, count in cells:
        if not 0 <= at < size:
            raise ValueError(f"there is no cell {at}")
        found[at] = _count(count)
    return found


def _left(now: int, before: int) -> int:
    if now < before:
        raise ValueError(f"{before:,} were counted before, and {now:,} are now")
    return now - before


def _all_left(now: Counts, before: Counts) -> Counts:
    if (now < before).any():
        raise ValueError("some values were counted more often before than now")
    found: Counts = now - before
    return found


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
