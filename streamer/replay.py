"""Play prediction and label files into Kafka, as if a service logged them.

predictions.csv ─▶ rows ─▶ events, timestamps made up where there are none ─┐
labels.csv ──────▶ by id, due a delay after their prediction ───────────────┴▶ in event time ─▶ Kafka
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from streamer.adapters.tables import (
    Row,
    TableError,
    cell,
    count_rows,
    header,
    identity,
    is_empty,
    listed,
    reader_of,
    rows,
    time_ms,
)

PREDICTION_FIELDS = ("prediction_id", "timestamp", "prediction", "score", "version", "latency_ms", "label")
LABEL_FIELDS = ("prediction_id", "timestamp", "label")
NUMBER_FIELDS = ("score", "latency_ms")
PROGRESS_EVERY = 500
NAP_SECONDS = 0.2
SHORTEST_NAP = 0.002


class Sink(Protocol):
    """Where events go."""

    def prediction(self, event: Mapping[str, Any]) -> None: ...
    def label(self, event: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of day and the time that passes, in seconds."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


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
    timestamp of its own. ``limit``: most predictions to play.
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
    """What was sent, and what was not.

    ``predictions``, ``labels``: events sent. ``without_label``: predictions
    whose label no file has. ``strangers``: labels of no prediction; those
    with a timestamp are sent, as their service did send them, ``unsent`` of
    them have none and nothing to get one from. ``without_id``: rows whose
    cell for the id is empty: never sent, since an id that we made up could
    be another prediction's.
    """

    predictions: int = 0
    labels: int = 0
    without_label: int = 0
    strangers: int = 0
    unsent: int = 0
    without_id: int = 0
    seconds: float = 0.0

    def summary(self, model: str) -> str:
        """All of it in one line, for a person."""
        unsent = f", of which {self.unsent:,} not sent: they have no timestamp" if self.unsent else ""
        notes = (
            (self.without_label, "predictions without a label"),
            (self.strangers, f"labels of no prediction{unsent}"),
            (self.without_id, "rows without an id, not sent"),
        )
        return (
            f"played {self.predictions:,} predictions and {self.labels:,} labels of {model}"
            f" in {self.seconds:.1f} s" + "".join(f"; {count:,} {what}" for count, what in notes if count)
        )


def play(
    plan: Plan,
    sink: Sink,
    progress: Callable[[int, int], None] = lambda done, total: None,
    going: Callable[[], bool] = lambda: True,
    clock: Clock = Clock(),
) -> Played:
    """Play until the end, or until ``going()`` says no. ``progress``: predictions done, and in all.

    When it ends early, the labels of what was played are still sent, and no others.

    Raises:
        TableError: before the first event for a wrong file or mapping, else at the row that is wrong.
    """
    played = Played()
    predictions = _Predictions(plan, played)
    truth = _Truth(plan, played)
    if not predictions.rows:
        raise TableError(f"{plan.predictions}: there is a header, but no row to play")
    total = predictions.rows if plan.limit is None else min(predictions.rows, plan.limit)
    start = plan.start_ms
    if start is None:
        start = int(clock.now() * 1000 - total * plan.interval_ms - plan.delay_ms)
    began = clock.monotonic()
    for event, own_label in islice(predictions.events(start), plan.limit):
        _await_turn(plan.rate, began, played.predictions, clock, going)
        if not going():
            break
        truth.send_due(event["timestamp"], sink)
        sink.prediction(event)
        truth.expect(event, own_label)
        if played.predictions % PROGRESS_EVERY == 0:
            progress(played.predictions, total)
        played.predictions += 1
    truth.finish(sink, everything=played.predictions + played.without_id == predictions.rows)
    progress(played.predictions, total)
    played.seconds = clock.monotonic() - began
    return played


def _await_turn(
    rate: float | None, began: float, number: int, clock: Clock, going: Callable[[], bool]
) -> None:
    """Sleep until the turn of this prediction, in naps: at a slow rate Ctrl-C shall not wait for it."""
    if rate:
        turn = began + number / rate
        while going() and (ahead := turn - clock.monotonic()) > SHORTEST_NAP:
            clock.sleep(min(ahead, NAP_SECONDS))


class _Predictions:
    """The events of the file of predictions. ``rows``: how many rows it has.

    Raises:
        TableError: it cannot be read, or has not the columns that the plan wants.
    """

    def __init__(self, plan: Plan, played: Played) -> None:
        self._plan, self._played = plan, played
        path = plan.predictions
        names = header(path)
        self._columns = _columns(path, names, PREDICTION_FIELDS, plan.fields, "map", plan.features or ())
        _need(path, names, self._columns, ("prediction",), "map")
        if plan.labels is not None and "prediction_id" not in self._columns:
            raise TableError(
                f"{path}: labels come from another file, so a column must hold the id:"
                " name it with --map prediction_id=COLUMN"
            )
        taken = set(self._columns.values())
        others = tuple(name for name in names if name not in taken)
        self._features = others if plan.features is None else plan.features
        self._read = reader_of(path)
        self.rows = count_rows(path)

    def events(self, start: int) -> Iterator[tuple[dict[str, Any], Any]]:
        """Events in the file's order, each with the label of its own row, if it has one."""
        for index, (number, row) in enumerate(rows(self._plan.predictions)):
            prediction_id = str(index + 1)
            if "prediction_id" in self._columns:
                prediction_id = identity(row[self._columns["prediction_id"]])
            if prediction_id:
                made_up = int(start + index * self._plan.interval_ms)
                yield self._event(number, row, prediction_id, made_up), self.cell(number, row, "label")
            else:
                self._played.without_id += 1

    def _event(self, number: int, row: Row, prediction_id: str, made_up: int) -> dict[str, Any]:
        plan, columns = self._plan, self._columns
        value = self.cell(number, row, "prediction")
        if value is None:
            raise self._wrong(number, f"no {columns['prediction']}: nothing was predicted")
        event = {
            "prediction_id": prediction_id,
            "model": plan.model,
            "timestamp": time_ms(row[columns["timestamp"]], plan.predictions, number)
            if "timestamp" in columns
            else made_up,
            "prediction": value,
        }
        version = identity(row[columns["version"]]) if "version" in columns else plan.version
        if version:
            event["version"] = version
        for name in NUMBER_FIELDS:
            if (given := self.cell(number, row, name)) is not None:
                if isinstance(given, bool) or not isinstance(given, (int, float)):
                    raise self._wrong(number, f"{columns[name]} is {given!r}, not a number")
                event[name] = given
        if self._features:
            event["features"] = self._given_features(number, row)
        return event

    def _given_features(self, number: int, row: Row) -> dict[str, Any]:
        read = self._read
        try:
            return {name: read(row[name]) for name in self._features}
        except ValueError:  # once more, to say which; a call for each cell would cost a quarter of the speed
            return {name: cell(row, name, self._plan.predictions, number) for name in self._features}

    def cell(self, number: int, row: Row, name: str) -> Any:
        column = self._columns.get(name)
        if column is None:
            return None
        try:
            return self._read(row[column])
        except ValueError:  # once more, to say which
            return cell(row, column, self._plan.predictions, number)

    def _wrong(self, number: int, what: str) -> TableError:
        return TableError(f"{self._plan.predictions}, row {number}: {what}")


class _Truth:
    """Labels, each due at its time: its own, or a delay after its prediction."""

    def __init__(self, plan: Plan, played: Played) -> None:
        self._plan, self._played = plan, played
        self._due: list[tuple[int, int, str, Any]] = []  # a heap: time, order of coming, id, label
        self._pushed = 0
        # What the file of labels has for predictions that have not come yet, and which have come.
        self._timed: Counter[str] = Counter()
        self._untimed: dict[str, list[Any]] = {}
        self._met: set[str] = set()
        self._labels_without_id = 0
        if plan.labels is not None:
            self._load(plan.labels)
        elif plan.label_fields:
            raise TableError("--label-map is about a file of labels: name it with --labels")

    def _load(self, path: Path) -> None:
        names = header(path)
        columns = _columns(path, names, LABEL_FIELDS, self._plan.label_fields, "label-map")
        _need(path, names, columns, ("prediction_id", "label"), "label-map")
        for number, row in rows(path):
            value = cell(row, columns["label"], path, number)
            if value is None:
                continue
            prediction_id = identity(row[columns["prediction_id"]])
            moment = row[columns["timestamp"]] if "timestamp" in columns else None
            if not prediction_id:
                self._labels_without_id += 1
            elif is_empty(moment):
                self._untimed.setdefault(prediction_id, []).append(value)
            else:
                self._timed[prediction_id] += 1
                self._push(time_ms(moment, path, number), prediction_id, value)

    def _push(self, due: int, prediction_id: str, value: Any) -> None:
        self._pushed += 1
        heapq.heappush(self._due, (due, self._pushed, prediction_id, value))

    def expect(self, event: Mapping[str, Any], own: Any) -> None:
        """A prediction was made: its labels are due, the one of its own row first."""
        prediction_id = event["prediction_id"]
        values = [] if own is None else [own]
        values += self._untimed.pop(prediction_id, ())
        for value in values:
            self._push(event["timestamp"] + self._plan.delay_ms, prediction_id, value)
        # An id may come again, as the prediction of another version: one label is for all of them.
        if values or self._timed.pop(prediction_id, 0):
            self._met.add(prediction_id)
        elif prediction_id not in self._met:
            self._played.without_label += 1

    def send_due(self, until: int | None, sink: Sink) -> None:
        """Send what is due by this time (epoch ms); None: all that is left."""
        while self._due and (until is None or self._due[0][0] <= until):
            due, _, prediction_id, value = heapq.heappop(self._due)
            sink.label(
                {"prediction_id": prediction_id, "model": self._plan.model, "timestamp": due, "label": value}
            )
            self._played.labels += 1

    def finish(self, sink: Sink, everything: bool) -> None:
        """Send what is left. ``everything``: all predictions of the file have been played."""
        if everything:
            self._played.unsent = sum(map(len, self._untimed.values()))
            self._played.strangers = self._timed.total() + self._played.unsent
        else:
            # Labels of predictions that were not played are strangers to the worker, but not in the log.
            self._due = [label for label in self._due if label[2] not in self._timed]
            heapq.heapify(self._due)
        self._played.without_id += self._labels_without_id
        self.send_due(None, sink)


# -- columns ------------------------------------------------------------------------------------


def _columns(
    path: Path,
    names: list[str],
    fields: tuple[str, ...],
    mapping: Mapping[str, str],
    option: str,
    features: tuple[str, ...] = (),
) -> dict[str, str]:
    """Our field → column, for the fields that the file has. All that is unknown is told at once."""
    unknown = [name for name in mapping if name not in fields]
    if unknown:
        raise TableError(f"--{option} {listed(unknown)}: a field is one of {listed(fields)}")
    lost = [column for column in dict.fromkeys((*mapping.values(), *features)) if column not in names]
    if lost:
        raise TableError(
            f"{path} has no column{'s' if len(lost) > 1 else ''} {listed(lost)}; it has {listed(names)}"
        )
    return {name: mapping.get(name, name) for name in fields if mapping.get(name, name) in names}


def _need(
    path: Path, names: list[str], columns: Mapping[str, str], needed: tuple[str, ...], option: str
) -> None:
    for name in needed:
        if name not in columns:
            commas = any(mark in names[0] for mark in ";\t|") and len(names) == 1
            raise TableError(
                f"{path}: which column holds the {name}? Say --{option} {name}=COLUMN;"
                f" there are {listed(names)}{' (cells have to be separated by commas)' if commas else ''}"
            )
