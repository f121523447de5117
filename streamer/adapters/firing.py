"""The table of firing alerts, rebuilt from the topic, and what Alertmanager has yet to be told of it.

One row is one set of labels: Alertmanager knows an alert by these alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from streamer.adapters.alert_log import Alert
from streamer.domain.runbooks import name_of

Labels = Mapping[str, str]
LAPSES_AFTER = timedelta(minutes=15)  # without a word from us Alertmanager ends an alert by then
ENDS_TOLD_FOR = timedelta(minutes=15)
CURES = {
    "threshold": "See which window and version broke the objective, and since when; roll the version back, or"
    " set the objective to what the model can keep.",
    "concept_drift": "The model's errors or scores changed: compare with the last deployment and its data;"
    " retrain or roll back.",
    "data_drift": "What the model is fed has changed: look at the feature's source first, then at the model.",
    "silence": "No predictions or no labels arrive: look at the service that writes them, and at its rights.",
}
_LABELLED = ("model", "version", "segment", "rule", "kind", "severity", "fingerprint")
_TOLD = ("value", "threshold", "window", "detector", "incident", "change", "alert_id")


class NoAlert(ValueError):
    """What no worker wrote."""


@dataclass(frozen=True, slots=True)
class Row:
    """One alert as Alertmanager knows it. ``ended``: None while it fires. ``until``: told until then."""

    labels: Labels
    annotations: Mapping[str, str]
    started: datetime
    ended: datetime | None = None
    until: datetime | None = None

    def posted(self, now: datetime) -> dict[str, Any]:
        """As the v2 API takes it. One that fires lapses if we fall silent."""
        ends = self.ended if self.ended is not None else now + LAPSES_AFTER
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": self.started.isoformat(),
            "endsAt": max(ends, self.started).isoformat(),  # else it would be refused
        }


def labels_of(alert: Alert) -> dict[str, str]:
    """The same for every transition of an incident, unless its severity is changed. Raises NoAlert."""
    found = {key: str(alert[key]) for key in _LABELLED if alert.get(key) not in (None, "")}
    if not {"model", "rule", "fingerprint"} <= found.keys():
        raise NoAlert
    return {"alertname": name_of(str(alert.get("signal"))), **found}


def row_of(alert: Alert) -> Row:
    """Raises NoAlert."""
    kind, labels = str(alert.get("kind")), labels_of(alert)
    annotations = {
        "summary": str(alert.get("summary") or ""),
        "description": ", ".join(f"{key} {alert[key]}" for key in _TOLD if alert.get(key) is not None),
        "cure": CURES.get(kind, ""),
        "runbook_url": str(alert.get("runbook") or ""),
    }
    status = alert.get("status")
    if status not in ("firing", "updated", "resolved"):
        raise NoAlert
    ended = time_of(alert.get("resolved_at")) if status == "resolved" else None
    told = {key: text for key, text in annotations.items() if text}
    return Row(labels, told, time_of(alert.get("started_at")), ended)


def time_of(text: object) -> datetime:
    """A time as alerts have it. Raises NoAlert."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise NoAlert from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class FiringTable:
    """Rows by their labels; which of them is news. All times are arguments.

    The same fingerprint may lie in two partitions of the topic for a moment, where a model
    moves: the one that fires counts.
    """

    def __init__(self) -> None:
        self._said: dict[str, dict[int, Row]] = {}  # fingerprint → partition → the last word
        self._rows: dict[tuple[tuple[str, str], ...], Row] = {}
        self._news: set[tuple[tuple[str, str], ...]] = set()

    @property
    def firing(self) -> list[Row]:
        return [row for row in self._rows.values() if row.ended is None]

    @property
    def news(self) -> bool:
        return bool(self._news)

    def apply(self, partition: int, alert: Alert, old: bool = False) -> None:
        """Take in a transition; ``old``: where it is an end, nobody needs telling. Raises NoAlert."""
        row = row_of(alert)
        by_partition = self._said.setdefault(row.labels["fingerprint"], {})
        before = _word(by_partition)
        by_partition[partition] = row
        now = _word(by_partition) or row
        if before is not None and before.ended is None and before.labels != now.labels:
            # Another severity: whoever was told under the old one has to be told that it is over.
            self._end(replace(before, ended=time_of(alert.get("updated_at"))), old)
        if now.ended is None:
            self._put(now)
        else:
            self._end(now, old)

    def take_back(self, partition: int, fingerprint: str) -> None:
        """A record without a value: it is told elsewhere from now on, or else lapses by itself."""
        by_partition = self._said.get(fingerprint, {})
        gone = by_partition.pop(partition, None)
        if not by_partition:
            self._said.pop(fingerprint, None)
        if gone is not None and gone.labels not in [row.labels for row in by_partition.values()]:
            self._forget(_key(gone))

    def to_tell(self, everything: bool) -> list[Row]:
        """What is news, or all of it."""
        return [row for key, row in self._rows.items() if everything or key in self._news]

    def told(self, rows: list[Row], now: datetime) -> None:
        """These were taken: what ended is told for some minutes more, then forgotten."""
        for row in rows:
            key = _key(row)
            if self._rows.get(key) is not row:
                continue  # it has changed meanwhile
            self._news.discard(key)
            if row.ended is not None and row.until is None:
                self._rows[key] = replace(row, until=now + ENDS_TOLD_FOR)
            elif row.until is not None and row.until < now:
                self._forget(key)

    def _end(self, row: Row, old: bool) -> None:
        if old:
            self._forget(_key(row))
        else:
            self._put(row)

    def _put(self, row: Row) -> None:
        self._rows[_key(row)] = row
        self._news.add(_key(row))

    def _forget(self, key: tuple[tuple[str, str], ...]) -> None:
        self._rows.pop(key, None)
        self._news.discard(key)


def _word(by_partition: Mapping[int, Row]) -> Row | None:
    """The one that fires, else the latest end."""
    firing = [row for row in by_partition.values() if row.ended is None]
    if firing:
        return max(firing, key=lambda row: row.started)
    return max(by_partition.values(), key=lambda row: row.ended or row.started, default=None)


def _key(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(row.labels.items()))
