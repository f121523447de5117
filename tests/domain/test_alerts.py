"""Alerts: what identifies them, what they carry, and that a replay makes the same ones again."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.domain.alerts import (
    MAX_DETECTIONS,
    Incident,
    Resolution,
    Rule,
    State,
    Transition,
    digest,
)
from streamer.domain.drift import Detection
from streamer.domain.objectives import DriftSpec, Limits, ModelSpec, Objectives
from tests.domain.feed import START_MS, Log, build, feed
from tests.domain.traffic import SMALL, TOUCHY, objectives, traffic

RULE = Rule("m", "v1", "accuracy", "threshold", "accuracy", "page", "https://example.org", window="last 100")
SOURCE = {"topic": "labels", "partition": 3, "offset": 7}
seeds = st.integers(0, 2**32)


def told(seed: int, count: int = 400, limits: Limits | None = None) -> list[dict[str, Any]]:
    pipeline = build(objectives(limits or Limits()))
    feed(pipeline, traffic(random.Random(seed), count).steps)
    return pipeline.take_effects().alerts


def incidents(alerts: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for alert in alerts:
        found[alert["incident"]].append(alert)
    return found


# -- identity -----------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=4, deadline=None)
def test_the_same_records_make_the_same_alerts_to_the_last_byte(seed: int) -> None:
    assert codec.encode_json(told(seed)) == codec.encode_json(told(seed))


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_no_two_alerts_have_one_id(seed: int) -> None:
    ids = [alert["alert_id"] for alert in told(seed)]
    assert len(ids) == len(set(ids))


def test_the_id_of_an_alert_depends_on_its_rule_its_number_and_the_record_behind_it_alone() -> None:
    def made(rule: Rule = RULE, number: int = 1, source: dict[str, Any] | None = None, **more: Any) -> str:
        step = Transition(rule, "firing", number, "i", more.get("summary", ""), 0.5, START_MS, START_MS)
        alert_id: str = step.document(source or SOURCE, more.get("revision", 1))["alert_id"]
        return alert_id

    assert made() == made(summary="other words", revision=2)
    changed = [
        made(number=2),
        made(source={**SOURCE, "offset": 8}),
        made(source={**SOURCE, "partition": 4}),
        made(source={**SOURCE, "topic": "predictions"}),
        made(rule=Rule("m", "v2", "accuracy", "threshold", "accuracy", "page", None)),
    ]
    assert len({made(), *changed}) == 6


def test_the_fingerprint_is_that_of_model_version_segment_and_rule() -> None:
    def fingerprint(model: str, version: str | None, segment: str | None, rule: str, **more: Any) -> str:
        severity, signal = more.get("severity", "page"), more.get("signal", "accuracy")
        return Rule(model, version, rule, "threshold", signal, severity, None, segment).fingerprint

    same = fingerprint("m", "v", None, "r")
    assert fingerprint("m", "v", None, "r", severity="ticket", signal="f1") == same
    others = [("n", "v", None, "r"), ("m", "w", None, "r"), ("m", "v", "s", "r"), ("m", "v", None, "q")]
    assert len({same, *(fingerprint(*each) for each in others)}) == 5


@given(
    st.lists(
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1),
        min_size=2,
        max_size=4,
    )
)
def test_parts_of_a_digest_do_not_run_into_each_other(parts: list[str]) -> None:
    assert digest(*parts) != digest("".join(parts))
    assert digest(*parts) != digest(parts[0] + parts[1][:1], parts[1][1:], *parts[2:])
    assert len(digest(*parts)) == 16


# -- one incident -------------------------------------------------------------------------


@given(seeds, st.sampled_from([SMALL, Limits()]))
@settings(max_examples=8, deadline=None)
def test_an_incident_is_firing_then_updated_then_resolved_and_keeps_its_name_and_its_start(
    seed: int, limits: Limits
) -> None:
    alerts = told(seed, limits=limits)
    for steps in incidents(alerts).values():
        statuses = [step["status"] for step in steps]
        assert statuses[0] == "firing"
        assert set(statuses[1:-1]) <= {"updated"}
        assert statuses.count("resolved") <= 1
        for constant in ("fingerprint", "model", "version", "rule", "kind", "signal", "started_at"):
            assert len({step[constant] for step in steps}) == 1
        times = [step["updated_at"] for step in steps]
        assert times == sorted(times)
        assert times[0] == steps[0]["started_at"]


@given(seeds)
@settings(max_examples=6, deadline=None)
def test_of_one_fingerprint_at_most_one_incident_is_open(seed: int) -> None:
    is_open: dict[str, str] = {}
    for alert in told(seed):
        if alert["status"] == "firing":
            assert alert["fingerprint"] not in is_open
            is_open[alert["fingerprint"]] = alert["incident"]
        assert is_open[alert["fingerprint"]] == alert["incident"]
        if alert["status"] == "resolved":
            del is_open[alert["fingerprint"]]


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_only_a_resolution_has_a_reason_and_a_time_of_resolution(seed: int) -> None:
    for alert in told(seed):
        resolved = alert["status"] == "resolved"
        assert (alert["reason"] is not None) is resolved
        assert alert["resolved_at"] == (alert["updated_at"] if resolved else None)


def test_two_incidents_of_one_rule_have_two_names_even_within_one_second() -> None:
    incident = Incident()
    first = incident.fire(RULE, START_MS, 0.5, "")
    incident.resolve(RULE, START_MS, 0.9, "", Resolution.RECOVERED)
    second = incident.fire(RULE, START_MS, 0.5, "")
    assert first.incident != second.incident
    assert (first.number, second.number) == (1, 3)


steps = st.lists(st.sampled_from(["pending", "calm", "fire", "update", "resolve", "detect"]), max_size=25)


@given(steps)
@settings(deadline=None)
def test_an_incident_that_is_restored_after_every_step_goes_on_as_if_it_had_never_stopped(
    walk: list[str],
) -> None:
    never, again = Incident(), Incident()
    for at, step in enumerate(walk):
        assert take(again, step, at) == take(never, step, at)
        again = Incident.restore(codec.decode_cell(codec.encode_cell(again.snapshot())))
        assert isinstance(again.state, State)
        assert again == never


def take(incident: Incident, step: str, at: int) -> Transition | None:
    now, value = START_MS + at, 0.5 + at
    if step == "pending":
        incident.begin_pending(at, now)
    elif step == "calm":
        incident.calm()
    elif step == "fire":
        return incident.fire(RULE, now, value, "fired")
    elif step == "update":
        return incident.update(RULE, now, value, "updated")
    elif step == "resolve":
        return incident.resolve(RULE, now, value, "resolved", Resolution.RECOVERED)
    else:
        incident.remember(Detection("adwin", at, 0.1, 0.2, None))
    return None


# -- what is published -----------------------------------------------------------------------


def test_every_alert_that_random_traffic_causes_fits_the_published_schema() -> None:
    schema = json.loads(resources.files("streamer").joinpath("schemas/alert.schema.json").read_bytes())
    check = jsonschema.Draft202012Validator(schema)
    alerts = [json.loads(codec.encode_json(alert)) for alert in told(1, 1_000)]
    assert {alert["status"] for alert in alerts} == {"firing", "updated", "resolved"}
    for alert in alerts:
        check.validate(alert)


def test_an_alert_carries_its_source_its_revision_and_its_runbook() -> None:
    step = Incident().fire(RULE, START_MS, 0.5, "a sentence")
    document = step.document(SOURCE, 7)
    assert document["source"] == SOURCE
    assert (document["objectives_revision"], document["runbook"]) == (7, "https://example.org")
    assert (document["summary"], document["value"], document["window"]) == ("a sentence", 0.5, "last 100")
    assert document["started_at"] == "2023-11-14T22:13:20.000Z"
    assert json.loads(codec.encode_json(document))["status"] == "firing"


@pytest.mark.parametrize(
    ("signal", "page"),
    [
        ("f1", "model-objective-breached"),
        ("latency_p99", "model-slow"),
        ("throughput", "model-throughput-off"),
        ("label_coverage", "model-labels-missing"),
        ("silence", "model-silent"),
        ("error", "model-drift"),
        ("score", "model-drift"),
        ("feature:throughput", "model-drift"),
    ],
)
def test_an_alert_without_a_runbook_of_its_own_leads_to_the_page_about_its_signal(
    signal: str, page: str
) -> None:
    rule = replace(RULE, rule="as I like", signal=signal, runbook=None)
    step = Incident().fire(rule, START_MS, 0.5, "a sentence")
    assert step.document(SOURCE, 7)["runbook"] == f"docs/runbooks/{page}.md"
    assert (Path(__file__).parents[2] / "docs" / "runbooks" / f"{page}.md").exists()


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_times_are_rfc_3339_with_milliseconds_in_utc(seed: int) -> None:
    for alert in told(seed, 200):
        for name in ("started_at", "updated_at", "resolved_at"):
            text = alert[name]
            if text is not None:
                assert text.endswith("Z")
                moment = datetime.fromisoformat(text)
                assert moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") == text


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_the_source_of_an_alert_is_never_ahead_of_what_was_read(seed: int) -> None:
    pipeline = build(objectives(Limits()))
    for step in traffic(random.Random(seed), 200).steps:
        feed(pipeline, [step])
        for alert in pipeline.take_effects().alerts:
            kind = pipeline.topics.index(alert["source"]["topic"])
            assert 0 <= alert["source"]["offset"] < pipeline.positions[kind]
            assert alert["source"]["partition"] == pipeline.number


# -- evidence --------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_a_drift_alert_has_every_alarm_of_its_incident_as_evidence_in_order(seed: int) -> None:
    for steps in incidents(told(seed)).values():
        if not steps[0]["kind"].endswith("drift"):
            continue
        before: list[Any] = []
        for step in steps:
            detections = step["evidence"]["detections"]
            assert step["evidence"]["detections_total"] == len(detections) < MAX_DETECTIONS
            assert detections[: len(before)] == before
            positions = [each["position"] for each in detections]
            assert positions == sorted(positions)
            assert all(set(each) >= {"detector", "position", "before", "after"} for each in detections)
            before = detections


def test_the_last_alarms_are_kept_and_all_are_counted() -> None:
    incident = Incident()
    for position in range(1, MAX_DETECTIONS + 11):
        incident.remember(Detection("adwin", position, 0.1, 0.2, None))
    step = incident.fire(RULE, START_MS, 0.2, "")
    positions = [each["position"] for each in step.evidence["detections"]]
    assert positions == list(range(11, MAX_DETECTIONS + 11))
    assert step.evidence["detections_total"] == MAX_DETECTIONS + 10


def test_evidence_that_was_told_does_not_change_when_more_comes() -> None:
    incident = Incident()
    incident.remember(Detection("adwin", 1, 0.1, 0.2, None))
    step = incident.fire(RULE, START_MS, 0.2, "")
    incident.remember(Detection("adwin", 2, 0.1, 0.2, None))
    assert [each["position"] for each in step.evidence["detections"]] == [1]


def test_a_threshold_says_on_how_many_rows_it_fired() -> None:
    fired = [a for a in told(4, 1_500) if a["kind"] == "threshold" and a["status"] != "resolved"]
    assert fired
    for alert in fired:
        assert alert["evidence"]["samples"] > 0
        assert alert["value"] is not None
        assert alert["threshold"] is not None
        assert alert["direction"] in ("below", "above")


@pytest.mark.parametrize("secret", ["the-secret-plan", 123456.789])
def test_no_value_of_a_feature_is_ever_in_an_alert(secret: Any) -> None:
    spec = ModelSpec("m", task="binary", drift=(DriftSpec("error", (TOUCHY,)),))
    pipeline, log = build(Objectives(models={"m": spec})), Log()
    for number in range(200):
        log.predict(number, 1, features={"plan": secret, "age": secret})
        log.label(number, int(number < 100))
    feed(pipeline, log.steps)
    text = codec.encode_json(pipeline.take_effects().alerts)
    assert len(text) > 500
    assert str(secret).encode() not in text
