"""What a worker says of a state that it does not trust is a command, and the command helps."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from confluent_kafka.admin import AdminClient

from streamer.adapters.topics import Topics, create
from streamer.home import home
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.e2e.conftest import SceneFactory
from tests.e2e.oracle import committed, write
from tests.e2e.scene import Scene
from tests.e2e.test_quarantine import History, flipped_byte
from tests.e2e.traffic import START_MS

ROWS = 120
MODELS = ["alpha", "beta", "gamma", "delta", "epsilon"]
OBJECTIVES = "revision: 3\ndefaults: {objectives: {accuracy: {min: 0.8, window: last 100}}}"


def command(
    plant: Scene, line: str, *more: str, prefix: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A command as a message gives it, with the settings that the worker has."""
    program, *words = shlex.split(line)
    assert program == "streamer"
    settings = {
        "STREAMER_BOOTSTRAP": plant.bootstrap,
        "STREAMER_TOPIC_PREFIX": plant.prefix if prefix is None else prefix,
        "STREAMER_GROUP": plant.group,
        "COLUMNS": "200",
    }
    return subprocess.run(
        [sys.executable, "-m", "streamer", *words, *more],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **settings},
    )


def feed(plant: Scene, kind: str, rows: range, names: Topics | None = None, partitions: int = 0) -> None:
    """One record of this kind for each row and model; every third answer is wrong."""
    names, count = names or plant.names, partitions or plant.partitions
    topic, field = (names.predictions, "prediction") if kind == "predictions" else (names.labels, "label")
    steps = []
    for row in rows:
        for model in MODELS:
            event = {"prediction_id": str(row), "model": model, "timestamp": START_MS + row}
            answer = int(field == "prediction" or row % 3 > 0)
            steps.append((topic, home(model, count), model.encode(), orjson.dumps(event | {field: answer})))
    write(plant.bootstrap, steps)


def joined(plant: Scene, model: str) -> float:
    return sum(w.total("model_labels_total", model=model, outcome="joined") for w in plant.running)


def await_joined(plant: Scene, models: list[str], rows: int) -> None:
    wait_until(
        lambda: all(joined(plant, model) == rows for model in models), 60, f"{rows} labels of {models} joined"
    )


def history(plant: Scene, number: int) -> History:
    return [(each.key(), each.value()) for each in committed(plant.bootstrap, plant.names.state, number)]


def complaint(plant: Scene, words: str) -> str:
    """What the last worker's log says as it quarantines a partition."""
    log = plant.workers[-1].log
    found = wait_until(
        lambda: [line for line in log.read_text().splitlines() if "quarantined: " in line and words in line],
        60,
        f"the log tells of {words!r}",
    )
    return str(found[0])


def quarantined(plant: Scene) -> float:
    return plant.running[-1].total("streamer_partitions_quarantined")


@pytest.mark.timeout(240)
def test_the_command_that_a_quarantined_partition_names_brings_it_back(scene: SceneFactory) -> None:
    plant = scene(2, OBJECTIVES)
    broken = home("alpha", 2)
    there = [model for model in MODELS if home(model, 2) == broken]
    elsewhere = [model for model in MODELS if model not in there]
    assert elsewhere
    plant.start()
    for kind in ("predictions", "labels"):
        feed(plant, kind, range(ROWS))
    await_joined(plant, MODELS, ROWS)
    plant.stop()
    changes = flipped_byte(history(plant, broken))
    write(plant.bootstrap, [(plant.names.state, broken, key, value) for key, value in changes.items()])
    plant.start()
    line = complaint(plant, "missing or changed")
    [cure] = re.findall(r"`(streamer state reset [^`]*)`", line)
    assert cure == f"streamer state reset --partition {broken} --group {plant.group}"
    refused = command(plant, cure, "--yes")
    assert refused.returncode == 1
    assert "stop each `streamer worker`" in refused.stderr
    plant.stop()
    cured = command(plant, cure, "--yes")
    assert cured.returncode == 0, cured.stderr
    shown = command(plant, "streamer state show --json")
    assert shown.returncode == 0, shown.stdout
    worker = plant.start().await_ready()
    await_joined(plant, MODELS, ROWS)
    assert worker.total("streamer_partitions_quarantined") == 0
    assert worker.total("streamer_predictions_consumed_total") == ROWS * len(MODELS)
    plant.stop()


@pytest.mark.timeout(240)
def test_a_deployment_that_gets_more_partitions_loses_nothing_and_counts_nothing_twice(
    scene: SceneFactory, topics: TopicsFactory, tmp_path: Path
) -> None:
    plant = scene(2, OBJECTIVES)
    plant.start()
    feed(plant, "predictions", range(2 * ROWS))
    feed(plant, "labels", range(ROWS))
    await_joined(plant, MODELS, ROWS)
    wait_until(
        lambda: plant.running[0].total("model_predictions_total") == 2 * ROWS * len(MODELS),
        60,
        "all are read",
    )
    plant.stop()
    file = str(tmp_path / "monitor.state")
    exported = command(plant, "streamer state export", file)
    assert exported.returncode == 0, exported.stderr
    more = topics(3, trace="trace")
    prefix = more.predictions.removesuffix("predictions")
    feed(plant, "labels", range(ROWS, 2 * ROWS), more, 3)  # before the import: it is not left out
    put = command(plant, "streamer state import", file, "--partitions", "3", "--yes", prefix=prefix)
    assert put.returncode == 0, put.stderr
    worker = plant.start(topic_prefix=prefix).await_ready()
    await_joined(plant, MODELS, 2 * ROWS)
    for model in MODELS:
        assert worker.total("model_pending_predictions", model=model) == 0
        assert worker.total("model_accuracy", model=model, window="lifetime") == pytest.approx(2 / 3)
    terms = {name: worker.total(f"streamer_{name}_consumed_total") for name in ("predictions", "labels")}
    assert terms == {"predictions": 2 * ROWS * len(MODELS), "labels": 2 * ROWS * len(MODELS)}
    plant.stop()


@pytest.mark.timeout(240)
def test_an_older_objectives_file_is_refused_and_nothing_is_overwritten(scene: SceneFactory) -> None:
    plant = scene(1, OBJECTIVES)
    plant.start()
    for kind in ("predictions", "labels"):
        feed(plant, kind, range(ROWS))
    await_joined(plant, MODELS, ROWS)
    plant.stop()
    before = history(plant, 0)
    plant.file.write_text(OBJECTIVES.replace("revision: 3", "revision: 2"))
    plant.start()
    line = complaint(plant, "under revision 3 of the objectives, this worker has revision 2")
    assert "`revision: 4`" in line
    plant.stop()
    assert history(plant, 0) == before
    plant.file.write_text(OBJECTIVES.replace("revision: 3", "revision: 4"))
    plant.start().await_ready()
    await_joined(plant, MODELS, ROWS)
    assert quarantined(plant) == 0
    plant.stop()


@pytest.mark.timeout(240)
def test_a_source_that_was_made_anew_is_told_and_what_is_known_can_be_kept(
    bootstrap: str, tmp_path: Path
) -> None:
    names = Topics(trace="trace").prefixed(f"anew-{uuid4().hex[:8]}-")
    base = {"bootstrap.servers": bootstrap}
    create(base, names, 1)
    plant = Scene(bootstrap, names, 1, tmp_path, OBJECTIVES)
    admin = AdminClient({**base, "log_level": 0})
    try:
        plant.start()
        for kind in ("predictions", "labels"):
            feed(plant, kind, range(ROWS))
        await_joined(plant, MODELS, ROWS)
        plant.stop()
        for topic in (names.predictions, names.labels):
            admin.delete_topics([topic])[topic].result(30)
        wait_until(lambda: names.labels not in admin.list_topics(timeout=10).topics, 30, "it is gone")
        create(base, names, 1)
        plant.start()
        line = complaint(plant, "deleted and made anew")
        export, put = re.findall(r"`(streamer state (?:export|import) [^`]*)`", line)
        plant.stop()
        file = str(tmp_path / "monitor.state")
        assert command(plant, export.replace("FILE", file)).returncode == 0
        assert command(plant, put.replace("FILE", file), "--yes").returncode == 0
        for kind in ("predictions", "labels"):
            feed(plant, kind, range(ROWS, 2 * ROWS))
        plant.start().await_ready()
        await_joined(plant, MODELS, 2 * ROWS)
        plant.stop()
    finally:
        plant.close()
        for future in admin.delete_topics(list(names.by_role().values())).values():
            future.result(30)
