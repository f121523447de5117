"""The windows of one version, and the figures of them that objectives ask for.

Labelled rows go into one set of windows, the latencies of predictions into another of the same
names; the version says when (``version``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamer.domain import latency, moments, scores
from streamer.domain.bins import BINARY_CODES, LATENCY_BINS, MULTICLASS_CODES
from streamer.domain.classes import Classes
from streamer.domain.moment_windows import build_moment_window
from streamer.domain.objectives import LIFETIME, ModelSpec, Task, ThresholdSpec, WindowSpec
from streamer.domain.scores import Estimate
from streamer.domain.windows import Blocks, Codes, Window, build_window

NO_LATENCY = LATENCY_BINS
_QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}


class Figures:
    """``windows``: of labelled rows, by name; ``traffic``: of predictions, by the same names.

    ``ordered``: labelled rows come in prediction order.
    """

    __slots__ = (
        "_binary", "_label_windows", "_ordered", "_traffic_windows", "classes", "task", "traffic", "windows",
    )  # fmt: skip

    def __init__(self, spec: ModelSpec, task: Task, classes: Classes | None, ordered: bool) -> None:
        self.task, self.classes, self._ordered = task, classes, ordered
        self.windows: dict[str, Window] = {w.name: self._label_window(w) for w in spec.every_window}
        self.traffic: dict[str, Window] = {
            w.name: build_window(w, LATENCY_BINS + 1) for w in spec.every_window
        }
        self._label_windows = list(self.windows.values())
        self._traffic_windows = list(self.traffic.values())
        self._binary: dict[str, scores.Binary] = {}

    def _label_window(self, spec: WindowSpec) -> Window:
        if self.task == "regression":
            return build_moment_window(spec)
        return build_window(spec, BINARY_CODES if self.task == "binary" else MULTICLASS_CODES)

    # -- counting --------------------------------------------------------------------------------

    def take_labels(self, rows: Any, times: Sequence[int]) -> None:
        """Labelled rows, ``payload.Scored``; their times (ms) never fall."""
        self._binary.clear()
        for window in self._label_windows:
            window.extend(rows, times)

    def restate(self, rows: Any, times: Sequence[int]) -> None:
        """Labelled rows that are late: into the windows that still hold their time."""
        self._binary.clear()
        for window in self._label_windows:
            window.restate(rows, times)

    def take_predictions(self, codes: Codes, times: Sequence[int]) -> None:
        """The bins of latencies, ``NO_LATENCY`` where a prediction has none."""
        for window in self._traffic_windows:
            window.extend(codes, times)

    # -- figures ---------------------------------------------------------------------------------

    def samples(self, spec: ThresholdSpec) -> int:
        """How many rows there are to judge an objective by; see ``ThresholdSpec``. Not of label coverage."""
        if spec.signal == "throughput":
            return int(spec.limit * self._span_ms(spec.window.name) / 1000)
        if spec.signal in _QUANTILES:
            window = self.traffic[spec.window.name]
            return window.rows - int(window.tally[NO_LATENCY])
        return self.windows[spec.window.name].rows

    def estimate(self, spec: ThresholdSpec, confidence: float | None) -> Estimate | None:
        """The figure of one objective, with bounds at this confidence, None for no bounds.

        Not of label coverage, which no window has.
        """
        if spec.signal in _QUANTILES:
            counts = self.traffic[spec.window.name].tally[:LATENCY_BINS]
            return latency.latency_estimate(counts, _QUANTILES[spec.signal], spec.limit, confidence)
        if spec.signal == "throughput":
            return self.throughput(spec.window.name)
        if self.task == "binary":
            return self.binary(spec.window.name).estimate(spec.signal, confidence)
        tally = self.windows[spec.window.name].tally
        if self.task == "regression":
            return moments.regression_estimate(tally, spec.signal, confidence)
        klass = None
        if spec.klass is not None and self.classes is not None:
            klass = self.classes.table.get(spec.klass)
            if klass is None:
                return None
        return scores.multiclass_estimate(tally, spec.signal, confidence, klass)

    def binary(self, window: str) -> scores.Binary:
        """The scores of a window of a binary model, as of the rows counted so far."""
        found = self._binary.get(window)
        if found is None:
            found = self._binary[window] = scores.Binary(self.windows[window].tally)
        return found

    def throughput(self, window: str) -> Estimate | None:
        """Predictions a second over a window of time, from the first second on."""
        span, rows = self._span_ms(window), self.traffic[window].rows
        return Estimate(rows * 1000 / span, rows, None, None) if span >= 1000 else None

    def _span_ms(self, window: str) -> int:
        found = self.traffic[window]
        return min(found.span_ms(), found.spec.size or found.span_ms())

    @property
    def row_ms(self) -> float:
        """Event time from one prediction to the next, on average over the version's life."""
        lifetime = self.traffic[LIFETIME.name]
        return lifetime.span_ms() / max(1, lifetime.rows - 1)

    # -- state -----------------------------------------------------------------------------------

    def key(self, kind: str, name: str) -> str:
        """What a window's state is called. Times of one order mean nothing in a window of the other."""
        ordered = self._ordered and self.windows[name].spec.kind == "duration"
        return f"{'ordered' if ordered and kind == 'labels' else kind}/{name}"

    def _keyed(self) -> dict[str, Window]:
        kinds = (("labels", self.windows), ("traffic", self.traffic))
        return {self.key(kind, name): each for kind, every in kinds for name, each in every.items()}

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Blocks]]:
        """By the names of ``key``: the heads, and the blocks that changed."""
        heads: dict[str, Any] = {}
        blocks: dict[str, Blocks] = {}
        for key, window in self._keyed().items():
            heads[key], blocks[key] = window.snapshot()
        return heads, blocks

    def restore(
        self, heads: Mapping[str, Any], blocks: Mapping[str, Mapping[int, bytes]], labels: bool
    ) -> None:
        """Become what was snapshot, as far as the file asks for it. ``labels``: labelled rows too."""
        for key, window in self._keyed().items():
            if key in heads and (labels or key.startswith("traffic/")):
                window.restore(heads[key], blocks.get(key, {}))
