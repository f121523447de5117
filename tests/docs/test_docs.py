"""The docs stay true: names, links, schemas and commands are checked against the code."""

from __future__ import annotations

import random
import re
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import orjson
import pytest

from streamer.adapters.metric_names import MODEL, PROCESSOR
from streamer.config import objectives_schema
from streamer.domain.alerts import MAX_DETECTIONS
from streamer.domain.classes import MAX_CLASS_NAME
from streamer.domain.events import LATEST_MS, MAX_ID, MAX_NAME, SECONDS_LIMIT, Reason
from streamer.domain.model import MAX_LATENCY, MAX_NUMBER, MAX_VERSION
from tests.docs.pages import PAGES, ROOT
from tests.domain.feed import build, feed
from tests.domain.traffic import objectives, traffic


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((files("streamer") / "schemas" / f"{name}.schema.json").read_bytes())
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_picture_of_the_demo_shows_a_run_in_which_all_went_well_and_fetches_nothing() -> None:
    picture = (ROOT / "docs" / "demo.svg").read_text()
    said = " ".join(ElementTree.fromstring(picture).itertext()).replace("\xa0", " ")
    for sentence in ("INJECTED", "FIRING", "RESOLVED", "everything injected was detected", "false alarms: 0"):
        assert sentence in said
    assert "@font-face" not in picture


def test_the_metrics_page_is_the_list_in_the_code() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M))
    families = {**MODEL, **PROCESSOR}
    expected = {
        name: f"{each.kind} | {', '.join(f'`{label}`' for label in each.labels) or '–'} | {each.help}"
        for name, each in families.items()
    }
    assert rows == expected


def test_the_events_page_names_every_reason_of_a_dead_letter() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    assert not [reason for reason in Reason if f"`{reason.value}`" not in page]


def test_the_events_in_the_docs_and_those_of_the_sdk_fit_the_schemas() -> None:
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "events.md").read_text(), re.S)
    prediction, label = (orjson.loads(block) for block in blocks)
    jsonschema.validate(prediction, schema("prediction"))
    jsonschema.validate(label, schema("label"))
    for name in ("prediction", "label"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"model": "churn"}, schema(name))


@pytest.mark.parametrize("name", ["prediction", "label"])
def test_the_limits_of_a_schema_are_those_of_the_code(name: str) -> None:
    fields = schema(name)["properties"]
    moment = fields["timestamp"]["anyOf"][1]
    assert fields["prediction_id"]["maxLength"] == MAX_ID
    assert fields["model"]["maxLength"] == MAX_NAME
    assert (moment["minimum"], moment["exclusiveMaximum"]) == (SECONDS_LIMIT, LATEST_MS)
    assert fields[name]["maxLength"] == MAX_CLASS_NAME
    assert (fields[name]["minimum"], fields[name]["maximum"]) == (-MAX_NUMBER, MAX_NUMBER)
    if name == "prediction":
        assert fields["version"]["maxLength"] == MAX_VERSION
        assert fields["latency_ms"]["exclusiveMaximum"] == MAX_LATENCY


def test_the_events_page_has_the_limits_of_the_code() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| \w* ?\| (.*) \|$", page, re.M))
    assert f"up to {MAX_ID} characters" in rows["prediction_id"]
    assert f"up to {MAX_NAME} printable" in rows["model"]
    assert f"up to {MAX_VERSION} printable" in rows["version"]
    assert f"up to {MAX_CLASS_NAME} characters" in rows["prediction"]
    assert f"the last {MAX_DETECTIONS} alarms" in page


def test_every_alert_fits_the_schema() -> None:
    pipeline = build(objectives())
    feed(pipeline, traffic(random.Random(1), 4000).steps)
    alerts = [orjson.loads(orjson.dumps(alert)) for alert in pipeline.take_effects().alerts]
    assert len(alerts) > 100
    validator = jsonschema.Draft202012Validator(schema("alert"))
    for alert in alerts:
        validator.validate(alert)
    assert set(schema("alert")["properties"]) == set(alerts[0])


def test_the_packaged_objectives_schema_is_the_exported_one() -> None:
    assert {
        key: value for key, value in schema("objectives").items() if key != "$schema"
    } == objectives_schema()
