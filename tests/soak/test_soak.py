"""The soak in short: seconds at a lower rate; ``make soak`` takes an hour at 20,000 events a second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from streamer.config import parse_objectives
from streamer.home import home
from streamer.local import LocalKafka
from tests.deadline import wait_until
from tests.soak.__main__ import LONGEST_WINDOW_SECONDS, plan_for
from tests.soak.judge import RATE_HELD, judge
from tests.soak.report import HEADING, NONE, section
from tests.soak.results import LATEST, MOST_ROWS, TRIAL, UNFINISHED, entry_of, file_for, save, thinned
from tests.soak.run import Soak
from tests.soak.stage import OBJECTIVES
from tests.soak.test_judge import sound
from tests.soak.traffic import PARTITIONS, Plan, Traffic

MINUTES, RATE = 0.25, 1_000


@pytest.mark.timeout(600)
def test_a_short_soak_loses_nothing_and_its_results_have_every_figure(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    said: list[str] = []
    plan = plan_for(MINUTES, RATE, seed=12)
    soak = Soak(kafka, MINUTES, plan, tmp_path, said.append, sample_seconds=2)
    evidence = soak.run()
    if evidence.achieved < RATE_HELD * RATE:
        evidence.rate = int(evidence.achieved)  # no test of speed: others share this machine
    assert judge(evidence) == [], said
    assert len(evidence.samples) >= 2
    assert evidence.probes
    assert evidence.probes[-1].live > 0
    assert evidence.sent.events == sum(terms["consumed"] for terms in evidence.counters.values()) > 0
    assert {key.split("/")[1] for key in evidence.dead} >= {"undecodable", "timestamp_seconds"}
    entry = entry_of(evidence, [], "abc")
    save(entry, tmp_path / "latest.json")
    assert orjson.loads((tmp_path / "latest.json").read_bytes()) == orjson.loads(orjson.dumps(entry))
    nothing = [name for name, value in entry.items() if isinstance(value, dict) and None in value.values()]
    assert set(nothing) <= {"rss_mb_median"}, "a figure is missing"
    assert section(tmp_path / "latest.json")[0] == HEADING


@pytest.mark.timeout(240)
def test_ctrl_c_ends_cleanly_and_saves_what_was_seen_beside_the_finished_results(tmp_path: Path) -> None:
    wanted, log = tmp_path / "latest.json", tmp_path / "said"
    wanted.write_text("{}")
    command = [
        sys.executable,
        "-m",
        "tests.soak",
        "--rate",
        "500",
        "--minutes",
        "1",
        "--results",
        str(wanted),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_until(lambda: "labels come as fast" in log.read_text(), 150, "it sends")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its worker too
            process.wait()
    assert "not finished" in log.read_text()
    assert wanted.read_text() == "{}"
    entry = orjson.loads(wanted.with_suffix(".unfinished.json").read_bytes())
    assert entry["finished"] is False
    assert "it was not finished" in entry["failed"]
    assert entry["lost"] is None
    assert section(wanted.with_suffix(".unfinished.json"))[0] == HEADING


def test_only_a_whole_run_takes_the_place_of_the_last_one() -> None:
    whole = entry_of(sound(), [], "abc")
    assert file_for(whole, None, interrupted=False) == LATEST
    assert file_for(whole, None, interrupted=True) == UNFINISHED
    assert file_for({**whole, "minutes": 3.0}, None, interrupted=False) == TRIAL
    assert file_for({**whole, "rate": 2_000}, None, interrupted=False) == TRIAL
    assert file_for(whole | {"failed": ["memory grows"]}, None, interrupted=False) == LATEST


def test_samples_are_thinned_evenly() -> None:
    evidence = sound()
    kept = thinned(evidence.samples)
    assert len(evidence.samples) > MOST_ROWS >= len(kept) > MOST_ROWS / 2
    assert kept[0] is evidence.samples[0]
    assert thinned([]) == []


def test_the_section_tells_what_was_found_and_says_so_where_nothing_was(tmp_path: Path) -> None:
    assert section(tmp_path / "none.json") == [HEADING, NONE]
    evidence = sound()
    save(entry_of(evidence, judge(evidence), "abc"), tmp_path / "latest.json")
    text = "\n".join(section(tmp_path / "latest.json"))
    assert "72,001,000, 20,000 a second" in text
    assert "| lost; counted twice | 0; 0 |" in text
    assert "It failed" not in text
    evidence.restores = 5
    save(entry_of(evidence, judge(evidence), "abc"), tmp_path / "latest.json")
    assert "**It failed**: 5 restores of 4 partitions" in "\n".join(section(tmp_path / "latest.json"))


def test_traffic_comes_at_its_rate_with_labels_garbage_guests_and_rollouts() -> None:
    plan = Plan(rate=2_000, settled=18.0, period=10.0, delay=5.0)
    traffic = Traffic(plan)
    records = [record for tenth in range(300) for record in traffic.until(tenth / 10, 1_790_000_000_000)]
    settled = [sum(kind == wanted for kind, *_ in records) for wanted in (0, 1)]
    assert settled[0] == pytest.approx(30 * 1000, rel=0.03)
    assert settled[1] == pytest.approx(27.5 * 1000, rel=0.03)
    homes = Counter(home(model, PARTITIONS) for _, model, _ in records)
    assert max(homes.values()) < 1.05 * min(homes.values()), "each partition has as much to do"
    versions = {
        orjson.loads(value)["version"] for kind, model, value in records if not kind and b"v" in value
    }
    assert {"v0", "v1", "v2"} <= versions
    assert len({model for _, model, _ in records if model.startswith("guest-")}) > 32
    assert set(traffic.guests) == {"predictions", "labels"}
    assert len(traffic.garbage) == 8
    assert [*Traffic(plan).until(1.0, 0)] == [*Traffic(plan).until(1.0, 0)], "the same again"
    assert [*Traffic(replace(plan, seed=3)).until(1.0, 0)] != [*Traffic(plan).until(1.0, 0)]


@pytest.mark.parametrize("minutes", [15.0, 20.0, 60.0, 180.0])
def test_all_that_comes_has_filled_its_windows_before_growth_is_judged(minutes: float) -> None:
    plan, third = plan_for(minutes, 20_000, 11), 60 * minutes / 3
    [spec] = parse_objectives(OBJECTIVES).spec_for("model-0").windows[1:2]
    assert (spec.kind, spec.size) == ("duration", 1000 * LONGEST_WINDOW_SECONDS)
    if third > 2 * LONGEST_WINDOW_SECONDS:
        assert plan.settled + LONGEST_WINDOW_SECONDS <= third + plan.delay
    assert 0 < plan.settled < third + plan.delay
