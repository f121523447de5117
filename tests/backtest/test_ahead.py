"""A log read by another process is the log."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamer.adapters.tables import TableError
from streamer.backtest import ahead, run
from streamer.backtest.ahead import ReaderLost, read_ahead
from streamer.backtest.run import Asked, backtest
from streamer.domain.objectives import ModelSpec, Objectives, ThresholdSpec, WindowSpec
from streamer.replay import Plan, play

ROWS = 3210


class Kept:
    """A sink that keeps what it gets, in order, progress too."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []

    def prediction(self, event: Mapping[str, Any]) -> None:
        self.got.append(("prediction", dict(event)))

    def label(self, event: Mapping[str, Any]) -> None:
        self.got.append(("label", dict(event)))

    def progress(self, done: int, total: int) -> None:
        self.got.append(("progress", (done, total)))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Cells of every kind; some labels come late, some never, some are of nobody."""
    path = tmp_path / "log – ümlaut.csv"
    lines = ["prediction_id,guess,score,amount,text,huge"]
    for number in range(ROWS):
        text = '"two\nlines, \u2028 ü"' if number % 7 == 0 else ""
        lines.append(f"id {number},{number % 2},{number % 10 / 10},{number / 3},{text},{2**63 + number}")
    path.write_text("\n".join(lines) + "\n")
    labels = tmp_path / "labels.csv"
    truth = [f"id {number},{number % 3 == 0:d}" for number in range(0, ROWS + 50, 2)]
    labels.write_text("prediction_id,label\n" + "\n".join(truth) + "\n")
    return path


def plan_of(log: Path, **more: Any) -> Plan:
    plan: dict[str, Any] = {"labels": log.parent / "labels.csv", "delay_ms": 90_000, "start_ms": 10**12}
    return Plan("shop", log, fields={"prediction": "guess"}, **{**plan, **more})


@pytest.mark.parametrize(
    "more",
    [{}, {"features": ("text",)}, {"limit": 777, "version": "v7"}, {"labels": None, "features": ()}],
    ids=["all", "a feature", "a part", "no labels"],
)
def test_it_is_the_same_log_in_the_same_order(log: Path, more: dict[str, Any]) -> None:
    here, there = Kept(), Kept()
    played = play(plan_of(log, **more), here, here.progress)
    elsewhere = read_ahead(plan_of(log, **more), there, there.progress)
    assert there.got == here.got
    assert sum(kind == "prediction" for kind, _ in here.got) == more.get("limit", ROWS)
    played.seconds = elsewhere.seconds
    assert elsewhere == played


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("guess", "guessed"),
        lambda text: text + "1,2\n",
        lambda text: "",
    ],
    ids=["columns", "a row", "empty"],
)
def test_what_is_wrong_with_the_log_is_said_as_ever(log: Path, spoil: Callable[[str], str]) -> None:
    log.write_text(spoil(log.read_text()))
    with pytest.raises(TableError) as here:
        play(plan_of(log), Kept())
    with pytest.raises(TableError) as there:
        read_ahead(plan_of(log), Kept())
    assert str(there.value) == str(here.value)


def test_it_ends_early_with_the_labels_of_what_was_told(log: Path) -> None:
    log.write_text(log.read_text() + "".join(f"more {n},1,0.5,1,,1\n" for n in range(200_000)))
    kept = Kept()
    played = read_ahead(plan_of(log), kept, kept.progress, lambda: False)
    told = [event["prediction_id"] for kind, event in kept.got if kind == "prediction"]
    assert 0 < len(told) == played.predictions < 200_000
    labelled = {event["prediction_id"] for kind, event in kept.got if kind == "label"}
    assert labelled == {each for each in told if each.startswith("id") and int(each[3:]) % 2 == 0}


def test_a_reader_that_was_killed_is_no_end_of_the_log(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nread plan\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(ahead.sys, "executable", str(killed))
    with pytest.raises(ReaderLost, match="exit status -9"):
        read_ahead(plan_of(log), Kept())


def test_no_reader_is_left_when_a_sink_fails(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(Kept):
        def label(self, event: Mapping[str, Any]) -> None:
            raise KeyboardInterrupt

    started: list[subprocess.Popen[bytes]] = []
    start = ahead._started

    def noted(*how: Any) -> subprocess.Popen[bytes]:
        started.append(start(*how))
        return started[-1]

    monkeypatch.setattr(ahead, "_started", noted)
    with pytest.raises(KeyboardInterrupt):
        read_ahead(plan_of(log), Fails())
    assert [each.returncode is not None for each in started] == [True]


def test_many_large_pipes_are_no_obstacle(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = Kept(), Kept()
    play(plan_of(log), here)
    start = ahead._started

    def refused(command: list[str], pipe_bytes: int) -> subprocess.Popen[bytes]:
        if pipe_bytes > 0:
            raise PermissionError
        return start(command, pipe_bytes)

    monkeypatch.setattr(ahead, "_started", refused)
    read_ahead(plan_of(log), there)
    assert there.got == here.got


def test_a_long_log_is_judged_as_a_short_one(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 100), minimum=0.9, min_samples=50)
    asked = Asked(
        plan_of(log),
        (("a", Objectives(models={"shop": ModelSpec("shop", task="binary", thresholds=(limit,))})),),
        changes=(1000,),
    )
    monkeypatch.setattr(run, "read_ahead", lambda *_: pytest.fail("it is short"))
    short = backtest(asked)
    monkeypatch.setattr(run, "read_ahead", read_ahead)
    monkeypatch.setattr(run, "play", lambda *_: pytest.fail("it is long"))
    monkeypatch.setattr(run, "LONG_BYTES", 1)
    long = backtest(asked)
    assert short.outcomes[0].told
    assert long.outcomes == short.outcomes
    assert long.moments == short.moments
