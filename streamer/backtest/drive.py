"""A log through the core, as a worker would take it: records with offsets, and a clock that events move.

A worker's clock is the brokers'; here it is the newest event time so far, predictions and labels
alike. Where nothing came for a while, the clock also stops at what a worker at the head of its topics
would have told then: a silent model, and incidents that end for want of data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streamer.domain.objectives import Objectives
from streamer.domain.partition import Partition
from streamer.domain.rules import no_data_after
from streamer.pipeline import KINDS, LABELS, PREDICTIONS, Pipeline

SECOND = 1000
MOST_TOGETHER = 1000
"""So many records of one kind are fed at once; figures and alerts do not depend on it."""


@dataclass(frozen=True, slots=True)
class Told:
    """An alert as it would have been published. ``row``: so many predictions had been made by then."""

    row: int
    alert: dict[str, Any]


class Record:
    """What the pipeline asks of a client's record; its value is decoded already."""

    __slots__ = ("at", "event", "position")

    def __init__(self, at: int, position: int, event: Mapping[str, Any]) -> None:
        self.at, self.position, self.event = at, position, event

    def value(self) -> Mapping[str, Any]:
        return self.event

    def key(self) -> None:
        return None

    def offset(self) -> int:
        return self.position

    def timestamp(self) -> tuple[int, int]:
        return 2, self.at


class Drive:
    """One objectives file at work on a log; where ``replay`` sends events.

    ``told``: every alert, in order. ``clock``: the newest event time in ms. ``rows``, ``labels``: so many
    predictions and labels have been taken.
    """

    def __init__(
        self, objectives: Objectives, partition: int = 0, topics: tuple[str, str] = (KINDS[0], KINDS[1])
    ) -> None:
        self.partition = Partition(objectives, lambda model: True)
        self.pipeline = Pipeline(self.partition, partition, topics, _as_it_is)
        self.told: list[Told] = []
        self.clock = 0
        self.rows = self.labels = 0
        self._kind = PREDICTIONS
        self._waiting: list[Record] = []

    # -- events ----------------------------------------------------------------------------------

    def prediction(self, event: Mapping[str, Any]) -> None:
        at = event["timestamp"]
        if at > self.clock:
            self._pass_to(at)
        if self._kind != PREDICTIONS or len(self._waiting) >= MOST_TOGETHER:
            self._begin(PREDICTIONS)
        self._waiting.append(Record(self.clock, self.rows, event))
        self.rows += 1

    def label(self, event: Mapping[str, Any]) -> None:
        at = event["timestamp"]
        if at > self.clock:
            self._pass_to(at)
        if self._kind != LABELS or len(self._waiting) >= MOST_TOGETHER:
            self._begin(LABELS)
        self._waiting.append(Record(self.clock, self.labels, event))
        self.labels += 1

    def take(self, kind: int, event: Mapping[str, Any], at: int) -> None:
        """The next record, as it is: its own time does not move the clock. ``at``: its record time in ms."""
        if kind != self._kind or len(self._waiting) >= MOST_TOGETHER:
            self._begin(kind)
        self.clock = max(self.clock, at)
        self._waiting.append(Record(at, self.rows if kind == PREDICTIONS else self.labels, event))
        self.rows += kind == PREDICTIONS
        self.labels += kind == LABELS

    def _begin(self, kind: int) -> None:
        """Feed what has been taken; what is taken from now on is of this kind."""
        self.feed()
        self._kind = kind

    def tick(self, now: int) -> None:
        """Nothing has come until now (ms)."""
        self.feed()
        self.clock = max(self.clock, now)
        self.pipeline.tick(now)
        self._collect()

    def finish(self) -> None:
        """Judge what has come since the last second began."""
        if self.clock:
            self.tick(self.clock + SECOND)

    def feed(self) -> None:
        """Feed what has been taken."""
        if self._waiting:
            records, self._waiting = self._waiting, []
            self.pipeline.run(self._kind, records)
            self._collect()

    # -- time ------------------------------------------------------------------------------------

    def _pass_to(self, time: int) -> None:
        """Move the clock on to a time; stop on the way where something is due."""
        if time - self.clock >= 2 * SECOND and self.clock:
            self.feed()
            for moment in sorted({at for at in self._due() if self.clock < at < time}):
                self.pipeline.tick(moment)
                self._collect()
        self.clock = time

    def _due(self) -> Iterator[int]:
        """When something may have to be told although nothing comes, in ms: a second later for a start."""
        yield (self.clock // SECOND + 1) * SECOND
        for model in self.partition.models.values():
            last = max(model.last_prediction, model.born)
            for silence in model.silence:
                limit = last + round(silence.spec.limit) + SECOND
                yield from (limit, limit + silence.spec.hold_ms)
            for version in model.every_version if model.firing else ():
                newest = max(version.last_prediction, version.last_label, version.last_settled)
                for rule in version.rules:
                    yield newest + no_data_after(rule, model.spec.label_wait_ms) + SECOND

    # -- what came of it -------------------------------------------------------------------------

    def _collect(self) -> None:
        effects = self.pipeline.effects
        if not effects.alerts and len(effects.order) < MOST_TOGETHER and not effects.dead_letters:
            return
        for alert in self.pipeline.take_effects().alerts:
            source = alert["source"]
            by_prediction = source["topic"] == self.pipeline.topics[PREDICTIONS]
            row = source["offset"] + 1 if by_prediction else self.rows
            self.told.append(Told(row, alert))

    @property
    def unusable(self) -> dict[str, int]:
        """How many records would have been dead letters, by reason."""
        found: dict[str, int] = {}
        for (_, reason), count in self.partition.dead.items():
            found[reason] = found.get(reason, 0) + count
        return found


def _as_it_is(value: Any) -> Any:
    return value
