"""What is told of hours and days adds up to the lifetime, and is what pandas says of them."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pandas as pd
import pytest

from streamer.domain.events import rfc3339
from streamer.domain.objectives import (
    DAY_MS,
    HOUR_MS,
    LIFETIME,
    DataDriftSpec,
    DetectorSpec,
    DriftSpec,
    ModelSpec,
    Objectives,
    ReferenceSpec,
    ThresholdSpec,
    WindowSpec,
)
from streamer.domain.periods import sizes_of
from streamer.pipeline import Pipeline
from tests.domain.feed import Disk, Log, build, by_version, facts, feed, interrupted

START = 1_700_006_400_000  # a midnight
LAG = 20 * 60_000
SCHEMA = json.loads((files("streamer") / "schemas" / "period.schema.json").read_bytes())
WINDOWS = (WindowSpec("last", 100), WindowSpec("duration", HOUR_MS), WindowSpec("duration", 30_000), LIFETIME)
SPEC = ModelSpec(
    "m",
    task="binary",
    windows=WINDOWS,
    segments=("country",),
    thresholds=(ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 100), minimum=0.7),),
    drift=(DriftSpec("error", (DetectorSpec("adwin", (("delta", 0.3),)),), quiet_rows=200),),
    reference=ReferenceSpec("first", 300),
    data_drift=DataDriftSpec(rows=200),
    dedupe_ms=10_000,
    label_wait_ms=2 * HOUR_MS,
)
TASKS = {
    "binary": SPEC,
    "multiclass": replace(SPEC, task="multiclass", thresholds=()),
    "regression": replace(SPEC, task="regression", thresholds=()),
}


def played(task: str, days: float = 2.6, seed: int = 1) -> tuple[Log, pd.DataFrame]:
    """A prediction every two minutes or so, its label 20 minutes later; pauses by night."""
    chance, log, rows = random.Random(seed), Log(START + 5 * HOUR_MS), []
    waiting: list[dict[str, Any]] = []
    number = 0
    while log.at < START + days * DAY_MS:
        log.wait(chance.randrange(1, 240_000) if log.at % DAY_MS < 20 * HOUR_MS else 3 * HOUR_MS)
        while waiting and waiting[0]["at"] + LAG <= log.at:
            due = waiting.pop(0)
            now, log.at = log.at, due["at"] + LAG
            log.label(due["pid"], due["truth"])
            log.at = now
        number += 1
        truth, value = chance.gauss(0, 1), chance.gauss(0, 1)
        if task != "regression":
            wrong = chance.random() < (0.1 if number % 700 < 500 else 0.5)
            truth = chance.randrange(2)
            value = truth ^ wrong
        row = {
            "pid": number,
            "at": log.at,
            "value": value,
            "truth": truth,
            "latency": chance.randrange(5, 90),
        }
        row["country"] = chance.choice(["DE", "FR", None])
        log.predict(
            number, value, latency_ms=row["latency"], segments={"country": row["country"]},
            features={"age": chance.gauss(40, 9)},
        )  # fmt: skip
        if chance.random() < 0.03:
            log.predict(number, value)
        if chance.random() < 0.9:
            waiting.append(row)
        rows.append(row | {"labelled": bool(waiting) and waiting[-1] is row})
    table = pd.DataFrame(rows)
    table["label_at"] = table["at"] + LAG
    table["joined"] = table["labelled"] & ~table["pid"].isin([row["pid"] for row in waiting])
    return log, table


def told_of(pipeline: Pipeline, period: str) -> list[dict[str, Any]]:
    return [each for each in pipeline.take_effects().reports if each.get("period") == period]


@pytest.mark.parametrize("task", TASKS)
def test_days_are_what_pandas_says_of_them(task: str) -> None:
    log, table = played(task)
    pipeline = build(Objectives(revision=4, models={"m": TASKS[task]}))
    feed(pipeline, log.steps)
    told = told_of(pipeline, "1d")
    assert [each["start"] for each in told] == [rfc3339(START), rfc3339(START + DAY_MS)]
    joined = table[table["joined"]]
    for number, each in enumerate(told):
        jsonschema.validate(each, SCHEMA)
        mine = table[(table["at"] - START) // DAY_MS == number]
        labelled = joined[(joined["label_at"] - START) // DAY_MS == number]
        assert (each["predictions"], each["labels"], each["rows"]) == (
            len(mine),
            len(labelled),
            len(labelled),
        )
        assert each["objectives_revision"] == 4
        assert each["whole"]
        error = labelled["value"] - labelled["truth"]
        name, right = (
            ("mae", error.abs().mean()) if task == "regression" else ("accuracy", (error == 0).mean())
        )
        assert each["figures"][name] == pytest.approx(right)
        assert each["figures"]["latency_p50"] == pytest.approx(mine["latency"].median(), rel=0.12)
        for segment in each["segments"]:
            country = segment["segment"].partition("=")[2]
            part = labelled[labelled["country"].fillna("") == country]
            assert segment["rows"] == len(part)
            error = part["value"] - part["truth"]
            right = error.abs().mean() if task == "regression" else (error == 0).mean()
            assert segment["figures"][name] == pytest.approx(right)
        assert sum(segment["rows"] for segment in each["segments"]) == len(labelled)


@pytest.mark.parametrize("task", TASKS)
def test_periods_add_up_to_the_lifetime(task: str) -> None:
    log, _ = played(task)
    pipeline = build(Objectives(models={"m": TASKS[task]}))
    feed(pipeline, log.steps)
    model = pipeline.partition.models["m"]
    version = model.versions[""]
    version.turn(START + 100 * DAY_MS)
    reports = pipeline.take_effects().reports
    for period in ("1h", "1d"):
        told = [each for each in reports if each.get("period") == period]
        assert sum(each["predictions"] for each in told) == version.accepted
        assert sum(each["labels"] for each in told) == sum(each["rows"] for each in told) == version.joined
        assert sum(each["expired"] for each in told) == version.expired["label_wait"] > 0
        assert sum(each["duplicates"] for each in told) == version.duplicates > 0
        found: Counter[str] = Counter()
        for each in told:
            found.update(each["detections"])
        assert found == {f"{detector}/{signal}": n for (detector, signal), n in version.detections.items()}
    hours = [each["start"] for each in reports if each.get("period") == "1h"]
    assert hours == sorted(set(hours))
    assert len(hours) < 2.6 * 24  # by night nothing happened: nothing is told


def test_a_period_says_what_fires_and_what_is_far_from_its_reference_at_its_end() -> None:
    log, _ = played("binary")
    pipeline = build(Objectives(models={"m": SPEC}))
    feed(pipeline, log.steps)
    effects = pipeline.take_effects()
    told = [each for each in effects.reports if each.get("period") == "1h"]
    assert any(each["distances"].keys() >= {"feature:age", "prediction"} for each in told)
    for each in told:
        is_open: dict[str, bool] = {}
        for alert in effects.alerts:
            if alert["updated_at"] < each["end"]:
                is_open[alert["rule"]] = alert["status"] != "resolved"
        assert set(each["firing"]) <= {"accuracy", "drift.error", "drift.data", "drift.label"}
        quiet = {rule for rule, yes in is_open.items() if not yes}
        assert len(quiet & set(each["firing"])) <= 1  # what opened with the first event of the next period
    assert any(each["firing"] for each in told)


@pytest.mark.parametrize("seed", range(6))
def test_commits_and_restarts_change_nothing_of_what_is_told(seed: int) -> None:
    chance = random.Random(seed)
    log, _ = played(chance.choice([*TASKS]), 1.8, seed)
    wanted = Objectives(models={"m": TASKS[chance.choice([*TASKS])]})
    undisturbed = build(wanted)
    feed(undisturbed, log.steps)
    effects, expected = undisturbed.take_effects(), facts(undisturbed)
    disk = Disk(wanted)
    interrupted(disk, log.steps, chance, often=0.02)
    assert by_version(map(json.loads, disk.reports)) == by_version(json.loads(json.dumps(effects.reports)))
    assert facts(disk.restore(chance)) == expected


def test_a_window_that_the_file_asks_for_later_begins_in_the_middle_of_a_period() -> None:
    log, _ = played("binary", 1.0)
    half = len(log.steps) // 2
    before = Objectives(models={"m": replace(SPEC, windows=(LIFETIME,))})
    disk = Disk(before)
    pipeline = build(before)
    feed(pipeline, log.steps[:half])
    disk.commit(pipeline)
    disk.objectives = Objectives(models={"m": SPEC})
    pipeline = disk.restore()
    feed(pipeline, log.steps[half:])
    told = [each["whole"] for each in told_of(pipeline, "1h")]
    assert told[0] is False
    assert all(told[1:])
    assert len(told) > 4


def test_periods_are_days_and_windows_of_time_from_a_minute_on() -> None:
    assert sizes_of(SPEC) == (HOUR_MS, DAY_MS)
    assert sizes_of(ModelSpec("m")) == (HOUR_MS, DAY_MS)
    assert sizes_of(replace(SPEC, windows=(WindowSpec("duration", DAY_MS),))) == (DAY_MS,)


def objectives_told(pipeline: Pipeline) -> list[dict[str, Any]]:
    return [each for each in pipeline.take_effects().reports if each["type"] == "objectives"]


def test_what_is_asked_of_a_model_is_told_when_it_begins_and_when_it_changes() -> None:
    schema = json.loads((files("streamer") / "schemas" / "declaration.schema.json").read_bytes())
    wanted = Objectives(revision=4, models={"m": SPEC})
    disk, log = Disk(wanted), Log()
    log.predict(1, 1)
    log.predict(1, 1, model="nobody named it")
    pipeline = build(wanted)
    feed(pipeline, log.steps)
    [told] = pipeline.effects.reports or pipeline.partition.take_reports()
    jsonschema.validate(told, schema)
    assert (told["model"], told["objectives_revision"], told["named"]) == ("m", 4, True)
    assert told["told_at"] == rfc3339(log.at // 1000 * 1000)
    assert [(each["rule"], each["min"]) for each in told["objectives"]] == [("accuracy", 0.7)]
    assert told["drift"][0]["detectors"] == [{"kind": "adwin", "delta": 0.3}]
    assert told["reference"] == "first 300"
    disk.commit(pipeline)
    again = disk.restore()
    again.tick(log.at + 5000)
    assert objectives_told(again) == []
    limit = replace(SPEC.thresholds[0], minimum=0.75)
    disk.objectives = Objectives(revision=5, models={"m": replace(SPEC, thresholds=(limit,))})
    changed = disk.restore()
    changed.tick(log.at + 9000)
    [told] = objectives_told(changed)
    assert (told["objectives"][0]["min"], told["objectives_revision"]) == (0.75, 5)
    disk.objectives = Objectives(revision=6)
    unnamed = disk.restore()
    unnamed.tick(log.at + 9000)
    [told] = objectives_told(unnamed)
    jsonschema.validate(told, schema)
    assert told["named"] is False
