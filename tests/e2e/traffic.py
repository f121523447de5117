"""Traffic of eight models with everything in it: drift, duplicates, conflicts, orphans, garbage."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from streamer.home import home

MODELS = tuple(f"model-{number}" for number in range(8))
START_MS = 1_790_000_000_000
OBJECTIVES = """
revision: 3
defaults: {label_wait: 1h}
models:
  model-0: &binary
    task: binary
    windows: [last 500, last 1m, lifetime]
    objectives:
      accuracy: {min: 0.80, window: last 500}
      latency_p95: {max: 200ms, window: last 500}
    drift:
      error: {detectors: [adwin, page_hinkley], quiet: 1500 labels}
      score: [adwin]
  model-1: *binary
  model-2: *binary
  model-3: {task: regression, objectives: {mae: {max: 2.5, window: last 500}}}
"""

Written = tuple[int, int, bytes, bytes]  # kind, partition, key, value


def traffic(more: Callable[[int], bool], partitions: int, seed: int = 11) -> Iterator[Written]:
    """Records while ``more(how many there were)``: (0 predictions | 1 labels, partition, key, value)."""
    chance = random.Random(seed)
    waiting: list[tuple[int, dict[str, Any]]] = []
    at = made = 0
    while more(made):
        at += 1
        model = chance.choice(MODELS)
        for kind, event in _one(chance, model, at, waiting):
            made += 1
            yield _place(chance, kind, model, event, partitions)
    for _, event in waiting:
        yield _place(chance, 1, event["model"], event, partitions)


def _one(
    chance: random.Random, model: str, at: int, waiting: list[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, Any]]:
    now = START_MS + at * 40
    pid = f"{model}-{at}"
    bad = (at // 15_000) % 2 == 1
    regression = model == "model-3"
    score = chance.random()
    truth: Any = chance.gauss(10, 3) if regression else int(chance.random() < score)
    guess = truth + chance.gauss(0, 6 if bad else 2) if regression else int(score > 0.5)
    prediction = {
        "prediction_id": pid, "model": model, "timestamp": now, "version": "v1", "prediction": guess,
        "latency_ms": chance.lognormvariate(4 + bad, 0.5), "features": {"x": chance.gauss(0, 1), "k": "a"},
    }  # fmt: skip
    if not regression:
        prediction["score"] = score ** (3 if bad else 1)
    yield 0, prediction
    if chance.random() < 0.01:
        yield 0, prediction
    if chance.random() < 0.95:
        label = {"prediction_id": pid, "model": model, "timestamp": now + 500, "label": truth}
        waiting.append((at + chance.randrange(400), label))
        if chance.random() < 0.01:
            waiting.append((at + 500, {**label, "label": 1 - truth}))
    if chance.random() < 0.005:
        yield 1, {"prediction_id": f"nobody-{at}", "model": model, "timestamp": now, "label": 1}
    if chance.random() < 0.01:
        yield (
            chance.randrange(2),
            chance.choice(
                [b"{", b"[]", {"model": model}, {**prediction, "timestamp": 12}, {**prediction, "score": 7}]
            ),
        )
    if at % 100 == 0:
        due = [event for when, event in waiting if when <= at]
        waiting[:] = [each for each in waiting if each[0] > at]
        for event in due:
            yield 1, event


def _place(chance: random.Random, kind: int, model: str, event: Any, partitions: int) -> Written:
    where = home(model, partitions)
    if chance.random() < 0.002:
        where = chance.randrange(partitions)
    value = event if isinstance(event, bytes) else orjson.dumps(event)
    return kind, where, model.encode(), value
