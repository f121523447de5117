"""Files become events in the order of their time, and a wrong file is an error before the first event."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamer.replay import Plan, ReplayError, play


class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def prediction(self, event: Mapping[str, Any]) -> None:
        self.events.append(("prediction", event))

    def label(self, event: Mapping[str, Any]) -> None:
        self.events.append(("label", event))


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_labels_come_their_delay_after_their_prediction(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.csv.gz", "id,guess,age\na,1,3\nb,0,4.5\nc,1,\n")
    labels = write(tmp_path / "l.csv", "id,truth\nb,1\na,0\nx,1\n")
    plan = Plan(
        "m", predictions, labels, fields={"prediction_id": "id", "prediction": "guess"},
        label_fields={"prediction_id": "id", "label": "truth"}, interval_ms=1000, start_ms=10_000,
        delay_ms=1500,
    )  # fmt: skip
    sink = Sink()
    played = play(plan, sink)
    assert [(kind, event["prediction_id"], event["timestamp"]) for kind, event in sink.events] == [
        ("prediction", "a", 10_000), ("prediction", "b", 11_000), ("label", "a", 11_500),
        ("prediction", "c", 12_000), ("label", "b", 12_500),
    ]  # fmt: skip
    assert [event.get("features") for kind, event in sink.events if kind == "prediction"] == [
        {"age": 3}, {"age": 4.5}, {"age": None},
    ]  # fmt: skip
    assert (played.predictions, played.labels, played.without_label, played.strangers) == (3, 2, 1, 1)


def test_timestamps_of_the_file_are_kept_and_decide_the_order(tmp_path: Path) -> None:
    text = "timestamp,prediction,label\n2026-01-01T00:00:00Z,yes,no\n1767225605,yes,yes\n1767225606000,no,\n"
    sink = Sink()
    play(Plan("m", write(tmp_path / "p.csv", text), delay_ms=2000), sink)
    assert [(kind, event["timestamp"]) for kind, event in sink.events] == [
        ("prediction", 1767225600000), ("label", 1767225602000), ("prediction", 1767225605000),
        ("prediction", 1767225606000), ("label", 1767225607000),
    ]  # fmt: skip


def test_made_up_timestamps_end_at_now(tmp_path: Path) -> None:
    sink = Sink()
    path = write(tmp_path / "p.csv", "prediction,label\n1,1\n0,0\n")
    play(Plan("m", path, interval_ms=1000, delay_ms=5000), sink, now=lambda: 100.0)
    assert max(event["timestamp"] for _, event in sink.events) <= 100_000


@pytest.mark.parametrize(
    ("name", "text", "fields", "words"),
    [
        ("none.csv", None, {}, "cannot be read"),
        ("p.csv", "a,b\n1,2\n", {}, "--map prediction=COLUMN"),
        ("p.csv", "a,b\n1,2\n", {"prediction": "c"}, "no column c; it has a, b"),
        ("p.csv", "prediction\n1\n", {"predicton": "a"}, "a field is one of"),
        ("p.csv", "prediction,score\n1,high\n", {}, "row 2: score is 'high'"),
        ("p.csv", "prediction,timestamp\n1,soon\n", {}, "row 2: 'soon' is not a timestamp"),
        ("p.csv", "prediction,x\n1\n", {}, "row 2"),
        ("p.csv", "prediction\n\n1\n,\n", {}, "row"),
        ("p.csv.gz", "not gzip", {}, "cannot be read"),
        ("p.csv", "", {}, "none at all"),
    ],
)
def test_a_file_that_cannot_be_played_says_where_and_what(
    name: str, text: str | None, fields: dict[str, str], words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ReplayError, match=words):
        play(Plan("m", path, fields=fields), Sink())


def test_a_stop_in_the_middle_still_sends_the_labels_of_what_was_sent(tmp_path: Path) -> None:
    sink = Sink()
    path = write(tmp_path / "p.csv", "prediction,label\n" + "1,1\n" * 50)
    play(Plan("m", path, delay_ms=1000), sink, going=lambda: len(sink.events) < 10)
    kinds = [kind for kind, _ in sink.events]
    assert kinds.count("prediction") == kinds.count("label")
