"""The command line: help that teaches, one-line errors that name the cure, exit statuses."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from streamer import __version__, cli, demo
from streamer.adapters import logs
from streamer.local import free_ports
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.e2e.worker_process import WorkerProcess

COMMANDS = ["broker", "topics", "topics create", "topics describe", "topics acls", "worker", "check",
            "replay", "alerts", "explain", "status", "demo",
            "state", "state show", "state reset", "state export",
            "state import", "relay", "alerts test", "reference",
            "reference build", "reference take", "reference show", "reference compare",
            "reference estimate", "versions", "backtest", "calibrate", "report"]  # fmt: skip


def streamer(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamer", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environ},
    )


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until it is told to stop; killed at the end where it was not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streamer", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def examples(callback: Callable[..., Any]) -> list[str]:
    """The lines of a docstring that show how to call a command."""
    return re.findall(r"^    (streamer .*)$", inspect.getdoc(callback) or "", re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = streamer(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    "callback",
    [
        each.callback
        for group in (cli.app, cli.topics_app, cli.state_app, cli.alerts_app)
        for each in group.registered_commands
    ],
)
def test_each_example_of_the_help_stands_on_a_line_of_its_own(callback: Callable[..., Any]) -> None:
    name = callback.__name__.replace("_", " ")
    shown = CliRunner().invoke(cli.app, [*name.split(), "--help"], env={"COLUMNS": "200"}).stdout
    lines = [line.strip() for line in shown.splitlines()]
    assert set(examples(callback)) <= set(lines)
    assert examples(callback) or name in ("topics describe", "status", "demo")


def test_the_version_is_printed() -> None:
    done = streamer("--version")
    assert (done.returncode, done.stdout) == (0, f"streamer {__version__}\n")


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


@pytest.mark.parametrize(
    ("module", "extra"),
    [("typer", "worker"), ("rich", "worker"), ("pydantic", "worker"), ("river", "worker")],
)
def test_what_is_not_installed_is_named_with_the_extra_that_brings_it(module: str, extra: str) -> None:
    # As if it were not there; `worker` gets as far as Faust and River.
    program = f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = ['worker']\n"
    program += "from streamer.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"streamer: {module} is not installed: pip install 'streamer[{extra}]' brings it\n"
    )


def test_a_broken_module_of_our_own_is_not_taken_for_a_missing_extra() -> None:
    program = (
        "import sys; sys.modules['streamer.terminal'] = None\nfrom streamer.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr


def test_a_worker_refuses_a_wrong_objectives_file_with_all_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "o.yml"
    file.write_text("models: {a: {task: trinary}, b: {objectives: {acuracy: {min: 1}}}}")
    done = streamer("worker", str(file))
    assert done.returncode == 2
    first, second = done.stderr.strip().splitlines()
    assert first.startswith(f"streamer: {file}: models.a.task: ")
    assert second.startswith(f"streamer: {file}: models.b.objectives.acuracy: ")


def test_the_objectives_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "o.yml"
    file.write_text("models: {a: {task: trinary}}")
    for command, status in (("worker", 2), ("check", 1)):
        done = streamer(command, STREAMER_OBJECTIVES=str(file))
        assert done.returncode == status
        assert "models.a.task" in done.stderr


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


def test_a_misspelt_variable_is_refused() -> None:
    done = streamer("alerts", STREAMER_BOOTSTRP="kafka:9092")
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert "variable STREAMER_BOOTSTRP" in line
    assert "did you mean STREAMER_BOOTSTRAP?" in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo"], (False, 0, 8000)),
        (["demo", "--keep", "--port", "9192", "--metrics-port", "8001"], (True, 9192, 8001)),
    ],
)
def test_the_demo_is_told_what_to_keep_and_where(
    arguments: list[str], told: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(demo, "run_demo", lambda *given: calls.append(given[:3]) or 3)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    assert CliRunner().invoke(cli.app, arguments).exit_code == 3
    assert calls == [told]


@pytest.mark.timeout(120)
def test_a_broker_says_where_it_is_and_ends_with_ctrl_c() -> None:
    port = free_ports(1)[0]
    with running("broker", "--port", str(port)) as process:
        assert process.stderr is not None
        said = [process.stderr.readline()]
        while "answers at" not in said[-1]:
            said.append(process.stderr.readline())
            assert said[-1], f"it ended with {process.wait()}: {said}"
        assert f"127.0.0.1:{port}" in said[-1]
        done = streamer("topics", "create", "--partitions", "1", "--bootstrap", f"127.0.0.1:{port}")
        assert done.returncode == 0, done.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_missing_topics_are_named_with_the_cure(bootstrap: str) -> None:
    done = streamer("worker", "--bootstrap", bootstrap, "--topic-prefix", "nowhere-")
    assert done.returncode == 1
    assert "streamer topics create" in done.stderr


def test_the_trace_is_one_of_the_topics_where_it_is_asked_for(bootstrap: str, topics: TopicsFactory) -> None:
    prefix = topics(3).predictions.removesuffix("predictions")
    where = ("--bootstrap", bootstrap, "--topic-prefix", prefix)
    missing = streamer("topics", "describe", "--trace", *where)
    assert missing.returncode == 1
    assert "streamer topics create" in missing.stdout
    created = streamer("topics", "create", "--trace", *where)
    assert created.returncode == 0, created.stdout
    assert re.search(rf"{prefix}trace +created", created.stdout)
    assert streamer("topics", "describe", "--trace", *where).returncode == 0
    assert f"{prefix}trace" not in streamer("topics", "describe", *where).stdout


def test_alerts_are_followed_as_json_until_ctrl_c(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(1)
    prefix = names.predictions.removesuffix("predictions")
    producer = Producer({"bootstrap.servers": bootstrap})

    def publish(number: int) -> None:
        alert = {"model": "m", "fingerprint": "f", "status": "firing", "number": number}
        producer.produce(names.alerts, orjson.dumps(alert), "f")
        assert producer.flush(10) == 0

    publish(1)
    where = ("--bootstrap", bootstrap, "--topic-prefix", prefix)
    with running("alerts", "--follow", "--json", *where) as process:
        assert process.stdout is not None
        assert orjson.loads(process.stdout.readline())["number"] == 1
        publish(2)
        assert orjson.loads(process.stdout.readline())["number"] == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


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
