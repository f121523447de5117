"""``streamer reference``: from a log to what has changed, by commands alone."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from streamer import cli
from streamer.adapters.reference_file import FORMAT, ReferenceFileError, load
from tests.adapters.state_stage import PARTITIONS, Stage
from tests.conftest import TopicsFactory

HEADER = "plan,age,prediction,label,score\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["reference", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two references: the second one's ages are in months."""
    made = []
    for name, factor in (("before", 1), ("after", 12)):
        rows = (
            f"{'pro' if n % 3 else 'free'},{(20 + n % 50) * factor},{n % 2},1,0.{n % 9}" for n in range(400)
        )
        log = tmp_path / f"{name}.csv"
        log.write_text(HEADER + "\n".join(rows) + "\n")
        made.append(tmp_path / f"{name}.json")
        done = run("build", str(log), str(made[-1]), "--model", "churn", "--version", "7")
        assert done.exit_code == 0, done.output
        assert "400 rows" in done.output
    return made[0], made[1]


def test_a_comparison_names_what_was_done_first(files: tuple[Path, Path]) -> None:
    done = run("compare", *map(str, files))
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0].startswith("churn 7  before.csv: 400 rows, 50.00% of 400 labelled ones wrong")
    assert "! feature:age: values are 12 times what they were: another unit?" in done.output
    ranked = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert ranked[0] == "feature:age"
    assert set(ranked[1:]) == {"feature:plan", "score", "prediction", "label"}


def test_a_comparison_as_json_has_every_column_and_cell(files: tuple[Path, Path]) -> None:
    found = orjson.loads(run("compare", *map(str, files), "--json", "--top", "1").output)
    assert (found["before"]["rows"], found["after"]["error_rate"]) == (400, 0.5)
    assert len(found["columns"]) == 5
    assert found["columns"][0]["column"] == "feature:age"
    assert sum(each["after"] for each in found["columns"][0]["cells"]) == pytest.approx(1)


def test_an_estimate_stands_beside_what_labels_say(files: tuple[Path, Path]) -> None:
    done = run("estimate", *map(str, files))
    assert done.exit_code == 0
    assert "│ accuracy" in done.output
    found = orjson.loads(run("estimate", *map(str, files), "--json").output)
    assert [each["name"] for each in found][:2] == ["accuracy", "precision"]
    assert {(each["rows"], each["labelled"]) for each in found} == {(400, 400)}


def test_less_is_shown_where_less_is_asked_for(files: tuple[Path, Path]) -> None:
    done = run("compare", *map(str, files), "--top", "2")
    assert "3 more columns: --top 5" in done.output


def test_a_reference_is_shown_as_a_table_and_as_json(files: tuple[Path, Path]) -> None:
    text = run("show", str(files[0])).output
    assert "feature:plan" in text
    assert "pro 66.5%, free 33.5%" in text
    plain = orjson.loads(run("show", str(files[0]), "--json").output)
    assert plain == load(files[0]).plain()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "no reference of streamer"),
        (b"[]", "no reference of streamer"),
        (orjson.dumps({"format": FORMAT}), "no reference of streamer"),
        (orjson.dumps({"format": FORMAT + 1}), f"is of format {FORMAT + 1}"),
    ],
)
def test_what_is_no_reference_says_how_to_make_one(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(data)
    with pytest.raises(ReferenceFileError, match=words) as caught:
        load(file)
    assert "streamer reference build" in str(caught.value)
    with pytest.raises(ReferenceFileError, match="cannot be read"):
        load(tmp_path / "nowhere.json")


def test_a_file_that_cannot_be_written_is_no_reference_lost(files: tuple[Path, Path], tmp_path: Path) -> None:
    log = tmp_path / "before.csv"
    done = run("build", str(log), str(tmp_path / "no folder" / "r.json"), "--model", "m")
    assert isinstance(done.exception, ReferenceFileError)
    assert load(files[0]).rows == 400
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("option", ["--map", "--where"])
def test_a_pair_without_its_sign_is_a_usage_error(tmp_path: Path, option: str) -> None:
    done = run("build", "a.csv", "r.json", "--model", "m", option, "year")
    assert done.exit_code == 2
    assert "=" in done.output


def test_what_workers_have_counted_is_taken_and_what_came_since(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    stage = Stage(bootstrap, topics(PARTITIONS), PARTITIONS)
    prefix = stage.names.predictions.removesuffix("predictions")
    where = ["--bootstrap", bootstrap, "--topic-prefix", prefix, "--group", stage.group]
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    who = ["--model", "binary", "--version", "a"]
    assert run("take", str(first), *who, *where).exit_code == 0
    assert run("take", str(second), *who, "--since", str(first), *where).exit_code == 0
    assert load(first).rows > 0
    assert load(second).rows == 0, "nothing came in between"
    other = run("take", str(second), "--model", "binary", "--version", "b", "--since", str(first), *where)
    assert isinstance(other.exception, ReferenceFileError)
    assert "no earlier state of binary" in str(other.exception)
    empty = run("compare", str(first), str(second))
    assert isinstance(empty.exception, ReferenceFileError)
    assert "no rows" in str(empty.exception)
