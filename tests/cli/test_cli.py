"""The command line: help that teaches, one-line errors that name the cure, exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from streamer.local import free_ports
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.e2e.worker_process import WorkerProcess

COMMANDS = ["broker", "topics", "topics create", "topics describe", "worker", "check", "replay", "alerts",
            "status", "demo"]  # fmt: skip


def streamer(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamer", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environ},
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = streamer(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


def test_an_unknown_command_is_a_usage_error_with_a_suggestion() -> None:
    done = streamer("wrok")
    assert done.returncode == 2
    assert "worker" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["worker"], ["status"], ["alerts"], ["topics", "create"]])
def test_without_a_broker_one_line_says_how_to_get_one(command: list[str]) -> None:
    done = streamer(*command, "--bootstrap", f"127.0.0.1:{free_ports(1)[0]}")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "streamer broker" in line
    assert "--bootstrap" in line


def test_check_tells_every_mistake_and_a_good_file_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "o.yml"
    file.write_text("models: {a: {task: trinary}, b: {objectives: {acuracy: {min: 1}}}}")
    done = streamer("check", str(file))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 2
    assert "models.a.task" in done.stderr
    assert "did you mean accuracy" in done.stderr
    file.write_text("models: {a: {task: binary}}")
    assert streamer("check", str(file)).returncode == 0
    assert orjson.loads(streamer("check", "--schema").stdout)["properties"]["models"]


def test_a_bad_setting_names_its_source() -> None:
    done = streamer("worker", STREAMER_METRICS_PORT="many")
    assert done.returncode == 2
    assert "variable STREAMER_METRICS_PORT" in done.stderr


def test_missing_topics_are_named_with_the_cure(bootstrap: str) -> None:
    done = streamer("worker", "--bootstrap", bootstrap, "--topic-prefix", "nowhere-")
    assert done.returncode == 1
    assert "streamer topics create" in done.stderr


def test_from_topics_to_alerts_by_hand(bootstrap: str, topics: TopicsFactory, tmp_path: Path) -> None:
    prefix = topics(1).predictions.removesuffix("predictions")
    where = ("--bootstrap", bootstrap, "--topic-prefix", prefix)
    objectives = tmp_path / "o.yml"
    objectives.write_text("models: {m: {objectives: {accuracy: {min: 0.9, window: last 200}}}}")
    rows = "".join(f"1,{int(number < 600)}\n" for number in range(900))
    log = tmp_path / "log.csv"
    log.write_text("prediction,label\n" + rows)
    described = streamer("topics", "describe", *where)
    assert described.returncode == 0, described.stdout
    worker = WorkerProcess(bootstrap, prefix, tmp_path, objectives, trace="false").await_ready()
    played = streamer("replay", str(log), "--model", "m", *where)
    assert played.returncode == 0, played.stderr
    assert "900 predictions and 900 labels" in played.stderr
    wait_until(lambda: worker.total("model_labels_total", outcome="joined") == 900, 60, "all joined")
    found = [orjson.loads(line) for line in streamer("alerts", "--json", *where).stdout.splitlines()]
    assert {("accuracy", "firing"), ("drift.error", "firing")} <= {(a["rule"], a["status"]) for a in found}
    text = streamer("alerts", "--firing", *where).stdout
    assert "accuracy of m is" in text
    status = streamer("status", *where, "--group", f"{prefix}group")
    assert status.returncode == 0, status.stdout + status.stderr
    assert "900" in status.stdout
    assert worker.stop() == 0
    assert "stopped after" in worker.said()


@pytest.mark.timeout(240)
def test_the_demo_finds_what_it_injects_and_nothing_else() -> None:
    done = streamer("demo", "--metrics-port", str(free_ports(1)[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    for sentence in ("everything injected was detected", "false alarms: 0", "each counted once"):
        assert sentence in done.stdout
    assert done.stderr == ""
