"""A real Alertmanager knows what the topic says to be firing, whatever happens to it or to the relay."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from streamer.adapters import alertmanager as api
from streamer.adapters.attempts import Attempts
from streamer.adapters.http_post import Address
from tests.deadline import wait_until
from tests.relay.conftest import RelayFactory
from tests.relay.processes import AlertmanagerProcess
from tests.relay.receiver import Receiver
from tests.relay.story import AlertsTopic, Story

SECONDS = 90.0


def notified(receiver: Receiver, status: str, fingerprint: str) -> list[dict[str, Any]]:
    """What the pager was told of one incident."""
    return [
        alert
        for body in list(receiver.taken)
        for alert in body["alerts"]
        if (alert["status"], alert["labels"]["fingerprint"]) == (status, fingerprint)
    ]


@contextmanager
def feeding(bootstrap: str, alerts: AlertsTopic, url: str) -> Iterator[Attempts]:
    """A feed in a thread of this process."""
    stopped = threading.Event()
    attempts = Attempts("alertmanager")
    target = api.Alertmanager(Address(url))
    feed = api.AlertmanagerFeed({"bootstrap.servers": bootstrap}, alerts.topic, "relay", target, attempts)
    thread = threading.Thread(target=feed.run, args=(lambda: not stopped.is_set(),))
    thread.start()
    try:
        yield attempts
    finally:
        stopped.set()
        thread.join(30)


def test_it_knows_what_fires_over_ends_of_either_and_each_incident_is_told_once(
    alerts: AlertsTopic, relay: RelayFactory, alertmanager: AlertmanagerProcess, receiver: Receiver
) -> None:
    paged = Story("churn", runbook="https://example.org/runbook")
    moved, past, ticket = Story("moved"), Story("past"), Story("mild", severity="ticket", kind="data_drift")
    alerts.write(paged.fire(), paged.update(), past.fire(), past.resolve(), ticket.fire())
    # It has moved: the record that takes it back may come first or last.
    told = moved.fire()
    alerts.write(told, partition=0)
    alerts.write(told, partition=1)
    alerts.put(moved.fingerprint, None, partition=0)
    process = relay(alertmanager=alertmanager.url).start()
    firing = {each.fingerprint for each in (paged, moved, ticket)}
    wait_until(lambda: alertmanager.firing() == firing, SECONDS, "it knows what fires")
    before = {each["labels"]["fingerprint"]: each for each in alertmanager.alerts()}
    labels = {
        "alertname": "ModelObjectiveBreached", "model": "churn", "version": "2026-11", "rule": "accuracy",
        "kind": "threshold", "severity": "page", "fingerprint": paged.fingerprint,
    }  # fmt: skip
    assert before[paged.fingerprint]["labels"] == labels
    said = before[paged.fingerprint]["annotations"]
    assert said["summary"] == "it is far too low"
    assert said["runbook_url"] == "https://example.org/runbook"
    assert said["cure"]
    assert process.total("streamer_relay_firing") == 3

    # The relay dies, what happens meanwhile is told after it, and nothing is there twice.
    process.kill()
    alerts.write(ticket.resolve())
    process.start()
    firing = {paged.fingerprint, moved.fingerprint}
    wait_until(lambda: alertmanager.firing() == firing, SECONDS, "it has heard of the end")
    wait_until(lambda: notified(receiver, "firing", paged.fingerprint), SECONDS, "the pager was told")
    [again] = [each for each in alertmanager.alerts() if each["labels"] == labels]
    assert again["startsAt"] == before[paged.fingerprint]["startsAt"]

    # Alertmanager is restarted and has lost all alerts; an end comes while it is away.
    alertmanager.stop()
    alerts.write(moved.resolve(), partition=1)
    wait_until(lambda: process.total("streamer_relay_failed_total") > 0, SECONDS, "it tries in vain")
    alertmanager.start()
    wait_until(lambda: alertmanager.firing() == {paged.fingerprint}, SECONDS, "it knows again")
    wait_until(lambda: notified(receiver, "resolved", moved.fingerprint), SECONDS, "its end was told")

    alerts.write(paged.resolve())
    wait_until(lambda: notified(receiver, "resolved", paged.fingerprint), SECONDS, "all is over")
    assert len(notified(receiver, "firing", paged.fingerprint)) == 1, "nobody is paged twice"
    assert len(notified(receiver, "resolved", paged.fingerprint)) == 1
    assert process.stop() == 0


def test_nothing_is_told_before_all_of_the_topic_was_read(
    bootstrap: str, alerts: AlertsTopic, receiver: Receiver
) -> None:
    past, now = Story("past"), Story("now")
    alerts.write(past.fire())
    alerts.put("filler", None, times=5000)  # more than is read at a time
    alerts.write(past.resolve(), now.fire())
    with feeding(bootstrap, alerts, receiver.url):
        wait_until(lambda: receiver.tries, SECONDS, "it is told")
    for body in receiver.taken:
        ends = {each["labels"]["model"]: each["endsAt"] < datetime.now(UTC).isoformat() for each in body}
        assert ends == {"past": True, "now": False}


def test_what_fires_is_told_again_before_it_lapses_and_another_severity_ends_the_first(
    bootstrap: str,
    alerts: AlertsTopic,
    alertmanager: AlertmanagerProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "AGAIN_SECONDS", 0.3)
    mild = Story("churn", severity="ticket")
    first = mild.fire()
    alerts.write(first)
    with feeding(bootstrap, alerts, alertmanager.url) as attempts:
        wait_until(lambda: attempts.counts.taken >= 5, SECONDS, "it was told again and again")
        [known] = alertmanager.alerts()
        updated = known["updatedAt"]
        wait_until(lambda: alertmanager.alerts()[0]["updatedAt"] > updated, SECONDS, "it is told again")
        assert alertmanager.alerts()[0]["startsAt"] == known["startsAt"]
        alerts.write({**mild.update(), "severity": "page"})
        wait_until(
            lambda: [each["labels"]["severity"] for each in alertmanager.alerts()] == ["page"],
            SECONDS,
            "the other one has ended",
        )
    assert attempts.counts.waiting_since is None
    assert attempts.counts.firing == 1
