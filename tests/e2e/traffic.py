"""Traffic of eight models with everything in it: drift, pauses, duplicates, conflicts, orphans, garbage."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from streamer.home import home

MODELS = tuple(f"model-{number}" for number in range(8))
REGRESSION, MULTICLASS, FRAUD, PAUSING = "model-3", "model-4", "model-5", "model-7"
COMPARED = "model-6"  # a challenger predicts beside its champion; counted in the order of predictions
COUNTRIES = ("DE", "DE", "NL", "FR", None)
START_MS = 1_790_000_000_000
# The waits are of record time: short enough to run out many times during a test.
OBJECTIVES = """
revision: 3
defaults: {label_wait: 8s, park: 4s, dedupe: 4s}
models:
  model-0: &binary
    task: binary
    segments: [country, device]
    windows: [last 500, last 1m, lifetime]
    objectives:
      accuracy: {min: 0.76, window: last 500}  # it is 0.75, so it falls below and comes back by chance
      latency_p95: {max: 200ms, window: last 500}
    reference: first 1000
    drift:
      data: {window: last 500}
      error: {detectors: [adwin, page_hinkley], quiet: 1500 labels}
      score: [adwin]
      features: {x: {detectors: [adwin, page_hinkley], quiet: 1500 values}}
  model-1: *binary
  model-2:
    task: binary
    objectives: {label_coverage: {min: 0.98}, auc_roc: {min: 0.85, window: last 500}}
    drift: {score: [adwin]}
  model-3:
    task: regression
    segments: [country]
    windows: [last 500, last 20s]
    objectives: {mae: {max: 2.5, window: last 500}, r2: {min: 0.3, window: last 20s}}
    reference: previous 3m
    drift:
      error: {detectors: [adwin, page_hinkley], quiet: 1500 labels}
      data: {window: last 300, distance: total_variation}
  model-4:
    task: multiclass
    segments: [device]
    windows: [last 500, last 20s, lifetime]
    objectives:
      f1: {min: 0.75, window: last 500}
      worst class: {signal: recall, class: b, min: 0.75, window: last 500, for: 50 labels}
  model-5:
    task: binary
    on_expiry: negative
    objectives: {precision: {min: 0.75, window: last 500}}
  model-6:
    task: binary
    order: prediction
    label_maturity: 4s
    objectives: {accuracy: {min: 0.80, window: last 500}}
  model-7:
    task: binary
    objectives: {silence: {max: 2s}, throughput: {min: 1, window: last 1m}}
  ghost-0: &ghost {task: binary, objectives: {silence: {max: 3s, severity: page}}}
  ghost-1: *ghost
  ghost-2: *ghost
  ghost-3: *ghost
"""

Written = tuple[int, int, bytes, bytes]  # kind, partition, key, value
Event = dict[str, Any]


def traffic(
    more: Callable[[int], bool], partitions: int, seed: int = 11, period: int = 15_000
) -> Iterator[Written]:
    """Records while ``more(how many there were)``: (0 predictions | 1 labels, partition, key, value).

    ``period``: after how many predictions the models turn bad, and good again.
    """
    chance = random.Random(seed)
    waiting: list[tuple[int, Event]] = []
    at = made = 0
    while more(made):
        at += 1
        model = chance.choice(MODELS)
        if model == PAUSING and (at // 20_000) % 2:
            continue
        for kind, event in _one(chance, model, at, waiting, period):
            made += 1
            yield _place(chance, kind, model, event, partitions)
        if at % 100 == 0:
            due = [event for when, event in waiting if when <= at]
            waiting[:] = [each for each in waiting if each[0] > at]
            for event in due:
                made += 1
                yield _place(chance, 1, event["model"], event, partitions)
    for _, event in waiting:
        yield _place(chance, 1, event["model"], event, partitions)


def _one(
    chance: random.Random, model: str, at: int, waiting: list[tuple[int, Event]], period: int
) -> Iterator[tuple[int, Any]]:
    """One prediction and what belongs to it; its labels come later."""
    now = START_MS + at * 40
    pid = f"{model}-{at}"
    bad = (at // period) % 2 == 1
    answer, truth = _answers(chance, model, bad)
    prediction = {
        "prediction_id": pid, "model": model, "timestamp": now, "version": "v1", **answer,
        "latency_ms": chance.lognormvariate(4 + bad, 0.5), "features": {"x": chance.gauss(bad, 1), "k": "a"},
        "segments": {"country": COUNTRIES[at % 13 % 5], "device": "tv" if at % 7 == 3 else "phone"},
    }  # fmt: skip
    yield 0, prediction
    if model == COMPARED and chance.random() < 0.7:
        yield 0, {**prediction, "version": "v2", **_answers(chance, model, bad)[0]}
    if chance.random() < 0.01:
        yield 0, prediction
    if chance.random() < 0.95 and (model != FRAUD or truth):
        label = {"prediction_id": pid, "model": model, "timestamp": now + 500, "label": truth}
        late = chance.random() < 0.002  # some 10 s at the rates of the tests
        waiting.append((at + chance.randrange(400) + 40_000 * late, label))
        if chance.random() < 0.01:
            waiting.append((at + 500, {**label, "label": chance.choice([0, 1])}))
    if chance.random() < 0.005:
        yield 1, {"prediction_id": f"nobody-{at}", "model": model, "timestamp": now, "label": 1}
    if chance.random() < 0.01:
        yield (
            chance.randrange(2),
            chance.choice(
                [b"{", b"[]", {"model": model}, {**prediction, "timestamp": 12}, {**prediction, "score": 7}]
            ),
        )


def _answers(chance: random.Random, model: str, bad: bool) -> tuple[Event, Any]:
    """What the model says, and the truth; in bad times it is wrong more often."""
    if model == REGRESSION:
        truth = chance.gauss(10, 3)
        return {"prediction": truth + chance.gauss(0, 6 if bad else 2)}, truth
    if model == MULTICLASS:
        kind = chance.choice("abc")
        right = chance.random() < (0.5 if bad and kind == "b" else 0.9)
        return {"prediction": kind if right else chance.choice("abc")}, kind
    score = chance.random()
    truth = int(chance.random() < score)
    return {"prediction": int(score > 0.5), "score": score ** (3 if bad else 1)}, truth


def _place(chance: random.Random, kind: int, model: str, event: Any, partitions: int) -> Written:
    where = home(model, partitions)
    if chance.random() < 0.002:
        where = chance.randrange(partitions)
    value = event if isinstance(event, bytes) else orjson.dumps(event)
    return kind, where, model.encode(), value
