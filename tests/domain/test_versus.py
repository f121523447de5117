"""Champion and challengers: the pairs that pandas finds, and nothing depends on restarts."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from streamer.cli.versions import _plain, lines
from streamer.domain.confidence import BoundedSequence
from streamer.domain.objectives import (
    DetectorSpec,
    DriftSpec,
    Limits,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)
from streamer.domain.readings import read_partition
from streamer.domain.versus import Pair
from streamer.pipeline import Pipeline
from streamer.terminal import recorder
from tests.domain.feed import Disk, Log, build, facts, feed, interrupted

LAST_100 = WindowSpec("last", 100)
MODEL = ModelSpec("m", task="binary", windows=(LAST_100,), drift=())
VERSIONS = ("v1", "v2", "v3")
WRONG = {"v1": 0.2, "v2": 0.1, "v3": 0.35}


def played(seed: int, count: int, task: str = "binary") -> tuple[Log, pd.DataFrame]:
    """Predictions that not every version makes, labels that come later, and all of it as a table."""
    chance, log = random.Random(seed), Log()
    rows: list[dict[str, Any]] = []
    due: list[tuple[str, Any]] = []
    for number in range(count):
        log.wait(100)
        truth = chance.gauss(10, 3) if task == "regression" else chance.randrange(2)
        for version in VERSIONS:
            if version != "v1" and chance.random() < 0.2:
                continue
            if task == "regression":
                value: Any = truth + chance.gauss(0, 10 * WRONG[version])
            else:
                value = truth if chance.random() >= WRONG[version] else 1 - truth
            log.predict(str(number), value, version=version)
            loss = abs(value - truth) if task == "regression" else float(value != truth)
            rows.append({"id": number, "version": version, "loss": loss})
        due.append((str(number), truth))
        if chance.random() < 0.5:
            log.label(*due.pop(chance.randrange(len(due))))
    for pid, truth in due:
        log.label(pid, truth)
    return log, pd.DataFrame(rows).pivot_table(index="id", columns="version", values="loss")


def run(log: Log, model: ModelSpec = MODEL) -> Pipeline:
    pipeline = build(Objectives(models={"m": model}))
    feed(pipeline, log.steps)
    return pipeline


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("champion", [None, "v2"])
def test_pairs_are_the_predictions_that_both_have_made(task: Any, champion: str | None) -> None:
    log, table = played(1, 800, task)
    pipeline = run(log, replace(MODEL, task=task, champion=champion))
    pairs = pipeline.partition.models["m"].versus.pairs
    first = champion or "v1"
    assert set(pairs) == set(VERSIONS) - {first}
    for name, pair in pairs.items():
        both = table[[first, name]].dropna()
        assert pair.rows == len(both)
        assert pair.difference == pytest.approx((both[name] - both[first]).mean())
        low, high = pair.interval
        assert low < pair.difference < high
    shown = {
        (each.name.removeprefix("model_version_"), *each.labels[1:]): each.value
        for each in read_partition(pipeline.partition, None).parts["m", None].samples
        if each.name.startswith("model_version_")
    }
    assert shown["pairs_total", "v3", first] == pairs["v3"].rows
    assert shown["loss_difference", "v3", first] == pairs["v3"].difference
    assert (
        shown["loss_difference_lower", "v3", first],
        shown["loss_difference_upper", "v3", first],
    ) == pairs["v3"].interval


def fraud(seed: int, count: int, late: bool = False) -> tuple[Log, pd.DataFrame]:
    """Only frauds get a label. v2 finds more of them, and takes a third of all the rest for some.

    ``late``: v2 predicts seconds after v1, so its predictions expire later.
    """
    chance, log = random.Random(seed), Log()
    rows, due, behind = [], [], []
    for number in range(count):
        log.wait(100)
        truth = int(chance.random() < 0.05)
        found = {"v1": 0.8 if truth else 0.01, "v2": 0.95 if truth else 0.3}
        answers = {name: int(chance.random() < share) for name, share in found.items()}
        rows.append({name: float(answer != truth) for name, answer in answers.items()})
        behind.append((str(number), answers["v2"]))
        log.predict(str(number), answers["v1"], version="v1")
        if not late or len(behind) > 50:
            log.predict(*behind.pop(0), version="v2")
        if truth:
            due.append(str(number))
        if due and int(due[0]) < number - 100:
            log.label(due.pop(0), 1)
    for pid, answer in behind:
        log.predict(pid, answer, version="v2")
    for pid in due:
        log.label(pid, 1)
    log.wait(120_000)
    log.predict("last", 0, version="v1")
    return log, pd.DataFrame(rows)


SILENT = replace(MODEL, on_expiry="negative", label_wait_ms=60_000)


@pytest.mark.parametrize("champion", ["v1", "v2"])
def test_where_no_label_means_negative_those_are_paired_as_well(champion: str) -> None:
    log, table = fraud(1, 1500)
    pairs = run(log, replace(SILENT, champion=champion)).partition.models["m"].versus.pairs
    [(other, pair)] = pairs.items()
    assert pair.rows == len(table)
    assert pair.difference == pytest.approx((table[other] - table[champion]).mean())
    assert pair.verdict == ("worse" if other == "v2" else "better")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("late", [False, True])
def test_pairs_of_expired_predictions_outlive_restarts(seed: int, late: bool) -> None:
    log, table = fraud(seed, 900, late)
    whole = run(log, SILENT)
    chance = random.Random(seed)
    pipeline = interrupted(Disk(Objectives(models={"m": SILENT})), log.steps, chance, 0.03)
    assert facts(pipeline) == facts(whole)
    assert whole.partition.models["m"].versus.pairs["v2"].rows == len(table)


def test_three_versions_that_expire_one_after_another_make_one_pair_each() -> None:
    """And a label that comes between them is not a second one."""
    log = Log()
    for version in ("v2", "v1", "v3"):
        for pid in ("quiet", "told"):
            log.predict(pid, 1, version=version)
        log.wait(10_000)
    log.wait(33_000)
    log.predict("later", 0, version="v1")  # by now v2 has expired
    log.label("told", 1)
    log.wait(60_000)
    log.predict("last", 0, version="v1")
    model = run(log, replace(SILENT, champion="v1")).partition.models["m"]
    assert {name: pair.rows for name, pair in model.versus.pairs.items()} == {"v2": 2, "v3": 2}
    # No label meant negative when v2 had waited long enough; v3 met the label that came after all.
    assert model.versus.pairs["v2"].champions_loss == 2
    assert model.versus.pairs["v3"].champions_loss == 1


def test_a_figure_that_only_expiry_has_moved_is_shown_and_kept() -> None:
    log = Log()
    for version in ("v1", "v2"):
        log.predict("1", 0, version=version)
    disk = Disk(Objectives(models={"m": SILENT}))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    before = read_partition(pipeline.partition, None)
    assert pipeline.partition.advance(log.at + 70_000)
    samples = read_partition(pipeline.partition, before).parts["m", None].samples
    assert [each.value for each in samples if each.name == "model_version_pairs_total"] == [1]
    disk.commit(pipeline)
    assert disk.restore().partition.models["m"].versus.pairs["v2"].rows == 1


def test_what_turns_is_not_called_better_for_ever() -> None:
    pair, chance = Pair("v1", "v2", BoundedSequence()), random.Random(1)
    said = []
    for wrong in (0.05, 0.15):  # of the challenger; the champion is wrong by 0.1
        for _ in range(20_000 if wrong < 0.1 else 60_000):
            pair.update(float(chance.random() < 0.1), float(chance.random() < wrong))
        low, high = pair.interval
        assert low < pair.difference < high
        said.append(pair.verdict)
    assert said == ["better", "worse"]


def test_enough_rows_decide() -> None:
    log, _ = played(2, 4000)
    pairs = run(log).partition.models["m"].versus.pairs
    assert {name: pair.verdict for name, pair in pairs.items()} == {"v2": "better", "v3": "worse"}


@pytest.mark.parametrize("seed", range(4))
def test_commits_and_restarts_anywhere_change_nothing(seed: int) -> None:
    log, _ = played(seed, 500)
    whole = run(log)
    chance = random.Random(seed)
    disk = Disk(Objectives(models={"m": MODEL}))
    pipeline = interrupted(disk, log.steps, chance, 0.03)
    assert facts(pipeline) == facts(whole)
    assert facts(pipeline)["m"]["versus"]


def test_another_champion_begins_anew() -> None:
    log, _ = played(3, 300)
    disk = Disk(Objectives(models={"m": MODEL}))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    disk.objectives = Objectives(models={"m": replace(MODEL, champion="v3")})
    assert disk.restore().partition.models["m"].versus.pairs == {}


def test_nothing_is_left_of_a_champion_that_is_no_longer_named() -> None:
    log, _ = played(3, 300)
    disk = Disk(Objectives(models={"m": replace(MODEL, champion="v2")}))
    pipeline = build(disk.objectives)
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    disk.objectives = Objectives(models={"m": MODEL})
    pipeline = disk.restore()
    begun = len(log.steps)
    for number in range(10):
        for version in VERSIONS:
            log.predict(f"new {number}", 1, version=version)
        log.label(f"new {number}", 1)
    feed(pipeline, log.steps[begun:])
    pairs = pipeline.partition.models["m"].versus.pairs
    assert {(pair.champion, name, pair.rows) for name, pair in pairs.items()} == {
        ("v1", "v2", 10),
        ("v1", "v3", 10),
    }


def test_an_alert_tells_how_the_other_versions_do() -> None:
    log, table = played(4, 1500)
    limit = ThresholdSpec("accuracy", "accuracy", LAST_100, minimum=0.75, confidence=None)
    pipeline = run(log, replace(MODEL, thresholds=(limit,)))
    alerts = [each for each in pipeline.take_effects().alerts if each["version"] == "v3"]
    evidence = {each["version"]: each for each in alerts[-1]["evidence"]["versions"]}
    assert set(evidence) == {"v1", "v2"}
    one = evidence["v1"]
    assert 0.5 < one["value"] <= 1
    assert one["pairs"] > 50
    assert one["difference"] < 0  # v1 is better than the one that the alert is about
    assert one["lower"] <= one["difference"] <= one["upper"]
    assert "difference" not in evidence["v2"]  # neither of them is the champion
    assert len(table) == 1500


def test_of_a_drop_at_expiry_the_other_versions_are_told_too() -> None:
    log, _ = fraud(2, 1500)
    limit = ThresholdSpec("accuracy", "accuracy", LAST_100, minimum=0.85, min_samples=100, confidence=None)
    pipeline = run(log, replace(SILENT, thresholds=(limit,)))
    alerts = [each for each in pipeline.take_effects().alerts if each["version"] == "v2"]
    [one] = alerts[0]["evidence"]["versions"]
    assert one["version"] == "v1"
    assert one["rows"] == 100
    assert one["value"] > 0.9


def test_of_a_pane_that_had_to_make_room_the_other_versions_are_told_too() -> None:
    log = Log()
    for number in range(400):
        log.wait(1000)
        for version, answer in (("v1", 1), ("v2", 0)):
            log.predict(str(number), answer, version=version)
        log.label(str(number), 1)
    limit = ThresholdSpec("accuracy", "accuracy", LAST_100, minimum=0.75, confidence=None)
    waits = replace(MODEL, order="prediction", thresholds=(limit,))
    pipeline = build(Objectives(models={"m": waits}, limits=Limits(max_pending=200)))
    feed(pipeline, log.steps)
    [alert] = pipeline.take_effects().alerts
    assert alert["version"] == "v2"
    [one] = alert["evidence"]["versions"]
    assert (one["version"], one["value"]) == ("v1", 1.0)


def test_of_drift_of_the_error_the_other_versions_errors_since_then_are_told() -> None:
    log, chance, rows = Log(), random.Random(1), []
    for number in range(1500):
        log.wait(1000)
        losses = {"v1": chance.random() < 0.1, "v2": chance.random() < (0.1 if number < 800 else 0.6)}
        for version, wrong in losses.items():
            log.predict(str(number), int(wrong), version=version)
        log.label(str(number), 0)
        rows.append((log.at, losses["v1"]))
    drift = (DriftSpec("error", (DetectorSpec("adwin"),)),)
    alerts = run(log, replace(MODEL, drift=drift)).take_effects().alerts
    alert = next(each for each in alerts if each["signal"] == "error")
    assert alert["version"] == "v2"
    evidence = alert["evidence"]
    [one] = evidence["versions"]
    since = pd.Timestamp(evidence["since"]).value // 10**6
    told = pd.DataFrame(rows, columns=["at", "loss"])
    until = pd.Timestamp(alert["updated_at"]).value // 10**6
    mine = told[(told["at"] >= since) & (told["at"] <= until)]
    assert one["rows"] == pytest.approx(len(mine), abs=MODEL.evaluate_every)
    assert one["value"] == pytest.approx(mine["loss"].mean(), abs=0.1)
    assert one["difference"] < 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("more", [{}, {"on_expiry": "negative", "label_wait_ms": 20_000}])
def test_what_alerts_tell_of_other_versions_does_not_depend_on_commits(seed: int, more: Any) -> None:
    log, _ = played(seed, 700) if not more else fraud(seed, 900)
    limit = ThresholdSpec("accuracy", "accuracy", LAST_100, minimum=0.8, margin=0.0, confidence=None)
    drift = (DriftSpec("error", (DetectorSpec("page_hinkley", (("threshold", 2.0),)),)),)
    model = replace(MODEL, drift=drift, thresholds=(limit,), **more)
    whole = build(Objectives(models={"m": model}))
    alone = Disk(whole.partition.objectives)
    feed(whole, log.steps)
    alone.commit(whole)
    often = Disk(alone.objectives)
    interrupted(often, log.steps, random.Random(seed), 0.1)
    told, same = ([json.loads(each) for each in disk.alerts] for disk in (alone, often))
    assert same == told
    signals = {each["signal"] for each in told if "versions" in each["evidence"]}
    assert signals == {"accuracy", "error"}


def test_versions_that_are_paired_come_first_then_the_newest() -> None:
    log = Log()
    names = [f"r{number:02}" for number in range(20)]
    for name in names:
        for number in range(60):
            log.predict(f"{name}/{number}", 1, version=name)
            log.label(f"{name}/{number}", 1)
    for number in range(200):
        for name in ("r03", "r19"):
            log.predict(str(number), 1, version=name)
        log.label(str(number), 0)
    limit = ThresholdSpec("accuracy", "accuracy", LAST_100, minimum=0.75, confidence=None)
    alerts = run(log, replace(MODEL, champion="r03", thresholds=(limit,))).take_effects().alerts
    alert = next(each for each in alerts if each["version"] == "r19")
    told = [each["version"] for each in alert["evidence"]["versions"]]
    assert told == ["r03", *(name for name in reversed(names) if name not in ("r03", "r19"))][:10]


def test_one_version_alone_has_no_pairs_and_no_state() -> None:
    log = Log()
    for number in range(50):
        log.predict(str(number), 1, version="v1")
        log.label(str(number), 1)
    model = run(log).partition.models["m"]
    assert model.versus.pairs == {}
    assert "versus" not in model.snapshot()


def test_versions_that_share_a_name_are_not_compared() -> None:
    log, _ = played(5, 200)
    pipeline = build(Objectives(models={"m": MODEL}, limits=Limits(max_versions=2)))
    feed(pipeline, log.steps)
    assert set(pipeline.partition.models["m"].versus.pairs) == {"v2"}


def test_the_table_says_who_is_better_in_a_sentence() -> None:
    log, table = played(6, 4000)
    model = run(log).partition.models["m"]
    out = recorder()
    for each in lines(model):
        out.print(each)
    text = " ".join(out.export_text().split())
    assert "accuracy" in text
    assert "v2 against v1: better; its error rate is lower by" in text
    assert "v3 against v1: worse; its error rate is higher by" in text
    assert "however often you look" in text
    found = {each["version"]: each for each in _plain(model)["versions"]}
    assert found["v2"]["verdict"] == "better"
    right = 1 - table.mean()
    assert {name: each["accuracy"] for name, each in found.items()} == pytest.approx(right.to_dict())
    assert found["v2"]["lower"] < found["v2"]["difference"] < found["v2"]["upper"] < 0
    alone = Log()
    alone.predict("1", 1, version="v1")
    out = recorder()
    for each in lines(run(alone).partition.models["m"]):
        out.print(each)
    assert "docs/versions.md" in out.export_text()


def test_of_a_regression_the_errors_are_told() -> None:
    log, table = played(7, 300, "regression")
    model = run(log, replace(MODEL, task="regression")).partition.models["m"]
    found = {each["version"]: each["mae"] for each in _plain(model)["versions"]}
    assert found == pytest.approx(table.mean().to_dict())
    assert any("mean absolute error" in str(each) for each in lines(model))
