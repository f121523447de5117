"""A made-up incident that shows whether alerts get through: told to targets, never to Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from streamer.adapters.alert_log import Alert
from streamer.adapters.alertmanager import Alertmanager
from streamer.adapters.firing import row_of
from streamer.adapters.webhooks import Webhook
from streamer.domain.alerts import Incident, Resolution, Rule
from streamer.domain.events import rfc3339

MODEL = "streamer-test"
FIRES_FOR = timedelta(minutes=5)  # longer than Alertmanager waits for the others of a group, as a rule
FIRING = "This is a test of the way that alerts take; nothing is wrong."
OVER = "The test is over; nothing was wrong."


@dataclass(frozen=True, slots=True)
class Answer:
    """What one target made of the test. ``said``: for a person."""

    target: str
    taken: bool
    said: str


def incident(severity: str, now: datetime) -> tuple[Alert, Alert]:
    """The transitions of a threshold's alert, as a worker would write them; each call another incident."""
    at = int(now.timestamp() * 1000)
    rule = Rule(MODEL, None, f"test-{rfc3339(at)}", "threshold", "test", severity, None)
    source = {"topic": "streamer alerts test", "partition": 0, "offset": 0}
    story = Incident()
    firing = story.fire(rule, at, None, FIRING)
    resolved = story.resolve(rule, at, None, OVER, Resolution.RECOVERED)
    return firing.document(source, 0), resolved.document(source, 0)


def ask_alertmanager(name: str, target: Alertmanager, firing: Alert) -> Answer:
    """It fires for some minutes and ends by itself: what ends at once nobody is told of."""
    now = datetime.now(UTC)
    row = replace(row_of(firing), ended=now + FIRES_FOR)
    reply = target.tell([row], now)
    if not reply.taken:
        return Answer(name, False, f"not taken: {reply.why}")
    said = "; ".join(_routed(each) for each in target.known(row.labels["fingerprint"]))
    return Answer(name, True, f"taken, {said or 'but it does not say to whom it goes'}")


def ask_webhook(name: str, hook: Webhook, transitions: tuple[Alert, Alert]) -> Answer:
    """Both transitions, one after the other."""
    for alert in transitions:
        reply = hook.post(alert)
        if not reply.taken:
            return Answer(name, False, f"{alert['status']} not taken: {reply.why}")
    return Answer(name, True, "firing and resolved taken")


def _routed(known: dict[str, Any]) -> str:
    """What an Alertmanager does with an alert of its own."""
    receivers = ", ".join(_names(known.get("receivers"))) or "nobody"
    status = known.get("status")
    stopped = [
        word
        for word, key in (("silenced", "silencedBy"), ("inhibited", "inhibitedBy"))
        if isinstance(status, dict) and status.get(key)
    ]
    return f"{' and '.join(stopped)}: it would go to {receivers}" if stopped else f"goes to {receivers}"


def _names(receivers: object) -> Iterator[str]:
    for each in receivers if isinstance(receivers, list) else []:
        if isinstance(each, dict):
            yield str(each.get("name"))
