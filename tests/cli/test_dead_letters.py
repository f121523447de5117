"""``streamer dead-letters`` as people use it: they look, mend, send back, and learn what came of it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from streamer import cli
from streamer.adapters.topics import Topics
from streamer.home import home
from tests.adapters.letters import bad, post
from tests.cli.test_cli import examples, running, streamer
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.domain.feed import START_MS
from tests.e2e.oracle import committed, write
from tests.e2e.worker_process import WorkerProcess

NASTY = [
    b'{"model": "\x1b[2J\x1b]0;owned\x07", "a": 1',
    '{"model": "a\\u001b[31m\\u202eb\\u2028c", "x": ["\u202e\u0085\ud7ff[bold]red[/]"]}'.encode(),
    b"\x00\x1b\xff\x90\x9b\n\r\x08" * 9,
    "text with \u202e\u0007 and \x9b31m in it, and much that is quite harmless around these few".encode(),
    b"",
]


def where(bootstrap: str, names: Topics, *, group: bool = False) -> list[str]:
    prefix = names.predictions.removesuffix("predictions")
    return [
        "--bootstrap", bootstrap, "--topic-prefix", prefix, *(["--group", f"{prefix}group"] if group else [])
    ]  # fmt: skip


@pytest.mark.parametrize("callback", [each.callback for each in cli.dead_letters_app.registered_commands])
def test_each_example_of_the_help_stands_on_a_line_of_its_own(callback: Callable[..., Any]) -> None:
    name = callback.__name__.removeprefix("dead_letters_")
    shown = CliRunner().invoke(cli.app, ["dead-letters", name, "--help"], env={"COLUMNS": "200"}).stdout
    lines = [line.strip() for line in shown.splitlines()]
    assert examples(callback)
    assert set(examples(callback)) <= set(lines)
    assert inspect.getdoc(callback)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["redrive"], "say which"),
        (["redrive", "3-17"], "PARTITION:OFFSET"),
        (["redrive", "--all", "--wait", "soon"], "not a duration"),
        (["list", "--since", "yesterday"], "2026-11-24T09:00"),
        (["list", "--reason", "bad"], "undecodable"),
    ],
)
def test_what_makes_no_sense_is_said_before_any_broker_is_asked(arguments: list[str], said: str) -> None:
    done = streamer("dead-letters", *arguments, "--bootstrap", "127.0.0.1:1")
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.timeout(240)
def test_from_dead_letters_to_records_that_count(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    names = topics(2)
    away = next(f"m{n}" for n in range(99) if home(f"m{n}", 2) == 1)
    at = home("churn", 2)

    def event(pid: str, model: str, answer: Any) -> bytes:
        return orjson.dumps(
            {"prediction_id": pid, "model": model, "timestamp": START_MS, "prediction": answer}
        )

    write(
        bootstrap,
        [
            (names.predictions, 0, b"wrong", event("1", away, 1)),
            (names.predictions, at, b"churn", event("2", "churn", "maybe")),
            (names.predictions, at, b"churn", b'{"prediction_id": "3", "model": "churn"'),
            (names.predictions, at, b"churn", None),
        ],
    )
    file, prefix = tmp_path / "o.yml", names.predictions.removesuffix("predictions")
    file.write_text("models: {churn: {task: binary}}")
    worker = WorkerProcess(bootstrap, prefix, tmp_path, file, trace="false").await_ready()
    wait_until(lambda: worker.total("streamer_dead_letters_total") == 4, 60, "all are dead letters")
    assert worker.stop() == 0

    told = streamer("dead-letters", "list", "--json", *where(bootstrap, names))
    rows = {row["reason"]: row for row in map(orjson.loads, told.stdout.splitlines())}
    assert set(rows) == {"misplaced", "unknown_class", "undecodable", "tombstone"}
    assert rows["misplaced"]["model"] == away
    assert "no value" in rows["tombstone"]["obstacle"]
    counted = streamer("dead-letters", "list", "--summary", "--model", "churn", *where(bootstrap, names))
    assert "unknown_class" in counted.stdout
    assert "misplaced" not in counted.stdout
    shown = streamer("dead-letters", "show", rows["unknown_class"]["letter"], *where(bootstrap, names))
    assert shown.returncode == 0, shown.stderr
    for part in ("name it in the objectives", '"prediction": "maybe"', rows["unknown_class"]["source"]):
        assert part in shown.stdout

    dry = streamer("dead-letters", "redrive", "--all", "--dry-run", *where(bootstrap, names, group=True))
    assert (dry.returncode, "3 letters can be sent back" in dry.stderr) == (0, True)
    assert "1 cannot be redriven: the record had no value" in dry.stderr
    nobody = streamer("dead-letters", "redrive", "--all", *where(bootstrap, names, group=True))
    assert (nobody.returncode, "--yes" in nobody.stderr) == (2, True)

    file.write_text("models: {churn: {task: binary, positive: [1], negative: [0, maybe]}}")
    worker = WorkerProcess(bootstrap, prefix, tmp_path, file, trace="false").await_ready()
    done = streamer("dead-letters", "redrive", "--all", "--yes", *where(bootstrap, names, group=True))
    assert done.returncode == 1
    assert "2 were taken" in done.stderr
    assert f"{rows['undecodable']['letter']} is now {at}:" in done.stderr
    assert worker.total("model_predictions_total", model=away) == 1
    assert worker.total("model_predictions_total", model="churn") == 1
    assert worker.stop() == 0

    after = streamer("dead-letters", "list", "--json", "--reason", "misplaced", *where(bootstrap, names))
    place = orjson.loads(after.stdout)["redriven_to"]
    [became] = [r for r in committed(bootstrap, names.predictions, 1) if place.endswith(f"/1:{r.offset()}")]
    assert (became.key(), became.value()) == (b"wrong", event("1", away, 1))
    twice = streamer("dead-letters", "redrive", "--all", "--yes", *where(bootstrap, names, group=True))
    assert twice.returncode == 0
    assert "3 were redriven before" in twice.stderr
    assert "--again" in twice.stderr
    again = streamer(
        "dead-letters", "redrive", "--all", "--again", "--yes", "--wait", "1s",
        *where(bootstrap, names, group=True),
    )  # fmt: skip
    assert again.returncode == 1
    assert "1 letters were sent" in again.stderr
    assert "is a worker of group" in again.stderr


def test_no_byte_of_a_letter_steers_the_terminal(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(1)
    records = [bad(n, value, value[:60] or b"\x1b[2J") for n, value in enumerate(NASTY)]
    assert post(bootstrap, names, 0, records, partitions=1) == len(NASTY)
    for command in (
        ["list"],
        ["list", "--json"],
        ["list", "--summary"],
        *(["show", f"0:{n}"] for n in range(5)),
    ):
        done = streamer("dead-letters", *command, *where(bootstrap, names))
        assert done.returncode == 0, done.stderr
        assert done.stdout
        assert not [each for each in done.stdout if not (each.isprintable() or each == "\n")], command
    assert "[bold]red[/]" in streamer("dead-letters", "show", "0:1", *where(bootstrap, names)).stdout


@pytest.mark.timeout(240)
def test_a_redrive_that_is_killed_again_and_again_sends_every_letter_once(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names, letters = topics(1), 6_000
    assert post(bootstrap, names, 0, [bad(n, b"{%d" % n) for n in range(letters)], partitions=1) == letters
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tests"})
    source = TopicPartition(names.predictions, 0)

    def end() -> int:
        """Where the log ends, with what nobody has committed."""
        return int(consumer.get_watermark_offsets(source, timeout=10, cached=False)[1])

    command = ["dead-letters", "redrive", "--all", "--yes", "--wait", "0s", *where(bootstrap, names)]
    for more in (1, 900):
        enough = end() + more
        with running(*command) as process:
            while process.poll() is None and end() < enough:
                pass
            process.kill()
    assert end() < letters, "it was done before it was killed"
    done = streamer(*command)
    assert done.returncode == 0, done.stderr
    consumer.close()
    sent = Counter(record.value() for record in committed(bootstrap, names.predictions, 0))
    assert sent == Counter(b"{%d" % n for n in range(letters))


def test_a_letter_that_is_not_there_is_one_line_with_the_cure(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(1)
    for command in (["show", "0:5"], ["redrive", "0:5", "--yes"]):
        done = streamer("dead-letters", *command, *where(bootstrap, names))
        assert done.returncode == 1
        [line] = done.stderr.strip().splitlines()
        assert "streamer dead-letters list" in line
    empty = streamer("dead-letters", "list", *where(bootstrap, names))
    assert (empty.returncode, empty.stdout) == (0, "")


def test_without_topics_the_cure_is_named(bootstrap: str) -> None:
    done = streamer("dead-letters", "list", "--bootstrap", bootstrap, "--topic-prefix", "nowhere-")
    assert done.returncode == 1
    assert "streamer topics create" in done.stderr


def test_who_says_no_has_nothing_sent(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(1)
    post(bootstrap, names, 0, [bad(0)], partitions=1)
    command = [sys.executable, "-m", "streamer", "dead-letters", "redrive", "--all", *where(bootstrap, names)]
    done = subprocess.run(command, input="n\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Nothing was sent" in done.stderr
    assert committed(bootstrap, names.predictions, 0) == []
