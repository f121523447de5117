"""Alerts as workers write them, and a topic to write them to."""

from __future__ import annotations

import time
from typing import Any

import orjson
from confluent_kafka import Producer

from streamer.domain.alerts import Incident, Resolution, Rule

Alert = dict[str, Any]


class Story:
    """One rule of one model: its transitions, one after the other, each with what a worker says of it."""

    def __init__(
        self,
        model: str,
        rule: str = "accuracy",
        severity: str = "page",
        kind: str = "threshold",
        runbook: str | None = None,
    ) -> None:
        self._rule = Rule(model, "2026-11", rule, kind, rule, severity, runbook, threshold=0.9)
        self._incident = Incident()
        self._at = int(time.time() * 1000) - 5000
        self._offset = 0

    @property
    def fingerprint(self) -> str:
        return self._rule.fingerprint

    def fire(self) -> Alert:
        return self._document(self._incident.fire(self._rule, self._now(), 0.7, "it is too low"))

    def update(self) -> Alert:
        return self._document(self._incident.update(self._rule, self._now(), 0.4, "it is far too low"))

    def resolve(self) -> Alert:
        step = self._incident.resolve(self._rule, self._now(), 0.95, "it is well", Resolution.RECOVERED)
        return self._document(step)

    def _now(self) -> int:
        self._at += 10
        return self._at

    def _document(self, step: Any) -> Alert:
        self._offset += 1
        # As a reader has it: through JSON.
        source = {"topic": "predictions", "partition": 0, "offset": self._offset}
        found: Alert = orjson.loads(orjson.dumps(step.document(source, 1)))
        return found


class AlertsTopic:
    """Writes to the alerts topic, keyed as a worker does it; ``partition``: a model's home."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self._base = {"bootstrap.servers": bootstrap}
        self._producer = Producer({**self._base, "enable.idempotence": True})

    def write(self, *alerts: Alert, partition: int = 0) -> None:
        for alert in alerts:
            self.put(alert["fingerprint"], orjson.dumps(alert), partition)

    def put(self, key: str, value: bytes | None, partition: int = 0, times: int = 1) -> None:
        for _ in range(times):
            self._producer.produce(self.topic, value, key.encode(), partition)
        assert self._producer.flush(30) == 0

    def abort(self, alert: Alert) -> None:
        """Write it in a transaction that is never committed: what no reader may see."""
        producer = Producer({**self._base, "transactional.id": self.topic})
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(self.topic, orjson.dumps(alert), b"f", 0)
        producer.flush(30)
        producer.abort_transaction(30)
