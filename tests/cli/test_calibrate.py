"""``streamer calibrate``: from a budget in the objectives to a file that a worker takes."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from streamer import cli
from streamer.config import load_objectives

OBJECTIVES = """
models:
  shop:
    task: binary
    false_alarms: 1 per 1h
    calibration: shop.json
    objectives: {accuracy: {min: 0.85, window: last 500}}
    drift: {error: [{kind: page_hinkley, threshold: 5}]}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("calibrate")
    chance = random.Random(1)
    rows = []
    for _ in range(4000):
        guess = chance.randrange(2)
        rows.append(f"{guess},{guess ^ (chance.random() < 0.1)}")
    (made / "log.csv").write_text("prediction,label\n" + "\n".join(rows) + "\n")
    (made / "objectives.yml").write_text(OBJECTIVES)
    return made


def calibrate(folder: Path, *more: str) -> Result:
    command = ("calibrate", str(folder / "objectives.yml"), "--predictions", str(folder / "log.csv"))
    usual = ("--interval", "100ms", "--rows", "10000", "--out", str(folder / "shop.json"))
    return run(*command, *usual, *more)


def test_a_budget_becomes_settings_that_check_and_a_worker_take(folder: Path) -> None:
    before = run("check", str(folder / "objectives.yml"))
    assert before.exit_code == 1
    assert "shop.json cannot be read" in before.output
    done = calibrate(folder)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "1 per 1h is one false incident in 36,000 predictions (10 a second), over all rules" in said
    assert "history: 4,000 rows of log.csv" in said
    assert run("check", str(folder / "objectives.yml")).exit_code == 0
    spec = load_objectives(folder / "objectives.yml").models["shop"]
    written = orjson.loads((folder / "shop.json").read_bytes())
    needed = {each["knob"]["rule"]: each["value"] for each in written["settings"]}
    assert needed["drift.error"] > 5
    assert dict(spec.drift[0].detectors[0].parameters)["threshold"] == needed["drift.error"]
    assert f"{needed['drift.error']:.4g}" in said


def test_without_a_budget_there_is_nothing_to_calibrate_for(folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "o.yml"
    plain.write_text("models: {shop: {task: binary}}\n")
    done = run("calibrate", str(plain), "--predictions", str(folder / "log.csv"), "--out", "x.json")
    assert done.exit_code == 2
    assert "say `false_alarms: 1 per 30d` under it" in " ".join(done.output.replace("│", " ").split())


def test_a_log_that_is_too_short_is_refused_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    done = run(
        "calibrate", str(folder / "objectives.yml"), "--predictions", str(folder / "log.csv"),
        "--limit", "500", "--out", str(out),
    )  # fmt: skip
    assert done.exit_code != 0
    assert "500 predictions are too few" in str(done.exception)
    assert not out.exists()
