"""References in the objectives: exactly the rows that should be are compared, whatever comes between."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.domain.comparison import compare
from streamer.domain.objectives import (
    DataDriftSpec,
    DetectorSpec,
    DriftSpec,
    Limits,
    ModelSpec,
    Objectives,
    ReferenceSpec,
    ThresholdSpec,
    WindowSpec,
)
from streamer.domain.readings import read_partition
from streamer.domain.reference import Column, Reference
from streamer.pipeline import Pipeline
from tests.domain.feed import Disk, Log, Step, build, facts, feed, interrupted
from tests.domain.traffic import SMALL, objectives, traffic

FIRST = ReferenceSpec("first", 1000)
WATCH = DataDriftSpec(rows=500)


def spec(reference: ReferenceSpec = FIRST, drift: DataDriftSpec = WATCH, **more: Any) -> ModelSpec:
    return ModelSpec(
        "m", task=more.pop("task", "binary"), drift=(), reference=reference, data_drift=drift, **more
    )


def row(chance: random.Random, kind: str = "usual") -> dict[str, Any]:
    features: dict[str, Any] = {
        "age": chance.gauss(40, 10) * (1000 if kind == "unit" else 1),
        "visits": chance.randrange(6),
        "colour": chance.choice(["red", "green", "blue"]),
    }
    if kind == "null" and chance.random() < 0.5:
        features["age"] = None
    if kind == "gone":
        del features["age"]
    if kind == "two":
        features |= {"age": features["age"] + 30, "colour": "violet"}
    return features


def write(log: Log, chance: random.Random, count: int, kind: str = "usual") -> None:
    """Predictions a second apart, each with its label right behind it."""
    for _ in range(count):
        log.wait(1000)
        pid, score = str(len(log.steps)), chance.betavariate(2, 4)
        log.predict(pid, int(score > 0.5), score=score, features=row(chance, kind))
        log.label(pid, int(chance.random() < score))


def run(model: ModelSpec, steps: list[Step]) -> Pipeline:
    pipeline = build(Objectives(models={"m": model}))
    feed(pipeline, steps)
    return pipeline


def told(pipeline: Pipeline) -> list[dict[str, Any]]:
    return [codec.decode_event(codec.encode_json(each)) for each in pipeline.take_effects().alerts]


def built(steps: list[Step]) -> Reference:
    """A reference of these predictions, value by value."""
    found = Reference("m")
    for _, record in steps:
        assert record.data is not None
        event = codec.decode_event(record.data)
        if "prediction" not in event:
            continue
        found.rows += 1
        found.take_answer(event["score"], bool(event["prediction"]))
        found.predictions.take("positive" if event["prediction"] else "negative")
        for name, value in event["features"].items():
            if value is not None:
                found.columns.setdefault(name, Column()).take(value)
    return found


def test_the_first_rows_are_held_against_the_last_ones_exactly() -> None:
    chance, log = random.Random(1), Log()
    write(log, chance, 3000)
    write(log, chance, 300, "two")
    pipeline = run(spec(), log.steps)
    watch = pipeline.partition.models["m"].versions[None].data["data"]
    assert watch.reference_rows == 1000
    # Panes of a fifth of the window: the last full ones end with the last row.
    changes = compare(built(log.steps[: 2 * 1000]), built(log.steps[-2 * 500 :]))
    expected = {each.column: each.psi for each in changes}
    assert {each.column: pytest.approx(each.distance) for each in watch.measured} == expected
    assert watch.measured
    readings = read_partition(pipeline.partition, None).parts["m", ""].samples
    shown = {each.labels[2]: each.value for each in readings if each.name == "model_data_distance"}
    del shown["label"]
    assert shown == {column: pytest.approx(value) for column, value in expected.items()}


@pytest.mark.parametrize(
    ("kind", "text"),
    [("unit", "1000 times"), ("null", "missing in"), ("gone", "it is gone"), ("two", "feature:")],
)
def test_what_is_spoilt_is_named_first_and_dated_within_a_pane(kind: str, text: str) -> None:
    chance, log = random.Random(2), Log()
    write(log, chance, 2770)
    since = log.at + 1000
    write(log, chance, 1230, kind)
    alerts = told(run(spec(), log.steps))
    assert {each["rule"] for each in alerts} == {"drift.data"}
    assert len({each["incident"] for each in alerts}) == 1  # one change, one incident
    assert alerts[0]["status"] == "firing"
    last = alerts[-1]
    first = last["evidence"]["columns"][0]
    assert first["column"] in ("feature:age", "feature:colour" if kind == "two" else "")
    assert text in last["summary"]
    dated = last["evidence"]["since"]
    assert all(each["evidence"]["since"] == dated for each in alerts)
    assert abs(datetime.fromisoformat(dated).timestamp() * 1000 - since) <= 100 * 1000
    assert last["evidence"]["reference"] == {"made_of": "the first 1000 predictions", "rows": 1000}
    if kind == "two":
        assert {each["column"] for each in last["evidence"]["columns"][:2]} == {
            "feature:age",
            "feature:colour",
        }


def test_a_feature_whose_rows_are_mixed_up_is_found_and_a_single_giant_is_not() -> None:
    chance, log = random.Random(13), Log()

    def rows(count: int, mixed: bool = False, giant: bool = False) -> None:
        for number in range(count):
            log.wait(1000)
            size = chance.gauss(1000, 20)
            weight = 3 * (chance.gauss(1000, 20) if mixed else size) + chance.gauss(0, 5)
            features = {"size": size, "weight": 1e200 if giant and number == 20 else weight}
            log.predict(str(len(log.steps)), 1, features=features)

    rows(2000)
    rows(1000, giant=True)
    assert told(run(spec(), log.steps)) == []
    rows(700, mixed=True)
    [alert, *_] = told(run(spec(), log.steps))
    assert alert["evidence"]["columns"][0]["distance"] < 0.2  # by itself it looks as it did
    assert "as it never did" in alert["summary"]


def test_an_alert_on_a_score_says_which_columns_have_changed_the_most_changed_first() -> None:
    chance, log = random.Random(14), Log()
    limit = ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 200), minimum=0.6, confidence=None)
    error = DriftSpec("error", (DetectorSpec("adwin"),))
    for kind, right in (("usual", 0.9), ("unit", 0.3)):
        for _ in range(2000):
            log.wait(1000)
            pid = str(len(log.steps))
            log.predict(pid, 1, features=row(chance, kind))
            log.label(pid, int(chance.random() < right))
    found = told(run(replace(spec(thresholds=(limit,)), drift=(error,)), log.steps))
    for rule in ("accuracy", "drift.error"):
        last = [each for each in found if each["rule"] == rule][-1]["evidence"]
        assert last["columns"][0]["column"] == "feature:age"
        assert last["reference"]["made_of"] == "the first 1000 predictions"
        assert "labels" in last


def test_an_incident_ends_when_the_window_is_as_the_reference_was() -> None:
    chance, log = random.Random(3), Log()
    write(log, chance, 2000)
    write(log, chance, 700, "unit")
    write(log, chance, 1500)
    alerts = told(run(spec(), log.steps))
    assert [each["status"] for each in alerts][-1] == "resolved"
    assert alerts[-1]["reason"] == "recovered"
    assert len([each for each in alerts if each["status"] == "firing"]) == 1


@pytest.mark.parametrize("distance", ["psi", "jensen_shannon", "total_variation", "wasserstein"])
def test_a_stationary_stream_causes_nothing(distance: Any) -> None:
    chance, log = random.Random(4), Log()
    write(log, chance, 12_000)
    assert told(run(spec(drift=DataDriftSpec(rows=500, distance=distance)), log.steps)) == []


def test_labels_have_a_reference_of_their_own() -> None:
    chance, log = random.Random(5), Log()
    for count, share in ((2000, 0.2), (800, 0.6)):
        for _ in range(count):
            log.wait(1000)
            pid = str(len(log.steps))
            log.predict(pid, 1, score=0.4)
            log.label(pid, int(chance.random() < share))
    alerts = told(run(spec(), log.steps))
    assert {each["rule"] for each in alerts} == {"drift.label"}
    assert alerts[0]["signal"] == "label"
    assert alerts[0]["evidence"]["columns"][0]["cells"][1][0] == "positive"


def test_a_rolling_reference_follows_a_slow_change_and_finds_a_quick_one() -> None:
    chance, log = random.Random(6), Log()
    previous = spec(ReferenceSpec("previous", 4 * 3_600_000), DataDriftSpec(rows=1000))
    for step in range(300):  # a drift of one deviation in 30,000 s: a seventh in what is compared
        for _ in range(100):
            log.wait(1000)
            log.predict(str(len(log.steps)), 1, features={"age": chance.gauss(40 + step / 60, 5)})
    slow = list(log.steps)
    assert told(run(previous, slow)) == []
    fixed = told(run(spec(FIRST, DataDriftSpec(rows=1000)), slow))
    assert fixed  # what came first is far away by now
    for _ in range(1000):
        log.wait(1000)
        log.predict(str(len(log.steps)), 1, features={"age": chance.gauss(60, 5)})
    alerts = told(run(previous, log.steps))
    assert alerts[0]["summary"].startswith("feature:age of m")
    assert alerts[0]["evidence"]["reference"]["made_of"] == "the predictions of the 4h before"


def test_nothing_is_judged_before_a_rolling_reference_is_long_enough() -> None:
    chance, log = random.Random(7), Log()
    previous = spec(ReferenceSpec("previous", 4 * 3_600_000), DataDriftSpec(rows=500))
    write(log, chance, 3000)
    write(log, chance, 1500, "unit")
    pipeline = run(previous, log.steps)
    assert told(pipeline) == []
    assert pipeline.partition.models["m"].versions[None].data["data"].measured == []


def test_a_reference_that_was_built_before_is_held_against_the_first_window() -> None:
    chance, log = random.Random(8), Log()
    write(log, chance, 2000)
    given_one = built(log.steps)
    given_one.made_of = "march.csv"
    log = Log()
    write(log, chance, 600, "unit")
    reference = ReferenceSpec("given", given_one.rows, "digest", given_one)
    [alert, *_] = told(run(spec(reference), log.steps))
    assert alert["evidence"]["reference"] == {"made_of": "march.csv", "rows": 2000}
    assert alert["evidence"]["columns"][0]["column"] == "feature:age"
    assert alert["evidence"]["columns"][1]["distance"] < 0.1  # scores and classes are called as there


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_what_is_predicted_is_a_column_too(task: str) -> None:
    chance, log = random.Random(9), Log()
    for count, shift in ((2000, 0), (700, 4)):
        for _ in range(count):
            log.wait(1000)
            value = (
                chance.gauss(10 + shift, 1)
                if task == "regression"
                else "abcdefgh"[chance.randrange(4) + shift]
            )
            log.predict(str(len(log.steps)), value, score=chance.random())
    alerts = told(run(spec(task=task), log.steps))
    assert alerts[0]["summary"].startswith("prediction of m")
    assert "score" in {each["column"] for each in alerts[-1]["evidence"]["columns"]}


# -- nothing depends on where commits and restarts fall ---------------------------------------------


def watched(reference: ReferenceSpec, limits: Limits = SMALL) -> Objectives:
    """The models of the random traffic, with small references."""
    base = objectives(limits)
    drift = DataDriftSpec(rows=20, distance="total_variation", maximum=0.45)
    more: dict[str, Any] = {
        "reference": reference,
        "data_drift": drift,
        "drift": (DriftSpec("error", (DetectorSpec("adwin"),)),),
        "label_wait_ms": 900_000,
    }
    models = {name: replace(each, **more) for name, each in base.models.items()}
    return replace(base, default=replace(base.default, **more), models=models)


SMALL_ONES = [ReferenceSpec("first", 16), ReferenceSpec("previous", 400_000)]


@pytest.mark.parametrize("reference", SMALL_ONES, ids=["first", "previous"])
@given(st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_commits_and_restarts_anywhere_change_nothing(reference: ReferenceSpec, seed: int) -> None:
    chance = random.Random(seed)
    steps = traffic(chance, 900).steps
    wanted = watched(reference)
    whole = build(wanted)
    feed(whole, steps)
    alerts = [codec.encode_json(each) for each in whole.take_effects().alerts]
    disk = Disk(wanted)
    interrupted(disk, steps, chance, 0.1)
    assert disk.alerts == alerts
    restored = disk.restore(chance)
    assert facts(restored) == facts(whole)
    for (_, expected), (_, found) in zip(
        whole.partition.versions(), restored.partition.versions(), strict=True
    ):
        for signal, watch in expected.data.items():
            assert found.data[signal].measured == watch.measured


@pytest.mark.parametrize("reference", SMALL_ONES, ids=["first", "previous"])
def test_the_random_traffic_drifts(reference: ReferenceSpec) -> None:
    pipeline = build(watched(reference))
    feed(pipeline, traffic(random.Random(1), 6_000).steps)
    statuses = {each["status"] for each in told(pipeline) if each["rule"] == "drift.data"}
    assert statuses == {"firing", "updated", "resolved"}


def test_a_reference_that_the_file_asks_for_later_begins_there() -> None:
    chance, log = random.Random(10), Log()
    write(log, chance, 1500, "unit")
    before = len(log.steps)
    write(log, chance, 1600)
    write(log, chance, 600, "unit")
    disk = Disk(Objectives(models={"m": replace(spec(), reference=None)}))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps[:before])
    disk.commit(pipeline)
    disk.objectives = Objectives(models={"m": spec()})
    pipeline = disk.restore(chance)
    feed(pipeline, log.steps[before:])
    watch = pipeline.partition.models["m"].versions[None].data["data"]
    assert watch.reference_rows == 1000
    alerts = told(pipeline)
    assert alerts[0]["evidence"]["columns"][0]["middle"][0] < 100  # of after the file was changed
    disk.commit(pipeline)
    assert any(b"data/prediction" in key for key in disk.raw)
    disk.objectives = Objectives(models={"m": replace(spec(), reference=None)})
    pipeline = disk.restore(chance)
    disk.commit(pipeline)
    assert not any(b"data/prediction" in key for key in disk.raw)  # nothing is left behind
    ended = codec.decode_event(disk.alerts[-1])
    assert (ended["rule"], ended["reason"]) == ("drift.data", "rule_removed")


def test_what_is_saved_per_commit_does_not_grow_with_the_reference() -> None:
    chance, log = random.Random(11), Log()
    write(log, chance, 3000)
    disk = Disk(Objectives(models={"m": spec()}))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    size = {key: len(value) for key, value in disk.raw.items()}
    assert sum(n for key, n in size.items() if b"data/" in key) < 60_000
    more = Log(log.at)
    write(more, chance, 1)
    for step in more.steps:
        disk.raw.clear()
        feed(pipeline, [step])
    disk.commit(pipeline)
    assert not any(b"data/" in key for key in disk.raw)  # panes and references are written once


def test_the_state_of_the_watch_refuses_what_does_not_fit() -> None:
    chance, log = random.Random(12), Log()
    write(log, chance, 2000)
    pipeline = run(spec(), log.steps)
    watch = pipeline.partition.models["m"].versions[None].data["data"]
    head, blocks = watch.snapshot()
    del blocks[watch.block_names[1]][max(blocks[watch.block_names[1]])]
    with pytest.raises(ValueError, match="expected"):
        watch.restore(head, blocks, None, ("negative", "positive"))
