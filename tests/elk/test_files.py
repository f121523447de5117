"""deploy/elk: what Logstash, Elasticsearch and Kibana will read fits together, and fits the alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from streamer.adapters.topics import Topics
from tests.docs.pages import quoted, table
from tests.elk import logstash
from tests.elk.elasticsearch import Document, Elasticsearch
from tests.elk.kibana import saved_objects
from tests.elk.rsyslog import CONFIG as RSYSLOG

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "elk"
PIPELINES = {name: logstash.parsed(FOLDER / "logstash" / f"{name}.conf") for name in ("alerts", "rejected")}
TEMPLATES = {name: orjson.loads((FOLDER / f"{name}-template.json").read_bytes()) for name in PIPELINES}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def outputs() -> Iterator[dict[str, Any]]:
    """The settings of every output."""

    def walk(body: list[Any]) -> Iterator[dict[str, Any]]:
        for name, inner in body:
            if name == "elasticsearch":
                yield logstash.settings([name, inner])
            else:
                branch = inner[-1] if name == "if" else inner
                yield from walk(branch[0] if isinstance(branch[0][0], list) else branch)

    for pipeline in PIPELINES.values():
        yield from walk(pipeline["output"])


def paths(document: Document, above: str = "") -> Iterator[str]:
    """The fields that hold something, with dots. What a flattened field holds is its own affair."""
    for name, value in document.items():
        if isinstance(value, dict) and name != "evidence":
            yield from paths(value, f"{above}{name}.")
        else:
            yield above + name


def mapped(properties: Document, above: str = "") -> Iterator[str]:
    for name, field in properties.items():
        if "properties" in field:
            yield from mapped(field["properties"], f"{above}{name}.")
        else:
            yield above + name


def shipped(alert: Document) -> Document:
    """An alert as Logstash sends it on."""
    event = {"message": orjson.dumps(alert).decode(), "@version": "1"}
    found = logstash.filtered(PIPELINES["alerts"]["filter"], event)
    assert found is not None
    return found


def test_what_logstash_sends_is_what_rsyslog_sends_and_elasticsearch_takes_every_one(
    node: Elasticsearch, stories: list[Document]
) -> None:
    documents = {alert["alert_id"]: shipped(alert) for alert in stories}
    stream = "logs-streamer.alerts-logstash"
    assert set(node.create(stream, documents)) == {201}
    assert set(node.create(stream, documents)) == {409}, "a second time adds nothing"
    assert node.found(stream) == documents
    pairs = re.findall(r"set \$!(\S+) = (?:\$\.alert!(\w+)|\"(.*?)\");", RSYSLOG.read_text())
    for alert in stories:
        by_rsyslog: Document = {}
        for field, name, constant in pairs:
            value = constant or alert[name]
            if value is not None:
                *above, last = field.split("!")
                at = by_rsyslog
                for each in above:
                    at = at.setdefault(each, {})
                at[last] = value
        found = documents[alert["alert_id"]]
        assert {key: found[key] for key in by_rsyslog} == by_rsyslog
        assert set(found) == set(by_rsyslog)


def test_every_field_of_an_alert_is_sent_and_every_field_that_is_sent_can_be_searched(
    stories: list[Document],
) -> None:
    sent = {path for alert in stories for path in paths(shipped(alert))}
    fields = set(mapped(TEMPLATES["alerts"]["template"]["mappings"]["properties"]))
    # No segments are watched yet.
    assert sent == fields - {"streamer.segment"}
    text = (FOLDER / "logstash" / "alerts.conf").read_text()
    assert {name for alert in stories for name in alert} == set(re.findall(r'"\[alert\]\[(\w+)\]', text))


def test_what_is_no_alert_is_kept_as_it_was() -> None:
    section = PIPELINES["alerts"]["filter"]
    for text in ("no JSON", "[1]", '{"alert_id": null}', "7"):
        found = logstash.filtered(section, {"message": text, "@version": "1"})
        assert found is not None
        assert (found["event"]["kind"], found["event"]["original"]) == ("pipeline_error", text)
        assert set(paths(found)) == {"message", "event.kind", "event.dataset", "event.original"}
    assert logstash.filtered(section, {"message": ""}) is None, "an alert that was taken back"


def test_what_elasticsearch_refuses_is_kept_whole(node: Elasticsearch, stories: list[Document]) -> None:
    refused = shipped({**stories[0], "value": "too low"})
    assert node.create("logs-streamer.alerts-refusing", {"a": refused}) == [400]
    kept = logstash.filtered(PIPELINES["rejected"]["filter"], refused)
    assert kept is not None
    assert kept["rejected"]["streamer"] == refused["streamer"]
    assert node.create("logs-streamer.rejected-default", {"a": kept}) == [201]


def test_logstash_reads_what_is_committed_and_keeps_it_on_disk_before_it_says_so() -> None:
    [(plugin, body)] = PIPELINES["alerts"]["input"]
    given = logstash.settings([plugin, body])
    assert plugin == "kafka"
    assert (given["isolation_level"], given["auto_offset_reset"]) == ("read_committed", "earliest")
    assert given["enable_auto_commit"] is False
    assert given["topics"] == ["${STREAMER_TOPIC_PREFIX:}" + Topics().alerts]
    [alerts, rejected] = yaml.safe_load((FOLDER / "logstash" / "pipelines.yml").read_text())
    assert (alerts["queue.type"], alerts["queue.checkpoint.writes"]) == ("persisted", 1)
    assert alerts["dead_letter_queue.enable"] is True
    [(_, body)] = PIPELINES["rejected"]["input"]
    assert logstash.settings(["", body])["pipeline_id"] == alerts["pipeline.id"]
    for pipeline in (alerts, rejected):
        file = Path(pipeline["path.config"])
        assert (FOLDER / "logstash" / file.name).exists()
        assert f"./deploy/elk/logstash:{file.parent}:ro" in COMPOSE["logstash"]["volumes"]


def test_documents_are_only_created_under_an_id_of_their_own_in_a_stream_with_a_template() -> None:
    found = list(outputs())
    assert len(found) == 3
    for each in found:
        assert each["action"] == "create"
        assert each["document_id"].startswith("%{[")
        [patterns] = [t["index_patterns"] for t in TEMPLATES.values() if fits(t, each["index"])]
        assert patterns
    assert [each["document_id"] for each in found if "alerts-" in each["index"]] == ["%{[event][id]}"]


def fits(template: Document, index: str) -> bool:
    return any(index.startswith(pattern.rstrip("*")) for pattern in template["index_patterns"])


def test_the_data_view_is_of_the_alerts_and_the_saved_search_shows_fields_that_there_are() -> None:
    found = saved_objects()
    view, search = found["index-pattern"], found["search"]
    assert [view["attributes"]["title"]] == TEMPLATES["alerts"]["index_patterns"]
    [reference] = search["references"]
    assert (reference["type"], reference["id"]) == (view["type"], view["id"])
    meta = orjson.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    assert meta["indexRefName"] == reference["name"]
    fields = set(mapped(TEMPLATES["alerts"]["template"]["mappings"]["properties"]))
    assert set(search["attributes"]["columns"]) <= fields
    by_time = {name for name, _ in search["attributes"]["sort"]}
    assert by_time | {view["attributes"]["timeFieldName"]} <= fields


@pytest.mark.parametrize("name", ["elasticsearch", "kibana", "logstash", "elk-setup"])
def test_the_services_are_of_one_version_and_start_only_when_asked_for(name: str) -> None:
    service = COMPOSE[name]
    assert service["profiles"] == ["elk"]
    images = {COMPOSE[each]["image"].rpartition(":")[2] for each in ("elasticsearch", name)}
    assert len(images) == 1
    if name == "elk-setup":
        assert "./deploy/elk:/opt/elk:ro" in service["volumes"]
        assert service["entrypoint"][-1] == "/opt/elk/setup.sh"


def test_the_page_names_every_field_and_what_it_is_of() -> None:
    text = (ROOT / "docs" / "elk.md").read_text()
    rows = {quoted(row[0])[0]: quoted(row[1]) for row in table(text, "field") if len(quoted(row[0])) == 1}
    ours = rows.pop("streamer.*")
    said = {f"streamer.{name}": name for name in ours} | {field: names[0] for field, names in rows.items()}
    pairs = re.findall(r"set \$!(\S+) = \$\.alert!(\w+);", RSYSLOG.read_text())
    assert said == {field.replace("!", "."): name for field, name in pairs}
