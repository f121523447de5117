"""A version's columns held against a reference: the last so many rows, every fifth of them.

What is counted anyway (``profile``, and the outputs here) is looked at when a
pane is full: the difference to the last look is the pane, the last few panes
are the window. So a row costs next to nothing, and a version that has no
reference costs nothing at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.alerts import Transition
from streamer.domain.bins import (
    NO_SCORE,
    SCORE_BINS,
    classes_of,
    feature_bins,
    score_bins,
)
from streamer.domain.comparison import Cell, Change, compare
from streamer.domain.events import rfc3339
from streamer.domain.objectives import ModelSpec, ReferenceSpec, Task, duration_text
from streamer.domain.payload import answers_of
from streamer.domain.profile import Profile
from streamer.domain.reference import Column, Reference
from streamer.domain.relations import Relations
from streamer.domain.rules import DataRule, Told
from streamer.domain.stretch import (
    ANSWERS,
    OUTPUTS,
    Counts,
    Layout,
    Names,
    Ring,
    Stretch,
    names_since,
    together,
)
from streamer.domain.windows import pack_counts, unpack_counts
from streamer.domain.yardstick import Measured, Yardstick

PANES = 5
BUCKETS = 28
"""A rolling reference is kept in so many parts: four a day for a week."""

TAKEN_AT_ONCE = 16
MOST_TOLD = 5
MOST_CELLS = 12
BINARY_NAMES = ("negative", "positive")
_BASE, _FIXED = 0, 1


class DataWatch:
    """Columns of one version. ``signal``: ``data`` (features, score and prediction), or ``label``.

    ``measured``: the columns of the last full window, empty before. ``closed``: the pane that the last
    ``look`` has closed, if it did.
    """

    __slots__ = (
        "_at", "_base", "_buckets", "_every", "_moved", "_since", "_taken", "_yardstick", "cells", "closed",
        "drift", "measured", "output", "pane_rows", "panes", "reference", "rule", "spec", "task",
    )  # fmt: skip

    def __init__(self, model: ModelSpec, version: str, spec: ReferenceSpec, signal: str, task: Task) -> None:
        self.task = task
        self.spec, self.drift, self._every = spec, model.data_drift, model.evaluate_every
        self.output = "prediction" if signal == "data" else "label"
        self.rule = DataRule(self.drift, model.model, version, signal)
        self.cells: Counts = np.zeros(OUTPUTS, np.int64)
        self._taken: list[NDArray[np.intp]] = []  # cells of rows that are not counted yet
        # A fifth of the window, in whole multiples of ``every``.
        self.pane_rows = max(1, -(-self.drift.rows // (PANES * self._every))) * self._every
        self.reference: Stretch | None = None
        self.panes, self._buckets = Ring(), Ring()
        self._base = Stretch()  # all that had been counted at the last look
        self._at = self._since = 0  # rows then, and where the reference begins
        self._moved: set[int] = set()  # which marks the state does not hold
        self.measured: list[Measured] = []
        self.closed: Stretch | None = None
        self._yardstick: Yardstick | None = None

    # -- counting ------------------------------------------------------------------------------

    def take_predictions(self, payloads: Sequence[int], scores: Sequence[float | None]) -> None:
        """Count predictions. ``payloads``: what the join keeps of them (``ModelMonitor._payload``)."""
        if self.task == "binary":
            bins, outputs = answers_of(np.array(payloads, np.intp))
            self._take(2 * bins + outputs)
            return
        found = np.array(scores, np.float64)
        known = found == found  # a prediction without a score is NaN here
        bins = np.full(len(found), NO_SCORE, np.intp)
        bins[known] = score_bins(found[known])
        self._take(2 * bins)
        if self.task == "regression":
            outputs = feature_bins(np.array(payloads, np.uint64).view(np.float64))
        else:
            outputs = np.array(payloads, np.intp)
        self._take(ANSWERS + outputs)

    def take_labels(self, rows: Any) -> None:
        """Count the labels of rows (``payload.Scored``), those of a binary model with the score's bin."""
        if self.task == "binary":
            self._take(2 * (rows >> 2) + (rows & 1))
        elif self.task == "multiclass":
            self._take(ANSWERS + classes_of(rows, binary=False)[1])
        else:
            self._take(ANSWERS + feature_bins(np.array([label for _, label in rows])))

    def _take(self, cells: NDArray[np.intp]) -> None:
        self._taken.append(cells)
        if len(self._taken) >= TAKEN_AT_ONCE:
            self._count()

    def _count(self) -> None:
        """Into the cells, which are many and far apart in memory: for many rows in one go."""
        if not self._taken:
            return
        cells = np.concatenate(self._taken)
        self._taken = []
        if self.task == "binary":  # one cell for the class and its score, one for the class
            cells = np.concatenate([cells, ANSWERS + (cells & 1)])
        self.cells += np.bincount(cells, minlength=OUTPUTS)

    # -- at evaluation points --------------------------------------------------------------------

    @property
    def reference_rows(self) -> int:
        """How many rows are behind the reference, 0 while there is none."""
        if self.spec.kind == "given":
            profile: Reference = self.spec.profile
            return profile.rows if self.output == "prediction" else profile.labels.values
        return 0 if self.reference is None else self.reference.rows

    def judge(
        self, rows: int, time: int, now: int, profile: Profile | None, classes: Sequence[str] | None
    ) -> list[Transition]:
        """Judge a full window; what has to be told. ``now``: record time. See ``look``."""
        if not self.look(rows, time, profile, classes):
            return []
        layout = self.layout(profile, classes)
        step = self.rule.evaluate(self.measured, rows, now, lambda column: self._since_when(layout, column))
        if step is None:
            return []
        if step.status != "resolved":
            changes = self._ranked(layout, self.rule.news)
            self.rule.describe(step, changes, self.measured)
            since = min(self.rule.told[column].since for column in self.rule.news)
            step.evidence |= {"since": rfc3339(since), **self._evidence(changes)}
        return [step]

    def look(self, rows: int, time: int, profile: Profile | None, classes: Sequence[str] | None) -> bool:
        """See whether a pane is full; True where ``measured`` is new.

        Args:
            rows: how many the version has had; a multiple of ``every``.
            time: event time of the newest, in ms.
            profile: of the features, None for labels.
            classes: the names of the classes, None for numbers.
        """
        self.closed = None
        if self.spec.kind == "first" and self.reference is None:
            if rows - self._since < self.spec.size:
                return False
            self.reference = self._cut(rows, time, profile)
            self._moved.add(_FIXED)
            return False
        if rows - self._at < self.pane_rows:
            return False
        self.closed = self._cut(rows, time, profile)
        self.panes.append(self.closed)
        if len(self.panes) > PANES:
            self._leave(self.panes.pop_oldest(), time, profile)
        if len(self.panes) < PANES or not self._ready(time):
            self.measured = []
            return False
        layout = self.layout(profile, classes)
        self.measured = self._measure(layout)
        return True

    def _measure(self, layout: Layout) -> list[Measured]:
        return self._ruler(layout).measure(together(self.panes.kept, layout.cells), self.panes.kept)

    def layout(self, profile: Profile | None, classes: Sequence[str] | None) -> Layout:
        known = None if classes is None else tuple(classes)
        return Layout(self.output, () if profile is None else profile.names, known)

    def _cut(self, rows: int, time: int, profile: Profile | None) -> Stretch:
        """All that was counted since the last look."""
        self._count()
        cells = self.cells
        names: Names = {}
        relations = Relations()
        if profile is not None:
            profile.flush()
            cells = np.concatenate([cells, profile.table])
            names = {name: counts.copy() for name, counts in profile.categories.items()}
            if profile.relations is not None:
                relations = profile.relations.copy()
        base = self._base
        self._base = Stretch.of(rows, base.last, time, cells, names, relations)
        new = cells if cells is not self.cells else cells.copy()
        new[base.codes] -= base.counts
        # When the very first row was made nobody has noted: its stretch begins where it ends.
        found = Stretch.of(
            rows - base.rows,
            base.last or time,
            time,
            new,
            names_since(names, base.names),
            relations.since(base.relations),
        )
        self._at = rows
        self._moved.add(_BASE)
        return found

    def begin(self, rows: int, time: int, profile: Profile | None) -> None:
        """Count from here on: the version has had rows before anybody asked for a reference."""
        self._cut(rows, time, profile)
        self._since = rows

    def _leave(self, pane: Stretch, time: int, profile: Profile | None) -> None:
        """A pane that is no longer of the window becomes part of a rolling reference."""
        if self.spec.kind != "previous":
            return
        cells = OUTPUTS + (0 if profile is None else len(profile.table))
        width = max(1, self.spec.size // BUCKETS)
        parts = self._buckets
        if len(parts) and parts.kept[-1].last // width == pane.last // width:
            parts.replace_newest(together([parts.kept[-1], pane], cells))
            return
        parts.append(pane)
        while len(parts) > 1 and parts.kept[0].last < time - self.spec.size:
            parts.pop_oldest()
        self._roll(cells)

    def _roll(self, cells: int) -> None:
        """The rolling reference anew: of all its parts but the one that is filling."""
        self._yardstick = None
        closed = list(self._buckets.kept)[:-1]
        self.reference = together(closed, cells) if closed else None

    def _ready(self, time: int) -> bool:
        if self.spec.kind == "given":
            return self.reference_rows > 0
        if self.reference is None:
            return False
        if self.spec.kind == "first":
            return True
        return time - self._buckets.kept[0].first >= self.spec.size * (BUCKETS - 1) // BUCKETS

    def _ruler(self, layout: Layout) -> Yardstick:
        if self._yardstick is None or self._yardstick.layout != layout:
            reference = self.held_against(layout)
            self._yardstick = Yardstick(reference, layout, self.drift.distance, self.drift.features)
        return self._yardstick

    @property
    def answers(self) -> Counts | None:
        """Rows of the window that was measured last by score bin and predicted class; None before."""
        return np.sum([pane.by_score for pane in self.panes.kept], axis=0) if self.measured else None

    @property
    def truths(self) -> Counts | None:
        """Of labels: the reference's rows by score bin and actual class; None before there is one."""
        if self.spec.kind == "given":
            found: Counts = self.spec.profile.truths.reshape(SCORE_BINS, 2, 2).sum(axis=1)
            return found
        if self.spec.kind == "previous" or self.reference is None:
            return None
        return self.reference.by_score

    # -- for people ----------------------------------------------------------------------------------

    @property
    def made_of(self) -> str:
        what = "predictions" if self.output == "prediction" else "labels"
        if self.spec.kind == "first":
            return f"the first {self.reference_rows} {what}"
        if self.spec.kind == "previous":
            return f"the {what} of the {duration_text(self.spec.size)} before"
        made_of: str = self.spec.profile.made_of
        return made_of

    def held_against(self, layout: Layout) -> Reference:
        """The reference. Only where there is one."""
        if self.spec.kind == "given":
            return _as_named(self.spec.profile, layout)
        assert self.reference is not None
        return layout.reference(self.reference, self.rule.rule.model, self.rule.rule.version, self.made_of)

    def changes(self, layout: Layout) -> list[Change]:
        """What is different in the window, the most changed first; only after ``look`` was True."""
        window = together(self.panes.kept, layout.cells)
        made_of = f"the last {window.rows}"
        wanted = {f"feature:{name}" for name in self.drift.features}
        current = layout.reference(window, self.rule.rule.model, self.rule.rule.version, made_of)
        return [
            change
            for change in compare(self.held_against(layout), current)
            if not wanted or change.column in wanted or not change.column.startswith("feature:")
        ]

    def beside(self, profile: Profile | None, classes: Sequence[str] | None) -> dict[str, Any]:
        """The columns as they were last measured, for an alert about something else; nothing before."""
        if not self.measured:
            return {}
        return self._evidence(self._ranked(self.layout(profile, classes), set()))

    def _ranked(self, layout: Layout, news: set[str]) -> list[Change]:
        """What is new stands first, and what is wrong before what has merely moved; then by distance."""
        moved = {each.column for each in self.measured if each.beyond(self.drift.limit)}
        return sorted(
            self.changes(layout),
            key=lambda each: (each.column not in news, each.column not in moved, not each.findings),
        )

    def _evidence(self, changes: Sequence[Change]) -> dict[str, Any]:
        """What an alert carries: the first of these. JSON's types only."""
        measured, told = {each.column: each for each in self.measured}, self.rule.told
        columns = []
        for change in changes[:MOST_TOLD]:
            known = told.get(change.column)
            found = {} if known is None else {"since": rfc3339(known.since)}
            columns.append({**_told(change, measured.get(change.column)), **found})
        return {
            "reference": {"made_of": self.made_of, "rows": self.reference_rows},
            "columns": columns,
        }

    def _since_when(self, layout: Layout, column: str) -> int:
        """The event time (ms) from which on a column has changed, pane by pane without a break."""
        ruler, found = self._ruler(layout), self.panes.kept[-1].first
        for pane in reversed(self.panes.kept):
            if not any(
                each.column == column and each.beyond(self.drift.limit) for each in ruler.measure(pane)
            ):
                return found
            found = pane.first
        known = self.rule.told.get(column)  # it began before all that is kept: what was said then holds
        return found if known is None else min(found, known.since)

    # -- state ---------------------------------------------------------------------------------------

    def _identity(self) -> list[Any]:
        """What the state belongs to."""
        spec = self.spec
        return [spec.kind, spec.size, spec.name, self.drift.rows, self._every]

    def snapshot(self) -> tuple[dict[str, Any], dict[str, dict[int, Any]]]:
        """The head, and the blocks that changed, by the names of ``block_names``."""
        self._count()
        rings, blocks = {}, {}
        for name, ring in zip(self.block_names[1:], (self.panes, self._buckets), strict=True):
            rings[name], blocks[name] = ring.snapshot()
        marks = {number: each.plain() for number, each in self._marks().items() if number in self._moved}
        blocks[self.block_names[0]], self._moved = marks, set()
        head = {
            "spec": self._identity(),
            "cells": pack_counts(self.cells),
            "at": [self._at, self._since],
            "rings": rings,
            "measured": bool(self.measured),
            "told": {column: astuple(each) for column, each in self.rule.told.items()},
        }
        return head, blocks

    def _marks(self) -> dict[int, Stretch]:
        marks = {_BASE: self._base}
        if self.spec.kind == "first" and self.reference is not None:
            marks[_FIXED] = self.reference
        return marks

    @property
    def block_names(self) -> tuple[str, str, str]:
        """The names of its blocks: what was there at the last look, panes, parts of a rolling reference."""
        name = f"data/{self.output}"
        return name, f"{name}.panes", f"{name}.buckets"

    def restore(
        self,
        head: Mapping[str, Any] | None,
        blocks: Mapping[str, Mapping[int, Any]],
        profile: Profile | None,
        classes: Sequence[str] | None,
    ) -> bool:
        """Become what was saved; False where nothing was, or something else: ``begin`` then.

        Raises:
            ValueError: the blocks do not fit.
        """
        if head is None or head["spec"] != self._identity():
            return False
        marks, *rings = self.block_names
        self.cells = unpack_counts(head["cells"], OUTPUTS)
        self._at, self._since = head["at"]
        self.rule.told = {column: Told(*each) for column, each in head["told"].items()}
        for name, ring in zip(rings, (self.panes, self._buckets), strict=True):
            ring.restore(head["rings"][name], blocks.get(name, {}))
        saved = blocks.get(marks, {})
        if _BASE in saved:
            self._base = Stretch.of_plain(saved[_BASE])
        layout = self.layout(profile, classes)
        if self.spec.kind == "previous":
            self._roll(layout.cells)
        elif _FIXED in saved:
            self.reference = Stretch.of_plain(saved[_FIXED])
        if head["measured"]:
            self.measured = self._measure(layout)
        return True


def data_watches(model: ModelSpec, version: str, task: Task) -> dict[str, DataWatch]:
    """By signal; none where the model has no reference."""
    spec = model.reference
    if spec is None:
        return {}
    return {signal: DataWatch(model, version, spec, signal, task) for signal in ("data", "label")}


def _told(change: Change, measured: Measured | None) -> dict[str, Any]:
    found = {
        "column": change.column,
        "distance": change.psi if measured is None else measured.distance,
        "psi": change.psi,
        "jensen_shannon": change.jensen_shannon,
        "total_variation": change.total_variation,
        "wasserstein": change.wasserstein if change.wasserstein != math.inf else None,
        "missing": list(change.missing),
        "middle": list(change.middle),
        "findings": list(change.findings),
        "cells": [[cell.name, cell.before, cell.after] for cell in _most_moved(change.cells)],
    }
    if measured is not None:
        found |= {"unseen": measured.unseen, "out_of_range": measured.out_of_range}
    return found


def _most_moved(cells: Sequence[Cell]) -> list[Cell]:
    """In their order, the ones whose shares differ most."""
    kept = sorted(cells, key=lambda cell: -abs(cell.after - cell.before))[:MOST_CELLS]
    return [cell for cell in cells if cell in kept]


def _as_named(given: Reference, layout: Layout) -> Reference:
    """A reference that was built from a log, whose classes are called as they are there, in our names."""
    if layout.classes != BINARY_NAMES:
        return given
    answers, truths = given.answers.sum(axis=0), given.truths.reshape(-1, 2).sum(axis=0)
    named = replace(given, predictions=Column(), labels=Column())
    for column, counts in ((named.predictions, answers), (named.labels, truths)):
        column.names += Counter(dict(zip(BINARY_NAMES, counts.tolist(), strict=True)))
    return named
