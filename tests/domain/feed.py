"""Records without a broker, and everything that can be seen of a partition."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from streamer.adapters import codec
from streamer.checkpoint import Checkpoint, Commit
from streamer.domain.objectives import Objectives
from streamer.domain.partition import Partition
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline

START_MS = 1_700_000_000_000
IDENTITY = {"group": "g", "partitions": 12}
Step = tuple[int, "Record"]


@dataclass(frozen=True, slots=True)
class Record:
    """What the pipeline asks of a client's record."""

    at: int
    position: int
    data: bytes | None
    name: bytes | None = None

    def value(self) -> bytes | None:
        return self.data

    def key(self) -> bytes | None:
        return self.name

    def offset(self) -> int:
        return self.position

    def timestamp(self) -> tuple[int, int]:
        return 2, self.at


class Log:
    """Writes records in the order in which they shall be read."""

    def __init__(self, at: int = START_MS) -> None:
        self.at = at
        self.steps: list[Step] = []
        self.offsets = [0, 0]

    def put(self, kind: int, value: Any, key: bytes | None = None, raw: bool = False) -> None:
        data = value if raw else codec.encode_json(value)
        self.steps.append((kind, Record(self.at, self.offsets[kind], data, key)))
        self.offsets[kind] += 1

    def predict(self, pid: Any, value: Any = 1, model: Any = "m", **more: Any) -> None:
        event = {"prediction_id": pid, "timestamp": self.at, "model": model, "prediction": value, **more}
        self.put(PREDICTIONS, event)

    def label(self, pid: Any, value: Any = 1, model: Any = "m", **more: Any) -> None:
        self.put(LABELS, {"prediction_id": pid, "timestamp": self.at, "model": model, "label": value, **more})

    def wait(self, ms: int) -> None:
        self.at += ms


def build(objectives: Objectives, at_home: Callable[[str], bool] = lambda name: name != "away") -> Pipeline:
    return Pipeline(Partition(objectives, at_home), 3, ("p", "l"), codec.decode_event)


def feed(pipeline: Pipeline, steps: Iterable[Step], cuts: set[int] | None = None) -> None:
    """Feed steps in runs as long as they get; ``cuts``: indices before which a run ends anyway."""
    cuts = cuts or set()
    piece = 0
    numbered = []
    for index, (kind, record) in enumerate(steps):
        piece += index in cuts
        numbered.append((piece, kind, record))
    for (_, kind), group in groupby(numbered, key=lambda step: step[:2]):
        pipeline.run(kind, [record for _, _, record in group])


class Disk:
    """The state topic of one partition: what a compacted, committed log would hold."""

    def __init__(self, objectives: Objectives) -> None:
        self.objectives = objectives
        self.raw: dict[bytes, bytes] = {}
        self.alerts: list[bytes] = []
        self.reports: list[bytes] = []
        self.dead: list[tuple[bytes | None, dict[str, bytes]]] = []
        self.checkpoint = Checkpoint(codec, IDENTITY)
        self.number = 0

    def write(self, commit: Commit) -> None:
        for record in commit.records:
            if record.room == "state":
                self.raw.pop(record.key, None)
                if record.value is not None:
                    self.raw[record.key] = record.value
            elif record.room == "alerts":
                assert record.value is not None
                self.alerts.append(record.value)
            elif record.room == "reports":
                assert record.value is not None
                self.reports.append(record.value)
            elif record.room == "dead_letters":
                self.dead.append((record.value, dict(record.headers)))
        self.number = commit.number

    def commit(self, pipeline: Pipeline) -> None:
        self.write(self.checkpoint.prepare(pipeline))

    def restore(self, shuffle: random.Random | None = None) -> Pipeline:
        """A new worker reads the state, in any order."""
        raw = list(self.raw.items())
        if shuffle is not None:
            shuffle.shuffle(raw)
        self.checkpoint = Checkpoint(codec, IDENTITY)
        return self.checkpoint.restore(dict(raw), lambda: build(self.objectives), self.number or None)


def interrupted(disk: Disk, steps: Sequence[Step], chance: random.Random, often: float = 0.15) -> Pipeline:
    """Feed steps with commits and restarts at random places, the last commit at the end; the last worker."""
    pipeline = build(disk.objectives)
    cuts = [index for index in range(len(steps)) if chance.random() < often]
    for begin, end in zip([0, *cuts], [*cuts, len(steps)], strict=True):
        feed(pipeline, steps[begin:end])
        if chance.random() < 0.5:
            disk.commit(pipeline)
            if chance.random() < 0.6:
                pipeline = disk.restore(chance)
    disk.commit(pipeline)
    return pipeline


def by_version(reports: Iterable[dict[str, Any]]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """What was told beside alerts: commits put versions and kinds together in another order, never what is
    told of one.
    """
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for report in reports:
        if report["type"] != "alert":
            of = report["type"], report["model"], report.get("version", "")
            found.setdefault(of, []).append(report)
    return found


def joined_runs(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of one bucket as one: a commit may cut them."""
    return [(bucket, sum(n for _, n in group)) for bucket, group in groupby(runs, key=lambda run: run[0])]


def facts(pipeline: Pipeline) -> dict[str, Any]:
    """Everything that decides what this partition will ever tell, as plain values."""
    partition = pipeline.partition
    found: dict[str, Any] = {
        "now": partition.now,
        "identity": partition.identity(),
        "dead": dict(partition.dead),
        "positions": pipeline.positions,
        "last": pipeline._last,
        "models": list(partition.models),
    }
    for name, model in partition.models.items():
        head = model.snapshot()
        found[name] = {**head, "parked": list(model.parked.items())}
        for version in model.every_version:
            table = version.table
            table.note_bucket(partition.now // 1000)
            head, _ = version.snapshot()
            head["windows"] = {
                f"{kind}/{window}": (plain(each.tally), each.span_ms())
                for kind, windows in (
                    ("labels", version.figures.windows),
                    ("traffic", version.figures.traffic),
                )
                for window, each in windows.items()
            }
            found[name, version.version] = {
                **head,
                "pending": list(table.pending.items()),
                "recent": list(table.recent.items()),
                "runs": joined_runs(table.runs),
                "periods": {size: version.periods.plain(size) for size in version.periods.sizes},
            }
    return plain(found)


def plain(value: Any) -> Any:
    """Arrays and moments as bytes or texts that compare."""
    if hasattr(value, "tobytes"):
        return value.tobytes()
    if hasattr(value, "sum_e"):
        return value.snapshot()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(each) for each in value]
    return value
