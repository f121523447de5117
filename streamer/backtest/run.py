"""One pass over a log for any number of objectives files, and what each of them would have told."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamer.adapters.tables import TableError
from streamer.backtest.ahead import read_ahead
from streamer.backtest.curves import Curve, Curves
from streamer.backtest.drive import Drive, Told
from streamer.backtest.verdict import Verdict, always, judge, never
from streamer.domain.objectives import FieldMap, ModelSpec, Objectives
from streamer.replay import Plan, Played, play

WITHIN = 1000
LONG_BYTES = 4_000_000
"""From here on a log is worth a process that reads it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to try. ``trials``: name and objectives.

    ``changes``: known ones, each a row of the log (so many predictions came before it) or a time.
    ``within``: so many predictions after a change an alarm counts as its.
    """

    plan: Plan
    trials: tuple[tuple[str, Objectives], ...]
    changes: tuple[int | datetime, ...] = ()
    within: int = WITHIN


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one objectives file would have told."""

    name: str
    objectives: Objectives
    spec: ModelSpec
    told: tuple[Told, ...]
    verdict: Verdict | None
    curves: tuple[Curve, ...]
    unusable: Mapping[str, int]

    @property
    def pages(self) -> Counter[str]:
        """How often somebody is called, by severity: once for each change, however many rules find it."""
        called = {
            (str(each.alert["change"]), str(each.alert["severity"]))
            for each in self.told
            if each.alert["status"] == "firing"
        }
        return Counter(severity for _, severity in called)

    def incidents(self) -> list[tuple[Told, Told | None]]:
        """Each incident: how it opened, and how it was resolved, if it was."""
        ends = {each.alert["incident"]: each for each in self.told if each.alert["status"] == "resolved"}
        return [
            (each, ends.get(each.alert["incident"])) for each in self.told if each.alert["status"] == "firing"
        ]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. ``changes``: known ones, as rows. ``moments``: (row, event time in ms) along the log."""

    asked: Asked
    played: Played
    moments: tuple[tuple[int, int], ...]
    changes: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    always: Verdict | None
    never: Verdict | None

    def time_of(self, row: int) -> int:
        """About when so many predictions had been made, event time in ms."""
        at = min(bisect_left(self.moments, (row, 0)), len(self.moments) - 1)
        return self.moments[at][1]


class _Sink:
    """Feeds all trials, takes readings, and notes at which row a time had come."""

    def __init__(self, asked: Asked) -> None:
        self.drives = [Drive(_named_as_ours(objectives)) for _, objectives in asked.trials]
        self.curves = [Curves() for _ in asked.trials]
        self.rows = 0
        self.times = sorted(_ms(each) for each in asked.changes if isinstance(each, datetime))
        self.reached: list[int] = []
        self._awaited: float = min(self.times, default=math.inf)
        self._read_at = 1  # at so many rows the curves are read again

    def prediction(self, event: Mapping[str, Any]) -> None:
        if event["timestamp"] >= self._awaited:
            self._reach(event["timestamp"])
        self.rows += 1
        for drive in self.drives:
            drive.prediction(event)
        if self.rows == self._read_at:
            for drive, curves in zip(self.drives, self.curves, strict=True):
                self._read(drive, curves)
            self._plan_reading()

    def _reach(self, time: int) -> None:
        while len(self.reached) < len(self.times) and time >= self.times[len(self.reached)]:
            self.reached.append(self.rows)
        left = self.times[len(self.reached) :]
        self._awaited = left[0] if left else math.inf

    def expect(self, total: int) -> None:
        """So many predictions there will be."""
        for curves in self.curves:
            curves.expect(total)
        self._plan_reading()

    def _plan_reading(self) -> None:
        step = self.curves[0].step
        self._read_at = (self.rows // step + 1) * step

    def _read(self, drive: Drive, curves: Curves) -> None:
        drive.feed()
        curves.take(self.rows, drive.clock, drive.partition)

    def label(self, event: Mapping[str, Any]) -> None:
        for drive in self.drives:
            drive.label(event)

    def finish(self) -> None:
        for drive, curves in zip(self.drives, self.curves, strict=True):
            drive.finish()
            if not curves.moments or curves.moments[-1][0] < self.rows:
                self._read(drive, curves)


def backtest(
    asked: Asked,
    progress: Callable[[int, int], None] = lambda done, total: None,
    going: Callable[[], bool] = lambda: True,
) -> Report:
    """Try the objectives on the log. ``progress``, ``going``: as of ``replay.play``.

    Raises:
        TableError: as ``replay.play``; or a known change does not lie in the log.
        ReaderLost: of a long log: the process that reads it was killed.
    """
    sink = _Sink(asked)

    def counted(done: int, total: int) -> None:
        sink.expect(total)
        progress(done, total)

    reading = read_ahead if _is_long(asked.plan.predictions) else play
    played = reading(asked.plan, sink, counted, going)
    sink.finish()
    changes = _rows_of(asked, sink, complete=going())
    model = asked.plan.model
    outcomes = []
    for (name, objectives), drive, curves in zip(asked.trials, sink.drives, sink.curves, strict=True):
        told = tuple(drive.told)
        verdict = judge(told, changes, asked.within) if changes else None
        spec = objectives.spec_for(model)
        drawn = tuple(curves.curves())
        outcomes.append(Outcome(name, objectives, spec, told, verdict, drawn, drive.unusable))
    every = min(each.spec.evaluate_every for each in outcomes)
    return Report(
        asked,
        played,
        tuple(sink.curves[0].moments),
        changes,
        tuple(outcomes),
        always(sink.rows, every, changes, asked.within) if changes else None,
        never(changes) if changes else None,
    )


def _is_long(path: Path) -> bool:
    return path.is_file() and path.stat().st_size >= LONG_BYTES


def _rows_of(asked: Asked, sink: _Sink, complete: bool) -> tuple[int, ...]:
    """The known changes as rows. Raises TableError for one that the log does not reach."""
    given = [each for each in asked.changes if isinstance(each, int)]
    beyond = [str(row) for row in given if row >= sink.rows]
    beyond += [_text(time) for time in sink.times[len(sink.reached) :]]
    if beyond and complete:
        raise TableError(
            f"{asked.plan.predictions}: the known change {beyond[0]} is beyond its {sink.rows:,} predictions:"
            " say the row (how many predictions came before it) or the time of one of them"
        )
    return tuple(sorted({row for row in (*given, *sink.reached) if row < sink.rows}))


def _named_as_ours(objectives: Objectives) -> Objectives:
    """A log's columns are named on the command line: what ``fields`` says is of another log."""
    return objectives.with_each(lambda spec: replace(spec, fields=FieldMap()))


def _ms(moment: datetime) -> int:
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _text(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat().removesuffix("+00:00")
