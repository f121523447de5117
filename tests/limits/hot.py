"""One model with a hundred times the traffic of the others: how long its neighbours' alerts take."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from streamer.adapters.alert_log import AlertLog
from streamer.home import home
from tests.deadline import wait_until
from tests.e2e.oracle import Evidence
from tests.e2e.scene import Scene
from tests.e2e.traffic import START_MS, Written
from tests.limits.stage import Clock, Outcome, Say, feed, judged, percentile, stage

PARTITIONS = 4
NEIGHBOURS = 40
HOT = "hot"
TIMES = 100
BLOCK = 40  # predictions of its own after which a model's latency turns bad, and good again
LABELLED = 3  # every third prediction gets its label
SLOW_MS, QUICK_MS = 300.0, 5.0
PATIENCE = 180.0
BURST_ID = "burst"
# Whatever it is that waits, it is not silence: that goes by record time.
OBJECTIVES = """
revision: 1
defaults:
  task: binary
  evaluate_every: 10
  windows: [last 40]
  objectives:
    latency_p95: {max: 100ms, window: last 40, min_samples: 20}
    accuracy: {min: 0.3, window: last 40, min_samples: 10}
    silence: {max: 15s}
  drift: {}
"""


@dataclass(frozen=True, slots=True)
class Size:
    """Predictions ``a_second`` of each neighbour, for so many ``seconds`` a run; ``burst``: those at once."""

    a_second: int
    seconds: int
    burst: int
    acts: tuple[str, ...] = ("alone", "beside", "burst")


FULL = Size(20, 30, 300_000)
SHORT = Size(10, 6, 15_000, acts=("beside", "burst"))


def play(bootstrap: str, scratch: Path, size: Size, say: Say) -> Outcome:
    """The neighbours alone; beside the hot model; and while a backlog of it arrives at once."""
    outcome, clock = Outcome(), Clock()
    outcome.figures |= {
        "neighbours": NEIGHBOURS, "a_second": size.a_second, "times": TIMES, "burst_records": size.burst,
        "neighbours_on_its_partition": sum(_near(model) for model in _names()),
    }  # fmt: skip
    hows = {"alone": (0, 0), "beside": (TIMES, 0), "burst": (1, size.burst)}
    for act in size.acts:
        with stage(bootstrap, scratch, PARTITIONS, OBJECTIVES) as scene:
            delays = _run(scene, size, *hows[act], outcome)
        outcome.figures[act] = {
            where: {"alerts": len(each), "p50_ms": round(percentile(each, 0.5)),
                    "p99_ms": round(percentile(each, 0.99)), "longest_ms": round(percentile(each, 1.0))}
            for where, each in delays.items()
        }  # fmt: skip
        say(f"{act}: {outcome.figures[act]}")
    outcome.seconds = round(clock(), 1)
    return outcome


def _run(scene: Scene, size: Size, hot: int, burst: int, outcome: Outcome) -> dict[str, list[float]]:
    """Answers ms from a record's append to the sight of its alert: on the hot partition, and on others."""
    scene.start(commit_interval="1", commit_share="0.1").await_ready()
    listener = Listener(scene)
    rate = size.a_second * (NEIGHBOURS + hot)
    flow = feed(scene, traffic(size.a_second, size.seconds, hot), rate + rate // LABELLED)
    feeders = [flow]
    if burst:
        backlog = list(_backlog(burst))
        wait_until(lambda: listener.heard, PATIENCE, "the first alerts are told")
        feeders.append(feed(scene, backlog))
        began = time.monotonic()
        feeders[1].finish(PATIENCE)
        outcome.figures["burst_arrived_in_s"] = round(time.monotonic() - began, 1)
    sent = sum(feeder.finish(PATIENCE) for feeder in feeders)
    scene.await_consumed(sent, PATIENCE)
    by_kind = [sum(feeder.by_kind[kind] for feeder in feeders) for kind in (0, 1)]
    verdict, evidence = judged(scene, by_kind)
    wait_until(lambda: len(listener.heard) >= verdict.alerts, PATIENCE, "every alert was seen")
    heard = listener.end()
    outcome.verdict.add(verdict)
    for problem in _wrong(heard, burst):
        outcome.expect(False, problem)
    return _delays(heard, evidence, scene)


def _wrong(heard: Sequence[tuple[float, dict[str, Any]]], burst: int) -> Iterator[str]:
    """Alerts that nobody should have seen, in a sentence each."""
    for _, alert in heard:
        model, rule = alert["model"], alert["rule"]
        if rule != "latency_p95" or (model == HOT and burst) or _steady(model):
            yield f"{model}: {rule} {alert['status']}, although nothing was wrong"


class Listener:
    """A subscriber of the alerts: ``heard``: (wall clock in ms, alert)."""

    def __init__(self, scene: Scene) -> None:
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self._going = threading.Event()
        self._going.set()
        self._log = AlertLog(scene.base, scene.names.alerts)
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for alert in self._log.follow(self._going.is_set):
            self.heard.append((time.time() * 1000, alert))

    def end(self) -> list[tuple[float, dict[str, Any]]]:
        self._going.clear()
        self._thread.join()
        self._log.close()
        return self.heard


def _delays(
    heard: Sequence[tuple[float, dict[str, Any]]], evidence: Sequence[Evidence], scene: Scene
) -> dict[str, list[float]]:
    topics = (scene.names.predictions, scene.names.labels)
    times = {
        (topic, number, record.offset()): record.timestamp()[1]
        for number, each in enumerate(evidence)
        for topic, records in zip(topics, each.sources, strict=True)
        for record in records
    }
    found: dict[str, list[float]] = {"same_partition": [], "other_partitions": []}
    for at, alert in heard:
        source = alert["source"]
        if alert["model"] == HOT:
            continue
        appended = times[source["topic"], source["partition"], source["offset"]]
        found["same_partition" if _near(alert["model"]) else "other_partitions"].append(at - appended)
    return found


def _names() -> list[str]:
    return [f"neighbour-{number}" for number in range(NEIGHBOURS)]


def _near(model: str) -> bool:
    """Whether it shares the hot model's partition."""
    return home(model, PARTITIONS) == home(HOT, PARTITIONS)


def _steady(model: str) -> bool:
    """Models of which nothing is ever wrong: every fourth."""
    return model != HOT and int(model.rpartition("-")[2]) % 4 == 0


def traffic(a_second: int, seconds: int, hot: int, seed: int = 3) -> Iterator[Written]:
    """Every neighbour in turn, the hot one ``hot`` times for each, spread evenly among them."""
    chance = random.Random(seed)
    names = _names()
    spread = [HOT] * hot + names
    chance.shuffle(spread)
    counts = dict.fromkeys([HOT, *names], 0)
    for turn in range(a_second * seconds):
        for model in spread:
            counts[model] += 1
            yield from _pair(model, counts[model], START_MS + turn * 1000 // a_second)


def _pair(model: str, count: int, at: int) -> Iterator[Written]:
    """A prediction, and now and then its label; neighbours turn bad at different times."""
    offset = 0 if model == HOT else int(model.rpartition("-")[2]) * 7
    block = BLOCK * TIMES if model == HOT else BLOCK
    bad = not _steady(model) and (count + offset) // block % 2
    event = {
        "prediction_id": f"{model}-{count}", "model": model, "version": "v1", "timestamp": at,
        "prediction": count % 2, "latency_ms": SLOW_MS if bad else QUICK_MS,
    }  # fmt: skip
    where, key = home(model, PARTITIONS), model.encode()
    yield 0, where, key, orjson.dumps(event)
    if count % LABELLED == 0:
        label = {"prediction_id": event["prediction_id"], "model": model, "timestamp": at, "label": count % 2}
        yield 1, where, key, orjson.dumps(label)


def _backlog(count: int) -> Iterator[Written]:
    """Predictions of the hot model alone, all of them quick."""
    where, key = home(HOT, PARTITIONS), HOT.encode()
    for number in range(count):
        event = {
            "prediction_id": f"{BURST_ID}-{number}", "model": HOT, "version": "v1", "timestamp": START_MS,
            "prediction": number % 2, "latency_ms": QUICK_MS,
        }  # fmt: skip
        yield 0, where, key, orjson.dumps(event)
