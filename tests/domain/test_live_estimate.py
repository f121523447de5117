"""The worker's own estimate: what `estimate` says of the same rows, and how far off it was."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from streamer.domain.bins import binary_code
from streamer.domain.estimate import estimate
from streamer.domain.objectives import DataDriftSpec, ModelSpec, Objectives, ReferenceSpec
from streamer.domain.readings import read_partition
from streamer.domain.reference import Reference
from streamer.pipeline import Pipeline
from tests.domain.feed import Disk, Log, build, feed, interrupted

MODEL = ModelSpec(
    "m",
    task="binary",
    drift=(),
    reference=ReferenceSpec("first", 2000),
    data_drift=DataDriftSpec(rows=1000),
    label_wait_ms=3_600_000,
)
Row = tuple[float, int]


def rows(chance: random.Random, count: int, shift: float = 0.0, turned: bool = False) -> list[Row]:
    """Scores that are honest: positive with their probability, or (``turned``) with the rest of it."""
    found = []
    for _ in range(count):
        score = min(1.0, max(0.0, chance.betavariate(1 + shift, 1)))
        truth = chance.random() < (1 - score if turned else score)
        found.append((score, int(truth)))
    return found


def write(log: Log, made: list[Row], lag: int) -> None:
    """Predictions half a second apart; a label comes ``lag`` predictions later."""
    start = len(log.steps)
    for number, (score, _) in enumerate(made):
        log.wait(500)
        log.predict(f"{start}-{number}", int(score > 0.5), score=score)
        if number >= lag:
            log.label(f"{start}-{number - lag}", made[number - lag][1])
    for number in range(max(0, len(made) - lag), len(made)):
        log.label(f"{start}-{number}", made[number][1])


def run(log: Log, model: ModelSpec = MODEL) -> Pipeline:
    pipeline = build(Objectives(models={"m": model}))
    feed(pipeline, log.steps)
    return pipeline


def shown(pipeline: Pipeline) -> dict[str, float]:
    found = {}
    for sample in read_partition(pipeline.partition, None).parts["m", ""].samples:
        if sample.name == "model_estimated_score":
            found[sample.labels[2]] = sample.value
        if sample.name == "model_estimate_error":
            found["error"] = sample.value
    return found


def reference_of(made: list[Row]) -> Reference:
    found = Reference("m", rows=len(made))
    for score, truth in made:
        at = found.take_answer(score, score > 0.5)
        found.truths[binary_code(at, int(score > 0.5), truth)] += 1
    return found


def test_it_is_what_the_estimate_of_two_references_says() -> None:
    chance, log = random.Random(1), Log()
    made = rows(chance, 2000) + rows(chance, 3000, shift=1.0)
    write(log, made, lag=50)
    expected = {
        each.name: each.value for each in estimate(reference_of(made[:2000]), reference_of(made[-1000:]))
    }
    found = shown(run(log))
    found.pop("error")
    assert found == {name: pytest.approx(value, abs=1e-9) for name, value in expected.items()}


def test_its_own_error_is_small_where_scores_keep_their_meaning_and_large_where_they_do_not() -> None:
    chance = random.Random(2)
    honest, turned = Log(), Log()
    write(honest, rows(chance, 2000) + rows(chance, 6000, shift=1.0), lag=700)
    write(turned, rows(chance, 2000) + rows(chance, 6000, turned=True), lag=700)
    assert abs(shown(run(honest))["error"]) < 0.03
    found = shown(run(turned))
    assert found["error"] > 0.4  # it cannot see concept drift; its error can, once labels are there
    assert found["accuracy"] > 0.7


def test_there_is_an_estimate_before_any_later_label_comes() -> None:
    chance, log = random.Random(3), Log()
    write(log, rows(chance, 2000), lag=10)
    for score, _ in rows(chance, 1500):
        log.wait(500)
        log.predict(f"late-{len(log.steps)}", int(score > 0.5), score=score)
    found = shown(run(log))
    assert 0.7 < found["accuracy"] < 0.8
    assert "error" not in found


def test_panes_whose_labels_do_not_come_are_given_up_after_label_wait() -> None:
    chance, log = random.Random(4), Log()
    write(log, rows(chance, 2200), lag=10)
    for score, _ in rows(chance, 18_000):
        log.wait(500)
        log.predict(f"late-{len(log.steps)}", int(score > 0.5), score=score)
    live = run(log).partition.models["m"].versions[None].estimate_live
    assert live is not None
    assert len(live._waiting) * 200 * 500 <= 3_600_000 + 2 * 200 * 500


@pytest.mark.parametrize("seed", range(3))
def test_commits_and_restarts_anywhere_change_nothing(seed: int) -> None:
    chance, log = random.Random(seed), Log()
    write(log, rows(chance, 2000) + rows(chance, 2500, shift=1.0), lag=chance.choice([3, 120, 450]))
    whole = run(log)
    disk = Disk(Objectives(models={"m": MODEL}))
    pipeline = interrupted(disk, log.steps, chance, 0.01)
    assert shown(pipeline) == shown(whole)
    assert shown(whole)["error"] != 0


@pytest.mark.parametrize("more", [{"task": "regression"}, {"reference": ReferenceSpec("previous", 60_000)}])
def test_others_have_none(more: dict[str, Any]) -> None:
    chance, log = random.Random(5), Log()
    for score, truth in rows(chance, 3000):
        log.wait(500)
        log.predict(str(len(log.steps)), float(score > 0.5), score=score)
        log.label(str(len(log.steps) - 1), float(truth))
    assert shown(run(log, replace(MODEL, **more))) == {}
