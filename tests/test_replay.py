"""Files become events in the order of their time, and a wrong file is an error before the first event."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from streamer.adapters.event_sink import EventSink, NotDelivered
from streamer.adapters.tables import TableError
from streamer.local import free_ports
from streamer.replay import Clock, Plan, Played, play


class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def prediction(self, event: Mapping[str, Any]) -> None:
        self.events.append(("prediction", event))

    def label(self, event: Mapping[str, Any]) -> None:
        self.events.append(("label", event))

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        return [event for each, event in self.events if each == kind]


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
    play(Plan("m", path, interval_ms=1000, delay_ms=5000), sink, clock=Clock(now=lambda: 100.0))
    assert max(event["timestamp"] for _, event in sink.events) <= 100_000


GZIPPED = gzip.compress(b"prediction\n1\n" * 999, mtime=0)


@pytest.mark.parametrize(
    ("name", "text", "plan", "words"),
    [
        ("none.csv", None, {}, "p/none.csv: cannot be read: No such file"),
        ("p.csv", "", {}, "p.csv is empty: the first line has to name the columns"),
        ("p.csv", "prediction\n", {}, "there is a header, but no row"),
        ("p.csv", "a,b\n1,2\n", {}, "holds the prediction.*--map prediction=COLUMN; there are a, b"),
        ("p.csv", "id;prediction\n1;2\n", {}, "id;prediction .cells have to be separated by commas"),
        ("p.csv", "prediction,a,a\n1,2,3\n", {}, "names more than one column a"),
        ("p.csv", "a,b\n1,2\n", {"fields": {"prediction": "c"}}, "no column c; it has a, b"),
        ("p.csv", "prediction,b\n1,2\n", {"features": ("typo",)}, "no column typo; it has prediction, b"),
        ("p.csv", "a,b\n1,2\n", {"fields": {"prediction": "c", "score": "d"}, "features": ("x", "a", "y")},
         "no columns c, d, x, y; it has a, b"),
        ("p.csv", "prediction\n1\n", {"fields": {"predicton": "a", "skore": "b"}},
         "--map predicton, skore: a field is one of"),
        ("p.csv", "prediction\n1\n", {"label_fields": {"label": "a"}}, "name it with --labels"),
        ("p.csv", "prediction,score\n1,high\n", {}, "row 2: score is 'high', not a number"),
        ("p.csv", "prediction,latency_ms\n1,3\n1,3ms\n", {}, "row 3: latency_ms is '3ms', not a number"),
        ("p.csv", "prediction,score\n1,0_5\n", {}, "row 2: score is '0_5', not a number"),
        ("p.csv", "prediction,timestamp\n1,soon\n", {}, "row 2: 'soon' is not a timestamp"),
        ("p.csv", "prediction,timestamp\n1,\n", {}, "row 2: the timestamp is empty"),
        ("p.csv", "prediction,timestamp\n1,-5\n", {}, "row 2: '-5' is not a timestamp"),
        ("p.csv", "prediction,timestamp\n1,1700000000000000\n", {}, "not a timestamp: ISO 8601, or epoch"),
        ("p.csv", "prediction,x\n1\n", {}, "row 2: 1 cells, but the header names 2 columns"),
        ("p.csv", 'x,prediction\n\n"a\nb",\n', {}, "row 4: no prediction: nothing was predicted"),
        ("p.csv", "prediction\n\n1\n,\n", {}, "row 4: 2 cells"),
        ("p.csv", "prediction\n" + "x" * 200_000 + "\n", {}, "not CSV: field larger than field limit"),
        ("p.csv", b"prediction\n\xff\n", {}, "not UTF-8 text"),
        ("p.csv.gz", b"not gzip", {}, "cannot be read: Not a gzipped file"),
        ("p.csv.gz", GZIPPED[:-20], {}, "the compressed file is cut off"),
        ("p.csv.gz", GZIPPED[:10] + b"\xff" * 40, {}, "compressed file is damaged"),
        ("p.parquet", b"not parquet", {}, "cannot be read as Parquet"),
        ("none.parquet", None, {}, "cannot be read as Parquet: .*No such file"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_played_says_where_and_what_in_one_line(
    name: str, text: str | bytes | None, plan: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "p" / name
    path.parent.mkdir()
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    sink = Sink()
    with pytest.raises(TableError, match=words) as caught:
        play(Plan("m", path, **plan), sink)
    assert "\n" not in str(caught.value)


def test_a_wrong_file_of_labels_is_an_error_before_the_first_event(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.csv", "prediction_id,prediction\na,1\n")
    labels = write(tmp_path / "l.csv", "prediction_id,label,timestamp\na,1,soon\n")
    sink = Sink()
    with pytest.raises(TableError, match=r"l\.csv, row 2: 'soon' is not a timestamp"):
        play(Plan("m", predictions, labels), sink)
    with pytest.raises(TableError, match=r"l\.csv has no column x; it has prediction_id, label, t"):
        play(Plan("m", predictions, labels, label_fields={"label": "x"}), sink)
    assert not sink.events


def test_a_row_without_an_id_is_not_sent_but_counted_and_told(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.csv", "prediction_id,prediction\na,1\n,1\n2,1\n  ,0\n")
    labels = write(tmp_path / "l.csv", "prediction_id,label\na,1\n,1\n2,0\n")
    sink = Sink()
    played = play(Plan("m", predictions, labels), sink)
    assert [event["prediction_id"] for event in sink.of("prediction")] == ["a", "2"]
    assert [event["prediction_id"] for event in sink.of("label")] == ["a", "2"]
    assert (played.predictions, played.labels, played.without_id, played.strangers) == (2, 2, 3, 0)
    assert played.summary("m").endswith("; 3 rows without an id, not sent")


def test_labels_of_no_prediction_are_counted_and_told_and_sent_where_they_have_a_time(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.csv", "prediction_id,prediction,timestamp\na,1,1700000000\n")
    text = "prediction_id,label,timestamp\na,1,1700000001\nx,1,1700000002\ny,1,\ny,0,\nz,0,\n"
    sink = Sink()
    played = play(Plan("m", predictions, write(tmp_path / "l.csv", text)), sink)
    assert [event["prediction_id"] for event in sink.of("label")] == ["a", "x"]
    assert (played.labels, played.strangers, played.unsent, played.without_label) == (2, 4, 3, 0)
    assert "4 labels of no prediction, of which 3 not sent: they have no timestamp" in played.summary("m")


def test_every_label_of_the_file_is_sent_also_a_second_one_and_one_of_two_versions(tmp_path: Path) -> None:
    predictions = write(
        tmp_path / "p.csv", "prediction_id,version,prediction,label\na,1,1,\na,2,0,\nb,1,1,yes\n"
    )
    labels = write(tmp_path / "l.csv", "prediction_id,label\na,1\na,0\nb,no\n")
    sink = Sink()
    played = play(Plan("m", predictions, labels, start_ms=0), sink)
    assert [(event["prediction_id"], event["label"]) for event in sink.of("label")] == [
        ("a", 1), ("a", 0), ("b", "yes"), ("b", "no"),
    ]  # fmt: skip
    assert (played.without_label, played.strangers) == (0, 0)


def test_a_limit_leaves_out_the_labels_of_what_was_not_played(tmp_path: Path) -> None:
    predictions = write(
        tmp_path / "p.csv", "prediction_id,prediction,timestamp\na,1,1700000000\nb,1,1700000001\nc,,\n"
    )
    text = "prediction_id,label,timestamp\nb,1,1700000009\na,1,1700000008\nc,1,1700000007\n"
    sink = Sink()
    played = play(Plan("m", predictions, write(tmp_path / "l.csv", text), limit=1), sink)
    assert [(kind, event["prediction_id"]) for kind, event in sink.events] == [
        ("prediction", "a"), ("label", "a"),
    ]  # fmt: skip
    assert (played.predictions, played.labels, played.strangers) == (1, 1, 0)
    with pytest.raises(TableError, match="row 4: no prediction"):
        play(Plan("m", predictions), Sink())


class FakeClock:
    """Time that passes by sleeping, and a little with each look."""

    def __init__(self) -> None:
        self.time = 50.0
        self.naps: list[float] = []

    def look(self) -> float:
        self.time += 0.0001
        return self.time

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.time += seconds


def test_the_rate_is_kept_by_sleeping_until_each_ones_turn(tmp_path: Path) -> None:
    clock, times = FakeClock(), []

    class Timed(Sink):
        def prediction(self, event: Mapping[str, Any]) -> None:
            times.append(clock.time - 50.0)
            if len(times) == 3:
                clock.time += 0.25  # the broker is slow once: the rate is caught up with

    path = write(tmp_path / "p.csv", "prediction\n" + "1\n" * 10)
    played = play(Plan("m", path, rate=10), Timed(), clock=Clock(clock.look, clock.look, clock.sleep))
    assert times == pytest.approx([0, 0.1, 0.2, 0.45, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9], abs=0.01)
    assert played.seconds == pytest.approx(0.9, abs=0.01)


def test_without_a_rate_nothing_sleeps(tmp_path: Path) -> None:
    clock = FakeClock()
    path = write(tmp_path / "p.csv", "prediction\n" + "1\n" * 10)
    play(Plan("m", path), Sink(), clock=Clock(clock.look, clock.look, clock.sleep))
    assert not clock.naps


def test_a_stop_does_not_wait_for_the_turn_at_a_slow_rate(tmp_path: Path) -> None:
    clock, sink = FakeClock(), Sink()
    path = write(tmp_path / "p.csv", "prediction,label\n1,1\n1,1\n")
    going = lambda: clock.time < 60  # noqa: E731
    plan = Plan("m", path, rate=0.001)
    played = play(plan, sink, going=going, clock=Clock(clock.look, clock.look, clock.sleep))
    assert max(clock.naps) <= 0.2
    assert clock.time < 61
    assert [kind for kind, _ in sink.events] == ["prediction", "label"]
    assert played.predictions == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-5", -5), ("+5", 5), (" 0.5 ", 0.5), ("1e3", 1000.0), ("yes", "yes"), ("", None),
        ("nan", None), ("-inf", None), ("1e999", None), ("1_000", "1_000"), ("--5", "--5"),
        ("18446744073709551615", 2**64 - 1), ("18446744073709551616", float(2**64)), ("9" * 400, None),
    ],
)  # fmt: skip
def test_a_cell_of_text_is_read_as_what_it_looks_like(text: str, value: Any, tmp_path: Path) -> None:
    sink = Sink()
    play(Plan("m", write(tmp_path / "p.csv", f"prediction,x\n1,{text}\n")), sink)
    found = sink.of("prediction")[0]["features"]["x"]
    assert (found, type(found)) == (value, type(value))
    assert orjson.dumps(found)


def column(kind: pa.DataType, first: Any) -> pa.Array:
    return pa.array([first, None], kind)


def test_cells_of_parquet_become_json_and_nulls_stay_out_or_null(tmp_path: Path) -> None:
    at = datetime(2026, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)
    ns = int(at.timestamp() * 1000) * 1_000_000 + 7
    features = {
        "decimal": (column(pa.decimal128(10, 2), Decimal("3.25")), 3.25),
        "whole": (column(pa.decimal128(10, 2), Decimal("3.00")), 3),
        "huge": (column(pa.decimal128(38, 0), Decimal(10) ** 30), 1e30),
        "text": (column(pa.binary(), b"gold"), "gold"),
        "bytes": (column(pa.binary(), b"\xff\x00"), "ff00"),
        "date": (column(pa.date32(), date(2026, 1, 1)), "2026-01-01"),
        "moment": (column(pa.timestamp("us", "Europe/Paris"), at), "2026-01-01T12:30:00.250000"),
        "nanos": (column(pa.timestamp("ns"), ns), "2026-01-01T12:30:00.250000"),
        "clock": (column(pa.time64("ns"), 1_000_000_001), "00:00:01"),
        "half": (column(pa.float16(), 1.5), 1.5),
        "category": (pa.array(["a", None]).dictionary_encode(), "a"),
        "flag": (column(pa.bool_(), True), True),
    }
    fields = {
        "prediction_id": pa.array([1.0, 2.0]),  # pandas makes floats of ids when there is a gap among them
        "timestamp": pa.array([ns, ns + 10**9], pa.timestamp("ns", "UTC")),
        "prediction": pa.array([True, False]),
        "score": column(pa.decimal128(3, 2), Decimal("0.83")),
        "latency_ms": column(pa.duration("ns"), 12_500_000),
        "version": column(pa.int64(), 7),
        "label": column(pa.string(), "yes"),
    }
    path = tmp_path / "p.parquet"
    parquet.write_table(pa.table(fields | {name: cells for name, (cells, _) in features.items()}), path)
    sink = Sink()
    played = play(Plan("m", path, delay_ms=500), sink)
    ms = int(at.timestamp() * 1000)
    first, second = sink.of("prediction")
    assert first == {
        "prediction_id": "1", "model": "m", "timestamp": ms, "prediction": True, "score": 0.83,
        "version": "7", "latency_ms": 12.5,
        "features": {name: value for name, (_, value) in features.items()},
    }  # fmt: skip
    assert second == {
        "prediction_id": "2", "model": "m", "timestamp": ms + 1000, "prediction": False,
        "features": dict.fromkeys(features),
    }  # fmt: skip
    assert sink.of("label") == [{"prediction_id": "1", "model": "m", "timestamp": ms + 500, "label": "yes"}]
    assert orjson.dumps(sink.events)
    assert (played.predictions, played.without_label) == (2, 1)


def test_parquet_labels_join_by_id_and_a_null_id_is_refused(tmp_path: Path) -> None:
    predictions, labels = tmp_path / "p.parquet", tmp_path / "l.parquet"
    parquet.write_table(
        pa.table({"prediction_id": pa.array([1, None, 3]), "prediction": pa.array([1, 1, 1])}), predictions
    )
    parquet.write_table(pa.table({"prediction_id": pa.array(["1", "3"]), "label": [0, 1]}), labels)
    sink = Sink()
    played = play(Plan("m", predictions, labels), sink)
    assert [event["prediction_id"] for event in sink.of("prediction")] == ["1", "3"]
    assert (played.predictions, played.labels, played.without_id, played.without_label) == (2, 2, 1, 0)


def test_a_date_is_a_timestamp_and_a_list_is_no_feature(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    days = pa.array([date(2026, 1, 1), date(2026, 1, 2)])
    parquet.write_table(
        pa.table({"prediction": [1, 1], "timestamp": days, "vector": [None, [0.5]], "age": [4, 5]}), path
    )
    sink = Sink()
    with pytest.raises(TableError, match="row 2: vector is a list, not a number"):
        play(Plan("m", path), Sink())
    play(Plan("m", path, features=("age",)), sink)
    day = timedelta(days=1) // timedelta(milliseconds=1)
    assert [event["timestamp"] % day for event in sink.of("prediction")] == [0, 0]


def test_without_pyarrow_parquet_says_what_to_install(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
sys.modules["pyarrow"] = None
from streamer.adapters.tables import TableError
from streamer.replay import Plan, play
try:
    play(Plan("m", Path("p.parquet")), None)
except TableError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'streamer[parquet]'" in done.stdout


def test_the_summary_tells_only_what_there_is_to_tell() -> None:
    assert Played(1200, 7, seconds=1.26).summary("churn") == (
        "played 1,200 predictions and 7 labels of churn in 1.3 s"
    )


def test_an_event_that_is_too_large_is_one_line_that_names_it() -> None:
    nobody = {"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}", "log_level": 0}
    sink = EventSink(nobody, "predictions", "labels")
    with pytest.raises(NotDelivered, match=r"event 1, of churn, is larger than message\.max\.bytes"):
        sink.prediction({"model": "churn", "features": {"x": "y" * 2_000_000}})


def test_a_stop_in_the_middle_still_sends_the_labels_of_what_was_sent(tmp_path: Path) -> None:
    sink = Sink()
    path = write(tmp_path / "p.csv", "prediction,label\n" + "1,1\n" * 50)
    play(Plan("m", path, delay_ms=1000), sink, going=lambda: len(sink.events) < 10)
    kinds = [kind for kind, _ in sink.events]
    assert kinds.count("prediction") == kinds.count("label")
