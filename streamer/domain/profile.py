"""What a model's features look like: counts per bin, so panes and versions add up.

Numbers fall into base-2 exponential bins (``bins.feature_bins``), other values
are counted by name, the rarer ones as ``other``. Counts are whole numbers: the
buffer may be emptied at any moment without changing a figure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import FEATURE_BINS, FEATURE_LOWER_EDGES, feature_bins
from streamer.domain.windows import pack_counts, unpack_counts

MAX_CATEGORIES = 100
MAX_FEATURE_NAME = 100
MAX_CATEGORY_BYTES = 100
OTHER = "other"


class Profile:
    """Counts of every feature of one model version, at most ``max_features`` of them."""

    def __init__(self, max_features: int) -> None:
        self.max_features = max_features
        self.rows = 0
        self.overflow = 0
        self.numeric: dict[str, NDArray[np.int64]] = {}
        self.categories: dict[str, Counter[str]] = {}
        self.missing: Counter[str] = Counter()
        self.pending: list[dict[str, Any]] = []
        self._names: tuple[str, ...] = ()
        self._table: NDArray[np.int64] = np.zeros(0, np.int64)

    def flush(self) -> None:
        """Count the buffered rows."""
        batch = self.pending
        if not batch:
            return
        self.pending = []
        if not self.rows:
            first = batch.pop(0)
            self.rows = 1
            self._add_numeric(self._numbers_of(first))
            self._count_one(first)
        self.rows += len(batch)
        if batch and not self._count_alike(batch):
            for features in batch:
                self._count_one(features)

    def _count_alike(self, batch: list[dict[str, Any]]) -> bool:
        """The quick way: every row has the same features and all are numbers."""
        names = self._names
        if len(names) < 2 or any(len(features) != len(names) for features in batch):
            return False
        try:
            values = np.array(list(map(itemgetter(*names), batch)))
        except (KeyError, ValueError):
            return False
        if values.dtype.kind not in "fi" or values.ndim != 2 or not np.isfinite(values).all():
            return False
        cells = feature_bins(values.astype(np.float64, copy=False).ravel()).reshape(values.shape)
        cells += np.arange(len(names)) * FEATURE_BINS
        np.add.at(self._table, cells.ravel(), 1)
        return True

    def _count_one(self, features: Mapping[str, Any]) -> None:
        for name, value in features.items():
            if value is None or (type(value) is float and not _is_number(value)):
                if self._known(name):
                    self.missing[name] += 1
            elif type(value) is float or type(value) is int or (type(value) is bool and name in self.numeric):
                if name not in self.numeric and self._known(name):
                    self._add_numeric([name])
                if name in self.numeric:
                    number = np.array([float(max(-1e300, min(1e300, value)))])
                    self.numeric[name][int(feature_bins(number)[0])] += 1
            elif self._known(name):
                self._count_category(name, value)

    def _known(self, name: str) -> bool:
        """May this feature be counted? The bound is on names, declared or not."""
        if name in self.numeric or name in self.categories or name in self.missing:
            return True
        names = self.numeric.keys() | self.categories.keys() | self.missing.keys()
        if len(names) < self.max_features and len(name) <= MAX_FEATURE_NAME:
            return True
        self.overflow += 1
        return False

    def _numbers_of(self, features: Mapping[str, Any]) -> list[str]:
        """The numeric features of a first row, added at once: a new version must be cheap."""
        finite = (n for n, value in features.items() if type(value) is int or _is_number(value))
        return [name for name in finite if len(name) <= MAX_FEATURE_NAME][: self.max_features]

    def _add_numeric(self, names: list[str]) -> None:
        """One flat table for all numeric features, so that a block is one ``add.at``."""
        self._names = (*self._names, *names)
        self._table = np.concatenate([self._table, np.zeros(len(names) * FEATURE_BINS, np.int64)])
        self._slice()

    def _slice(self) -> None:
        rows = self._table.reshape(-1, FEATURE_BINS)
        self.numeric = dict(zip(self._names, rows, strict=True))

    def _count_category(self, name: str, value: Any) -> None:
        if isinstance(value, bool):
            text = "true" if value else "false"
        else:
            text = _shortened(value) if isinstance(value, str) else f"<{type(value).__name__}>"
        counts = self.categories.setdefault(name, Counter())
        counts[text if text in counts or len(counts) < MAX_CATEGORIES else OTHER] += 1

    def median(self, name: str) -> float | None:
        """The lower edge of the bin that holds the median, None without values."""
        counts = self.numeric[name]
        total = int(counts.sum())
        if not total:
            return None
        return float(FEATURE_LOWER_EDGES[int(np.searchsorted(np.cumsum(counts), (total + 1) // 2))])

    def snapshot(self) -> dict[str, Any]:
        self.flush()
        return {
            "rows": self.rows,
            "overflow": self.overflow,
            "names": list(self._names),
            "numeric": [pack_counts(self.numeric[name]) for name in self._names],
            "categories": {name: dict(counts) for name, counts in self.categories.items()},
            "missing": dict(self.missing),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.rows, self.overflow = state["rows"], state["overflow"]
        self._names = tuple(state["names"])
        tables = [unpack_counts(packed, FEATURE_BINS) for packed in state["numeric"]]
        self._table = np.concatenate(tables) if tables else np.zeros(0, np.int64)
        self._slice()
        self.categories = {name: Counter(counts) for name, counts in state["categories"].items()}
        self.missing = Counter(state["missing"])


def _is_number(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def _shortened(text: str) -> str:
    """At most ``MAX_CATEGORY_BYTES`` in UTF-8, so that a profile fits into one state record."""
    return text[: MAX_CATEGORY_BYTES if text.isascii() else MAX_CATEGORY_BYTES // 4]
