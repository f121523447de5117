"""What a model's features look like: counts per bin, so panes and versions add up.

Numbers fall into base-2 exponential bins (``bins.feature_bins``), other values
are counted by name, the rarer ones as ``other``. Counts are whole numbers: the
buffer may be emptied at any moment without changing a figure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from operator import itemgetter
from struct import Struct
from struct import error as StructError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import FEATURE_BINS, FEATURE_LOWER_EDGES, feature_bin, feature_bins
from streamer.domain.objectives import Quota
from streamer.domain.relations import MOST_FEATURES, Relations
from streamer.domain.windows import pack_counts, unpack_counts

MAX_CATEGORIES = 100
MAX_FEATURE_NAME = 100
MAX_CATEGORY_BYTES = 100
OTHER = "other"
BATCH_ROWS = 100
BATCH_BYTES = 16_384
RELATED_BATCHES = 4
"""So many as one where relations are counted too: of those, 400 rows cost little more than 100."""


def count_name(counts: Counter[str], name: str, count: int = 1) -> None:
    """Count a value by its name, or with the rest where there are too many names."""
    counts[name if name in counts or len(counts) < MAX_CATEGORIES else OTHER] += count


class Profile:
    """Counts of every feature of one model version, at most ``max_features`` of them.

    ``quota``: what the versions of a partition may have together. ``related``: also count which numeric
    features go together.

    The numbers that are known are packed into a buffer and counted with those of
    other rows; the rest of a row, and all of one in which a number is missing, at
    once. A row's own objects are not kept, or a worker of many models would wait
    for memory.
    """

    def __init__(self, max_features: int, quota: Quota, related: bool = False) -> None:
        self.max_features, self.quota = max_features, quota
        self.relations = Relations() if related else None
        self.rows = 0
        self.overflow = 0
        self.numeric: dict[str, NDArray[np.int64]] = {}
        self.categories: dict[str, Counter[str]] = {}
        self.missing: Counter[str] = Counter()
        self._names: tuple[str, ...] = ()
        self._table: NDArray[np.int64] = np.zeros(0, np.int64)
        self._lay_out()

    def _lay_out(self) -> None:
        """Rows of the buffer have a column for each numeric feature."""
        names = self._names
        self._width = len(names) or -1
        self._values = _values_of(names)
        self._pack = Struct(f"{len(names)}d").pack_into
        self._row_bytes = 8 * len(names)
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, self._row_bytes)))
        self._full = self._row_bytes * rows * (1 if self.relations is None else RELATED_BATCHES)
        self._buffer = bytearray(self._full)
        self._at = 0
        tables = self._table.reshape(-1, FEATURE_BINS)
        self.numeric = dict(zip(names, tables, strict=True))

    def take(self, features: dict[str, Any]) -> None:
        """Count a row."""
        self.rows += 1
        if len(features) >= self._width > 0:
            try:
                self._pack(self._buffer, self._at, *self._values(features))
            except (KeyError, StructError, OverflowError):  # other features, or no numbers
                self._count_one(features)
                return
            self._at += self._row_bytes
            if len(features) > self._width:  # what is no known number: a category, as a rule
                self._count_one({n: value for n, value in features.items() if n not in self.numeric})
            if self._at == self._full:
                self.flush()
            return
        if self.rows == 1:
            self._add_numeric(self._numbers_of(features))
        self._count_one(features)

    def flush(self) -> None:
        """Count the rows in the buffer."""
        if not self._at:
            return
        width = len(self._names)
        values = np.frombuffer(self._buffer, np.float64, self._at // 8).reshape(-1, width)
        self._at = 0
        columns = np.broadcast_to(np.arange(width) * FEATURE_BINS, values.shape)
        known = np.isfinite(values)
        if known.all():
            np.add.at(self._table, (feature_bins(values) + columns).ravel(), 1)
            if self.relations is not None:
                self.relations.take(values[:, :MOST_FEATURES])
            return
        np.add.at(self._table, feature_bins(values[known]) + columns[known], 1)
        if self.relations is not None:
            whole = known[:, :MOST_FEATURES].all(axis=1)
            self.relations.take(values[whole, :MOST_FEATURES])
        for name, count in zip(self._names, (~known).sum(axis=0).tolist(), strict=True):
            if count:
                self.missing[name] += count

    def _count_one(self, features: Mapping[str, Any]) -> None:
        for name, value in features.items():
            if value is None or (type(value) is float and not _is_number(value)):
                if self._known(name):
                    self.missing[name] += 1
            elif type(value) is float or type(value) is int or (type(value) is bool and name in self.numeric):
                if name not in self.numeric and self._known(name):
                    self._add_numeric([name])
                if name in self.numeric:
                    self.numeric[name][feature_bin(float(max(-1e300, min(1e300, value))))] += 1
            elif self._known(name):
                self._count_category(name, value)

    def _known(self, name: str) -> bool:
        """May this feature be counted? The bound is on names, declared or not."""
        if name in self.numeric or name in self.categories or name in self.missing:
            return True
        names = self.numeric.keys() | self.categories.keys() | self.missing.keys()
        fits = len(names) < self.max_features and len(name) <= MAX_FEATURE_NAME
        if fits and self.quota.take():
            return True
        self.overflow += 1
        return False

    def _numbers_of(self, features: Mapping[str, Any]) -> list[str]:
        """The numeric features of a first row, added at once: a new version must be cheap."""
        finite = (n for n, value in features.items() if type(value) is int or _is_number(value))
        short = [name for name in finite if len(name) <= MAX_FEATURE_NAME][: self.max_features]
        return [name for name in short if self.quota.take()]

    def _add_numeric(self, names: list[str]) -> None:
        """One flat table for all numeric features, so that a block is one ``add.at``."""
        self.flush()
        self._names = (*self._names, *names)
        if self.relations is not None and len(self.relations.features) < MOST_FEATURES:
            self.relations = Relations(self._names)  # anew: all pairs are of the same rows
        self._table = np.concatenate([self._table, np.zeros(len(names) * FEATURE_BINS, np.int64)])
        self._lay_out()

    def _count_category(self, name: str, value: Any) -> None:
        if isinstance(value, bool):
            text = "true" if value else "false"
        else:
            text = _shortened(value) if isinstance(value, str) else f"<{type(value).__name__}>"
        count_name(self.categories.setdefault(name, Counter()), text)

    @property
    def names(self) -> tuple[str, ...]:
        """The numeric features, in the order in which they came."""
        return self._names

    @property
    def table(self) -> NDArray[np.int64]:
        """Their counts one behind the other, ``FEATURE_BINS`` each; as of the last ``flush``."""
        return self._table

    def median(self, name: str) -> float | None:
        """The lower edge of the bin that holds the median, None without values; as of the last ``flush``."""
        counts = self.numeric[name]
        total = int(counts.sum())
        if not total:
            return None
        return float(FEATURE_LOWER_EDGES[int(np.searchsorted(np.cumsum(counts), (total + 1) // 2))])

    def snapshot(self) -> dict[str, Any]:
        self.flush()
        state = {
            "rows": self.rows,
            "overflow": self.overflow,
            "names": list(self._names),
            "numeric": [pack_counts(self.numeric[name]) for name in self._names],
            "categories": {name: dict(counts) for name, counts in self.categories.items()},
            "missing": dict(self.missing),
        }
        return state if self.relations is None else {**state, "relations": self.relations.plain()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.rows, self.overflow = state["rows"], state["overflow"]
        self._names = tuple(state["names"])
        tables = [unpack_counts(packed, FEATURE_BINS) for packed in state["numeric"]]
        self._table = np.concatenate(tables) if tables else np.zeros(0, np.int64)
        self._lay_out()
        self.categories = {name: Counter(counts) for name, counts in state["categories"].items()}
        self.missing = Counter(state["missing"])
        if self.relations is not None:
            saved = state.get("relations")
            self.relations = Relations(self._names) if saved is None else Relations.of_plain(saved)
        self.quota.held += len({*self._names, *self.categories, *self.missing})


def _values_of(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """What takes the values of these out of a row, in this order."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple(row[name] for name in names)


def _is_number(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def _shortened(text: str) -> str:
    """At most ``MAX_CATEGORY_BYTES`` in UTF-8, so that a profile fits into one state record."""
    return text[: MAX_CATEGORY_BYTES if text.isascii() else MAX_CATEGORY_BYTES // 4]
