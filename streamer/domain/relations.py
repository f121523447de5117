"""Which numeric features go together: a feature whose rows were mixed up looks the same by itself.

Correlations of the values' logarithms, signed and in steps of a thousandth, so
that the unit does not decide. Sums of whole numbers: exact, additive, and the
same however rows were cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import EXPONENT_BIAS, magnitudes

MOST_FEATURES = 30
"""Only so many, the first ones: what is kept grows with their square."""

NOTABLE = 0.4
"""A correlation that has changed by less is no finding."""

FEW_ROWS = 100
_CERTAIN = 5.0  # standard errors, over all pairs
_STEPS = 10  # 2**10 of them to an octave
_OCTAVES = 40  # beyond them, up and down, all values count as the outermost


@dataclass(frozen=True, slots=True)
class Parted:
    """A feature goes with ``other`` differently than it did: correlations before and after."""

    other: str
    before: float
    after: float


class Relations:
    """Sums over the rows in which all of ``features`` were numbers; ``rows`` of them.

    ``sums``: of the places (``places``), shape ``(features,)``. ``products``: of
    their pairs, ``(features, features)``.
    """

    __slots__ = ("_correlations", "features", "products", "rows", "sums")

    def __init__(self, features: Sequence[str] = ()) -> None:
        self._begin(features)

    def _begin(self, features: Sequence[str]) -> None:
        self.features = tuple(features[:MOST_FEATURES])
        self.rows = 0
        self.sums = np.zeros(len(self.features), np.int64)
        self.products = np.zeros((len(self.features), len(self.features)), np.int64)
        self._correlations: NDArray[np.float64] | None = None  # of what was counted when they were asked for

    def take(self, values: NDArray[np.float64]) -> None:
        """Count rows: finite, shape ``(rows, features)``."""
        # Whole numbers far below 2**53: floats, for which there is a fast product, hold them exactly.
        found = places(values)
        self._correlations = None
        self.rows += len(found)
        self.sums += found.sum(axis=0).astype(np.int64)
        self.products += (found.T @ found).astype(np.int64)

    def copy(self) -> Relations:
        found = Relations(self.features)
        found.add(self)
        return found

    def add(self, other: Relations) -> None:
        """Count all that the other one has counted; of other features, forget what was counted here."""
        if other.features != self.features:
            self._begin(other.features)
        self._correlations = None
        self.rows += other.rows
        self.sums = self.sums + other.sums
        self.products = self.products + other.products

    def since(self, earlier: Relations) -> Relations:
        """What came after an earlier state of the same counts; all, where features have come since."""
        found = self.copy()
        if earlier.features == self.features:
            found.rows -= earlier.rows
            found.sums -= earlier.sums
            found.products -= earlier.products
        return found

    def correlations(self) -> NDArray[np.float64]:
        """Pearson's, of the places; NaN where a feature has only one, or there are no rows."""
        if self._correlations is not None:
            return self._correlations
        with np.errstate(divide="ignore", invalid="ignore"):
            means = self.sums / self.rows
            covariances = self.products / self.rows - np.outer(means, means)
            deviations = np.sqrt(np.maximum(0.0, np.diag(covariances)))
            found: NDArray[np.float64] = covariances / np.outer(deviations, deviations)
        found[~np.isfinite(found)] = np.nan
        self._correlations = found
        return found

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "features": list(self.features),
            "rows": self.rows,
            "sums": self.sums.tolist(),
            "products": self.products[_upper(len(self.features))].tolist(),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Relations:
        """Raises KeyError, TypeError, ValueError where that is none."""
        found = cls(plain["features"])
        found.rows = int(plain["rows"])
        found.sums[:] = plain["sums"]
        upper = _upper(len(found.features))
        found.products[upper] = plain["products"]
        found.products.T[upper] = plain["products"]
        return found


@cache
def _upper(features: int) -> tuple[NDArray[np.intp], ...]:
    """Where in their matrix each pair of features stands once."""
    found: tuple[NDArray[np.intp], ...] = np.triu_indices(features)
    return found


def places(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole numbers in the order of the values: how many steps their magnitude is above the least, signed.

    As ``bins.feature_bins``, in steps that are finer: a pressure of 1000 ± 20 has places too.
    """
    negative, keys = magnitudes(values, _STEPS)
    most = _OCTAVES << _STEPS
    keys -= EXPONENT_BIAS << _STEPS
    np.clip(keys, -most, most, out=keys)
    keys += most
    np.negative(keys, out=keys, where=negative)
    return keys.astype(np.float64)


def parted(before: Relations, after: Relations) -> dict[str, Parted]:
    """Features that go with others differently than they did, the ones that explain most of it first.

    Where one feature has changed, all its pairs have; so the feature with the
    largest changes answers for its pairs, and the next one for what is left.
    """
    if min(before.rows, after.rows) < FEW_ROWS:
        return {}
    common = [name for name in before.features if name in after.features]
    old, new = (_of(each, common) for each in (before, after))
    change = np.abs(new - old)
    if not (change >= NOTABLE).any():  # nearly always
        return {}
    error = np.sqrt((1 - old**2) ** 2 / before.rows + (1 - new**2) ** 2 / after.rows)
    change[~(change >= np.maximum(NOTABLE, _CERTAIN * error))] = 0.0  # where there is none it is NaN
    found: dict[str, Parted] = {}
    while change.any():
        at = int(np.argmax(change.sum(axis=1)))
        other = int(np.argmax(change[at]))
        found[common[at]] = Parted(common[other], float(old[at, other]), float(new[at, other]))
        change[at, :] = change[:, at] = 0.0
    return found


def _of(relations: Relations, features: Sequence[str]) -> NDArray[np.float64]:
    if relations.features == tuple(features):
        return relations.correlations()
    at = [relations.features.index(name) for name in features]
    return relations.correlations()[np.ix_(at, at)]
