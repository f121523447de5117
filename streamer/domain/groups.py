"""One version by class and by segment: figures, how labels come, and what an alert says of both.

No rule reads any of it, so labelled rows wait here until they are worth a call of NumPy, or
until somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import MAX_CLASSES, classes_of
from streamer.domain.evidence import label_evidence, segment_evidence
from streamer.domain.join import BUCKET_MASK, JoinTable
from streamer.domain.label_warnings import readings as label_readings
from streamer.domain.labelling import Labelling
from streamer.domain.objectives import LIFETIME, ModelSpec, Task
from streamer.domain.payload import class_of
from streamer.domain.segment_figures import Row, SegmentFigures, fields_of
from streamer.domain.segments import Joint, Segments
from streamer.domain.windows import Blocks

ENOUGH_ROWS = 1000
_CLASSES: Mapping[Task, int] = {"binary": 2, "multiclass": MAX_CLASSES, "regression": 0}
Arrived = tuple[Sequence[int], Any, NDArray[np.int64]]
Counted = tuple[Sequence[int], Any, Sequence[int]]


class Groups:
    """``figures`` is None where no fields of segments are declared. ``table``: of the version's join."""

    __slots__ = (
        "_arrived",
        "_bucket_shift",
        "_counted",
        "_rows",
        "_segment_shift",
        "_task",
        "clock",
        "figures",
        "labelling",
    )

    def __init__(self, spec: ModelSpec, task: Task, segments: Segments | None, table: JoinTable) -> None:
        self._task = task
        self._bucket_shift, self._segment_shift = table.shift, table.segment_shift
        self._arrived: list[Arrived] = []
        self._counted: list[Counted] = []
        self._rows = [0, 0]  # in both of them
        self.clock = 0  # record time in ms of the last second that passed, or of the first prediction
        self.labelling = Labelling(spec.label_wait_ms, _CLASSES[task], segments)
        self.figures = None
        if segments is not None:
            ordered = spec.order == "prediction"
            self.figures = SegmentFigures(segments, task, (*spec.windows, LIFETIME)[0], ordered)

    @property
    def bits(self) -> int:
        """How many bits the segments of a prediction take in its packed form."""
        return 0 if self.figures is None else self.figures.segments.bits

    # -- counting ------------------------------------------------------------------

    def take_prediction(self, given: Mapping[str, Any] | None) -> int:
        """Note the segments of a prediction that is accepted; answers what they add to its packed form."""
        assert self.figures is not None
        code = self.figures.segments.code(given)
        self.figures.made.append(code)
        return code << self._segment_shift

    def take_labels(self, packed: Sequence[int], rows: Any, lags_ms: NDArray[np.int64]) -> None:
        """Labels met their predictions; ``rows`` are those of the version's windows."""
        self._arrived.append((packed, rows, lags_ms))
        self._note_rows(0, len(packed))

    def _note_rows(self, which: int, count: int) -> None:
        self._rows[which] += count
        if self._rows[which] >= ENOUGH_ROWS:
            self.flush()

    def count_labels(self, packed: Sequence[int], rows: Any, times: Sequence[int]) -> None:
        """The version's windows take these rows, now or once labels have had their time."""
        if self.figures is not None:
            self._counted.append((packed, rows, times))
            self._note_rows(1, len(packed))

    def restate(self, packed: Sequence[int], rows: Any, times: Sequence[int]) -> None:
        """Rows whose pane was counted before they came: see ``Window.restate``."""
        self.flush()
        joint = self._joint(packed)
        if self.figures is not None and joint is not None:
            self.figures.count_labels(joint, rows, times, late=True)

    def take_expired(self, gone: Sequence[tuple[str, int]]) -> None:
        """These predictions waited for a label in vain."""
        packed = [each for _, each in gone]
        if packed:
            predicted = None
            if self._task != "regression":
                predicted = np.array([class_of(each) for each in packed])
            self.labelling.count_expired(self._buckets(packed), predicted, self._joint(packed))

    def flush(self) -> None:
        """Count the labelled rows that wait; figures do not depend on when."""
        arrived, counted = self._arrived, self._counted
        self._arrived, self._counted, self._rows = [], [], [0, 0]
        if arrived:
            packed = [each for part, _, _ in arrived for each in part]
            lags = np.concatenate([each for *_, each in arrived])
            predicted = actual = None
            if self._task != "regression":
                rows = np.concatenate([each for _, each, _ in arrived])
                predicted, actual = classes_of(rows, self._task == "binary")
            joint = self._joint(packed)
            self.labelling.count_labels(self._buckets(packed), predicted, actual, joint, lags)
        if counted and self.figures is not None:
            joint = self._joint([each for part, _, _ in counted for each in part])
            times = [time for *_, part in counted for time in part]
            found: Any = [each for _, each, _ in counted]
            regression = self._task == "regression"
            found = [row for part in found for row in part] if regression else np.concatenate(found)
            if joint is not None:
                self.figures.count_labels(joint, found, times)

    def _buckets(self, packed: Sequence[int]) -> NDArray[np.int64]:
        shift = self._bucket_shift
        return np.array([each >> shift & BUCKET_MASK for each in packed])

    def _joint(self, packed: Sequence[int]) -> Joint | None:
        """The joint codes of their segments, None where no fields are declared."""
        if self.figures is None:
            return None
        shift = self._segment_shift
        return np.array([each >> shift for each in packed])

    # -- what people see -------------------------------------------------------------

    @property
    def mark(self) -> int:
        """What is told by time alone: the predictions that have matured by now."""
        return self.labelling.matured_pane(self.clock)

    def readings(self, classes: Sequence[str]) -> Iterator[Row]:
        """Figures by segment, coverage and lag of labels by segment, and warnings about them."""
        self.flush()
        if self.figures is not None:
            yield from self.figures.readings()
        yield from label_readings(self.labelling, self.clock, classes)

    def evidence(self, signal: str, classes: Sequence[str], now_ms: int) -> dict[str, Any]:
        """Of an alert on a labelled figure: how labels came, and the segments that it comes from."""
        self.flush()
        told: dict[str, Any] = {"labels": label_evidence(self.labelling, now_ms, classes)}
        if self.figures is not None:
            segments = segment_evidence(self.figures, self._task, signal)
            if segments:
                told["segments"] = segments
        return told

    # -- state -----------------------------------------------------------------------

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Blocks]]:
        """What it adds to the head of a version, which flushes it first, and the blocks that changed."""
        head: dict[str, Any] = {"labelling": self.labelling.snapshot()}
        blocks: dict[str, Blocks] = {}
        if self.figures is not None:
            head["segments"], blocks = self.figures.snapshot()
        return head, blocks

    def restore(
        self,
        head: Mapping[str, Any],
        blocks: Mapping[str, Mapping[int, bytes]],
        now_ms: int,
        task_changed: bool,
    ) -> bool:
        """Become what was snapshot; False where some of it begins anew and has to be saved as such."""
        self.clock = now_ms
        same = self.labelling.restore(None if task_changed else head.get("labelling"), now_ms)
        declared: tuple[str, ...] = ()
        if self.figures is not None:
            declared = self.figures.segments.fields
            if "segments" in head:
                self.figures.restore(head["segments"], blocks, task_changed)
        return same and fields_of(head.get("segments")) == declared

    def reads(self, window: str) -> bool:
        """Is this a window of it, by the name that its blocks have?"""
        return self.figures is not None and window in self.figures.windows
