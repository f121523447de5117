"""``streamer versions``: what it says is what the workers have counted."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from typer.testing import CliRunner, Result

from streamer import cli
from streamer.adapters.deployment import StateRefused
from streamer.cli.versions import _plain
from streamer.domain.objectives import Objectives
from streamer.home import home
from tests.adapters import state_stage
from tests.adapters.state_stage import PARTITIONS, Stage
from tests.conftest import TopicsFactory
from tests.domain.test_versus import MODEL, played


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["versions", *arguments], env={"COLUMNS": "200"})


def test_a_champion_that_only_the_objectives_name_is_known_from_what_was_counted(
    bootstrap: str, topics: TopicsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Objectives(models={"m": replace(MODEL, champion="v2")})
    monkeypatch.setattr(state_stage, "objectives", lambda limits: named)
    monkeypatch.setattr(state_stage, "traffic", lambda chance, count: played(8, 1500)[0])
    stage = Stage(bootstrap, topics(PARTITIONS), PARTITIONS)
    prefix = stage.names.predictions.removesuffix("predictions")
    where = ["--bootstrap", bootstrap, "--topic-prefix", prefix, "--group", stage.group]
    told = run("m", "--json", *where)
    assert told.exit_code == 0, told.output
    found = orjson.loads(told.output)
    live = stage.pipelines[home("m", PARTITIONS)].partition.models["m"]
    assert found == orjson.loads(orjson.dumps(_plain(live)))
    verdicts = {each["version"]: each.get("verdict") for each in found["versions"]}
    assert verdicts["v3"] == "worse"
    assert verdicts["v2"] is None
    shown = run("m", *where)
    assert "v3 against v2: worse; its error rate is higher by" in " ".join(shown.output.split())
    assert isinstance(run("nobody", *where).exception, StateRefused)
