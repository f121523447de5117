"""Champion and challengers: the pairs that pandas finds, and nothing depends on restarts."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from streamer.cli.versions import _plain, lines
from streamer.domain.objectives import Limits, ModelSpec, Objectives, ThresholdSpec, WindowSpec
from streamer.domain.readings import read_partition
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
    log, _ = played(6, 4000)
    model = run(log).partition.models["m"]
    out = recorder()
    for each in lines(model):
        out.print(each)
    text = " ".join(out.export_text().split())
    assert "v2 against v1: better; its error rate is lower by" in text
    assert "v3 against v1: worse; its error rate is higher by" in text
    assert "however often you look" in text
    found = {each["version"]: each for each in _plain(model)["versions"]}
    assert found["v2"]["verdict"] == "better"
    assert found["v2"]["lower"] < found["v2"]["difference"] < found["v2"]["upper"] < 0
    alone = Log()
    alone.predict("1", 1, version="v1")
    out = recorder()
    for each in lines(run(alone).partition.models["m"]):
        out.print(each)
    assert "docs/versions.md" in out.export_text()
