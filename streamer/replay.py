"""Play prediction and label files into Kafka, as if a service logged them.

predictions.csv ─▶ rows ─▶ events, timestamps made up where there are none ─┐
labels.csv ──────▶ by id, due a delay after their prediction ───────────────┴▶ in event time ─▶ Kafka
"""

from __future__ import annotations

import csv
import gzip
import heapq
import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from streamer.errors import StreamerError

Row = Mapping[str, Any]

PREDICTION_FIELDS = ("prediction_id", "timestamp", "prediction", "score", "version", "latency_ms", "label")
LABEL_FIELDS = ("prediction_id", "timestamp", "label")
SECONDS_LIMIT = 1e11
PARQUET_BATCH = 10_000


class ReplayError(StreamerError):
    """A file cannot be played; the message names the file, the row where there is one, and the cure."""


class Sink(Protocol):
    """Where events go."""

    def prediction(self, event: Mapping[str, Any]) -> None: ...
    def label(self, event: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What to play, and how.

    ``fields`` and ``label_fields``: our field → the file's column; a column
    with our own name needs none. A ``label`` among the predictions' columns
    makes ``labels`` unnecessary. ``features``: columns sent as features,
    None for all that are nothing else. ``rate``: predictions a second, None
    for as fast as possible. ``interval_ms``, ``start_ms``: of the timestamps
    made up for predictions that have none; without a start the last event
    ends up at now. ``delay_ms``: from a prediction to a label that has no
    timestamp of its own.
    """

    model: str
    predictions: Path
    labels: Path | None = None
    version: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    label_fields: Mapping[str, str] = field(default_factory=dict)
    features: tuple[str, ...] | None = None
    rate: float | None = None
    interval_ms: float = 1000.0
    start_ms: int | None = None
    delay_ms: int = 0
    limit: int | None = None


@dataclass(slots=True)
class Played:
    """``without_label``: predictions whose label no file has; ``strangers``: labels of no prediction."""

    predictions: int = 0
    labels: int = 0
    without_label: int = 0
    strangers: int = 0
    seconds: float = 0.0


def play(
    plan: Plan,
    sink: Sink,
    progress: Callable[[int, int], None] = lambda done, total: None,
    going: Callable[[], bool] = lambda: True,
    now: Callable[[], float] = time.time,
) -> Played:
    """Play until the end, or until ``going()`` says no. ``progress``: predictions done, and in all.

    Raises:
        ReplayError: before the first event for a wrong file or mapping, else at the row that is wrong.
    """
    columns = _columns(plan.predictions, PREDICTION_FIELDS, plan.fields, ("prediction",))
    if plan.labels is not None and "prediction_id" not in columns:
        raise ReplayError(
            f"{plan.predictions}: labels come from another file, so a column must hold the id:"
            " name it with --map prediction_id=COLUMN"
        )
    total = count_rows(plan.predictions)
    total = total if plan.limit is None else min(total, plan.limit)
    truth = _Truth(plan)
    played, began = Played(), time.monotonic()
    start = plan.start_ms
    if start is None:
        start = int(now() * 1000 - total * plan.interval_ms - plan.delay_ms)
    predictions = _predictions(plan, columns, start)
    for number, (event, own_label) in enumerate(predictions):
        if number >= total or not going():
            break
        _pace(plan.rate, number, began)
        truth.send_due(event["timestamp"], sink, played)
        sink.prediction(event)
        played.predictions += 1
        if not truth.expect(event, own_label):
            played.without_label += 1
        if number % 500 == 0:
            progress(number, total)
    truth.send_due(None, sink, played)
    progress(played.predictions, total)
    played.seconds = time.monotonic() - began
    return played


class _Truth:
    """Labels, each due at its time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._due: list[tuple[int, int, str, Any]] = []
        self._number = 0
        self._by_id: dict[str, Any] = {}
        self._timed = False
        if plan.labels is not None:
            self._load(plan.labels)

    def _load(self, path: Path) -> None:
        columns = _columns(
            path, LABEL_FIELDS, self.plan.label_fields, ("prediction_id", "label"), "label-map"
        )
        self._timed = "timestamp" in columns
        for number, row in enumerate(rows(path), start=2):
            value = scalar(row[columns["label"]])
            if value is None:
                continue
            prediction_id = str(row[columns["prediction_id"]])
            if self._timed:
                due = _time(row[columns["timestamp"]], path, number)
                self._push(due, prediction_id, value)
            self._by_id[prediction_id] = value

    def _push(self, due: int, prediction_id: str, value: Any) -> None:
        self._number += 1
        heapq.heappush(self._due, (due, self._number, prediction_id, value))

    def expect(self, event: Mapping[str, Any], own: Any) -> bool:
        """A prediction was made; False where no file knows its label."""
        prediction_id = event["prediction_id"]
        value = self._by_id.pop(prediction_id, None) if own is None else own
        if value is None:
            return False
        if own is not None or not self._timed:
            self._push(event["timestamp"] + self.plan.delay_ms, prediction_id, value)
        return True

    def send_due(self, until: int | None, sink: Sink, played: Played) -> None:
        """Send what is due before this time; at the end (None) all that is left, strangers too."""
        while self._due and (until is None or self._due[0][0] <= until):
            due, _, prediction_id, value = heapq.heappop(self._due)
            sink.label(
                {"prediction_id": prediction_id, "model": self.plan.model, "timestamp": due, "label": value}
            )
            played.labels += 1
        if until is None:
            played.strangers = len(self._by_id)


def _predictions(plan: Plan, columns: Mapping[str, str], start: int) -> Iterator[tuple[dict[str, Any], Any]]:
    """Events in the file's order, each with the label of its own row, if it has one."""
    taken = set(columns.values())
    for number, row in enumerate(rows(plan.predictions)):
        where = number + 2
        value = scalar(row[columns["prediction"]])
        if value is None:
            raise ReplayError(
                f"{plan.predictions}, row {where}: no {columns['prediction']}: nothing was predicted"
            )
        event: dict[str, Any] = {
            "prediction_id": str(row[columns["prediction_id"]])
            if "prediction_id" in columns
            else str(where - 1),
            "model": plan.model,
            "timestamp": _time(row[columns["timestamp"]], plan.predictions, where)
            if "timestamp" in columns
            else int(start + number * plan.interval_ms),
            "prediction": value,
        }
        version = row[columns["version"]] if "version" in columns else plan.version
        if version not in (None, ""):
            event["version"] = str(version)
        for name in ("score", "latency_ms"):
            if name in columns and (given := scalar(row[columns[name]])) is not None:
                if isinstance(given, str):
                    raise ReplayError(
                        f"{plan.predictions}, row {where}: {columns[name]} is {given!r}, not a number"
                    )
                event[name] = given
        features = plan.features if plan.features is not None else tuple(k for k in row if k not in taken)
        if features:
            event["features"] = {name: scalar(row[name]) for name in features}
        yield event, scalar(row[columns["label"]]) if "label" in columns else None


def _pace(rate: float | None, number: int, began: float) -> None:
    if rate:
        ahead = began + number / rate - time.monotonic()
        if ahead > 0.002:
            time.sleep(ahead)


# -- files -----------------------------------------------------------------------------------


def rows(path: Path) -> Iterator[Row]:
    """The rows of a CSV (``.csv``, ``.csv.gz``) or Parquet (``.parquet``) file, as dicts."""
    if path.suffix == ".parquet":
        for batch in _parquet(path).iter_batches(PARQUET_BATCH):
            yield from batch.to_pylist()
        return
    with _text(path) as file:
        reader = csv.DictReader(file)
        for number, row in enumerate(reader, start=2):
            if None in row or None in row.values():
                names = reader.fieldnames or ()
                raise ReplayError(
                    f"{path}, row {number}: the header names {len(names)} columns, the row differs"
                )
            yield row


def count_rows(path: Path) -> int:
    """How many rows there are, without the header."""
    if path.suffix == ".parquet":
        return int(_parquet(path).metadata.num_rows)
    with _text(path) as file:
        return max(0, sum(1 for _ in csv.reader(file)) - 1)


def header(path: Path) -> list[str]:
    """The names of the columns."""
    if path.suffix == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    with _text(path) as file:
        return next(csv.reader(file), [])


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOBase]:
    try:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise ReplayError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ReplayError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except csv.Error as error:
        raise ReplayError(f"{path}: not CSV: {error}") from None


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ReplayError(f"{path}: Parquet needs an extra: pip install 'streamer[parquet]'") from None
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise ReplayError(f"{path}: cannot be read as Parquet: {error}") from None


def _columns(
    path: Path,
    fields: tuple[str, ...],
    mapping: Mapping[str, str],
    needed: tuple[str, ...],
    option: str = "map",
) -> dict[str, str]:
    """Our field → column, for the fields that the file has."""
    names = header(path)
    unknown = [name for name in mapping if name not in fields]
    if unknown:
        raise ReplayError(f"--{option} {unknown[0]}=…: a field is one of {', '.join(fields)}")
    lost = [column for column in mapping.values() if column not in names]
    if lost:
        raise ReplayError(f"{path} has no column {lost[0]}; it has {', '.join(names) or 'none at all'}")
    found = {name: mapping.get(name, name) for name in fields if mapping.get(name, name) in names}
    for name in needed:
        if name not in found:
            raise ReplayError(
                f"{path}: which column holds the {name}? Say --{option} {name}=COLUMN;"
                f" there are {', '.join(names) or 'none at all'}"
            )
    return found


def scalar(value: Any) -> Any:
    """A cell as a number where it is one, None where it is empty or not finite, else as it is."""
    if not isinstance(value, str):
        return None if isinstance(value, float) and value != value else value
    text = value.strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return value
    return number if abs(number) != float("inf") and number == number else None


def _time(value: Any, path: Path, number: int) -> int:
    """Epoch ms of a cell: a number (seconds below 1e11), a datetime, or ISO 8601, UTC if it says none."""
    value = scalar(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value * 1000) if value < SECONDS_LIMIT else int(value)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ReplayError(f"{path}, row {number}: {value!r} is not a timestamp") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
