"""What was tried is kept: it adds up, each seed once, failures too, and the page is made of it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.chaos import __main__ as command
from tests.chaos import report
from tests.chaos.brokers import Survival
from tests.chaos.judge import Verdict
from tests.chaos.play import Outcome
from tests.chaos.results import LATEST, ROOT, Results, entry_of, siege_entry
from tests.chaos.schedule import Moment, draw


def outcome(**verdict: Any) -> Outcome:
    return Outcome(
        verdict=Verdict(**{"records": 100_000, "alerts": 7, **verdict}),
        kills=Counter(SIGKILL=2, SIGSTOP=1),
        aimed=Counter({Moment.COMMIT: 3}),
        hits=Counter({Moment.COMMIT: 2}),
        zombies=1,
        restores=4,
        longest_restore=1.5,
        seconds=30.0,
    )


def entry(code: str = "abc", /, **verdict: Any) -> dict[str, Any]:
    return entry_of(draw(1), outcome(**verdict), code)


BROKEN: dict[str, Any] = {"lost": 1, "problems": ["1 of 7 lost"]}


def test_invocations_add_up_and_each_seed_counts_once(tmp_path: Path) -> None:
    for seeds in ((1, 2), (2, 3)):
        results = Results(tmp_path / "latest.json")
        for seed in seeds:
            assert results.add(seed, entry())
        results.save()
    found = orjson.loads((tmp_path / "latest.json").read_bytes())
    assert list(found["by_seed"]) == ["1", "2", "3"]
    assert (found["schedules"], found["kills"], found["records"]) == (3, 9, 300_000)
    assert (found["lost"], found["twice"], found["alert_differences"]) == (0, 0, 0)
    assert found["longest_restore_s"] == 1.5
    assert Results(tmp_path / "latest.json").next_seed() == 4
    assert Results(tmp_path / "latest.json", anew=True).entries == {}


def test_a_failure_is_kept_with_what_failed(tmp_path: Path) -> None:
    results = Results(tmp_path / "latest.json")
    results.add(1, entry(**BROKEN))
    results.save()
    found = orjson.loads((tmp_path / "latest.json").read_bytes())
    assert (found["failed"], found["lost"]) == (1, 1)
    assert found["by_seed"]["1"]["failed"] == ["1 of 7 lost"]


@pytest.mark.parametrize(("code", "taken"), [("abc", False), ("def", True), ("abc+", True)])
def test_a_seed_that_failed_stays_failed_until_the_code_changes(
    code: str, taken: bool, tmp_path: Path
) -> None:
    results = Results(tmp_path / "latest.json")
    results.add(1, entry("abc", **BROKEN))
    assert results.add(1, entry(code)) is taken
    assert bool(results.entries[1]["failed"]) is not taken


def test_no_path_of_this_machine_gets_into_the_results() -> None:
    problem = (
        "timed out: ['/home/me/.venv/bin/python', '-m', 'streamer'] at http://127.0.0.1:80/metrics\nmore"
    )
    [short] = entry(problems=[problem])["failed"]
    assert "/home" not in short
    assert "more" not in short
    assert "http://127.0.0.1:80/metrics" in short


def test_the_page_is_what_the_generator_makes_of_the_results() -> None:
    assert report.PAGE.read_text() == report.page_of(Results())


def test_the_page_has_the_figures_and_names_failures(tmp_path: Path) -> None:
    results = Results(tmp_path / "none.json")
    for seed in (3, 4, 5, 9):
        results.add(seed, entry())
    results.add(7, entry(**BROKEN))
    page = report.page_of(results)
    for words in (
        "seeds 3 to 5, 7, 9", "| records | 500,000 |", "| records lost | 1 |", "revision `abc`",
        "15 (SIGKILL 10, SIGSTOP 5)", "commit 10 of 15", "Seed 7 failed: 1 of 7 lost",
        "| longest restore | 1.5 s |",
    ):  # fmt: skip
        assert words in page, words


def test_a_siege_of_the_brokers_is_kept_and_shown(tmp_path: Path) -> None:
    results = Results(tmp_path / "latest.json")
    survival = Survival(Verdict(records=5_000, lost=2, problems=["2 lost"]), {"latency": 3}, {"latency": 1.5})
    results.brokers = siege_entry(survival, "abc")
    results.add(1, entry())
    results.save()
    page = report.page_of(Results(tmp_path / "latest.json"))
    for words in (
        "| latency | 3 | 1.5 s |",
        "5,000 records, 2 lost",
        "**It failed**: 2 lost",
        "revision `abc`",
    ):
        assert words in page, words


def test_every_test_that_the_page_names_is_there() -> None:
    for path in re.findall(r"tests/[\w/.]+\w", report.page_of(Results())):
        assert (ROOT / path).exists(), path


def test_the_command_prints_a_plan_without_doing_anything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "latest.json"
    assert command.main(["--seed", "7", "--plan", "--results", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("seed 7: ")
    assert said.count("after") == len(draw(7).faults)
    assert not file.exists()


@pytest.mark.skipif(not LATEST.exists(), reason="nothing was tried yet")
def test_the_totals_of_the_results_are_those_of_their_seeds() -> None:
    found = orjson.loads(LATEST.read_bytes())
    assert {
        key: value
        for key, value in found.items()
        if key not in ("by_seed", "brokers", "routed", "routed_by_seed")
    } == Results().totals()


def test_seeds_with_a_router_are_counted_by_themselves(tmp_path: Path) -> None:
    results = Results(tmp_path / "latest.json")
    routed = entry_of(draw(1, repartition=True), outcome(), "abc")
    assert results.add(1, entry())
    assert results.add(1, routed)
    results.save()
    again = Results(tmp_path / "latest.json")
    assert (again.entries.keys(), again.routed.keys()) == ({1}, {1})
    assert again.routed[1]["sources"] == list(draw(1, repartition=True).sources or ())
    assert (again.totals()["records"], again.totals(True)["records"]) == (100_000, 100_000)
    assert (again.next_seed(), again.next_seed(True)) == (2, 2)
    assert "## Sources of any key" in report.page_of(again)
