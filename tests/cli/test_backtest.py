"""``streamer backtest``: a log with changes that are known, from the files to the verdict."""

from __future__ import annotations

import random
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from streamer import cli

OBJECTIVES = """
revision: 3
models:
  shop:
    task: binary
    reference: first 2000
    objectives:
      accuracy: {min: 0.8, severity: page}
"""
WORSE, SCALED, ROWS = 5000, 8000, 11_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which the model is wrong three times as often from one row on, and an amount is in cents."""
    made = tmp_path_factory.mktemp("backtest")
    chance = random.Random(7)
    lines = ["prediction_id,guess,amount"]
    truth = ["id,truth"]
    for number in range(ROWS):
        wrong = chance.random() < (0.1 if number < WORSE else 0.35)
        guess = chance.randrange(2)
        amount = chance.gauss(50, 10) * (1 if number < SCALED else 100)
        lines.append(f"{number},{guess},{amount:.2f}")
        truth.append(f"{number},{guess ^ wrong}")
    (made / "log.csv").write_text("\n".join(lines) + "\n")
    (made / "truth.csv").write_text("\n".join(truth) + "\n")
    (made / "objectives.yml").write_text(OBJECTIVES)
    (made / "deaf.yml").write_text("models: {shop: {task: binary, drift: {}}}\n")
    return made


def run(folder: Path, *more: str, files: tuple[str, ...] = ("objectives.yml",)) -> Result:
    command = ["backtest", *(str(folder / file) for file in files), "--predictions", str(folder / "log.csv")]
    columns = ["--map", "prediction=guess", "--label-map", "prediction_id=id", "--label-map", "label=truth"]
    labels = ["--labels", str(folder / "truth.csv"), *columns, "--label-delay", "10m"]
    return CliRunner().invoke(cli.app, [*command, *labels, *more], env={"COLUMNS": "200"})


def found(folder: Path, *more: str, **how: Any) -> dict[str, Any]:
    done = run(folder, "--json", *more, **how)
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = orjson.loads(done.stdout)
    return document


def test_known_changes_are_found_beside_what_always_and_never_would_have_told(folder: Path) -> None:
    changes = ("--change", str(WORSE), "--change", str(SCALED))
    document = found(folder, *changes, "--within", "1500")
    [trial] = document["trials"]
    first, second = trial["verdict"]["changes"]
    # Labels are 600 rows late, so what needs them is at least as late.
    assert (first["row"], first["rule"]) == (WORSE, "drift.error")
    assert 600 < first["delay"] < 900
    assert (second["row"], second["rule"]) == (SCALED, "drift.data")
    assert second["delay"] <= 2000
    assert trial["verdict"]["missed"] == 0
    assert document["always"]["missed"] == 0
    assert document["always"]["false"] > 50
    assert (document["never"]["missed"], document["never"]["false"]) == (2, 0)
    assert trial["pages"]["page"] == 1
    assert document["predictions"]["count"] == document["labels"]["count"] == ROWS


def test_a_change_may_be_known_by_its_time(folder: Path) -> None:
    by_row = found(folder, "--change", str(WORSE), "--start", "2026-01-01")
    by_time = found(folder, "--change", "2026-01-01T01:23:20", "--start", "2026-01-01")
    assert by_time == by_row
    assert by_row["changes"] == [WORSE]
    assert by_row["from"].startswith("2026-01-01T00:00:00")


def test_two_files_stand_side_by_side_and_each_says_what_it_says_alone(folder: Path) -> None:
    both = found(folder, "--change", str(WORSE), files=("objectives.yml", "deaf.yml"))
    assert [each["objectives"] for each in both["trials"]] == ["objectives.yml", "deaf.yml"]
    assert both["trials"][0] == found(folder, "--change", str(WORSE))["trials"][0]
    assert both["trials"][1]["alerts"] == []
    assert both["trials"][1]["verdict"]["missed"] == 1
    said = run(folder, "--change", str(WORSE), files=("objectives.yml", "deaf.yml")).stdout
    assert re.search(r"5,000 .*drift\.error .* missed", said)
    assert "deaf.yml (revision 0) would have told nobody anything." in said


def test_the_same_log_gives_the_same_document_whenever_it_is_asked(folder: Path) -> None:
    first, again = (run(folder, "--json").stdout for _ in range(2))
    assert first == again
    alert = orjson.loads(first)["trials"][0]["alerts"][0]
    assert datetime.fromisoformat(alert["started_at"]).year == 2000


def test_without_known_changes_there_is_no_verdict(folder: Path) -> None:
    said = run(folder).stdout
    assert "Known changes" not in said
    assert "false\n" not in said
    assert "drift.error" in said
    document = found(folder)
    assert document["trials"][0]["verdict"] is document["always"] is None


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_draws_every_figure_with_limits_incidents_and_known_changes(
    folder: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = run(folder, "--html", str(page), "--change", str(WORSE))
    assert done.exit_code == 0
    assert f"wrote {page}" in done.stderr.replace("\n", "")
    text = page.read_text()
    parser = Tags()
    parser.feed(text)
    names = [tag for tag, _ in parser.tags]
    looks = [attributes.get("class") or "" for _, attributes in parser.tags]
    assert "script" not in names
    assert not [name for name, each in parser.tags if "src" in each or (name == "link" and "href" in each)]
    figures = re.findall(r'<div class="figure"><h3>(\w+)', text)
    assert {"accuracy", "precision", "recall", "f1", "throughput", "label_coverage", "data"} <= set(figures)
    assert looks.count("trace") == len(figures)
    assert looks.count("known") == len(figures) + looks.count("strip")
    assert "limit" in looks
    assert "bad faint" in looks
    assert "limit 0.8" in text


def test_no_text_of_a_log_becomes_markup(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "<b>log.csv"
    log.write_text("prediction,label,amount<script>\n" + "1,1,1\n1,0,2\n" * 2000 + "1,0,700\n" * 2000)
    hostile = tmp_path / "o.yml"
    hostile.write_text('models: {"<script>x": {task: binary, reference: first 1000}}\n')
    page = tmp_path / "page.html"
    command = ["backtest", str(hostile), "--predictions", str(log), "--html", str(page), "--change", "4000"]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert "<script>" not in page.read_text()
    assert "amount&lt;script&gt;" in page.read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--change", "20000"), "the known change 20000 is beyond its 11,000 predictions"),
        (("--change", "2031-01-01"), "the known change 2031-01-01T00:00:00 is beyond"),
        (("--change", "soon"), "'soon' is neither a row nor a time"),
        (("--map", "score=nothing"), "has no column nothing; it has prediction_id, guess, amount"),
        (("--label-delay", "some"), "--label-delay"),
        (("--html", "/nowhere/page.html"), "/nowhere/page.html cannot be written: No such file"),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_line(folder: Path, more: tuple[str, ...], said: str) -> None:
    done = run(folder, *more)
    assert done.exit_code != 0
    text = done.output if done.output.strip() else str(done.exception)
    assert said in " ".join(text.replace("│", " ").split())


def test_the_model_has_to_be_named_where_the_files_name_more_than_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "two.yml").write_text("models: {a: {}, b: {}}\n")
    done = run(folder, files=("objectives.yml", str(tmp_path / "two.yml")))
    assert done.exit_code == 2
    assert "there are a, b, shop" in " ".join(done.output.replace("│", " ").split())


def test_records_that_a_worker_could_not_use_are_told(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("prediction,label,score\n1,1,0.5\n1,0,7\n")
    objectives = tmp_path / "o.yml"
    objectives.write_text("models: {m: {task: binary}}\n")
    done = CliRunner().invoke(cli.app, ["backtest", str(objectives), "--predictions", str(log)])
    assert done.exit_code == 0, done.output
    assert "records that a worker could not have used: 1 invalid_field" in " ".join(done.output.split())
