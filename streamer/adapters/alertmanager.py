"""Keeps one Alertmanager informed by its v2 API: all that fires every minute, what changes at once.

What it was told is known from nothing but the topic, so a relay may die at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from streamer.adapters.alert_log import AlertLog, alert_in, say_no_alert
from streamer.adapters.attempts import Attempts, log
from streamer.adapters.firing import FiringTable, NoAlert, Row
from streamer.adapters.http_post import Address, Outcome, Reply
from streamer.adapters.kafka import ClientConfig

AGAIN_SECONDS = 60.0
BATCH = 200
LOOK_SECONDS = 0.2
# Longer than it takes Alertmanager to end by itself what nobody told it of any more.
OLD_SECONDS = 3600.0
ALERTS = "/api/v2/alerts"


class Alertmanager:
    """One Alertmanager, by the address of its API."""

    def __init__(self, address: Address) -> None:
        self._alerts = address.under(ALERTS)

    def tell(self, rows: Sequence[Row], now: datetime) -> Reply:
        """Post alerts. It is the same whether it is done once or ten times."""
        return self._alerts.post(orjson.dumps([row.posted(now) for row in rows]))

    def known(self, fingerprint: str) -> list[dict[str, Any]]:
        """What it has of our fingerprint: with ``receivers`` and ``status``; empty where it does not say."""
        query = quote(f'fingerprint="{fingerprint}"')
        reply = self._alerts.under(f"?filter={query}").get()
        try:
            found = orjson.loads(reply.body) if reply.taken else []
        except orjson.JSONDecodeError:
            found = []
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


class AlertmanagerFeed:
    """Reads the topic into a table, and the table into an Alertmanager, until it is told to end."""

    def __init__(
        self, base: ClientConfig, topic: str, group: str, target: Alertmanager, attempts: Attempts
    ) -> None:
        self._base, self._topic, self._group = base, topic, group
        self._target, self._attempts = target, attempts
        self._table = FiringTable()
        self._all_at = 0.0

    def run(self, going: Callable[[], bool]) -> None:
        """Raises StreamerError or KafkaException where the topic cannot be read for good."""
        alerts = AlertLog(self._base, self._topic, self._group)
        try:
            while going():
                self._take_in(alerts)
                # What is half read may look as if it fired.
                if alerts.caught_up and time.monotonic() >= self._attempts.due:
                    self._tell()
        finally:
            alerts.close()

    def _take_in(self, alerts: AlertLog) -> None:
        for message in alerts.records(LOOK_SECONDS):
            old = not alerts.caught_up and time.time() - message.timestamp()[1] / 1000 > OLD_SECONDS
            if message.value() is None:
                name = (message.key() or b"").decode("utf-8", "replace")
                self._table.take_back(message.partition(), name)
                continue
            try:
                self._table.apply(message.partition(), alert_in(message) or {}, old)
            except NoAlert:
                say_no_alert(message)
        counts = self._attempts.counts
        counts.firing = len(self._table.firing)
        if self._table.news and counts.waiting_since is None:
            counts.waiting_since = time.time()

    def _tell(self) -> None:
        everything = time.monotonic() >= self._all_at
        for rows in _batches(self._table.to_tell(everything)):
            now = datetime.now(UTC)
            reply = self._target.tell(rows, now)
            if reply.outcome is Outcome.REFUSED:
                # It takes those of a batch that are good, and all are told again in a minute.
                log.error("%s finds fault with an alert: %s", self._attempts.target, reply.why)
                self._attempts.counts.refused += 1
                self._attempts.clear()
            else:
                self._attempts.note(reply)
                if not reply.taken:
                    self._all_at = 0.0  # it may have been restarted, and knows nothing then
                    return
                self._attempts.counts.taken += len(rows)
            self._table.told(rows, now)
        if everything:
            self._all_at = time.monotonic() + AGAIN_SECONDS
        if not self._table.news:
            self._attempts.counts.waiting_since = None


def _batches(rows: list[Row]) -> Iterator[list[Row]]:
    for at in range(0, len(rows), BATCH):
        yield rows[at : at + BATCH]
