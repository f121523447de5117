"""One partition from bytes to alerts: however it is cut, saved and restored, it tells the same."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.checkpoint import Checkpoint, UntrustedState
from streamer.domain import partition as partition_module
from streamer.domain.events import Reason
from streamer.domain.model import ModelMonitor
from streamer.domain.objectives import Limits, Objectives
from streamer.domain.partition import Partition
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline, Poison, Unreadable
from tests.domain.feed import Disk, Log, Step, build, facts, feed, interrupted
from tests.domain.traffic import SMALL, objectives, traffic

seeds = st.integers(0, 2**32)


def undisturbed(steps: list[Step], limits: Limits = SMALL) -> tuple[list[bytes], dict[str, Any]]:
    """Alerts and facts of a run that nothing interrupted."""
    pipeline = build(objectives(limits))
    feed(pipeline, steps)
    return [codec.encode_json(alert) for alert in pipeline.take_effects().alerts], facts(pipeline)


def random_cuts(chance: random.Random, count: int) -> set[int]:
    return {i for i in range(count) if chance.random() < 0.15}


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_chunks_of_any_size_give_the_same_alerts_and_figures(seed: int) -> None:
    chance = random.Random(seed)
    steps = traffic(chance, 400).steps
    alerts, expected = undisturbed(steps)
    pipeline = build(objectives())
    feed(pipeline, steps, random_cuts(chance, len(steps)))
    assert [codec.encode_json(alert) for alert in pipeline.take_effects().alerts] == alerts
    assert facts(pipeline) == expected


@pytest.mark.parametrize("limits", [SMALL, Limits()], ids=["crowded", "roomy"])
@pytest.mark.parametrize("slack", [0, 50_000], ids=["rewriting", "appending"])
@given(seeds)
@settings(max_examples=20, deadline=None)
def test_commits_and_restarts_anywhere_change_nothing(limits: Limits, slack: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_module, "SLACK_ROWS", slack)
        patch.setattr(partition_module, "SEGMENT_ROWS", 7)
        chance = random.Random(seed)
        steps = traffic(chance, 400).steps
        alerts, expected = undisturbed(steps, limits)
        disk = Disk(objectives(limits))
        interrupted(disk, steps, chance)
        assert disk.alerts == alerts
        assert facts(disk.restore(chance)) == expected


def test_a_restart_after_every_single_record_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "SLACK_ROWS", 20)
    steps = traffic(random.Random(5), 500).steps
    alerts, expected = undisturbed(steps)
    assert len(alerts) > 50
    disk = Disk(objectives())
    pipeline = build(disk.objectives)
    for step in steps:
        feed(pipeline, [step])
        disk.commit(pipeline)
        pipeline = disk.restore()
    assert disk.alerts == alerts
    assert facts(pipeline) == expected


@pytest.mark.parametrize("seed", range(4))
def test_record_times_that_fall_back_change_nothing_however_the_runs_are_cut(seed: int) -> None:
    """A new leader's clock may be behind that of the one before."""
    chance = random.Random(seed)
    steps = []
    for kind, record in traffic(chance, 900).steps:
        steps.append((kind, replace(record, at=record.at + chance.choice([0, 0, 0, -40, -700, -2_600]))))
    alerts, expected = undisturbed(steps)
    assert len(alerts) > 50
    for cuts in ({*range(len(steps))}, random_cuts(chance, len(steps))):
        disk = Disk(objectives())
        pipeline = build(disk.objectives)
        feed(pipeline, steps, cuts)
        disk.commit(pipeline)
        assert disk.alerts == alerts
        assert facts(pipeline) == expected


def test_the_random_traffic_causes_all_that_there_is_to_test() -> None:
    alerts, found = undisturbed(traffic(random.Random(1), 6_000).steps)
    text = b"".join(alerts)
    for part in ("threshold", "concept_drift", "data_drift", "silence", "firing", "updated", "resolved",
                 "recovered", "no_data", "superseded"):  # fmt: skip
        assert f'"{part}"'.encode() in text, part
    for topic in ("predictions", "labels"):
        assert all(count for count in found["identity"][topic].values()), found["identity"]
    reasons = {reason for _, reason in found["dead"]}
    assert reasons == set(Reason) - {Reason.INTERNAL_ERROR, Reason.UNREADABLE}


@given(seeds, st.sampled_from([SMALL, Limits()]))
@settings(max_examples=25, deadline=None)
def test_nothing_is_dropped_in_silence(seed: int, limits: Limits) -> None:
    pipeline = build(objectives(limits))
    for step in traffic(random.Random(seed), 300).steps:
        feed(pipeline, [step])
        found = pipeline.partition.identity()
        for terms in found.values():
            assert terms["consumed"] == sum(terms.values()) - terms["consumed"], found
    dead = list(pipeline.take_effects().dead_letters)
    assert len(dead) == sum(terms["dead_letter"] for terms in found.values())


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_a_partition_stays_within_its_limits_whenever_a_second_passes(seed: int) -> None:
    pipeline = build(objectives(SMALL))
    partition = pipeline.partition
    for step in traffic(random.Random(seed), 300).steps:
        before = partition.now
        partition.advance(step[1].at)
        if partition.now != before:
            pending = [len(v.table.pending) for _, v in partition.versions()]
            recent = [v.table.forgettable for _, v in partition.versions()]
            assert sum(pending) <= SMALL.max_pending
            assert sum(recent) <= SMALL.max_recent
            assert sum(len(m.parked) for m in partition.models.values()) <= SMALL.max_parked
        feed(pipeline, [step])
        assert len(partition.models) <= SMALL.max_models
        assert all(len(m.every_version) <= SMALL.max_versions + 1 for m in partition.models.values())


def test_an_alert_names_the_record_that_caused_it_or_the_last_one_before_a_tick() -> None:
    pipeline = build(objectives(Limits()))
    log = Log()
    log.predict("1", model="binary")
    feed(pipeline, log.steps)
    pipeline.tick(log.at + 60_000)
    alerts = pipeline.effects.alerts
    # One model fell silent, the other, declared too, never spoke.
    assert {(alert["model"], alert["kind"]) for alert in alerts} == {
        ("binary", "silence"),
        ("foreign", "silence"),
    }
    assert alerts[0]["source"] == {"topic": "p", "partition": 3, "offset": 0}
    assert pipeline.effects.order == [(PREDICTIONS, 1), (-1, log.at + 60_000)]


def test_a_tick_within_the_same_second_is_no_tick() -> None:
    pipeline = build(objectives())
    pipeline.tick(5_000)
    pipeline.tick(5_999)
    assert pipeline.effects.order == [(-1, 5_000)]


def test_an_empty_run_moves_nothing() -> None:
    pipeline = build(objectives())
    log = Log()
    log.predict("1")
    feed(pipeline, log.steps)
    pipeline.run(LABELS, [])
    assert pipeline.positions == [1, 0]


def test_a_record_on_which_our_code_fails_is_poison_and_becomes_a_dead_letter_when_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = ModelMonitor.predict

    def fails_on_one(self: ModelMonitor, event: dict[str, Any], *rest: Any) -> Any:
        if event["score"] == 0.125:
            self.labels.joined += 5  # half-done work
            raise RuntimeError("a bug")
        return original(self, event, *rest)

    log = Log()
    for i in range(9):
        log.predict(i, model="binary", score=0.125 if i == 4 else 0.25)
        log.label(i, model="binary")
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    disk.commit(pipeline)
    monkeypatch.setattr(ModelMonitor, "predict", fails_on_one)
    with pytest.raises(Poison, match="offset 4 of predictions") as caught:
        feed(pipeline, log.steps)
    pipeline = disk.restore()
    pipeline.skip.add((caught.value.kind, caught.value.offset))
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    found = pipeline.partition.identity()
    assert (found["predictions"]["joined"], found["predictions"]["dead_letter"]) == (8, 1)
    assert (found["labels"]["joined"], found["labels"]["parked"]) == (8, 1)
    [(value, headers)] = disk.dead
    assert value == log.steps[8][1].value()
    assert (headers["reason"], headers["offset"], headers["topic"]) == (b"internal_error", b"4", b"p")


def test_the_key_names_the_model_where_the_value_does_not() -> None:
    pipeline = build(objectives())
    log = Log()
    log.put(PREDICTIONS, {"prediction_id": "1", "timestamp": log.at, "prediction": 1}, b"fraud")
    log.put(LABELS, {"prediction_id": "1", "timestamp": log.at, "label": 1}, b"fraud")
    feed(pipeline, log.steps)
    assert pipeline.partition.identity()["labels"]["joined"] == 1
    assert "fraud" in pipeline.partition.models


def test_a_default_objective_that_a_discovered_model_cannot_have_is_not_asked_of_it() -> None:
    pipeline = build(objectives(Limits()))
    log = Log()
    for i in range(50):
        log.predict(i, 0.5 + i, model="prices")
        log.label(i, 0.25, model="prices")
    feed(pipeline, log.steps)
    model = pipeline.partition.models["prices"]
    assert (model.task, model.every_version[0].joined) == ("regression", 50)


def test_objectives_may_name_windows_of_their_own() -> None:
    spec = objectives(Limits())
    pipeline: Pipeline = build(Objectives(default=spec.default))
    assert pipeline.partition.models == {}


def test_a_stretch_that_cannot_be_read_is_one_dead_letter_in_its_place() -> None:
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    log = Log()
    log.predict("1", model="binary")
    feed(pipeline, log.steps)
    pipeline.run(PREDICTIONS, [Unreadable(1, 40, log.at)])
    disk.commit(pipeline)
    terms = pipeline.partition.identity()["predictions"]
    assert (terms["consumed"], terms["pending"], terms["dead_letter"]) == (2, 1, 1)
    assert pipeline.positions == [41, 0]
    [(value, headers)] = disk.dead
    assert value == b""
    assert (headers["reason"], headers["first-offset"], headers["offset"]) == (b"unreadable", b"1", b"40")


def test_the_trace_tells_which_records_no_oracle_can_read() -> None:
    pipeline = build(objectives(Limits()))
    pipeline.run(LABELS, [Unreadable(3, 4, 1_000)])
    [traced] = [r for r in Checkpoint(codec, {}).prepare(pipeline, trace=True).records if r.room == "trace"]
    told = json.loads(traced.value or b"")
    assert (told["order"], told["unreadable"]) == ([[LABELS, 1]], [[LABELS, 3, 4, 1_000]])


def test_a_second_on_which_our_code_fails_is_blamed_on_the_record_that_began_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = build(objectives(Limits()))
    log = Log()
    log.predict("1", model="binary")
    feed(pipeline, log.steps)

    def fails(*arguments: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Partition, "advance", fails)
    log.wait(2_000)
    log.predict("2", model="binary")
    with pytest.raises(Poison, match="offset 1 of predictions"):
        feed(pipeline, log.steps[1:])


def test_a_dead_letter_keeps_no_key_that_would_not_fit_its_topic() -> None:
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    log = Log()
    log.put(PREDICTIONS, b"{", b"k" * 9_000_000, raw=True)
    feed(pipeline, log.steps)
    [letter] = [r for r in Checkpoint(codec, {}).prepare(pipeline).records if r.room == "dead_letters"]
    assert len(letter.key) == 4096
    assert dict(letter.headers)["truncated-key-sha256"] == sha256(b"k" * 9_000_000).hexdigest().encode()


def test_only_what_our_own_identity_names_is_compared() -> None:
    disk = Disk(objectives(Limits()))
    disk.commit(build(disk.objectives))
    for identity in ({}, {"group": "g"}, {"group": "g", "partitions": 12}):
        assert Checkpoint(codec, identity).read(disk.raw, 3) is not None
    for identity in ({"group": "h"}, {"group": "g", "cluster": "c"}):
        with pytest.raises(UntrustedState, match="belongs to"):
            Checkpoint(codec, identity).read(disk.raw, 3)
