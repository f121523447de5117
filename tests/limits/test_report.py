"""What the scenes measured is kept, and the section of the page is made of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.judge import Verdict
from tests.chaos.results import ROOT
from tests.limits import __main__ as command
from tests.limits.report import TELLERS, section
from tests.limits.results import LATEST, Results, entry_of
from tests.limits.scenes import SCENES
from tests.limits.stage import Outcome, percentile

FIGURES = {
    "disk_mb": 400, "times": 3, "not_ready_after_s": 5.5, "at_work_again_s": 15.4,
}  # fmt: skip


def test_a_scene_is_kept_for_the_last_time_that_it_was_played(tmp_path: Path) -> None:
    file = tmp_path / "latest.json"
    for records in (5, 7):
        Results(file).add("disk", entry_of(Outcome(Verdict(records=records), FIGURES, 1.0), "abc"))
    assert Results(file).entries["disk"]["records"] == 7
    assert Results(file).entries["disk"]["figures"] == FIGURES


def test_the_section_has_the_figures(tmp_path: Path) -> None:
    results = Results(tmp_path / "latest.json")
    assert section(results) == []
    results.add("disk", entry_of(Outcome(Verdict(records=71_000, alerts=150), FIGURES, 61.0), "abc"))
    page = "\n".join(section(results))
    for words in (
        "## Disk and memory", "revision `abc`", "| disk | 71,000 | 0 | 0 | 150 | 0 | 61 |", "3, on 400 MB",
        "after 5.5 s at most", "15.4 s at most",
    ):  # fmt: skip
        assert words in page, words


def test_a_scene_that_failed_says_so_and_shows_no_figures(tmp_path: Path) -> None:
    results = Results(tmp_path / "latest.json")
    outcome = Outcome(Verdict(lost=2, problems=["2 lost, says /home/me/worker.log"]), FIGURES, 1.0)
    results.add("disk", entry_of(outcome, "abc"))
    page = "\n".join(section(results))
    assert "**disk failed**: 2 lost" in page
    assert "/home" not in page
    assert "at most" not in page


def test_every_scene_has_its_part_of_the_section() -> None:
    assert set(TELLERS) == set(SCENES)


@pytest.mark.skipif(not LATEST.exists(), reason="nothing was measured yet")
def test_the_section_can_be_made_of_the_results_that_are_there() -> None:
    lines = section()
    assert {name for name in SCENES if any(line.startswith(f"| {name} ") for line in lines)} == set(SCENES)
    for path in re.findall(r"\((\.\./tests/[\w/.]+\w)\)", "\n".join(lines)):
        assert (ROOT / "docs" / path).exists(), path


def test_a_percentile_is_a_value_that_was_there() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (
        51.0,
        100.0,
        100.0,
    )
    assert percentile([], 0.5) == 0.0


def test_the_command_names_its_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in SCENES)
