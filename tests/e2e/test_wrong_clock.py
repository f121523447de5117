"""A worker whose clock is wrong decides nothing by it, says so, and goes on once it is set."""

from __future__ import annotations

import re
import time
from pathlib import Path

import orjson
import pytest

from streamer.home import home
from tests.deadline import wait_until
from tests.e2e.conftest import SceneFactory
from tests.e2e.oracle import committed, write
from tests.e2e.scene import Scene
from tests.e2e.worker_process import WorkerProcess

MODEL = "m"
HOUR = 3600
OBJECTIVES = """
defaults: {task: binary, label_wait: 30m, objectives: {silence: {max: 1s}}}
"""
LAUNCHER = Path(__file__).with_name("wrong_clock.py")


def speak(plant: Scene, name: str) -> None:
    event = {"prediction_id": name, "model": MODEL, "timestamp": int(time.time() * 1000), "prediction": 1}
    where = home(MODEL, plant.partitions)
    write(plant.bootstrap, [(plant.names.predictions, where, MODEL.encode(), orjson.dumps(event))])


def told(plant: Scene) -> list[str]:
    records = committed(plant.bootstrap, plant.names.alerts, home(MODEL, plant.partitions))
    return [orjson.loads(record.value())["status"] for record in records]


def await_doubt(worker: WorkerProcess, which: str) -> None:
    text = re.compile(rf"the brokers' clock is 3[56]\d\d s {which} this worker's")

    def in_doubt() -> bool:
        status, why = worker.readiness()
        return status == 503 and bool(text.search(why))

    wait_until(in_doubt, 30, "the worker says that the clocks differ")


def pending(worker: WorkerProcess) -> float:
    return worker.total("streamer_predictions_pending")


def started(scene: SceneFactory, shift: Path, hours: float) -> tuple[Scene, WorkerProcess]:
    plant = scene(1, OBJECTIVES)
    shift.write_text(str(hours * HOUR))
    speak(plant, "first")
    return plant, plant.start(program=(str(LAUNCHER), str(shift)), instance_id="a")


def then_all_is_well(plant: Scene, worker: WorkerProcess, shift: Path) -> None:
    shift.write_text("0")
    worker.await_ready()
    wait_until(lambda: told(plant) == ["firing"], 30, "the silence is told once time passes again")
    assert pending(worker) == 1
    speak(plant, "second")
    wait_until(lambda: told(plant) == ["firing", "resolved"], 30, "its end is told")
    plant.stop()
    assert "agree again" in worker.said()
    plant.judge()


@pytest.mark.timeout(120)
def test_a_worker_an_hour_ahead_lets_no_time_pass_and_expires_nothing(
    scene: SceneFactory, tmp_path: Path
) -> None:
    plant, worker = started(scene, shift := tmp_path / "shift", 1)
    await_doubt(worker, "behind")
    commits = worker.total("streamer_commits_total")
    wait_until(lambda: worker.total("streamer_commits_total") > commits + 1, 30, "it asks again and again")
    assert pending(worker) == 1, "by its clock it waited too long for its label"
    assert told(plant) == [], "by its clock there was silence for an hour"
    then_all_is_well(plant, worker, shift)


@pytest.mark.timeout(120)
def test_a_worker_an_hour_behind_holds_what_comes_from_its_future(
    scene: SceneFactory, tmp_path: Path
) -> None:
    """To it the broker is an hour ahead: taken at its word, all that waits for labels would expire."""
    plant, worker = started(scene, shift := tmp_path / "shift", -1)
    await_doubt(worker, "ahead of")
    assert worker.total("streamer_predictions_consumed_total") == 0
    wait_until(lambda: worker.total("streamer_lag_records", topic="predictions") == 1, 30, "it shows as lag")
    then_all_is_well(plant, worker, shift)
