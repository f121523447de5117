"""``streamer report``: from the topic to a record, on a real broker."""

from __future__ import annotations

from pathlib import Path

import orjson
from typer.testing import CliRunner, Result

from streamer import cli
from tests.audit.test_record import made, reports
from tests.conftest import TopicsFactory
from tests.e2e.oracle import write

__all__ = ["reports"]  # the fixture


def run(bootstrap: str, prefix: str, *arguments: str) -> Result:
    command = ["report", "--bootstrap", bootstrap, "--topic-prefix", prefix, *arguments]
    return CliRunner().invoke(cli.app, command, env={"COLUMNS": "160"})


def test_a_record_is_made_of_the_topic_alone(
    bootstrap: str,
    topics: TopicsFactory,
    tmp_path: Path,
    reports: list,  # type: ignore[type-arg]
) -> None:
    names = topics(3)
    prefix = names.predictions.removesuffix("predictions")
    steps = [(names.reports, 1, b"m", each.value) for each in reports]
    steps.insert(3, (names.reports, 1, b"m", b"no report"))
    steps.insert(5, (names.reports, 1, b"other", orjson.dumps({**reports[0].document, "model": "other"})))
    write(bootstrap, steps)
    done = run(bootstrap, prefix, "--model", "m", "--json")
    assert done.exit_code == 0, done.output
    record = orjson.loads(done.stdout)
    expected = made(reports)
    assert {**record, "source": None} == {**expected, "source": None}
    assert record["source"]["topic"] == names.reports
    assert record["source"]["records"] == expected["source"]["records"]
    assert run(bootstrap, prefix, "--model", "m", "--json").stdout == done.stdout
    page = tmp_path / "page.html"
    done = run(
        bootstrap, prefix, "--model", "m", "--from", "2023-11-16", "--to", "2023-11-18", "--html", str(page)
    )
    assert done.exit_code == 0, done.output
    assert "m: 2 days" in done.output
    assert record["source"]["sha256"] not in page.read_text()  # which is of all the time
    assert "record of monitoring" in page.read_text()


def test_a_model_that_nobody_has_told_of_is_named(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(1)
    done = run(bootstrap, names.predictions.removesuffix("predictions"), "--model", "nobody")
    assert done.exit_code == 2
    assert "has nothing of 'nobody'" in " ".join(done.output.replace("│", " ").split())
