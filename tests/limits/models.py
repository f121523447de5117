"""Ten thousand models, against the same records over 64: speed, memory, commits, scrapes, a restore."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.load import events
from streamer.adapters.scrape import fetch
from streamer.home import home
from tests.chaos.diary import Diary
from tests.deadline import wait_until
from tests.e2e.oracle import committed
from tests.e2e.scene import Scene
from tests.e2e.traffic import Written
from tests.e2e.worker_process import WorkerProcess
from tests.limits.footprint import Watch
from tests.limits.stage import MB, Clock, Outcome, Say, feed, judged, percentile, stage

PARTITIONS = 4
FEW = 64
MAX_SERIES = 10_000
PATIENCE = 600.0
LOOK_SECONDS = 0.25
# As users have it, and rules that some models break.
OBJECTIVES = """
revision: 1
defaults:
  task: binary
  windows: [last 100, last 1h]
  objectives: {accuracy: {min: 0.8, window: last 100, min_samples: 5}}
"""
# As the defaults are: Scene's own pace is that of tests of kills.
PACE = {"commit_interval": "1", "commit_share": "0.1", "max_series": str(MAX_SERIES), "instance_id": "a"}


@dataclass(frozen=True, slots=True)
class Size:
    """``pairs`` of a prediction and its label; ``steady`` more at ``rate`` events a second."""

    models: int
    pairs: int
    steady: int
    rate: int


FULL = Size(10_000, 60_000, 10_000, 1_000)
SHORT = Size(1_000, 12_000, 2_000, 2_000)


def play(bootstrap: str, scratch: Path, size: Size, say: Say) -> Outcome:
    """Few models first, then many: the same records but for the models' names."""
    outcome, clock = Outcome(), Clock()
    speeds: dict[int, float] = {}
    for models in (FEW, size.models):
        with stage(bootstrap, scratch, PARTITIONS, OBJECTIVES) as scene:
            # The worker comes when all is there: it is held up by nothing but itself.
            feeder = feed(scene, _pairs(size.pairs, models))
            sent = feeder.finish(PATIENCE)
            worker = scene.start(**PACE)
            with_models = Watch(worker.process.pid)
            scene.await_consumed(sent, PATIENCE)
            with_models.end()
            speeds[models] = sent / _span(scene)
            say(f"{models:,} models: {speeds[models]:,.0f} records a second, {with_models.resident_mb} MB")
            if models == FEW:
                outcome.figures["few_resident_mb"] = with_models.resident_mb
                continue
            outcome.figures |= {
                "models": models,
                "few": FEW,
                "records": sent,
                "resident_mb": with_models.resident_mb,
                "records_per_s": round(speeds[models]),
                "ratio_to_few": round(speeds[models] / speeds[FEW], 3),
            }
            steady = feed(scene, _pairs(size.steady, models, "later-"), size.rate)
            outcome.figures |= _observe(worker, sent + 2 * size.steady)
            sent += steady.finish(PATIENCE)
            scene.await_consumed(sent, PATIENCE)
            outcome.figures |= _restart(scene, worker)
            scene.await_consumed(sent, PATIENCE)
            outcome.expect(outcome.figures["series"] <= MAX_SERIES, "more series than max_series")
            outcome.expect(outcome.figures["series_dropped"] > 0, "all models fit into max_series")
            by_kind = [sum(each) for each in zip(feeder.by_kind, steady.by_kind, strict=True)]
            verdict, _ = judged(scene, by_kind)
            outcome.expect(verdict.fired > 0, "no alert was fired")
            outcome.verdict.add(verdict)
    outcome.seconds = round(clock(), 1)
    return outcome


def _observe(worker: WorkerProcess, until: int) -> dict[str, Any]:
    """What commits and scrapes cost while traffic comes steadily, until all of it is consumed."""
    commits: list[float] = []
    scrapes: list[float] = []
    last: tuple[float, float] | None = None
    series = dropped = size = 0
    end = time.monotonic() + PATIENCE

    def look() -> bool:
        nonlocal last, series, dropped, size
        began = time.monotonic()
        text = fetch(f"{worker.url}/metrics")
        scrapes.append(time.monotonic() - began)
        worker.check()
        if text is None:
            return False
        size, series = len(text), sum(not line.startswith("#") for line in text.splitlines())
        # Parsing ten thousand series takes a while: these few lines are enough.
        values = dict(_own(text))
        now = values["streamer_commits_total"], values["streamer_commit_seconds_total"]
        if last is not None and now[0] > last[0]:
            commits.append((now[1] - last[1]) / (now[0] - last[0]))
        last, dropped = now, int(values["streamer_series_dropped"])
        return values["consumed"] >= until or time.monotonic() > end

    wait_until(look, PATIENCE, "all records are consumed")
    return {
        "commit_median_s": round(statistics.median(commits), 3),
        "commit_longest_s": round(max(commits), 3),
        "scrape_median_s": round(statistics.median(scrapes), 3),
        "scrape_longest_s": round(percentile(scrapes, 1.0), 3),
        "scrape_mb": round(size / MB, 2),
        "series": series,
        "series_dropped": dropped,
    }


def _own(text: str) -> Iterator[tuple[str, float]]:
    """The worker's own counters in an answer of /metrics; ``consumed``: of both topics."""
    consumed = 0.0
    for line in text.splitlines():
        if line.startswith("streamer_"):
            name, _, value = line.rpartition(" ")
            if name.partition("{")[0].endswith("_consumed_total"):
                consumed += float(value)
            elif "{" not in name:
                yield name, float(value)
    yield "consumed", consumed


def _restart(scene: Scene, worker: WorkerProcess) -> dict[str, Any]:
    """Kill it, start it again."""
    worker.kill()
    clock = Clock()
    heir = scene.start(**PACE).await_ready(PATIENCE)
    ready = clock()
    restores = Diary(heir.log).read().seconds
    return {"ready_again_s": round(ready, 1), "longest_restore_s": max(restores)}


def _span(scene: Scene) -> float:
    """Seconds from the first commit that took records to the last one, by the trace."""
    assert scene.names.trace
    times = [
        record.timestamp()[1]
        for number in range(scene.partitions)
        for record in committed(scene.bootstrap, scene.names.trace, number)
        if any(kind >= 0 for kind, _ in orjson.loads(record.value())["order"])
        or orjson.loads(record.value())["commit"] == 1
    ]
    return float(max(times) - min(times)) / 1000


def _pairs(pairs: int, models: int, prefix: str = "") -> Iterator[Written]:
    """The benchmarks' records, each to its model's home; ``prefix``: of the ids, to tell rounds apart."""
    homes = {f"model-{number}": home(f"model-{number}", PARTITIONS) for number in range(models)}
    for kind, model, value in events(pairs, models):
        if prefix:
            value = value.replace(b'"prediction-', b'"' + prefix.encode(), 1)
        yield kind, homes[model], model.encode(), value
