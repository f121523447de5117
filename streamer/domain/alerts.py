"""The life of an alert: inactive → pending → firing → updated … → resolved.

One rule of one model version is one fingerprint; from firing to resolved it
is one incident. Every transition is numbered, and its id is a hash of what
caused it, never random: a replay after a crash makes the same alerts again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Literal

from streamer.domain.drift import Detection
from streamer.domain.events import rfc3339
from streamer.domain.runbooks import runbook_of

MAX_DETECTIONS = 50
Status = Literal["firing", "updated", "resolved"]


class State(StrEnum):
    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


class Resolution(StrEnum):
    """Why an incident ended."""

    RECOVERED = "recovered"
    NO_DATA = "no_data"
    RULE_REMOVED = "rule_removed"
    SUPERSEDED = "superseded"


def digest(*parts: object) -> str:
    """Sixteen hex digits over the parts, kept apart by a byte that no part can hold."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Rule:
    """What every alert of one fingerprint has in common."""

    model: str
    version: str | None
    rule: str
    kind: str
    signal: str
    severity: str
    runbook: str | None
    segment: str | None = None
    window: str | None = None
    threshold: float | None = None
    direction: str | None = None

    @property
    def fingerprint(self) -> str:
        return digest(self.model, self.version, self.segment, self.rule)


@dataclass(slots=True)
class Transition:
    """One step of an incident, before it knows which record caused it."""

    rule: Rule
    status: Status
    number: int
    incident: str
    summary: str
    value: float | None
    started_at: int
    updated_at: int
    resolved_at: int | None = None
    reason: Resolution | None = None
    detector: str | None = None
    direction: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    change: str = ""

    def document(self, source: Mapping[str, Any], revision: int) -> dict[str, Any]:
        """The alert as published. ``source``: topic, partition and offset of the record behind it."""
        rule = self.rule
        return {
            "alert_id": digest(rule.fingerprint, self.number, *source.values()),
            "fingerprint": rule.fingerprint,
            "incident": self.incident,
            "change": self.change,
            "status": self.status,
            "reason": self.reason,
            "kind": rule.kind,
            "model": rule.model,
            "version": rule.version,
            "segment": rule.segment,
            "rule": rule.rule,
            "severity": rule.severity,
            "summary": self.summary,
            "signal": rule.signal,
            "direction": self.direction or rule.direction,
            "detector": self.detector,
            "value": self.value,
            "threshold": rule.threshold,
            "window": rule.window,
            "started_at": rfc3339(self.started_at),
            "updated_at": rfc3339(self.updated_at),
            "resolved_at": None if self.resolved_at is None else rfc3339(self.resolved_at),
            "evidence": self.evidence,
            "source": dict(source),
            "objectives_revision": revision,
            "runbook": rule.runbook or runbook_of(rule.signal),
        }


@dataclass(slots=True)
class Incident:
    """Where one fingerprint stands. Plain values only: it is state."""

    state: State = State.INACTIVE
    transitions: int = 0
    incidents: int = 0
    identity: str = ""
    started_at: int = 0
    since_rows: int = 0
    since_time: int = 0
    told: float | None = None
    detections: list[dict[str, Any]] = field(default_factory=list)
    detected: int = 0
    last_position: int = 0
    since: int | None = None  # event time in ms from which it seems to hold what is, or may become, an alert
    onset: int = 0  # the same of what fires, whatever dates it
    change: str = ""  # what it has in common with incidents of the same time

    def begin_pending(self, rows: int, now: int) -> None:
        self.state, self.since_rows, self.since_time = State.PENDING, rows, now

    def calm(self) -> None:
        """Back to inactive without anybody having been told, as if it had never been pending."""
        self.state, self.since_rows, self.since_time = State.INACTIVE, 0, 0

    def fire(self, rule: Rule, now: int, value: float | None, summary: str) -> Transition:
        """Open an incident."""
        self.state, self.started_at, self.told = State.FIRING, now, value
        self.incidents += 1
        self.identity = self.change = digest(rule.fingerprint, "incident", self.incidents, now)
        return self._step(rule, "firing", now, value, summary)

    def update(self, rule: Rule, now: int, value: float | None, summary: str) -> Transition:
        """Tell more about an open incident."""
        self.told = value
        return self._step(rule, "updated", now, value, summary)

    def resolve(
        self, rule: Rule, now: int, value: float | None, summary: str, reason: Resolution
    ) -> Transition:
        """Close the incident."""
        step = self._step(rule, "resolved", now, value, summary)
        step.resolved_at, step.reason = now, reason
        self.since = None
        self.state, self.detections, self.detected = State.INACTIVE, [], 0
        return step

    def remember(self, detection: Detection) -> None:
        """Keep a detector's alarm as evidence: the last ``MAX_DETECTIONS``, and how many in all."""
        self.detected += 1
        self.last_position = detection.position
        told = asdict(detection)
        del told["origin"]  # what follows from it is told as a date
        self.detections = [*self.detections[1 - MAX_DETECTIONS :], told]

    def _step(self, rule: Rule, status: Status, now: int, value: float | None, summary: str) -> Transition:
        self.transitions += 1
        evidence: dict[str, Any] = {}
        if self.detected:
            evidence = {"detections": list(self.detections), "detections_total": self.detected}
        if self.since is not None:
            evidence["since"] = rfc3339(self.since)
        return Transition(
            rule,
            status,
            self.transitions,
            self.identity,
            summary,
            value,
            self.started_at,
            now,
            evidence=evidence,
            change=self.change or self.identity,
        )

    def snapshot(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Incident:
        incident = cls(**state)
        incident.state = State(incident.state)
        return incident
