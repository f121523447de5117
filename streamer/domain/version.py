"""One version of one model: what happens to each of its predictions and labels.

join → windows → detectors → objectives. Once per event a row is only appended
to a short buffer, by ``model``; ``flush`` counts the rows in one go. Whatever
is told is told at evaluation points, which the data sets (every
``evaluate_every`` rows, every second of record time), never at the ends of
chunks or at commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import scores
from streamer.domain.alerts import State, Transition
from streamer.domain.bins import (
    latency_bins,
)
from streamer.domain.changes import NEAR
from streamer.domain.classes import Classes
from streamer.domain.data_watch import DataWatch, data_watches
from streamer.domain.drift import Detection, SignalWatch
from streamer.domain.examples import build_examples
from streamer.domain.figures import NO_LATENCY, Figures
from streamer.domain.groups import Groups
from streamer.domain.join import EXPIRED, JoinTable
from streamer.domain.live_estimate import LiveEstimate
from streamer.domain.moments import Moments
from streamer.domain.objectives import (
    LABEL_SIGNALS,
    LIFETIME,
    PREDICTION_SIGNALS,
    SCORES_OF_TASK,
    DriftSpec,
    Limits,
    ModelSpec,
    Room,
    Task,
    ThresholdSpec,
)
from streamer.domain.pane_log import PaneLog
from streamer.domain.payload import PAYLOAD_BITS, Scored, class_rows, number_rows
from streamer.domain.periods import Aside, Periods, Totals, sizes_of
from streamer.domain.prediction_order import PredictionOrder, Row
from streamer.domain.profile import Profile
from streamer.domain.rules import (
    AnyRule,
    DriftRule,
    ThresholdRule,
    no_data,
    no_data_after,
    restore_rules,
    rule_removed,
    snapshot_rules,
)
from streamer.domain.scores import Estimate
from streamer.domain.segments import Recoding, Segments
from streamer.domain.timeline import Timeline
from streamer.domain.windows import Blocks

_Waited = tuple[list[Row], bool, bool]
ORDER_ROWS = "order/rows"
"""The blocks of the rows that wait in prediction order."""

ORDER_PANES = "order/panes"
"""Those of the panes that late labels may still change."""

PERIODS = "periods"
"""What had been counted when those began that are not over."""

TRAFFIC_ROWS = 100
MAX_VALUES_TOLD = 20
LARGEST_FEATURE = 1e300
LAG_BOUNDS_S = (1, 10, 60, 300, 900, 3600, 21600, 86400, 259200, 604800, 1209600, 2592000)
_LAG_BOUNDS_MS = np.array(LAG_BOUNDS_S) * 1000
_NUMBERS = (float, int)


class VersionMonitor:
    """Everything kept about one (model, version)."""

    # Slots: with this many attributes an instance would keep a whole dict, and a worker of a
    # thousand models would wait for memory at each look-up.
    __slots__ = (
        "_alarms",
        "_judged_labels",
        "_judged_predictions",
        "_judged_settled",
        "_ordered",
        "_rules_of",
        "_saved",
        "_watched",
        "accepted",
        "classes",
        "data",
        "detections",
        "drift_rules",
        "duplicates",
        "error_watch",
        "estimate_live",
        "every",
        "examples",
        "expired",
        "feature_watches",
        "figures",
        "groups",
        "joined",
        "label_time",
        "labelled",
        "lag_counts",
        "lag_sum_ms",
        "last_label",
        "last_prediction",
        "last_settled",
        "latency_sum_us",
        "made",
        "order",
        "panes",
        "periods",
        "prediction_time",
        "profile",
        "rows",
        "rules",
        "score_watch",
        "spec",
        "table",
        "task",
        "thresholds",
        "version",
    )

    def __init__(
        self,
        spec: ModelSpec,
        version: str,
        task: Task,
        classes: Classes | None,
        limits: Limits,
        room: Room,
        segments: Segments | None = None,
    ) -> None:
        self.spec, self.version, self.task, self.classes = spec, version, task, classes
        self.every = spec.evaluate_every
        self.table = JoinTable(PAYLOAD_BITS[task])
        self.accepted = self.joined = self.duplicates = 0
        self.expired = {"label_wait": 0, "capacity": 0, "task_changed": 0}
        self.prediction_time = self.label_time = 0
        self.last_prediction = self.last_label = self.last_settled = 0
        self.latency_sum_us = 0
        self.lag_counts = np.zeros(len(LAG_BOUNDS_S) + 1, np.int64)
        self.lag_sum_ms = 0
        self._judged_labels = self._judged_predictions = self._judged_settled = 0
        self._saved: tuple[int, ...] = ()
        self.groups = Groups(spec, task, segments, self.table)

        related = spec.reference is not None
        self.profile = Profile(limits.max_features, room.features, related) if spec.profile_features else None
        self.thresholds = [ThresholdRule(t, spec.model, version) for t in spec.thresholds if _fits(t, task)]
        self._rules_of = {
            moved: [rule for rule in self.thresholds if rule.counts == moved]
            for moved in ("labels", "predictions", "settled")
        }
        self.drift_rules = {d.signal: DriftRule(d, spec.model, version) for d in spec.drift}
        self.detections: dict[tuple[str, str], int] = {}
        self.error_watch = self._watch("error", bounded=task != "regression")
        self.score_watch = self._watch("score", bounded=True)
        self.feature_watches = {
            d.signal.removeprefix("feature:"): SignalWatch(d.detectors, False, self.every)
            for d in spec.drift
            if d.signal.startswith("feature:")
        }
        # Which rows wait until labels have had their time: those of the figures, those of the error.
        self._ordered = (spec.order == "prediction", spec.error_order == "prediction")
        self.figures = Figures(spec, task, classes, self._ordered[0])
        self.order = PredictionOrder(spec.pane_ms, spec.matures_after_ms) if spec.waits else None
        self.panes = PaneLog(task, spec.pane_ms, spec.label_wait_ms) if self._ordered[0] else None
        self.data: dict[str, DataWatch] = data_watches(spec, version, task)
        self.periods = Periods(sizes_of(spec), task)
        live = task == "binary" and spec.reference is not None and spec.reference.kind != "previous"
        self.estimate_live = LiveEstimate(spec.label_wait_ms) if live else None
        self._calibrate()
        on_labels = [rule.spec for rule in self._rules_of["labels"]]
        self.labelled = Timeline(self.every) if on_labels else None  # when labelled rows were predicted
        self.examples = build_examples(spec, task, on_labels, {} if classes is None else classes.table)
        self.rules: tuple[AnyRule, ...] = (
            *self.thresholds,
            *self.drift_rules.values(),
            *(each.rule for each in self.data.values()),
        )
        # Not counted yet. Of a prediction: time (running maximum), score, latency, watched features, what the
        # join keeps of it; of a labelled row: that, the label, label time (running maximum), label time, id.
        self.made: list[tuple[int, float | None, float | None, dict[str, Any] | None, int]] = []
        self.rows: list[tuple[int, Any, int, int, str]] = []
        self._watched = 0  # so many of ``made`` the detectors have seen
        self._alarms: dict[str, list[Detection]] = {}  # found, to be told at the next evaluation

    def _watch(self, signal: str, bounded: bool) -> SignalWatch | None:
        spec: DriftSpec | None = next((d for d in self.spec.drift if d.signal == signal), None)
        return None if spec is None else SignalWatch(spec.detectors, bounded, self.every)

    # -- once per labelled row ---------------------------------------------------

    def join(self, pid: str, packed: int, actual: Any, time: int, now: int) -> list[Transition] | None:
        """A label has met its prediction. ``packed``: what the join kept of it."""
        if time >= self.periods.turn_at:
            self.turn(time)
        table = self.table
        table.recent[pid] = actual
        table.done.append(pid)
        count = self.joined = self.joined + 1
        if time > self.label_time:
            self.label_time = time
        self.rows.append((packed, actual, self.label_time, time, pid))
        return None if count % self.every else self.evaluate_labels(now)

    # -- counting -----------------------------------------------------------------

    def flush(self) -> None:
        """Count all buffered rows; figures and alarms do not depend on when."""
        self._count_labels()
        self.groups.flush()
        self._watch_predictions()
        self._count_predictions()
        if self.profile is not None:
            self.profile.flush()

    def _count_labels(self) -> None:
        """Labelled rows: into what counts them as they arrive; the rest waits for its pane."""
        if not self.rows:
            return
        packed, actual, row_times, times, ids = zip(*self.rows, strict=True)
        self.rows = []
        scored = self._score(packed, actual)
        made_at, rows, _ = scored
        lags = np.array(times) - made_at
        np.add.at(self.lag_counts, _LAG_BOUNDS_MS.searchsorted(lags), 1)
        self.lag_sum_ms += int(np.maximum(lags, 0).sum())
        self.groups.take_labels(packed, rows, lags)
        if self.estimate_live is not None:
            self.estimate_live.take_labels(made_at, rows)
        figures, errors = self._ordered
        self._count_rows(packed, actual, ids, row_times, scored, not figures, not errors)
        if self.order is not None:
            late = self.order.take(zip(made_at.tolist(), packed, actual, ids, strict=True))
            if late and figures:
                self._restate(packed, rows, made_at, late)

    def _score(self, packed: Sequence[int], actual: Sequence[Any]) -> Scored:
        if self.task == "regression":
            return number_rows(packed, actual)
        return class_rows(packed, actual, self.task == "binary")

    def _count_rows(
        self,
        packed: Sequence[int],
        actual: Sequence[Any],
        ids: Sequence[str],
        row_times: Sequence[int],
        scored: Scored,
        figures: bool,
        errors: bool,
    ) -> None:
        """Labelled rows: into the windows, and into the detectors of the error."""
        made_at, rows, losses = scored
        if figures:
            self.figures.take_labels(rows, row_times)
            self.groups.count_labels(packed, rows, row_times)
            before = self._labelled[0] - len(ids)
            if self.labelled is not None:
                self.labelled.note(before, made_at)
            if self.examples is not None:
                self.examples.take(before, ids, rows, losses)
            if "label" in self.data:
                self.data["label"].take_labels(rows)
        if errors and self.error_watch is not None:
            self._note_alarms("error", self.error_watch.feed(losses, made_at))

    def _restate(self, packed: Sequence[int], rows: Any, made_at: NDArray[np.int64], late: list[int]) -> None:
        """Rows (by position) whose pane was counted before they came: into the windows that still hold it."""
        times = made_at[late].tolist()
        mine = [rows[at] for at in late] if self.task == "regression" else rows[late]
        if self.panes is not None:
            self.panes.add(mine, made_at[late], late=True)
        self.figures.restate(mine, times)
        self.groups.restate([packed[at] for at in late], mine, times)

    def _watch_predictions(self) -> None:
        """Predictions: into the detectors of the score and of features."""
        new = self.made[self._watched :] if self._watched else self.made
        self._watched = len(self.made)
        if self.score_watch is not None:
            found = [score for _, score, _, _, _ in new if score is not None]
            rows = new if len(found) == len(new) else [row for row in new if row[1] is not None]
            self._note_alarms("score", self.score_watch.feed(found, _MadeAt(rows)))
        for name, watch in self.feature_watches.items():
            values: list[tuple[int, Any]]
            values = [(at, features.get(name)) for at, _, _, features, _ in new if features is not None]
            numbers = [(at, float(x)) for at, x in values if type(x) in _NUMBERS and abs(x) < LARGEST_FEATURE]
            alarms = watch.feed([x for _, x in numbers], [at for at, _ in numbers])
            self._note_alarms(f"feature:{name}", alarms)

    def _count_predictions(self) -> None:
        """Predictions: into the windows of traffic."""
        if not self.made:
            return
        times, found, latencies, _, payloads = zip(*self.made, strict=True)
        self.made, self._watched = [], 0
        if "data" in self.data:
            self.data["data"].take_predictions(payloads, found)
        self.figures.take_predictions(self._latency_codes(np.array(latencies, np.float64)), times)

    def _note_alarms(self, signal: str, found: list[Detection]) -> None:
        if found:
            self._alarms[signal] = self._alarms.get(signal, []) + found

    def _latency_codes(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        known = values == values  # a prediction without a latency is NaN here
        if known.all():
            self.latency_sum_us += int((values * 1000).round().astype(np.int64).sum())
            return latency_bins(values)
        codes = np.full(len(values), NO_LATENCY, np.intp)
        codes[known] = latency_bins(values[known])
        self.latency_sum_us += int((values[known] * 1000).round().astype(np.int64).sum())
        return codes

    def turn(self, time: int) -> None:
        """An event of this time (ms), not counted yet, is the first one of another period."""
        self.flush()
        self.periods.turn(time, self._totals(), self._aside())

    def _totals(self) -> Totals:
        labels = self.figures.windows[LIFETIME.name].tally
        return Totals(
            (self.accepted, self.joined, self.expired["label_wait"], self.duplicates),
            dict(self.detections),
            replace(labels) if isinstance(labels, Moments) else labels.copy(),
            self.figures.traffic[LIFETIME.name].tally.copy(),
            {} if self.groups.figures is None else self.groups.figures.lifetime(),
        )

    def _aside(self) -> Aside:
        measured = self.data["data"].measured if "data" in self.data else ()
        return Aside(
            [(each.column, each.distance) for each in measured],
            [rule.rule.rule for rule in self.rules if rule.incident.state is State.FIRING],
            (lambda before: []) if self.groups.figures is None else self.groups.figures.since,
        )

    # -- at evaluation points -----------------------------------------------------

    def evaluate_labels(self, now: int) -> list[Transition]:
        """Hold the labelled figures against their limits. ``now``: record time in ms."""
        self._count_labels()
        self._judged_labels = self.joined
        return self._judge_labels(now, ordered=False)

    def _judge_labels(self, now: int, ordered: bool) -> list[Transition]:
        """Hold against their limits what takes labelled rows in this order."""
        figures, errors = self._ordered
        told: list[Transition] = []
        if errors == ordered and self.error_watch is not None:
            self.last_label = now
            told = self._judge_drift("error", self.error_watch, now)
        if figures != ordered:
            return told
        self.last_label = now
        rows, time = self._labelled
        if "label" in self.data and not rows % self.every:
            told += self._judge_data("label", rows, time, now)
        return told + self._judge_all("labels", rows, time, now)

    @property
    def _labelled(self) -> tuple[int, int]:
        """How many labelled rows the figures have had, and the event time of the newest."""
        if self.order is not None and self._ordered[0]:
            return self.order.counted, self.order.row_time
        return self.joined, self.label_time

    def close_panes(self, clock: int, now: int) -> list[Transition]:
        """Count the panes of rows that are old enough by now. ``clock``: event time in ms."""
        assert self.order is not None
        self._count_labels()
        closed = self.order.closed
        told = [step for pane in self.order.due(clock) for step in self._count_pane(pane, now)]
        if self.panes is not None and (self.order.closed != closed or self.panes.due(clock)):
            self.panes.settle(clock)
        return told

    def close_oldest(self, now: int) -> list[Transition]:
        """Count the oldest pane, whatever its age, to make room."""
        assert self.order is not None
        return self._count_pane(self.order.close_oldest(), now)

    def _count_pane(self, pane: list[Row], now: int) -> list[Transition]:
        """Count the rows of a pane, and look at the rules as often as on their arrival."""
        assert self.order is not None
        told, start = [], 0
        while start < len(pane):
            part = pane[start : start + self.every - self.order.counted % self.every]
            start += len(part)
            _, packed, actual, ids = zip(*part, strict=True)
            times, scored = self.order.advance(part), self._score(packed, actual)
            self._count_rows(packed, actual, ids, times, scored, *self._ordered)
            if self.panes is not None:
                self.panes.add(scored[1], scored[0], late=False)
            told += self._judge_labels(now, ordered=True)
        if self.panes is not None:
            self.panes.close(pane[0][0] // self.panes.pane_ms)
        return told

    def evaluate_traffic(self, now: int) -> list[Transition]:
        """Hold latency and throughput against their limits, and end quiet incidents."""
        self._watch_predictions()
        # What no rule reads can wait until counting is worth the call.
        look = "data" in self.data and not self.accepted % self.every
        if self._rules_of["predictions"] or look or len(self.made) >= TRAFFIC_ROWS:
            self._count_predictions()
        self.last_prediction, self._judged_predictions = now, self.accepted
        told = [] if self.order is None else self.close_panes(self.prediction_time, now)
        for signal, watch in self._prediction_watches():
            told += self._judge_drift(signal, watch, now)
        if look:
            told += self._judge_data("data", self.accepted, self.prediction_time, now)
        return told + self._judge_all("predictions", self.accepted, self.prediction_time, now)

    def evaluate_coverage(self, now: int) -> list[Transition]:
        """Hold the share of settled predictions that got a label against its limit.

        It moves when predictions expire, long after the last of them was made.
        """
        self.last_settled, self._judged_settled = now, self.settled
        return self._judge_all("settled", self.settled, now, now)

    @property
    def near_ms(self) -> float:
        """How far apart dates of one change may be: as long as some windows of rows last, in event time."""
        self.flush()
        sizes = [self.every, *(w.size for w in self.spec.every_window if w.kind == "last")]
        if self.data:
            sizes.append(self.spec.data_drift.rows)
        return NEAR * max(sizes) * self.figures.row_ms

    def _judge_drift(self, signal: str, watch: SignalWatch, now: int) -> list[Transition]:
        """Tell of the alarms since the last evaluation, or end an incident after the quiet stretch."""
        rule, found = self.drift_rules[signal], self._alarms.pop(signal, None)
        if found is None:
            step = rule.evaluate(watch.seen, now)
            return [] if step is None else [step]
        for detection in found:
            key = (detection.detector, signal)
            self.detections[key] = self.detections.get(key, 0) + 1
        told = rule.detected(found, now, watch.since(found[0]))
        if signal == "error" and told.direction == "worse":
            self._add_examples(told, None)
        if signal.startswith("feature:") and self.spec.alert_feature_values:
            told.evidence["recent_values"] = watch.recent[-MAX_VALUES_TOLD:]
        if signal == "error":
            self._explain(told, "error", now)
        return [told]

    def _judge_data(self, signal: str, rows: int, event_time: int, now: int) -> list[Transition]:
        """Hold the columns against their reference, wherever a pane of rows is full."""
        watch = self.data[signal]
        had = watch.reference
        told = watch.judge(rows, event_time, now, self._profile_of(signal), self._class_names)
        if self.estimate_live is not None:
            if watch.closed is not None and signal == "data":
                self._count_labels()  # all that have come: which ones does not depend on commits
                self.estimate_live.take_pane(watch.closed, event_time)
            elif watch.reference is not had and signal == "label":
                self._calibrate()
        return told

    def _calibrate(self) -> None:
        """Once the labels have a reference, scores can be read as probabilities."""
        if self.estimate_live is None:
            return
        truths = self.data["label"].truths
        if truths is not None:
            self.estimate_live.calibrate(truths)

    def _profile_of(self, signal: str) -> Profile | None:
        return self.profile if signal == "data" else None

    @property
    def _class_names(self) -> Sequence[str] | None:
        return None if self.classes is None else self.classes.names

    def _judge_all(self, counts: str, rows: int, event_time: int, now: int) -> list[Transition]:
        """Judge the thresholds that rows of this kind move; see ``ThresholdRule.evaluate``."""
        told = []
        # An alert about labelled rows dates from when they were predicted: that is when it went wrong.
        since = self.labelled.at(rows) if counts == "labels" and self.labelled is not None else event_time
        for rule in self._rules_of[counts]:
            samples = self.samples(rule.spec)
            estimate = self._figure(rule) if samples >= rule.spec.min_samples else None
            step = rule.evaluate(estimate, samples, rows, event_time, now, since)
            if step is not None:
                if counts == "labels" and step.status != "resolved":
                    self._add_examples(step, rule.spec)
                told.append(step)
                if counts != "predictions" and step.status != "resolved":
                    self._explain(step, rule.spec.signal if rule.spec.klass is None else "", now)
        return told

    def _add_examples(self, told: Transition, spec: ThresholdSpec | None) -> None:
        found = [] if self.examples is None else self.examples.of(spec)
        if found:
            told.evidence["examples"] = found

    def _explain(self, step: Transition, signal: str, now: int) -> None:
        """Say of an alert on labelled figures which segments and columns go with it, and how labels came."""
        self._count_labels()
        step.evidence |= self.groups.evidence(signal, self._class_names or (), now)
        if "data" in self.data:
            step.evidence |= self.data["data"].beside(self.profile, self._class_names)

    def _figure(self, rule: ThresholdRule) -> Estimate | None:
        """The figure of a rule; its bounds, which cost more, only where they can matter.

        No bound of a score breaks a limit that the score itself keeps.
        """
        spec = rule.spec
        if rule.counts != "predictions" and rule.incident.state is not State.FIRING:
            bare = self.estimate(spec, None)
            if bare is None or not rule.beyond(bare.value):
                return bare
        return self.estimate(spec, spec.confidence)

    @property
    def waiting(self) -> int:
        """Labelled rows that wait for their pane."""
        return 0 if self.order is None else self.order.waiting

    @property
    def settled(self) -> int:
        """Predictions that got a label, or waited for one in vain."""
        return self.joined + self.expired["label_wait"]

    def watches(self) -> Iterator[tuple[str, SignalWatch]]:
        """Every signal that detectors watch."""
        if self.error_watch is not None:
            yield "error", self.error_watch
        yield from self._prediction_watches()

    def _prediction_watches(self) -> Iterator[tuple[str, SignalWatch]]:
        if self.score_watch is not None:
            yield "score", self.score_watch
        for name, watch in self.feature_watches.items():
            yield f"feature:{name}", watch

    def tick(self, now: int, superseded: bool, clock: int) -> list[Transition]:
        """A second of record time has passed. ``clock``: event time in ms, as far as that goes on too."""
        self.groups.clock = now
        told: list[Transition] = []
        if self.joined != self._judged_labels:
            told += self.evaluate_labels(now)
        if self.accepted != self._judged_predictions:
            told += self.evaluate_traffic(now)
        if self.order is not None:
            told += self.close_panes(clock, now)
        if self.settled != self._judged_settled:
            told += self.evaluate_coverage(now)
        last = {"labels": self.last_label, "predictions": self.last_prediction, "settled": self.last_settled}
        for rule in self.rules:
            if rule.incident.state is State.FIRING and now - last[rule.counts] > no_data_after(
                rule, self.spec.label_wait_ms
            ):
                told.append(no_data(rule, now, superseded))
        return told

    def samples(self, spec: ThresholdSpec) -> int:
        """How many rows there are to judge an objective by; see ``ThresholdSpec``."""
        return self.settled if spec.signal == "label_coverage" else self.figures.samples(spec)

    def estimate(self, spec: ThresholdSpec, confidence: float | None) -> Estimate | None:
        """The figure of one objective, with bounds at this confidence, None for no bounds."""
        if spec.signal == "label_coverage":
            return self.coverage(confidence)
        return self.figures.estimate(spec, confidence)

    def coverage(self, confidence: float | None) -> Estimate | None:
        """The share of settled predictions (joined or expired) that got a label."""
        settled = self.settled
        if not settled:
            return None
        lower, upper = scores.wilson(self.joined, settled, confidence) if confidence else (None, None)
        return Estimate(self.joined / settled, settled, lower, upper)

    def figure(self, rule: str) -> Estimate | None:
        """The figure of the objective of this name, without bounds; of all rows that have come."""
        self._count_labels()
        found = next((each.spec for each in self.thresholds if each.spec.rule == rule), None)
        return None if found is None else self.estimate(found, None)

    def error_since(self, time_ms: int) -> Estimate | None:
        """The mean loss of what was predicted from this event time on, where detectors watch it."""
        self._count_labels()
        watch = self.error_watch
        found = None if watch is None else watch.timeline.since(time_ms, watch.seen)
        return None if found is None else Estimate(found[1], found[0])

    # -- expiry --------------------------------------------------------------------

    def expire(self, gone: list[tuple[str, int]], reason: str) -> None:
        """These predictions got no label in time, or had to make room."""
        self.expired[reason] += len(gone)
        if reason == "label_wait":
            self.groups.take_expired(gone)
        for pid, _ in gone:
            self.table.recent[pid] = EXPIRED
            self.table.done.append(pid)

    # -- state -----------------------------------------------------------------------

    def _mark(self) -> tuple[int, ...]:
        steps = sum(rule.incident.transitions for rule in self.rules)
        judged = (self._judged_labels, self._judged_predictions, self._judged_settled)
        waits = self.order_mark
        return (self.accepted, self.joined, self.duplicates, *self.expired.values(), *judged, steps, *waits)

    @property
    def order_mark(self) -> tuple[int, ...]:
        """Another one after everything that happens to what waits, and to panes."""
        panes = () if self.panes is None else self.panes.mark
        return panes if self.order is None else (*self.order.mark, *panes)

    @property
    def order_blocks(self) -> tuple[str, ...]:
        """The names of the blocks that prediction order needs."""
        return (() if self.order is None else (ORDER_ROWS,)) + (() if self.panes is None else (ORDER_PANES,))

    @property
    def changed(self) -> bool:
        """Is there anything that the last snapshot does not hold?"""
        return self._saved != self._mark()

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Blocks]]:
        """The small head, and the changed blocks of each long window."""
        self.flush()
        heads, blocks = self.figures.snapshot()
        by_group, more = self.groups.snapshot()
        blocks |= more
        watches = {"error": self.error_watch, "score": self.score_watch}
        head: dict[str, Any] = by_group | {
            "version": self.version,
            "counts": [self.accepted, self.joined, self.duplicates],
            "expired": self.expired,
            "judged": [self._judged_labels, self._judged_predictions, self._judged_settled],
            "times": [self.prediction_time, self.label_time],
            "last": [self.last_prediction, self.last_label, self.last_settled],
            # As text: sums of the largest latencies and lags outgrow the 64 bits of msgpack.
            "sums": [str(self.latency_sum_us), str(self.lag_sum_ms)],
            "lags": self.lag_counts.tobytes(),
            "windows": heads,
            "watches": {name: w.snapshot() for name, w in watches.items() if w is not None},
            "features": {name: w.snapshot() for name, w in self.feature_watches.items()},
            "profile": None if self.profile is None else self.profile.snapshot(),
            "rules": snapshot_rules(self.rules),
            "detections": [[*key, count] for key, count in self.detections.items()],
            "labelled": None if self.labelled is None else self.labelled.snapshot(),
            "examples": None if self.examples is None else self.examples.snapshot(),
            "alarms": {signal: [asdict(each) for each in found] for signal, found in self._alarms.items()},
        }
        if self.data:
            saved = {signal: data.snapshot() for signal, data in self.data.items()}
            head["data"] = {signal: part for signal, (part, _) in saved.items()}
            for _, changed in saved.values():
                blocks |= changed
            if self.estimate_live is not None:
                head["estimate"] = self.estimate_live.snapshot()
        if self.order is not None:
            waiting, blocks[ORDER_ROWS] = self.order.snapshot()
            head["order"] = waiting | {"ordered": list(self._ordered)}
        if self.panes is not None:
            head["panes"], blocks[ORDER_PANES] = self.panes.snapshot()
        blocks[PERIODS] = self.periods.snapshot()
        self._saved = self._mark()
        return head, blocks

    def _restore_order(
        self, head: Mapping[str, Any] | None, rows: Mapping[int, Any], recoding: Recoding | None
    ) -> _Waited | None:
        """The rows that wait, as they were; those that the file does not want to wait any more."""
        if head is None or self.order is None:
            if self.order is not None:  # the file has asked for it only now
                self.order.counted = self.joined
            if head is None:
                return None
        order = self.order or PredictionOrder(self.spec.pane_ms, self.spec.matures_after_ms)
        order.restore(head, rows)
        if recoding is not None:
            order.recode(lambda packed: self.table.recoded(packed, recoding))
        figures, errors = head["ordered"]
        if (figures, errors) == self._ordered:
            return None
        if not figures:
            order.counted = self.joined
        return order.close_all(), figures, errors

    def _count_waited(self, pane: list[Row], figures: bool, errors: bool) -> None:
        """Count rows at once, in order, that waited under the former file."""
        if not pane:
            return
        _, packed, actual, ids = zip(*pane, strict=True)
        times = [self.label_time] * len(pane)
        if figures and self._ordered[0] and self.order is not None:
            times = self.order.advance(pane)
        self._count_rows(packed, actual, ids, times, self._score(packed, actual), figures, errors)

    def begin_anew(self) -> None:
        """Give up what waits for a label; the counters stay true."""
        self.expired["task_changed"] += len(self.table.pending)
        self.table = JoinTable(PAYLOAD_BITS[self.task])

    def restore(
        self,
        head: Mapping[str, Any],
        blocks: Mapping[str, Mapping[int, bytes]],
        now: int,
        task_changed: bool = False,
        recoding: Recoding | None = None,
    ) -> list[Transition]:
        """Become what was snapshot; answers the ends of incidents whose rule is gone.

        ``task_changed``: the labelled figures of the former task mean nothing any more. ``recoding``:
        of the segments of rows that wait, where the file has changed their fields.
        """
        same_groups = self.groups.restore(head, blocks, now, task_changed)
        self.accepted, self.joined, self.duplicates = head["counts"]
        self.expired = dict(head["expired"])
        self._judged_labels, self._judged_predictions, self._judged_settled = head["judged"]
        self.prediction_time, self.label_time = head["times"]
        self.last_prediction, self.last_label, self.last_settled = head["last"]
        self.latency_sum_us, self.lag_sum_ms = map(int, head["sums"])
        self.lag_counts = np.frombuffer(head["lags"], np.int64).copy()
        saved = None if task_changed else head.get("order")
        waited = self._restore_order(saved, blocks.get(ORDER_ROWS, {}), recoding)
        if self.panes is not None and not task_changed and "panes" in head:
            self.panes.restore(head["panes"], blocks.get(ORDER_PANES, {}))
        self.figures.restore(head["windows"], blocks, labels=not task_changed)
        if not task_changed:
            for name, watch in (("error", self.error_watch), ("score", self.score_watch)):
                if watch is not None and name in head["watches"]:
                    watch.restore(head["watches"][name])
            for keeper, saved in (
                (self.labelled, head.get("labelled")),
                (self.examples, head.get("examples")),
            ):
                if keeper is not None and saved is not None:
                    keeper.restore(saved)
        for name, watch in self.feature_watches.items():
            if name in head["features"]:
                watch.restore(head["features"][name])
        if self.profile is not None and head["profile"] is not None:
            self.profile.restore(head["profile"])
        self.detections = {(detector, signal): count for detector, signal, count in head["detections"]}
        for signal, found in head.get("alarms", {}).items():
            if signal in self.drift_rules and not (task_changed and signal in ("error", "score")):
                self._alarms[signal] = [Detection(**each) for each in found]
        orphans = restore_rules(self.rules, head["rules"])
        self._restore_data({} if task_changed else head.get("data", {}), blocks)
        if self.estimate_live is not None and not task_changed and "estimate" in head:
            self.estimate_live.restore(head["estimate"])
        if task_changed:
            for signal in ("error", "score"):
                if signal in self.drift_rules:
                    self.drift_rules[signal].incident.last_position = 0
        if not task_changed:
            self.periods.restore(blocks.get(PERIODS, {}))
        if waited is not None:
            self._count_waited(*waited)
        if not orphans and not task_changed and waited is None and same_groups:
            self._saved = self._mark()
        return [rule_removed(rule, incident, now) for rule, incident in orphans]

    def _restore_data(self, heads: Mapping[str, Any], blocks: Mapping[str, Mapping[int, Any]]) -> None:
        at = {"data": (self.accepted, self.prediction_time), "label": self._labelled}
        for signal, data in self.data.items():
            profile = self._profile_of(signal)
            if not data.restore(heads.get(signal), blocks, profile, self._class_names):
                data.begin(*at[signal], profile)  # the file has asked for it only now
        self._calibrate()


class _MadeAt(Sequence[int]):
    """When predictions were made, read off their rows: only a few of a batch are asked for."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[tuple[int, *tuple[Any, ...]]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> Any:
        return self._rows[at][0]


def _fits(spec: ThresholdSpec, task: Task) -> bool:
    """Can a version have this figure? Defaults meet models of every task; silence is the model's."""
    return spec.signal in SCORES_OF_TASK[task] or spec.signal in PREDICTION_SIGNALS + LABEL_SIGNALS
