"""What somebody writes in an event cannot pass for a log line, a sample, or a command to the terminal."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from rich.console import Console

from streamer import terminal
from streamer.adapters import logs
from streamer.adapters.exposition import Exposition, ProcessorStats, _printable
from streamer.adapters.metric_names import MODEL, PROCESSOR
from streamer.adapters.status import ModelStatus, PartitionStatus, Status
from streamer.config import parse_objectives
from streamer.domain.readings import read_partition
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.domain.feed import Log, build, feed
from tests.e2e.worker_process import WorkerProcess
from tests.security.calls import called, log_left_as_it_was
from tests.security.commands import PRESENT
from tests.security.hostile import FORGED, TEXTS

OBJECTIVES = """
models:
  defended:
    task: multiclass
    windows: [last 500, lifetime]
    objectives: {f1: {min: 0.99, window: last 500}}
"""
LABEL = r'[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"[a-z][a-z0-9_]*(?:\{{{LABEL}(?:,{LABEL})*\}})? (?:[-+]?[0-9][0-9.e+-]*|[+-]Inf|NaN)")
COMMENT = re.compile(r"# (?:HELP|TYPE|UNIT) [a-z][a-z0-9_]* .+|# EOF")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def events() -> Iterator[tuple[int, dict[str, Any]]]:
    """Predictions (0) and labels (1) with a hostile text in each place that takes one."""
    for number, text in enumerate(TEXTS):
        plain = {"prediction_id": str(number), "model": "defended", "prediction": "a"}
        for place in ("model", "version", "prediction_id", "prediction", "timestamp"):
            yield 0, {**plain, place: text}
        for place in ("features", "segments", "scores"):
            yield 0, {**plain, "prediction_id": f"{number}-{place}", place: {text: 0.5, "b": 0.5}}
        yield 0, {**plain, "prediction_id": f"{number}-value", "features": {"colour": text}}
        yield 1, {"prediction_id": f"{number}-features", "model": "defended", "label": text}
        yield 1, {"prediction_id": str(number), "model": text, "label": "a"}
        yield 1, {"prediction_id": text, "model": "defended", "label": "a"}


def exposition() -> Exposition:
    log = Log()
    for kind, event in events():
        log.wait(10)
        log.put(kind, {"timestamp": log.at, **event})
    pipeline = build(parse_objectives(OBJECTIVES))
    feed(pipeline, log.steps)
    found = Exposition(ProcessorStats())
    found.publish(0, read_partition(pipeline.partition, None))
    return found


def steers(text: str) -> set[str]:
    """What in it is no printable character, but for the ends of lines."""
    return {each for each in text if not each.isprintable() and each != "\n"}


@pytest.mark.parametrize(
    ("generate", "parse"), [(generate_latest, parse_plain), (open_metrics, parse_open_metrics)]
)
def test_no_event_can_forge_a_sample_or_a_line_of_metrics(generate: Any, parse: Any) -> None:
    text = generate(exposition().registry).decode()
    for line in text.removesuffix("\n").split("\n"):
        assert SAMPLE.fullmatch(line) or COMMENT.fullmatch(line), line
    families = {**MODEL, **PROCESSOR}
    samples = [sample for family in parse(text) for sample in family.samples]
    names = {re.sub(r"_(bucket|sum|count|created)$", "", sample.name) for sample in samples}
    assert names <= {*families, *(name.removesuffix("_total") for name in families)}
    models = {sample.labels["model"] for sample in samples if "model" in sample.labels}
    assert models <= {*TEXTS, "defended"}
    assert len(models) > 5  # those that are printable got in, and are there as they were written
    assert steers(text) == set()
    classes = {sample.labels["class"] for sample in samples if "class" in sample.labels}
    assert "�1b;[31mred�1b;[0m" in classes
    series = [(sample.name, *sorted(sample.labels.items())) for sample in samples]
    assert len(series) == len(set(series))


def test_no_two_classes_are_shown_as_one() -> None:
    texts = ["\x1b", "�1b;", "�", "�fffd;", "\x1b1b;", "a", "", "\ud800", "\n", "�a;", "\r"]
    assert len({_printable((text,)) for text in texts}) == len(texts)
    assert all(label.isprintable() for text in texts for label in _printable((text,)))


# -- the log ---------------------------------------------------------------------------------------


@pytest.fixture
def log_of_a_process() -> Iterator[Callable[[str, str], None]]:
    """What configures the log; afterwards it is as it was."""
    with log_left_as_it_was():
        yield logs.configure


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_record_of_the_log_is_one_line_whatever_is_in_it(
    form: str, log_of_a_process: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    log_of_a_process("debug", form)
    log = logging.getLogger("streamer.test")
    for text in (*TEXTS, "\ud800 alone", "y" * 10_000_000, ""):
        log.warning("about %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("failed on %r and %s", text, text)
    lines = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert len(lines) == 2 * (len(TEXTS) + 3)
    for line in lines:
        assert steers(line) == set()
        assert len(line) < 4 * logs.LONGEST
        if form == "json":
            assert set(orjson.loads(line)) == {"at", "level", "logger", "message"}
            assert orjson.loads(line)["level"] in ("warning", "error")
        else:
            assert re.match(r"\d\d:\d\d:\d\d (WARNING|ERROR  ) (about|failed on)", line)


def test_what_nobody_caught_is_a_line_of_json_too(
    log_of_a_process: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    log_of_a_process("info", "json")
    try:
        raise ValueError(TEXTS[0])
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    [line] = capsys.readouterr().err.splitlines()
    assert orjson.loads(line)["level"] == "critical"


# -- the terminal ------------------------------------------------------------------------------------


def shown(*parts: Any) -> str:
    """As on a terminal with colours, without those."""
    out = Console(file=io.StringIO(), force_terminal=True, highlight=False, soft_wrap=True, width=400)
    for part in parts:
        out.print(part)
    return COLOUR.sub("", out.file.getvalue())  # type: ignore[attr-defined]


def alert_with(text: Any) -> dict[str, Any]:
    names = ("alert_id", "fingerprint", "status", "updated_at", "started_at", "severity", "version", "model",
             "rule", "summary", "reason")  # fmt: skip
    return dict.fromkeys(names, text)


@pytest.mark.parametrize("text", [*TEXTS, None, 7, [], {}, True], ids=lambda text: repr(text)[:20])
def test_an_alert_is_one_line_that_steers_nothing(text: Any) -> None:
    for alert in (alert_with(text), {}, {"status": "resolved", "reason": text}):
        line = shown(terminal.alert_line(alert))
        assert line.count("\n") == 1
        assert steers(line) == set()
        as_json = terminal.json_line(alert)
        assert steers(as_json) == set()
        assert "\n" not in as_json
        assert orjson.loads(as_json) == alert


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:20])
def test_the_tables_of_status_show_names_as_they_are_and_follow_no_markup(text: str) -> None:
    model = ModelStatus(text, text, text, 1, 1, 0)
    partition = PartitionStatus(0, 1, problem=f"problem {text}", models=(model,))
    table = shown(*terminal.status_tables(Status((partition,), (alert_with(text),))))
    assert steers(table) == set()
    assert not re.search(rf"^\W*{FORGED}", table, re.M)
    if text.startswith("["):
        assert table.count(text) >= 2


READING = (
    "alerts", "alerts --firing", "alerts --json", "explain latest", "status",
    "state show", "state show --json",
    "dead-letters list", "dead-letters list --json", "dead-letters list --summary", "dead-letters show 0:0",
)  # fmt: skip
COMMAND_WORDS = {word for name in PRESENT for word in name.split()}


# -- the whole way -------------------------------------------------------------------------------------


def test_hostile_events_and_alerts_come_out_as_text(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    names = topics(1)
    prefix = names.predictions.removesuffix("predictions")
    where = ("--bootstrap", bootstrap, "--topic-prefix", prefix)
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    sent = 0
    for kind, event in events():
        topic = names.labels if kind else names.predictions
        now = {} if "timestamp" in event else {"timestamp": 1_790_000_000_000}
        producer.produce(topic, orjson.dumps({**event, **now}), event["model"].encode()[:4000])
        sent += 1
    good = [alert_with(text) for text in TEXTS]
    for alert in [*map(orjson.dumps, good), b"", b"{", b"[]", b"null", b"\xff", b'"x"']:
        producer.produce(names.alerts, alert, b"k")
    assert producer.flush(30) == 0
    worker = WorkerProcess(bootstrap, prefix, tmp_path, trace="false", log_format="json", log_level="debug")
    try:
        worker.await_ready()

        def consumed() -> bool:
            both = ("predictions", "labels")
            return sum(worker.total(f"streamer_{each}_consumed_total") for each in both) >= sent

        wait_until(consumed, 60, "all is counted")
    finally:
        status = worker.stop()
    assert status == 0
    for line in worker.log.read_text().splitlines():
        assert set(orjson.loads(line)) == {"at", "level", "logger", "message"}, line
    wide = {**os.environ, "COLUMNS": "300"}
    for line in READING:
        options = PRESENT[" ".join(word for word in line.split() if word in COMMAND_WORDS)]
        group = ("--group", f"{prefix}group") if "--group" in options else ()
        done = called(wide, *line.split(), *where, *group)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert steers(done.stdout) == set()
        assert not re.search(rf"^\W*{FORGED}", done.stdout, re.M)
    told = called(wide, "alerts", "--json", *where).stdout.splitlines()
    assert [each for each in map(orjson.loads, told) if "alert_id" in each and each in good] == good
