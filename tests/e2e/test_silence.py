"""A stream in which nothing happens says so itself, and takes it back when something does."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from streamer.home import home
from tests.deadline import wait_until
from tests.e2e.conftest import SceneFactory
from tests.e2e.oracle import committed, write
from tests.e2e.scene import Scene

PARTITIONS = 2
TALKER, MUTE = "talker", "never-spoke"  # of different partitions: that of MUTE is empty until it speaks
OBJECTIVES = f"""
models:
  {TALKER}: {{task: binary, objectives: {{silence: {{max: 1s, severity: page}}}}}}
  {MUTE}: {{task: binary, objectives: {{silence: {{max: 2s}}}}}}
"""


def speak(plant: Scene, model: str) -> None:
    now = time.time_ns()
    event = {"prediction_id": str(now), "model": model, "timestamp": now // 1_000_000, "prediction": 1}
    where = home(model, PARTITIONS)
    write(plant.bootstrap, [(plant.names.predictions, where, model.encode(), orjson.dumps(event))])


def await_told(plant: Scene, model: str, *statuses: str) -> list[dict[str, Any]]:
    """Until a read_committed subscriber has been told these first, in this order."""

    def told() -> list[dict[str, Any]]:
        records = committed(plant.bootstrap, plant.names.alerts, home(model, PARTITIONS))
        alerts = [orjson.loads(record.value()) for record in records][: len(statuses)]
        return alerts if [alert["status"] for alert in alerts] == list(statuses) else []

    return wait_until(told, 30, f"{model} was told to be {', '.join(statuses)}")


@pytest.mark.timeout(120)
def test_an_idle_stream_raises_its_alert_without_an_event_and_resolves_when_it_speaks(
    scene: SceneFactory,
) -> None:
    assert home(TALKER, PARTITIONS) != home(MUTE, PARTITIONS)
    plant = scene(PARTITIONS, OBJECTIVES)
    worker = plant.start(instance_id="a").await_ready()
    speak(plant, TALKER)
    for model, limit in ((TALKER, 1_000), (MUTE, 2_000)):
        (fired,) = await_told(plant, model, "firing")
        assert (fired["kind"], fired["rule"], fired["threshold"]) == ("silence", "silence", limit)
        assert limit < fired["value"] <= limit + 5_000, "not before its time, and soon after"
        assert "no prediction for" in fired["summary"]
    # Whoever takes over knows what was told already.
    worker.kill()
    plant.start(instance_id="a").await_ready()
    for model in (MUTE, TALKER):
        speak(plant, model)
        fired, resolved = await_told(plant, model, "firing", "resolved")
        assert (resolved["incident"], resolved["reason"]) == (fired["incident"], "recovered")
        assert resolved["value"] <= fired["threshold"]
    plant.stop()
    plant.judge()
