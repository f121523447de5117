"""Rules at work: a spec, its incident, and the decision at each evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from streamer.domain.alerts import Incident, Resolution, Rule, State, Transition
from streamer.domain.comparison import Change
from streamer.domain.drift import Detection
from streamer.domain.objectives import (
    HOUR_MS,
    LABEL_SIGNALS,
    PREDICTION_SIGNALS,
    SILENCE,
    DataDriftSpec,
    DriftSpec,
    ThresholdSpec,
    duration_text,
)
from streamer.domain.scores import Estimate
from streamer.domain.yardstick import Measured

Moved = Literal["labels", "predictions", "settled"]
"""Which rows move a rule's figure: labelled ones, predictions, or those that wait no more."""

_UP_TO_ONE = frozenset(("accuracy", "precision", "recall", "f1", "auc_roc", "label_coverage", "r2"))
_WORSE_BY = 0.05
_CALM = 0.75  # of the limit: so far below it all distances have to be before an incident ends


def default_margin(spec: ThresholdSpec) -> float:
    """One point for shares and R², 5 % of the limit for the rest, none for silence.

    Less close to what the figure cannot pass: an alert has to be able to resolve.
    """
    if spec.margin is not None:
        return spec.margin
    if spec.signal == SILENCE:
        return 0.0
    if spec.signal in _UP_TO_ONE:
        room = 1.0 - spec.limit if spec.minimum is not None else abs(spec.limit)
        return min(0.01, max(0.0, room) / 2)
    return 0.05 * abs(spec.limit)


class ThresholdRule:
    """Holds one figure against its limit.

    It fires when the one-sided confidence bound breaks the limit (a bare
    ``min: 0.80`` at a true 0.81 would fire 24 times in 100,000 labels), once
    the hold is over. It resolves when the figure itself is back behind the
    limit by the margin. Neither on fewer than ``min_samples`` rows.
    """

    def __init__(self, spec: ThresholdSpec, model: str, version: str | None) -> None:
        self.spec = spec
        self.margin = default_margin(spec)
        self.counts: Moved = "labels"
        if spec.signal in PREDICTION_SIGNALS:
            self.counts = "predictions"
        elif spec.signal in LABEL_SIGNALS:
            self.counts = "settled"
        self.incident = Incident()
        below = spec.minimum is not None
        self.rule = Rule(
            model,
            version,
            spec.rule,
            "silence" if spec.signal == SILENCE else "threshold",
            spec.signal if spec.klass is None else f"{spec.signal}[{spec.klass}]",
            spec.severity,
            spec.runbook,
            window=None if spec.signal == SILENCE else spec.window.name,
            threshold=spec.limit,
            direction="below" if below else "above",
        )

    def beyond(self, value: float) -> bool:
        """Is the bare figure on the wrong side of the limit?"""
        return value < self.spec.minimum if self.spec.minimum is not None else value > self.spec.limit

    def breaks(self, estimate: Estimate) -> bool:
        spec = self.spec
        if spec.minimum is not None:
            bound = estimate.value if estimate.upper is None or spec.confidence is None else estimate.upper
            return bound < spec.minimum
        bound = estimate.value if estimate.lower is None or spec.confidence is None else estimate.lower
        return bound > spec.limit

    def recovered(self, value: float) -> bool:
        if self.spec.minimum is not None:
            return value >= self.spec.minimum + self.margin
        return value <= self.spec.limit - self.margin

    def evaluate(
        self,
        estimate: Estimate | None,
        samples: int,
        rows: int,
        event_time: int,
        now: int,
        since: int | None = None,
    ) -> Transition | None:
        """Judge one figure.

        Args:
            estimate: the figure, None where it is undefined.
            samples: how many rows of its window there are to judge it by.
            rows: how many rows the signal has had in all; the hold counts them.
            event_time: of the newest row, in ms; the hold measures it.
            now: record time in ms.
            since: the date (event time, ms) from which an alert says that it holds, if the figure is
                beyond the limit from this evaluation on without a break; None: ``event_time``.
        """
        incident = self.incident
        enough = samples >= self.spec.min_samples
        if incident.state is State.FIRING:
            return self._judge_open(estimate, now) if enough else None
        if estimate is None or not enough or not self.beyond(estimate.value):
            incident.since = None
        elif incident.since is None:
            incident.since = event_time if since is None else since
        if estimate is None or not enough or not self.breaks(estimate):
            if incident.state is State.PENDING:
                incident.calm()
            return None
        if incident.state is State.INACTIVE:
            incident.begin_pending(rows, event_time)
        held = rows - incident.since_rows >= self.spec.hold_rows
        if held and event_time - incident.since_time >= self.spec.hold_ms:
            return self._with_evidence(
                incident.fire(self.rule, now, estimate.value, self._sentence(estimate)), estimate
            )
        return None

    def _judge_open(self, estimate: Estimate | None, now: int) -> Transition | None:
        if estimate is None:
            return None
        incident, value = self.incident, estimate.value
        if self.recovered(value):
            text = f"{self.rule.signal} of {self._who()} is back at {self._show(value)}"
            return incident.resolve(self.rule, now, value, text, Resolution.RECOVERED)
        told = incident.told if incident.told is not None else self.spec.limit
        # Twice as far beyond the limit as when last told: a slow slide must not page at every step.
        step = max(self.margin, _WORSE_BY * abs(self.spec.limit), abs(told - self.spec.limit))
        worse = told - value if self.spec.minimum is not None else value - told
        if worse >= step and self.spec.signal != SILENCE:
            step_up = incident.update(self.rule, now, value, "worse: " + self._sentence(estimate))
            return self._with_evidence(step_up, estimate)
        return None

    @staticmethod
    def _with_evidence(transition: Transition, estimate: Estimate) -> Transition:
        transition.evidence |= {
            "samples": estimate.n,
            "lower": estimate.lower,
            "upper": estimate.upper,
            "error": estimate.error,
        }
        return transition

    def _sentence(self, estimate: Estimate) -> str:
        if self.spec.signal == SILENCE:
            return f"{self._who()} has made no prediction for {self._show(estimate.value)}"
        side = "below" if self.spec.minimum is not None else "above"
        return (
            f"{self.rule.signal} of {self._who()} is {self._show(estimate.value)} over {self.rule.window}"
            f" ({estimate.n} rows), {side} the objective {self._show(self.spec.limit)}"
        )

    def _who(self) -> str:
        return _who(self.rule)

    def _show(self, value: float) -> str:
        if self.spec.signal == SILENCE:
            return duration_text(int(value) // 1000 * 1000)
        return f"{value:.4g} ms" if self.spec.signal.startswith("latency") else f"{value:.4g}"


class DriftRule:
    """Turns detectors' alarms on one signal into one incident."""

    def __init__(self, spec: DriftSpec, model: str, version: str) -> None:
        self.spec = spec
        self.incident = Incident()
        self.counts: Moved = "labels" if spec.signal == "error" else "predictions"
        self.rule = Rule(model, version, spec.rule, spec.kind, spec.signal, spec.severity, spec.runbook)

    def detected(self, detections: Sequence[Detection], now: int, since: int | None = None) -> Transition:
        """Open the incident, or add to it. ``since``: the event time in ms of the change, where known."""
        incident = self.incident
        for detection in detections:
            incident.remember(detection)
        latest = detections[-1]
        text = self._sentence(latest)
        if incident.state is State.FIRING:
            step = incident.update(self.rule, now, latest.after, "again: " + text)
        else:
            incident.since = since
            step = incident.fire(self.rule, now, latest.after, text)
        step.detector, step.direction = latest.detector, self._direction(latest)
        return step

    def evaluate(self, seen: int, now: int) -> Transition | None:
        """Resolve after the quiet stretch. ``seen``: values that the signal has had."""
        incident = self.incident
        quiet = seen - incident.last_position
        if incident.state is not State.FIRING or quiet < self.spec.quiet_rows:
            return None
        text = f"{self.spec.signal} of {_who(self.rule)} shows no further change for {quiet} values"
        return incident.resolve(self.rule, now, incident.told, text, Resolution.RECOVERED)

    def _direction(self, detection: Detection) -> str:
        up = detection.after > detection.before
        if self.spec.signal == "error":
            return "worse" if up else "better"
        return "up" if up else "down"

    def _sentence(self, detection: Detection) -> str:
        return (
            f"{self.spec.signal} of {_who(self.rule)} changed ({self._direction(detection)}):"
            f" {detection.before:.4g} → {detection.after:.4g}, found by {detection.detector}"
            f" at value {detection.position}"
        )


@dataclass(slots=True)
class Told:
    """What people know of a column that has changed.

    ``since``: the event time (ms) from which on. ``distance``: when they were told, after ``rows`` rows.
    """

    since: int
    distance: float
    rows: int


class DataRule:
    """Turns what was measured of a version's columns into one incident, however many have changed.

    It fires with the first column that has changed and tells of each one that follows; once more of one
    that is twice as far away as it was told, a window's rows later at the earliest. It resolves when
    none is changed and all distances are well below the limit.
    ``told``: the columns that people know of. ``news``: those that the last step was about.
    """

    def __init__(self, spec: DataDriftSpec, model: str, version: str, signal: str) -> None:
        self.spec = spec
        self.incident = Incident()
        self.told: dict[str, Told] = {}
        self.news: set[str] = set()
        self.counts: Moved = "labels" if signal == "label" else "predictions"
        self.rule = Rule(
            model,
            version,
            f"drift.{signal}",
            "data_drift",
            signal,
            spec.severity,
            spec.runbook,
            window=f"last {spec.rows}",
            threshold=spec.limit,
            direction="above",
        )

    def evaluate(
        self, measured: Sequence[Measured], rows: int, now: int, since: Callable[[str], int]
    ) -> Transition | None:
        """Judge the columns of a full window.

        Args:
            measured: the columns.
            rows: how many rows the version has had in all.
            now: record time in ms.
            since: answers from which event time on a column has changed; asked only where it has.

        Returns:
            What has to be told, its summary not finished: ``describe`` does that.
        """
        incident, limit = self.incident, self.spec.limit
        moved = {each.column: each.distance for each in measured if each.beyond(limit)}
        value = max((each.distance for each in measured), default=0.0)
        if incident.state is not State.FIRING:
            self.told = {}
        elif not moved:
            if value > _CALM * limit:
                return None
            self.told = {}
            text = f"the {self.rule.signal} of {_who(self.rule)} is like its reference again"
            return incident.resolve(self.rule, now, value, text, Resolution.RECOVERED)
        for column in [*self.told]:
            if column not in moved and rows - self.told[column].rows >= self.spec.rows:
                del self.told[column]  # it is well again: should it change once more, that is news
        self.news = {column for column, distance in moved.items() if self._is_news(column, distance, rows)}
        if not self.news:
            return None
        known = incident.state is State.FIRING and self.news <= self.told.keys()
        self.told |= {column: Told(since(column), moved[column], rows) for column in self.news}
        if incident.state is not State.FIRING:
            return incident.fire(self.rule, now, value, "")
        return incident.update(self.rule, now, value, "worse: " if known else "further: ")

    def _is_news(self, column: str, distance: float, rows: int) -> bool:
        told = self.told.get(column)
        if told is None:
            return True
        return distance >= 2 * max(told.distance, self.spec.limit) and rows - told.rows >= self.spec.rows

    def describe(self, told: Transition, changes: Sequence[Change], measured: Sequence[Measured]) -> None:
        """Say what has changed. ``changes``: in the order in which people are to read of them."""
        moved = {each.column for each in measured if each.beyond(self.spec.limit)}
        first, *rest = [change for change in changes if change.column in moved]
        what = first.findings[0] if first.findings else "its distribution has moved"
        more = f", and {len(rest)} more" if rest else ""
        apart = next(each.distance for each in measured if each.column == first.column)
        told.summary += (
            f"{first.column} of {_who(self.rule)}: {what}"
            f" ({self.spec.distance} {apart:.3g}, limit {self.spec.limit:g}){more}"
        )


AnyRule = ThresholdRule | DriftRule | DataRule


def _who(rule: Rule) -> str:
    return f"{rule.model} {rule.version}" if rule.version else rule.model


def no_data_after(rule: AnyRule, label_wait_ms: int) -> int:
    """For how long (ms of record time) an open incident may go without a row."""
    if isinstance(rule, ThresholdRule) and rule.counts == "predictions":
        return rule.spec.window.size if rule.spec.window.kind == "duration" else HOUR_MS
    return label_wait_ms


def snapshot_rules(rules: Sequence[AnyRule]) -> list[dict[str, Any]]:
    """Only incidents that were ever touched."""
    return [
        {"rule": asdict(rule.rule), "incident": rule.incident.snapshot()}
        for rule in rules
        if rule.incident.transitions
        or rule.incident.state is not State.INACTIVE
        or rule.incident.since is not None
    ]


def restore_rules(
    rules: Sequence[AnyRule], saved: Sequence[Mapping[str, Any]]
) -> list[tuple[Rule, Incident]]:
    """Give each rule its incident back; answers the open ones whose rule is gone."""
    by_name = {rule.rule.rule: rule for rule in rules}
    orphans = []
    for state in saved:
        incident = Incident.restore(state["incident"])
        rule = by_name.get(state["rule"]["rule"])
        if rule is not None:
            rule.incident = incident
        elif incident.state is State.FIRING:
            orphans.append((Rule(**state["rule"]), incident))
    return orphans


def rule_removed(rule: Rule, incident: Incident, now: int) -> Transition:
    text = f"{rule.rule} of {_who(rule)} is no longer an objective"
    return incident.resolve(rule, now, incident.told, text, Resolution.RULE_REMOVED)


def no_data(rule: AnyRule, now: int, superseded: bool) -> Transition:
    reason = Resolution.SUPERSEDED if superseded else Resolution.NO_DATA
    cause = "another version has taken over" if superseded else "no more data"
    text = f"{rule.rule.rule} of {_who(rule.rule)}: {cause}"
    return rule.incident.resolve(rule.rule, now, rule.incident.told, text, reason)
