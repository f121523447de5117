"""A stretch of one version's traffic as counts per cell: sparse, additive, exact.

Every column of numbers is a run of cells in one long row of them (``Layout``);
all other values are counted by name. A stretch keeps only the cells that are
not empty, so that a version can keep a dozen of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import FEATURE_BINS, SCORE_BINS, filled_cells
from streamer.domain.profile import OTHER, count_name
from streamer.domain.reference import Column, Reference
from streamer.domain.relations import Relations

Counts = NDArray[np.int64]
Names = dict[str, Counter[str]]
ANSWERS = 2 * SCORE_BINS  # the score's bin and the class, 0 or 1, that was predicted (or is true)
OUTPUTS = ANSWERS + FEATURE_BINS
_CODE, _COUNT = np.dtype("<u4"), np.dtype("<i8")


def _nothing() -> Counts:
    return np.zeros(0, np.int64)


@dataclass(slots=True)
class Stretch:
    """``rows`` between two event times (ms): the ``counts`` of cells with these ascending ``codes``."""

    rows: int = 0
    first: int = 0
    last: int = 0
    codes: Counts = field(default_factory=_nothing)
    counts: Counts = field(default_factory=_nothing)
    names: Names = field(default_factory=dict)
    relations: Relations = field(default_factory=Relations)

    @classmethod
    def of(
        cls,
        rows: int,
        first: int,
        last: int,
        cells: Counts,
        names: Names,
        relations: Relations | None = None,
    ) -> Stretch:
        """``cells``: counts of every cell of the layout."""
        codes = filled_cells(cells)
        return cls(rows, first, last, codes, cells[codes], names, relations or Relations())

    def run(self, first: int, end: int) -> Counts:
        """Counts of every cell from ``first`` up to, and without, ``end``."""
        low, high = self.codes.searchsorted((first, end)).tolist()
        found = np.zeros(end - first, np.int64)
        found[self.codes[low:high] - first] = self.counts[low:high]
        return found

    @property
    def by_score(self) -> Counts:
        """Rows by the bin of their score and the class, shape ``(SCORE_BINS, 2)``."""
        return self.run(0, ANSWERS).reshape(SCORE_BINS, 2)

    def plain(self) -> list[Any]:
        """As it is saved: the cells as bytes."""
        cells = [self.codes.astype(_CODE).tobytes(), self.counts.astype(_COUNT).tobytes()]
        names = {name: dict(counts) for name, counts in self.names.items()}
        return [self.rows, self.first, self.last, *cells, names, self.relations.plain()]

    @classmethod
    def of_plain(cls, plain: Sequence[Any]) -> Stretch:
        """Raises ValueError where the bytes do not fit."""
        rows, first, last, codes, counts, names, relations = plain
        at = np.frombuffer(codes, _CODE).astype(np.int64)
        found = np.frombuffer(counts, _COUNT).astype(np.int64)
        if len(at) != len(found):
            raise ValueError("counts do not fit their cells")
        known = {name: Counter(each) for name, each in names.items()}
        return cls(rows, first, last, at, found, known, Relations.of_plain(relations))


def together(stretches: Iterable[Stretch], cells: int) -> Stretch:
    """The sum of stretches that follow each other, at least one, in a layout of this many cells."""
    every = list(stretches)
    codes = np.concatenate([each.codes for each in every])
    counts = np.concatenate([each.counts for each in every])
    # Sums of whole numbers far below 2**53: a float holds them exactly.
    dense = np.bincount(codes, counts, cells)
    names: Names = {}
    for each in every:
        for name, found in each.names.items():
            known = names.setdefault(name, Counter())
            for value, count in found.items():
                count_name(known, value, count)
    relations = Relations()
    for each in every:
        relations.add(each.relations)
    rows = sum(each.rows for each in every)
    codes = filled_cells(dense)
    return Stretch(
        rows, every[0].first, every[-1].last, codes, dense[codes].astype(np.int64), names, relations
    )


def names_since(now: Mapping[str, Mapping[str, int]], before: Mapping[str, Mapping[str, int]]) -> Names:
    """What was counted by name since an earlier state of the same counts."""
    found: Names = {}
    for name, counts in now.items():
        old = before.get(name, {})
        new = Counter({value: n - old.get(value, 0) for value, n in counts.items() if n > old.get(value, 0)})
        if new:
            found[name] = new
    return found


class Ring:
    """Stretches in order, numbered, of which the state holds each in a record that is written once."""

    __slots__ = ("_changed", "_first", "kept")

    def __init__(self) -> None:
        self.kept: deque[Stretch] = deque()
        self._first = 0  # the number of the oldest
        self._changed: dict[int, Any] = {}

    def append(self, stretch: Stretch) -> None:
        self.kept.append(stretch)
        self._changed[self._first + len(self.kept) - 1] = stretch

    def pop_oldest(self) -> Stretch:
        self._changed[self._first] = None
        self._first += 1
        return self.kept.popleft()

    def replace_newest(self, stretch: Stretch) -> None:
        self.kept[-1] = stretch
        self._changed[self._first + len(self.kept) - 1] = stretch

    def __len__(self) -> int:
        return len(self.kept)

    def snapshot(self) -> tuple[list[int], dict[int, Any]]:
        """The head, and what changed since the last snapshot (None: gone)."""
        changed, self._changed = self._changed, {}
        blocks = {number: None if each is None else each.plain() for number, each in changed.items()}
        return [self._first, len(self.kept)], blocks

    def restore(self, head: Sequence[int], blocks: Mapping[int, Any]) -> None:
        """Become what was snapshot. Raises ValueError where there are more or fewer of them."""
        self._first, many = head
        numbers = range(self._first, self._first + many)
        if sorted(blocks) != [*numbers]:
            raise ValueError(f"{len(blocks)} stretches where {many} were expected")
        self.kept = deque(Stretch.of_plain(blocks[number]) for number in numbers)
        self._changed = {}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the cells are: the score with the class, what was predicted (or is true), each feature.

    ``output``: what the column of classes or numbers is called, ``prediction`` or ``label``.
    ``features``: in the order in which they came; more may come at the end. ``classes``: the
    names of the classes, None for numbers.
    """

    output: str
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None

    @property
    def cells(self) -> int:
        return OUTPUTS + len(self.features) * FEATURE_BINS

    def start(self, at: int) -> int:
        """The first cell of this feature."""
        return OUTPUTS + at * FEATURE_BINS

    def reference(self, stretch: Stretch, model: str, version: str | None, made_of: str) -> Reference:
        """A stretch as what it is compared as."""
        found = Reference(model, version or None, made_of, stretch.rows, relations=stretch.relations)
        for at, name in enumerate(self.features):
            found.columns[name] = Column(self.numbers(stretch, at))
        for name, counts in stretch.names.items():
            found.columns.setdefault(name, Column()).names = Counter(counts)
        output = self.output_column(stretch)
        if self.output == "prediction":
            found.predictions = output
            found.answers = stretch.by_score
        else:
            found.labels = output
        return found

    def numbers(self, stretch: Stretch, at: int) -> Counts:
        """The counts of this feature's bins."""
        return stretch.run(self.start(at), self.start(at + 1))

    def output_column(self, stretch: Stretch) -> Column:
        """What was predicted, or is true: classes by name, or numbers."""
        cells = stretch.run(ANSWERS, OUTPUTS)
        if self.classes is None:
            return Column(cells)
        return Column(names=Counter({self.name_of(int(at)): int(cells[at]) for at in filled_cells(cells)}))

    def name_of(self, index: int) -> str:
        assert self.classes is not None
        return self.classes[index] if index < len(self.classes) else OTHER
