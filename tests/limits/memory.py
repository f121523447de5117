"""A worker under a hard limit of memory: ``limits:`` keep it within; or it ends, and its heir goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from streamer.home import home
from tests.e2e.scene import Scene
from tests.e2e.traffic import START_MS, Written
from tests.e2e.worker_process import WorkerProcess
from tests.limits.footprint import Watch, data_bytes, limit_data
from tests.limits.stage import MB, Clock, Outcome, Say, await_end, feed, judged, stage

PARTITIONS = 2
MODELS, VERSIONS, FEATURES = 60, 12, 60
ID_LETTERS = 150
LABELLED, ORPHANS = 0.2, 0.2
PATIENCE = 240.0
END_SECONDS = 120.0

# Of everything far less than there is.
LOW = """
revision: 1
defaults:
  task: binary
  windows: [last 200, lifetime]
  objectives: {accuracy: {min: 0.9, window: last 200, min_samples: 20}}
limits:
  max_pending: 2000
  max_parked: 500
  max_recent: 1000
  max_models: 25
  max_versions: 5
  max_features: 10
  max_versions_total: 120
  max_features_total: 400
"""
# What nobody chose: a million predictions may wait.
ROOMY = """
revision: 1
defaults:
  task: binary
  windows: [last 200, lifetime]
  objectives: {accuracy: {min: 0.9, window: last 200, min_samples: 20}}
"""


@dataclass(frozen=True, slots=True)
class Size:
    """``predictions`` to come; ``spare``, ``scarce``: MB more than an idle worker has."""

    predictions: int
    spare: int
    scarce: int


FULL = Size(150_000, 200, 40)
SHORT = Size(20_000, 200, 10)


def play(bootstrap: str, scratch: Path, size: Size, say: Say) -> Outcome:
    """Both acts: enough by ``limits:``, and not enough without them."""
    outcome, clock = Outcome(), Clock()
    with stage(bootstrap, scratch, PARTITIONS, LOW) as scene:
        _within(scene, size, outcome)
    figures = outcome.figures
    say(f"limit {figures['limit_mb']} MB, at most {figures['peak_mb']} MB; now one that is too small")
    with stage(bootstrap, scratch, PARTITIONS, ROOMY) as scene:
        _too_small(scene, size, outcome)
    outcome.seconds = round(clock(), 1)
    return outcome


def _begin(scene: Scene, spare_mb: int) -> tuple[WorkerProcess, int]:
    """A worker that is ready, and the limit it was given: so much more than it has by then."""
    worker = scene.start(instance_id="a").await_ready()
    limit = data_bytes(worker.process.pid) + spare_mb * MB
    limit_data(worker.process.pid, limit)
    return worker, limit


def _within(scene: Scene, size: Size, outcome: Outcome) -> None:
    worker, limit = _begin(scene, size.spare)
    watch = Watch(worker.process.pid)
    feeder = feed(scene, crowd(size.predictions, PARTITIONS))
    sent = feeder.finish(PATIENCE)
    scene.await_consumed(sent, PATIENCE)
    watch.end()
    scrape = worker.scrape()
    assert scrape is not None
    gave_way = {
        "pending": scrape.total("model_expired_predictions_total", reason="capacity"),
        "parked": scrape.total("streamer_labels_total", outcome="unmatched"),
        "models_and_versions": scrape.total("streamer_dead_letters_total", reason="capacity"),
        "features": scrape.total("model_features_left_out_total"),
    }
    for what, count in gave_way.items():
        outcome.expect(count > 0, f"nothing of {what} gave way")
    outcome.expect(scrape.total("streamer_partitions_quarantined") == 0, "a partition is quarantined")
    outcome.expect(watch.data <= limit, "more memory than the limit")
    outcome.figures |= {
        "limit_mb": round(limit / MB, 1),
        "peak_mb": watch.data_mb,
        "peak_resident_mb": watch.resident_mb,
        "predictions": feeder.by_kind[0],
        "gave_way": {what: int(count) for what, count in gave_way.items()},
    }
    outcome.verdict.add(judged(scene, feeder.by_kind)[0])


def _too_small(scene: Scene, size: Size, outcome: Outcome) -> None:
    worker, limit = _begin(scene, size.scarce)
    feeder = feed(scene, crowd(size.predictions, PARTITIONS))
    status = await_end(worker, END_SECONDS)
    if status is None:
        outcome.expect(False, f"too small a limit, and the worker did not end: {worker.readiness()}")
        worker.kill()
    why = _last_error(worker)
    outcome.expect(bool(status and (status < 0 or "memory" in why.lower())), f"it did not say why: {why}")
    sent = feeder.finish(PATIENCE)
    heir = scene.start(instance_id="a")
    scene.await_consumed(sent, PATIENCE)
    outcome.figures |= {
        "small_limit_mb": round(limit / MB, 1),
        "ended_with": status,
        "it_said": why,
        "pending_then": int(heir.total("streamer_predictions_pending")),
    }
    found, evidence = judged(scene, feeder.by_kind)
    outcome.expect(
        not any(each.dead_letters for each in evidence), "good records were set aside for want of memory"
    )
    outcome.verdict.add(found)


def _last_error(worker: WorkerProcess) -> str:
    """What it said last, but for information and warnings."""
    lines = [
        line
        for line in worker.log.read_text(errors="replace").splitlines()
        if line.strip() and " INFO " not in line and " WARNING " not in line
    ]
    return lines[-1][-300:] if lines else ""


def crowd(count: int, partitions: int, seed: int = 5) -> Iterator[Written]:
    """Predictions under long ids, few of them ever labelled; labels of nobody; many names of everything."""
    chance = random.Random(seed)
    for number in range(count):
        model = f"model-{number % MODELS}"
        pid = f"{number:09}".ljust(ID_LETTERS, "x")
        score = chance.random()
        at = START_MS + number
        event = {
            "prediction_id": pid, "model": model, "version": f"v{chance.randrange(VERSIONS)}",
            "timestamp": at, "prediction": int(score > 0.5), "score": score,
            "features": {f"feature-{chance.randrange(FEATURES)}": chance.gauss(0, 1) for _ in range(4)},
        }  # fmt: skip
        where, key = home(model, partitions), model.encode()
        yield 0, where, key, orjson.dumps(event)
        luck = chance.random()
        if luck < LABELLED + ORPHANS:
            label = {
                "prediction_id": pid if luck < LABELLED else f"nobody-{pid}",
                "model": model, "timestamp": at + 1, "label": int(chance.random() < score),
            }  # fmt: skip
            yield 1, where, key, orjson.dumps(label)
