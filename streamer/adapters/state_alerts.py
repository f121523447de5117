"""The alerts topic, when a state is changed from outside: what nobody will judge any more has to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from streamer.adapters import codec
from streamer.adapters.deployment import Deployment, read_raw
from streamer.checkpoint import OutRecord
from streamer.domain.alerts import Resolution, digest
from streamer.domain.events import rfc3339
from streamer.stored import Stored, open_incidents

Alerts = Mapping[bytes, Mapping[str, Any]]
NEEDED = {"alert_id", "model", "rule", "status"}


def alerts_of(at: Deployment, number: int) -> dict[bytes, dict[str, Any]]:
    """Fingerprint → the last word on it, of one partition of the alerts topic."""
    return read_alerts(read_raw(at.base, at.group, at.topics.alerts, number))


def read_alerts(raw: Mapping[bytes, bytes]) -> dict[bytes, dict[str, Any]]:
    """What is an alert of ours among these records, by fingerprint."""
    found = {}
    for key, value in raw.items():
        try:
            alert = orjson.loads(value)
        except ValueError:
            continue
        if isinstance(alert, dict) and alert.keys() >= NEEDED and isinstance(alert["model"], str):
            found[key] = alert
    return found


def still_open(alerts: Alerts) -> dict[bytes, Mapping[str, Any]]:
    return {key: alert for key, alert in alerts.items() if alert["status"] != "resolved"}


def endings(alerts: Alerts, sentence: str) -> Iterator[OutRecord]:
    """The last transition of incidents that nobody will judge any more. ``{}``: the rule and whose it is."""
    now = rfc3339(int(time.time() * 1000))
    for key, alert in alerts.items():
        who = f"{alert['model']} {alert['version']}" if alert.get("version") else alert["model"]
        resolved = {
            **alert,
            # No record has caused it: the transition before it has its hash from one, and it from that.
            "alert_id": digest(alert["alert_id"], "ended"),
            "status": "resolved",
            "reason": Resolution.NO_DATA,
            "summary": sentence.format(f"{alert['rule']} of {who}"),
            "updated_at": now,
            "resolved_at": now,
        }
        yield OutRecord("alerts", key, codec.encode_json(resolved))
        report = codec.encode_json({"type": "alert", **resolved})
        yield OutRecord("reports", str(alert["model"]).encode(), report)


def reconcile(
    number: int,
    here: Alerts,
    after: Stored,
    told: Alerts,
    everywhere: set[str],
    at_home: Callable[[str], int],
) -> Iterator[OutRecord]:
    """Make one partition of the alerts topic tell what the state says that is put in beside it.

    What has moved to another partition is taken back here; what is open is told
    where it is now; what nobody knows any more ends. ``told``: the last words in
    the file. ``everywhere``: the fingerprints that are open, wherever they are now.
    """
    mine = open_incidents(after.cells)
    ended = {}
    for key, alert in here.items():
        fingerprint, is_open = key.decode("utf-8", "replace"), alert["status"] != "resolved"
        if at_home(alert["model"]) != number and (not is_open or fingerprint in everywhere):
            yield OutRecord("alerts", key, None)
        elif is_open and fingerprint not in mine:
            ended[key] = alert
    yield from endings(ended, "{}: another state was put in by `streamer state import`")
    for fingerprint, (_, incident) in mine.items():
        key = fingerprint.encode()
        if here.get(key, {}).get("incident") == incident and here[key]["status"] != "resolved":
            continue
        if told.get(key, {}).get("incident") == incident:
            yield OutRecord("alerts", key, codec.encode_json(told[key]))
