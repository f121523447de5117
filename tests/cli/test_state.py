"""``streamer state``: it shows, it asks before it changes anything, and every message names what helps."""

from __future__ import annotations

import subprocess
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from streamer import cli
from streamer.adapters.state_view import MANIFEST
from streamer.home import home
from tests.adapters.state_stage import Stage
from tests.cli.test_cli import streamer
from tests.conftest import TopicsFactory
from tests.domain.feed import facts

PARTITIONS = 2
HOME = home("binary", PARTITIONS)


@pytest.fixture
def stage(bootstrap: str, topics: TopicsFactory) -> Stage:
    return Stage(bootstrap, topics(PARTITIONS), PARTITIONS)


def run(stage: Stage, *arguments: str, typed: str | None = None) -> Result:
    """One command, in this process."""
    prefix = stage.names.predictions.removesuffix("predictions")
    where = ["--bootstrap", stage.bootstrap, "--topic-prefix", prefix, "--group", stage.group]
    return CliRunner().invoke(cli.app, ["state", *arguments, *where], input=typed, env={"COLUMNS": "200"})


def run_apart(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command as a user runs it."""
    prefix = stage.names.predictions.removesuffix("predictions")
    where = ["--bootstrap", stage.bootstrap, "--topic-prefix", prefix, "--group", stage.group]
    return streamer("state", *arguments, *where)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reset"], "say what to forget"),
        (["reset", "--all", "--model", "m"], "--all is everything"),
        (["reset", "--all", "--partition", "1"], "--all is everything"),
        (["reset", "--all", "--from", "yesterday"], "earliest"),
        (["export"], "Missing argument"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: list[str], words: str) -> None:
    done = streamer("state", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_state_is_shown_as_tables_and_as_json(stage: Stage) -> None:
    shown = run(stage, "show")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("adds up") == PARTITIONS
    lines = run(stage, "show", "--json").stdout.splitlines()
    found = [orjson.loads(line) for line in lines]
    assert [each["partition"] for each in found] == [0, 1]
    for each in found:
        assert each["commit"] == stage.commits[each["partition"]]
        for model in each["models"]:
            assert model["model"] in shown.stdout
    [only] = run(stage, "show", "--model", "binary", "--json").stdout.splitlines()
    assert [model["model"] for model in orjson.loads(only)["models"]] == ["binary"]
    absent = run(stage, "show", "--model", "nobody")
    assert (absent.exit_code, absent.stderr.strip()) == (1, "No partition knows a model nobody.")
    assert run(stage, "show", "--partition", "7").exit_code == 1


def test_a_problem_is_shown_and_is_the_exit_status(stage: Stage) -> None:
    key = next(key for key in stage.raw(1) if key != MANIFEST)
    stage.write_over(1, {key: None})
    shown = run(stage, "show")
    assert shown.exit_code == 1
    assert shown.stdout.count("adds up") == 1
    assert "cannot be trusted" in shown.stdout
    problem = orjson.loads(run(stage, "show", "--json", "--partition", "1").stdout)["problem"]
    assert "do not add up" in problem


def test_nothing_is_changed_without_a_yes(stage: Stage) -> None:
    before = [stage.raw(number) for number in range(PARTITIONS)]
    refused = run(stage, "reset", "--model", "binary", typed="n\n")
    assert refused.exit_code == 1
    assert "model binary is forgotten" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    nobody = run(stage, "reset", "--all", typed="")
    assert nobody.exit_code == 2
    assert "say --yes" in nobody.stderr
    assert [stage.raw(number) for number in range(PARTITIONS)] == before
    agreed = run(stage, "reset", "--model", "binary", typed="y\n")
    assert agreed.exit_code == 0
    assert f"partition {HOME}: written" in agreed.stderr
    assert run(stage, "show", "--model", "binary").exit_code == 1


def test_a_deployment_is_backed_up_and_brought_back_by_commands_alone(stage: Stage, tmp_path: Path) -> None:
    file, good = str(tmp_path / "monitor.state"), [facts(each) for each in stage.pipelines.values()]
    exported = run_apart(stage, "export", file)
    assert exported.returncode == 0, exported.stderr
    again = run_apart(stage, "export", file)
    assert (again.returncode, "there already" in again.stderr) == (1, True)
    assert run(stage, "reset", "--all", "--from", "latest", "--yes").exit_code == 0
    refused = run_apart(stage, "import", file, "--yes")
    assert refused.returncode == 1
    [line] = refused.stderr.strip().splitlines()
    assert "--replace" in line
    wrong = run_apart(stage, "import", file, "--replace", "--yes", "--partitions", "5")
    assert wrong.returncode == 1
    assert "`streamer topics create --partitions 5 --topic-prefix NEW`" in wrong.stderr
    put = run_apart(stage, "import", file, "--replace", "--yes", "--partitions", str(PARTITIONS))
    assert put.returncode == 0, put.stderr
    assert [facts(stage.restored(number)) for number in range(PARTITIONS)] == good


def test_what_is_no_export_is_refused_in_one_line(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("prediction,label\n1,1\n")
    done = run_apart(stage, "import", str(file), "--replace", "--yes")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "no file of `streamer state export`" in line
