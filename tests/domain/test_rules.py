"""Rules: when an alert fires, when it is told again, and why it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from streamer.adapters import codec
from streamer.domain.alerts import Incident, Resolution, State, Transition
from streamer.domain.drift import Detection
from streamer.domain.events import rfc3339
from streamer.domain.objectives import (
    HOUR_MS,
    LIFETIME,
    DetectorSpec,
    DriftSpec,
    Limits,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)
from streamer.domain.rules import (
    AnyRule,
    DriftRule,
    ThresholdRule,
    default_margin,
    no_data,
    restore_rules,
    rule_removed,
    snapshot_rules,
)
from streamer.domain.scores import Estimate, wilson
from streamer.pipeline import Pipeline
from tests.domain.feed import Disk, Log, build, feed

LAST_100 = WindowSpec("last", 100)
NOW = 1_700_000_000_000
ACCURACY = ThresholdSpec("accuracy", "accuracy", LAST_100, minimum=0.8, min_samples=10)
BARE = replace(ACCURACY, confidence=None)
QUARTERS = replace(BARE, minimum=0.75, margin=0.0625)
SLOW = ThresholdSpec("slow", "latency_p95", LAST_100, maximum=250.0, min_samples=10, confidence=None)
SILENCE = ThresholdSpec("silence", "silence", LIFETIME, maximum=60_000, min_samples=1, confidence=None)
DRIFT = DriftSpec("error", (DetectorSpec("adwin"),), quiet_rows=100)


class Judge:
    """One rule, judged at one evaluation point after another."""

    def __init__(self, spec: ThresholdSpec, every: int = 10, ms: int = 1_000) -> None:
        self.rule = ThresholdRule(spec, "m", "v1")
        self.every, self.ms = every, ms
        self.rows, self.time = 0, NOW

    def say(self, value: float | None, samples: int = 100, **bounds: float) -> Transition | None:
        self.rows += self.every
        self.time += self.ms
        estimate = None if value is None else Estimate(value, samples, **bounds)
        return self.rule.evaluate(estimate, samples, self.rows, self.time, self.time + 7)

    def all(self, values: Sequence[float | None]) -> list[str | None]:
        told = [self.say(value) for value in values]
        return [None if step is None else step.status for step in told]


def firing(spec: ThresholdSpec, value: float) -> Judge:
    judge = Judge(spec)
    step = judge.say(value)
    assert step is not None
    assert step.status == "firing"
    return judge


# -- to fire -------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "good", "bad"), [(BARE, 0.8, 0.79), (SLOW, 250.0, 251.0)])
def test_a_rule_without_a_hold_fires_at_once_when_its_figure_is_beyond_the_limit_and_not_at_it(
    spec: ThresholdSpec, good: float, bad: float
) -> None:
    assert Judge(spec).all([good, bad]) == [None, "firing"]


def test_an_alert_says_what_it_is_about() -> None:
    judge = Judge(replace(BARE, severity="page", runbook="https://example.org/runbook"))
    step = judge.say(0.7)
    assert step is not None
    assert (step.value, step.started_at, step.updated_at) == (0.7, judge.time + 7, judge.time + 7)
    rule = step.rule
    assert (rule.model, rule.version, rule.signal, rule.kind) == ("m", "v1", "accuracy", "threshold")
    assert (rule.window, rule.threshold, rule.direction) == ("last 100", 0.8, "below")
    assert (rule.severity, rule.runbook) == ("page", "https://example.org/runbook")
    assert step.summary == ("accuracy of m v1 is 0.7 over last 100 (100 rows), below the objective 0.8")
    assert step.evidence["samples"] == 100


def test_a_hold_of_rows_is_over_when_so_many_more_rows_have_come() -> None:
    judge = Judge(replace(BARE, hold_rows=25))
    assert judge.all([0.7, 0.7, 0.7, 0.7]) == [None, None, None, "firing"]
    assert Judge(replace(BARE, hold_rows=20)).all([0.7, 0.7, 0.7]) == [None, None, "firing"]


def test_a_hold_of_time_is_measured_on_the_time_of_the_events() -> None:
    spec = replace(BARE, hold_ms=3_000)
    assert Judge(spec, ms=1_000).all([0.7] * 4) == [None, None, None, "firing"]
    assert Judge(spec, ms=3_000).all([0.7] * 2) == [None, "firing"]
    rule = ThresholdRule(spec, "m", "v1")
    for now in (NOW, NOW + 10**9):  # record time alone does not count
        assert rule.evaluate(Estimate(0.7, 100), 100, 50, NOW, now) is None


def test_a_hold_of_both_rows_and_time_waits_for_the_longer() -> None:
    assert Judge(replace(BARE, hold_rows=10, hold_ms=3_000)).all([0.7] * 4) == [None] * 3 + ["firing"]
    assert Judge(replace(BARE, hold_rows=30, hold_ms=1_000)).all([0.7] * 4) == [None] * 3 + ["firing"]


@pytest.mark.parametrize("pause", [0.8, None])
def test_a_hold_that_is_interrupted_begins_anew_and_nobody_hears_of_it(pause: float | None) -> None:
    judge = Judge(replace(BARE, hold_rows=20))
    assert judge.all([0.7, 0.7, pause]) == [None] * 3
    assert judge.rule.incident.state is State.INACTIVE
    assert judge.all([0.7, 0.7, 0.7]) == [None, None, "firing"]


def test_a_hold_that_was_interrupted_leaves_nothing_that_a_restart_would_lose() -> None:
    """Incidents that were never touched are not saved: what calmed down is one of them again."""
    judge = Judge(replace(BARE, hold_rows=20))
    judge.all([0.7, 0.7, 0.8])
    assert snapshot_rules([judge.rule]) == []
    assert judge.rule.incident == Incident()


def test_too_few_rows_interrupt_a_hold() -> None:
    judge = Judge(replace(BARE, hold_rows=20))
    assert judge.all([0.7, 0.7]) == [None, None]
    assert judge.say(0.7, samples=9) is None
    assert judge.all([0.7, 0.7, 0.7]) == [None, None, "firing"]


@given(st.integers(0, 9), st.floats(0, 1))
def test_a_window_with_too_few_rows_is_not_judged_at_all(samples: int, value: float) -> None:
    assert Judge(BARE).say(value, samples) is None
    open_one = firing(BARE, 0.5)
    assert open_one.say(value, samples) is None
    assert open_one.rule.incident.state is State.FIRING


def test_an_undefined_figure_neither_fires_nor_resolves() -> None:
    assert Judge(BARE).all([None, None]) == [None, None]
    judge = firing(BARE, 0.5)
    assert judge.all([None, 0.9]) == [None, "resolved"]


# -- bounds --------------------------------------------------------------------------


@given(st.integers(0, 200), st.integers(10, 200), st.sampled_from([0.9, 0.95, 0.99]))
def test_a_share_fires_exactly_when_the_upper_end_of_its_wilson_interval_is_below_the_limit(
    right: int, n: int, confidence: float
) -> None:
    right = min(right, n)
    lower, upper = wilson(right, n, confidence)
    step = Judge(replace(ACCURACY, confidence=confidence)).say(right / n, n, lower=lower, upper=upper)
    interval = binomtest(right, n).proportion_ci(2 * confidence - 1, method="wilson")
    assert (step is not None) == (interval.high < 0.8)


def test_a_figure_just_below_its_limit_fires_by_itself_but_not_by_its_bound() -> None:
    lower, upper = wilson(79, 100, 0.95)
    assert Judge(BARE).say(0.79, lower=lower, upper=upper) is not None
    assert Judge(ACCURACY).say(0.79, lower=lower, upper=upper) is None
    lower, upper = wilson(60, 100, 0.95)
    step = Judge(ACCURACY).say(0.60, lower=lower, upper=upper)
    assert step is not None
    about = {"samples": 100, "lower": lower, "upper": upper, "error": 0.0}
    assert step.evidence == {**about, "since": rfc3339(NOW + 1_000)}


def test_for_a_maximum_it_is_the_lower_bound_that_has_to_break_the_limit() -> None:
    sure = replace(SLOW, confidence=0.95)
    assert Judge(sure).say(300.0, lower=240.0, upper=400.0) is None
    assert Judge(sure).say(300.0, lower=251.0, upper=400.0) is not None
    assert Judge(SLOW).say(300.0, lower=240.0, upper=400.0) is not None


@pytest.mark.parametrize("spec", [ACCURACY, replace(SLOW, confidence=0.95)])
def test_a_figure_without_bounds_is_taken_as_it_is(spec: ThresholdSpec) -> None:
    bad = 0.7 if spec.minimum is not None else 300.0
    assert Judge(spec).say(bad) is not None


def test_a_model_that_is_a_point_better_than_asked_is_left_in_peace_by_the_bound_and_not_without_it() -> None:
    right = np.random.default_rng(1).random(100_000) < 0.81
    sums = np.concatenate([[0], right.cumsum()])
    fired = {None: 0, 0.95: 0}
    for confidence in fired:
        judge = Judge(replace(ACCURACY, confidence=confidence), every=100)
        for end in range(1_000, 100_001, 100):
            hits = int(sums[end] - sums[end - 1_000])
            lower, upper = wilson(hits, 1_000, 0.95)
            step = judge.say(hits / 1_000, 1_000, lower=lower, upper=upper)
            fired[confidence] += step is not None and step.status == "firing"
    assert fired[None] >= 10
    assert fired[0.95] <= 3


# -- to be told again ----------------------------------------------------------------


def test_an_open_alert_is_told_again_only_when_it_is_twice_as_far_beyond_its_limit() -> None:
    judge = firing(QUARTERS, 0.625)
    assert judge.all([0.625, 0.51, 0.5, 0.26, 0.25]) == [None, None, "updated", None, "updated"]


def test_a_slow_slide_is_told_a_few_times_and_not_at_every_step() -> None:
    values = np.linspace(0.79, 0.0, 800).tolist()
    statuses = [status for status in Judge(BARE).all(values) if status]
    assert statuses[0] == "firing"
    assert set(statuses[1:]) == {"updated"}
    assert 3 <= len(statuses) <= 7


def test_the_first_step_worse_is_at_least_five_percent_of_the_limit_or_the_margin() -> None:
    assert firing(BARE, 0.799).all([0.76, 0.7589]) == [None, "updated"]
    wide = replace(BARE, margin=0.1)
    assert firing(wide, 0.799).all([0.7, 0.6989]) == [None, "updated"]
    assert firing(SLOW, 251.0).all([263.0, 264.0]) == [None, "updated"]


@given(st.lists(st.floats(0.7, 0.809), max_size=20))
def test_an_alert_that_gets_better_without_being_well_is_not_told_again(values: list[float]) -> None:
    judge = firing(BARE, 0.7)
    assert judge.all(values) == [None] * len(values)


def test_a_relapse_is_measured_from_what_was_last_told() -> None:
    judge = firing(QUARTERS, 0.5)
    assert judge.all([0.74, 0.5, 0.26, 0.25]) == [None, None, None, "updated"]


def test_a_silence_that_goes_on_is_told_once() -> None:
    judge = firing(SILENCE, 61_000.0)
    assert judge.all([1e6, 1e9]) == [None, None]
    assert judge.all([60_000.0]) == ["resolved"]


# -- to resolve ----------------------------------------------------------------------


def test_an_alert_resolves_when_the_figure_is_back_by_the_margin_and_not_at_the_limit() -> None:
    judge = firing(QUARTERS, 0.7)
    assert judge.all([0.75, 0.8124]) == [None, None]
    step = judge.say(0.8125)
    assert step is not None
    assert (step.status, step.reason, step.value) == ("resolved", Resolution.RECOVERED, 0.8125)
    assert step.resolved_at == judge.time + 7
    assert judge.rule.incident.state is State.INACTIVE
    assert firing(SLOW, 300.0).all([250.0, 237.6, 237.5]) == [None, None, "resolved"]


@pytest.mark.parametrize(
    ("spec", "margin"),
    [
        (ACCURACY, 0.01),
        (replace(ACCURACY, minimum=0.99), 0.005),
        (replace(ACCURACY, minimum=1.0), 0.0),
        (SLOW, 12.5),
        (replace(SLOW, signal="bias", maximum=-4.0), 0.2),
        (SILENCE, 0.0),
        (replace(ACCURACY, margin=0.0), 0.0),
    ],
)
def test_the_usual_margin_is_a_point_for_shares_five_percent_for_the_rest_none_for_silence(
    spec: ThresholdSpec, margin: float
) -> None:
    assert default_margin(spec) == pytest.approx(margin)


def test_a_figure_that_oscillates_around_its_limit_is_one_incident() -> None:
    statuses = Judge(BARE).all([0.79, 0.805] * 20)
    assert [status for status in statuses if status] == ["firing"]


figures = st.lists(st.one_of(st.none(), st.floats(0.5, 1.0)), max_size=60)
specs = st.builds(
    lambda rows, ms, margin: replace(BARE, hold_rows=rows, hold_ms=ms, margin=margin),
    st.sampled_from([0, 15, 40]),
    st.sampled_from([0, 2_500]),
    st.sampled_from([None, 0.0, 0.1]),
)


@given(figures, specs)
def test_every_incident_fires_once_is_updated_any_number_of_times_and_resolves_once(
    values: list[float | None], spec: ThresholdSpec
) -> None:
    judge, is_open, identities = Judge(spec), False, set()
    for value in values:
        step = judge.say(value)
        if step is None:
            continue
        assert (step.status == "firing") is not is_open
        if step.status == "firing":
            assert step.incident not in identities
            identities.add(step.incident)
        assert step.incident in identities
        is_open = step.status != "resolved"
    assert (judge.rule.incident.state is State.FIRING) is is_open


@given(figures, specs)
def test_a_rule_that_is_restored_at_every_evaluation_goes_on_as_if_it_had_never_stopped(
    values: list[float | None], spec: ThresholdSpec
) -> None:
    never, again = Judge(spec), Judge(spec)
    for value in values:
        assert again.say(value) == never.say(value)
        again.rule, orphans = restored(again.rule)
        assert orphans == []


def restored(rule: Any, into: Any = None) -> tuple[Any, list[Any]]:
    """The rule as a new worker has it; ``into``: what the objectives file says by now."""
    saved = codec.decode_cell(codec.encode_cell(snapshot_rules([rule])))
    fresh: AnyRule = into or type(rule)(rule.spec, "m", "v1")
    return fresh, restore_rules([fresh], saved)


# -- drift ---------------------------------------------------------------------------


def alarm(position: int, before: float = 0.1, after: float = 0.6, detector: str = "adwin") -> Detection:
    return Detection(detector, position, before, after, position - 40)


def test_an_alarm_opens_an_incident_and_another_one_adds_to_it() -> None:
    rule = DriftRule(DRIFT, "m", "v1")
    first = rule.detected([alarm(500)], NOW)
    second = rule.detected([alarm(520, 0.3, 0.5, "page_hinkley")], NOW + 9)
    assert (first.status, second.status) == ("firing", "updated")
    assert second.incident == first.incident
    assert (second.started_at, second.updated_at) == (NOW, NOW + 9)
    assert (first.detector, second.detector) == ("adwin", "page_hinkley")
    assert [each["position"] for each in second.evidence["detections"]] == [500, 520]
    assert second.evidence["detections_total"] == 2
    assert second.value == 0.5


def test_several_alarms_at_one_value_are_one_step_with_all_of_them_in_evidence() -> None:
    step = DriftRule(DRIFT, "m", "v1").detected([alarm(9), alarm(9, detector="page_hinkley")], NOW)
    assert step.status == "firing"
    assert [each["detector"] for each in step.evidence["detections"]] == ["adwin", "page_hinkley"]


@pytest.mark.parametrize(
    ("signal", "before", "after", "direction", "kind"),
    [
        ("error", 0.1, 0.6, "worse", "concept_drift"),
        ("error", 0.6, 0.1, "better", "concept_drift"),
        ("score", 0.1, 0.6, "up", "data_drift"),
        ("feature:age", 41.0, 30.0, "down", "data_drift"),
    ],
)
def test_a_drift_says_which_way_it_goes(
    signal: str, before: float, after: float, direction: str, kind: str
) -> None:
    step = DriftRule(replace(DRIFT, signal=signal), "m", "v1").detected([alarm(50, before, after)], NOW)
    assert (step.direction, step.rule.kind, step.rule.rule) == (direction, kind, f"drift.{signal}")
    assert direction in step.summary


def test_a_drift_resolves_after_its_quiet_stretch_and_not_a_value_sooner() -> None:
    rule = DriftRule(DRIFT, "m", "v1")
    rule.detected([alarm(500)], NOW)
    assert rule.evaluate(599, NOW) is None
    rule.detected([alarm(560)], NOW)
    assert rule.evaluate(659, NOW) is None
    step = rule.evaluate(660, NOW + 5)
    assert step is not None
    assert (step.status, step.reason, step.resolved_at) == ("resolved", Resolution.RECOVERED, NOW + 5)
    assert step.evidence["detections_total"] == 2
    assert rule.evaluate(5_000, NOW) is None


def test_the_next_incident_of_a_signal_starts_with_no_evidence_of_the_last() -> None:
    rule = DriftRule(DRIFT, "m", "v1")
    first = rule.detected([alarm(500)], NOW)
    rule.evaluate(600, NOW)
    second = rule.detected([alarm(700)], NOW)
    assert (second.status, second.evidence["detections_total"]) == ("firing", 1)
    assert second.incident != first.incident


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=40))
def test_a_drift_that_is_restored_at_every_value_goes_on_as_if_it_had_never_stopped(
    walk: list[tuple[int, bool]],
) -> None:
    never, again = DriftRule(DRIFT, "m", "v1"), DriftRule(DRIFT, "m", "v1")
    seen = 0
    for steps, detected in walk:
        seen += steps
        for call in ("detected", "evaluate"):
            if call == "evaluate":
                assert again.evaluate(seen, NOW + seen) == never.evaluate(seen, NOW + seen)
            elif detected:
                expected = never.detected([alarm(seen)], NOW + seen)
                assert again.detected([alarm(seen)], NOW + seen) == expected
            again, _ = restored(again)


# -- ends that nobody measured -------------------------------------------------------


def test_a_rule_that_was_never_touched_is_no_state() -> None:
    judge = Judge(BARE)
    judge.say(0.9)
    assert snapshot_rules([judge.rule]) == []


def test_an_open_incident_whose_rule_is_gone_is_handed_out_and_a_pending_one_is_forgotten() -> None:
    other = ThresholdRule(replace(BARE, rule="another"), "m", "v1")
    judge = firing(BARE, 0.7)
    _, [(rule, incident)] = restored(judge.rule, into=other)
    step = rule_removed(rule, incident, NOW)
    assert (step.status, step.reason, step.incident) == (
        "resolved",
        Resolution.RULE_REMOVED,
        judge.rule.incident.identity,
    )
    assert step.rule == judge.rule.rule
    assert other.incident.state is State.INACTIVE
    pending = Judge(replace(BARE, hold_rows=100))
    pending.say(0.7)
    assert restored(pending.rule, into=other)[1] == []


@pytest.mark.parametrize(
    ("superseded", "reason"), [(False, Resolution.NO_DATA), (True, Resolution.SUPERSEDED)]
)
def test_an_incident_without_data_ends_with_the_cause(superseded: bool, reason: Resolution) -> None:
    judge = firing(BARE, 0.7)
    step = no_data(judge.rule, NOW, superseded)
    assert (step.status, step.reason, step.value) == ("resolved", reason, 0.7)
    assert judge.rule.incident.state is State.INACTIVE


def test_a_limit_needs_exactly_one_side() -> None:
    with pytest.raises(ValueError, match="exactly one of min and max"):
        replace(BARE, maximum=0.9)
    with pytest.raises(ValueError, match="exactly one of min and max"):
        replace(BARE, minimum=None)


# -- in a whole partition ------------------------------------------------------------

WATCHED = ModelSpec(
    "m",
    task="binary",
    windows=(LIFETIME,),
    thresholds=(
        ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 20), minimum=0.8, min_samples=20),
        ThresholdSpec("speed", "latency_p95", LAST_100, maximum=50.0, min_samples=20),
        ThresholdSpec(
            "recent speed", "latency_p50", WindowSpec("duration", 120_000), maximum=50.0, min_samples=20
        ),
    ),
    drift=(DriftSpec("error", (DetectorSpec("page_hinkley", (("threshold", 5.0),)),), quiet_rows=10**6),),
    label_wait_ms=7_200_000,
    evaluate_every=10,
)


def objectives(spec: ModelSpec, revision: int = 1) -> Objectives:
    return Objectives(revision, models={"m": spec}, limits=Limits())


class Story:
    """A partition, what is written to it, and the alerts it told so far."""

    def __init__(self, spec: ModelSpec) -> None:
        self.disk = Disk(objectives(spec))
        self.pipeline: Pipeline = build(self.disk.objectives)
        self.log = Log()
        self.count = 0

    def rows(self, count: int, wrong: bool = False, latency: float = 10.0, **more: Any) -> None:
        for _ in range(count):
            self.count += 1
            self.log.predict(f"id {self.count}", 1, latency_ms=latency, **more)
            self.log.label(f"id {self.count}", int(not wrong))
        self.play()

    def play(self) -> None:
        feed(self.pipeline, self.log.steps)
        self.log.steps = []

    def wait(self, ms: int) -> None:
        self.log.wait(ms)
        self.pipeline.tick(self.log.at)

    def restart(self, spec: ModelSpec) -> None:
        self.disk.commit(self.pipeline)
        self.disk.objectives = objectives(spec, 2)
        self.pipeline = self.disk.restore()

    def told(self) -> list[tuple[str, str, str | None]]:
        """What was told since the last call: rule, status, reason."""
        alerts = self.pipeline.take_effects().alerts
        return [(alert["rule"], alert["status"], alert["reason"]) for alert in alerts]


def test_an_objective_on_labels_fires_within_the_rows_that_its_hold_names() -> None:
    held = replace(WATCHED.thresholds[0], hold_rows=50)
    story = Story(replace(WATCHED, thresholds=(held,), drift=()))
    story.rows(30)
    story.rows(60, wrong=True)  # 20 of them fill the window, at 10 it breaks, then 50 more
    assert story.told() == [("accuracy", "firing", None)]
    story.rows(30)
    assert story.told() == [("accuracy", "resolved", "recovered")]


def test_a_rule_that_left_the_objectives_resolves_its_incident_when_the_worker_comes_back() -> None:
    story = Story(WATCHED)
    story.rows(40)
    story.rows(100, wrong=True, latency=90.0)
    fired = {rule for rule, status, _ in story.told() if status == "firing"}
    assert fired == {"accuracy", "speed", "recent speed", "drift.error"}
    open_before = {r.rule.rule: r.incident.identity for r in version(story).rules}
    story.restart(replace(WATCHED, thresholds=WATCHED.thresholds[2:], drift=()))
    alerts = story.pipeline.effects.alerts
    assert sorted(story.told()) == [
        (rule, "resolved", "rule_removed") for rule in ("accuracy", "drift.error", "speed")
    ]
    assert all(alert["incident"] == open_before[alert["rule"]] for alert in alerts)
    assert {alert["objectives_revision"] for alert in alerts} == {2}


def version(story: Story) -> Any:
    return story.pipeline.partition.models["m"].every_version[0]


def test_a_removed_rule_is_told_once_however_often_the_worker_restarts_afterwards() -> None:
    story = Story(WATCHED)
    story.rows(40, latency=90.0)
    story.told()
    fewer = replace(WATCHED, thresholds=WATCHED.thresholds[:1])
    story.restart(fewer)
    removed = [("speed", "resolved", "rule_removed"), ("recent speed", "resolved", "rule_removed")]
    assert story.told() == removed
    story.pipeline = story.disk.restore()  # it died before it could commit
    assert story.told() == removed
    story.restart(fewer)
    assert story.told() == []


def test_a_rule_whose_limit_was_moved_keeps_its_open_incident_and_is_judged_by_the_new_limit() -> None:
    story = Story(replace(WATCHED, drift=()))
    story.rows(40)
    story.rows(10, wrong=True)
    assert story.told() == [("accuracy", "firing", None)]
    identity = version(story).rules[0].incident.identity
    lower = replace(WATCHED.thresholds[0], minimum=0.3)
    story.restart(replace(WATCHED, thresholds=(lower, *WATCHED.thresholds[1:]), drift=()))
    assert story.told() == []
    story.rows(10)
    [alert] = story.pipeline.effects.alerts
    assert (alert["status"], alert["reason"], alert["threshold"]) == ("resolved", "recovered", 0.3)
    assert alert["incident"] == identity


def test_the_incidents_of_a_model_that_falls_silent_end_each_after_its_own_time() -> None:
    story = Story(WATCHED)
    story.rows(40)
    story.rows(60, wrong=True, latency=90.0)
    assert len(story.told()) >= 4
    waited = 0
    for until, ended in (
        (120_000, ["recent speed"]),
        (HOUR_MS, ["speed"]),
        (WATCHED.label_wait_ms, ["accuracy", "drift.error"]),
    ):
        story.wait(until - waited)
        assert story.told() == []
        story.wait(1_000)
        assert story.told() == [(rule, "resolved", "no_data") for rule in ended]
        waited = until + 1_000


def test_the_incidents_of_a_version_end_as_superseded_once_another_one_has_taken_over() -> None:
    story = Story(replace(WATCHED, drift=()))
    story.rows(40, latency=90.0, version="old")
    assert story.told() == [("speed", "firing", None), ("recent speed", "firing", None)]
    for _ in range(13):
        story.log.wait(10_000)
        story.rows(2, version="new")
    assert story.told() == [("recent speed", "resolved", "superseded")]


def test_labels_that_still_come_keep_the_incident_of_a_silent_version_open() -> None:
    story = Story(replace(WATCHED, thresholds=WATCHED.thresholds[:1], drift=(), dedupe_ms=1_000))
    story.rows(30, wrong=True)
    assert story.told() == [("accuracy", "firing", None)]
    for number in range(5):
        story.log.predict(f"late {number}", 1)
    story.play()
    for number in range(5):
        story.log.wait(HOUR_MS // 3)
        story.log.label(f"late {number}", 0)
        story.play()
        story.wait(1_000)
    story.wait(2 * HOUR_MS)
    assert story.told() == []
    story.wait(1_000)
    assert story.told() == [("accuracy", "resolved", "no_data")]


@given(st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_default_objectives_of_another_task_are_not_asked_of_a_model(seed: int) -> None:
    wishes = tuple(
        ThresholdSpec(signal, signal, LIFETIME, minimum=0.99, min_samples=1, confidence=None)
        for signal in ("accuracy", "auc_roc", "r2", "label_coverage")
    )
    default = ModelSpec("", thresholds=wishes, windows=(LIFETIME,), drift=(), evaluate_every=1)
    pipeline, log = build(Objectives(default=default)), Log()
    for number in range(5):
        log.predict(number, 0.5 + (seed + number) % 7, model="prices")
        log.label(number, 0.25 * number, model="prices")
    feed(pipeline, log.steps)
    assert {alert["rule"] for alert in pipeline.take_effects().alerts} == {"r2"}


# -- since when -------------------------------------------------------------------------


def since_of(step: Transition | None) -> str | None:
    assert step is not None
    found: str | None = step.evidence.get("since")
    return found


def test_an_alert_dates_from_when_its_figure_went_beyond_the_limit_not_from_when_it_was_sure() -> None:
    judge = Judge(replace(ACCURACY, hold_rows=20))
    assert judge.say(0.9) is None
    for _ in range(3):
        assert judge.say(0.79, upper=0.85) is None  # beyond, but not for sure
    told = [judge.say(0.6, upper=0.7) for _ in range(3)]
    assert since_of(told[-1]) == rfc3339(NOW + 2_000)


def test_a_figure_that_was_back_in_between_dates_from_when_it_went_beyond_again() -> None:
    judge = Judge(replace(BARE, hold_rows=20))
    assert judge.all([0.7, 0.9, 0.7, None, 0.7, 0.7, 0.7])[-1] == "firing"
    step = judge.say(0.2)
    assert step is not None
    assert (step.status, since_of(step)) == ("updated", rfc3339(NOW + 5_000))
    assert since_of(judge.say(0.95)) == rfc3339(NOW + 5_000)  # its end still says when it began
    told = [judge.say(0.1) for _ in range(3)]
    assert since_of(told[-1]) == rfc3339(NOW + 10_000)


def test_when_a_figure_went_beyond_outlives_a_restart() -> None:
    judge = Judge(ACCURACY)
    assert judge.say(0.79, upper=0.85) is None
    state = codec.decode_cell(codec.encode_cell(snapshot_rules([judge.rule])))
    judge.rule = ThresholdRule(ACCURACY, "m", "v1")
    restore_rules([judge.rule], state)
    assert since_of(judge.say(0.6, upper=0.7)) == rfc3339(NOW + 1_000)


def test_silence_dates_from_the_last_prediction() -> None:
    log = Log()
    spec = ModelSpec("m", thresholds=(replace(SILENCE, maximum=5_000.0),), drift=())
    pipeline = build(Objectives(models={"m": spec}))
    log.predict("1")
    spoke = log.at
    feed(pipeline, log.steps)
    for second in range(1, 10):
        pipeline.tick(spoke + second * 1_000)
    [alert] = pipeline.effects.alerts
    assert alert["evidence"]["since"] == rfc3339(spoke)


def test_an_alert_on_labels_dates_from_the_predictions_however_late_their_labels_were() -> None:
    """The model begins to fail at a known prediction; its labels come a day later."""
    log, day = Log(), 86_400_000
    spec = ModelSpec("m", task="binary", windows=(LAST_100,), thresholds=(BARE,), drift=(), evaluate_every=50)
    pipeline = build(Objectives(models={"m": spec}))
    began = log.at
    for number in range(1_000):
        log.predict(number)
        log.wait(1_000)
    log.wait(day)
    for number in range(1_000):
        log.label(number, 1 if number < 600 else 0)
        log.wait(1_000)
    feed(pipeline, log.steps)
    first = next(each for each in pipeline.effects.alerts if each["kind"] == "threshold")
    assert first["status"] == "firing"
    # Of the last 100 more than 20 are wrong at the first look after number 620, at most 50 rows on.
    assert rfc3339(began + 600_000) <= first["evidence"]["since"] <= rfc3339(began + 650_000)
