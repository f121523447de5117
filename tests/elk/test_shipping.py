"""Every alert is in Elasticsearch once: a real Kafka, a real shipper, a real node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.elk.elasticsearch import Document, Elasticsearch
from tests.elk.kibana import saved_query
from tests.elk.rsyslog import Rsyslog
from tests.relay.story import AlertsTopic, Story

STREAM = "logs-streamer.alerts-default"
SECONDS = 60


@pytest.fixture
def alerts(bootstrap: str, topics: TopicsFactory) -> AlertsTopic:
    return AlertsTopic(bootstrap, topics(2).alerts)


@pytest.fixture
def shipper(tmp_path: Path, bootstrap: str, alerts: AlertsTopic, node: Elasticsearch) -> Iterator[Rsyslog]:
    with Rsyslog(tmp_path, bootstrap, alerts.topic, node.url) as found:
        yield found


def ids(stories: list[Document]) -> set[str]:
    return {each["alert_id"] for each in stories}


def test_rsyslog_finds_no_fault_with_its_configuration(shipper: Rsyslog) -> None:
    assert "error" not in shipper.check().lower()


@pytest.mark.timeout(400)
def test_every_alert_is_there_once_whatever_happens_to_the_shipper(
    alerts: AlertsTopic, shipper: Rsyslog, node: Elasticsearch, stories: list[Document]
) -> None:
    half = len(stories) // 2
    alerts.write(*stories[:half])
    # What is not committed is no alert, and a record without a value takes one back.
    alerts.abort(Story("aborted").fire())
    alerts.put(stories[0]["fingerprint"], None)

    shipper.start()
    wait_until(lambda: node.found(STREAM), SECONDS, "the first alerts arrive")
    shipper.kill()
    alerts.write(*stories[half:], partition=1)
    shipper.start()
    wait_until(lambda: set(node.found(STREAM)) == ids(stories), SECONDS, "all alerts are there")
    shipper.kill()
    first = node.found(STREAM)

    # Another start reads all of it again: nothing is added, nothing is written over.
    late = Story("late").fire()
    alerts.write(late)
    shipper.start()
    wait_until(lambda: late["alert_id"] in node.found(STREAM), SECONDS, "a later alert arrives")
    now = node.found(STREAM)
    assert set(now) == ids([*stories, late])
    assert {key: now[key] for key in first} == first
    assert shipper.rejected() == []

    query = {"query_string": {"query": saved_query()}}
    assert set(node.found(STREAM, query)) == set(now), "the saved search finds every one of them"
    for alert in stories:
        told = now[alert["alert_id"]]["streamer"]
        for name in ("value", "threshold", "evidence", "source", "objectives_revision"):
            assert told.get(name) == alert[name], name


@pytest.mark.timeout(200)
def test_what_cannot_be_taken_is_set_aside_with_its_reason_and_holds_nothing_up(
    alerts: AlertsTopic, shipper: Rsyslog, node: Elasticsearch
) -> None:
    story = Story("churn")
    bad, good = {**story.fire(), "value": "too low"}, story.resolve()
    alerts.put("a", b"no JSON")
    alerts.put("b", b'{"alert_id": ""}')
    alerts.write(bad, good)
    shipper.start()
    wait_until(lambda: good["alert_id"] in node.found(STREAM), SECONDS, "the good one is there")
    rejected = wait_until(
        lambda: shipper.rejected() if len(shipper.rejected()) == 3 else [], SECONDS, "three are set aside"
    )
    assert [each["original"] for each in rejected[:2]] == ["no JSON", '{"alert_id": ""}']
    reason = orjson.loads(rejected[2]["reason"])
    assert (reason["_id"], reason["status"]) == (bad["alert_id"], 400)
    assert "streamer.value" in reason["error"]["reason"]
    assert orjson.loads(rejected[2]["document"])["streamer"]["value"] == "too low"
    assert bad["alert_id"] not in node.found(STREAM)
