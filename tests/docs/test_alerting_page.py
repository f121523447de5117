"""What the page on alerting promises is what the relay does."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import jsonschema
import orjson
import pytest

from streamer.adapters import alertmanager, http_post, relay, transitions
from streamer.adapters.firing import ENDS_TOLD_FOR, LAPSES_AFTER, labels_of, row_of
from streamer.adapters.relay_metrics import RELAY
from streamer.adapters.topics import CONFIGS, DAY_MS
from streamer.adapters.trial import FIRES_FOR, MODEL
from streamer.adapters.webhooks import FIELDS
from streamer.domain.alerts import MAX_DETECTIONS
from streamer.domain.examples import MOST_EXAMPLES, STRETCH_ROWS
from streamer.domain.runbooks import NAMES
from streamer.domain.version import MAX_VALUES_TOLD
from streamer.explanation.words import explain
from tests.docs.pages import keys, page, quoted, table
from tests.docs.test_docs import schema
from tests.relay.story import Story

PAGE = page("alerting.md")
TEXT = " ".join(PAGE.split())


def test_the_metrics_of_the_relay_are_those_of_the_code() -> None:
    rows = {quoted(row[0])[0]: row[1:] for row in table(PAGE, "metric of a relay")}
    assert rows == {name: [each.kind, "`target`", each.help] for name, each in RELAY.items()}


def test_labels_annotations_and_names_are_those_of_the_code() -> None:
    alert = Story("churn", runbook="https://example.org").fire()
    labels = quoted(TEXT.partition("Labels are ")[2].partition(", the same from")[0])
    assert set(labels) == set(labels_of(alert))
    assert set(row_of(alert).annotations) <= set(quoted(TEXT.partition("Annotations are ")[2]))
    named = quoted(TEXT.partition("the same names on both ways")[2].partition(")")[0])
    assert set(named) == set(NAMES.values())


def test_fields_in_an_example_of_a_template_exist() -> None:
    assert set(re.findall(r"\$\{(\w+)\}", PAGE)) <= set(FIELDS)


def test_times_and_limits_are_those_of_the_code() -> None:
    minutes = int(LAPSES_AFTER.total_seconds() // 60)
    assert (LAPSES_AFTER, minutes) == (ENDS_TOLD_FOR, 15)
    assert TEXT.count("15 minutes") == 2
    assert (http_post.LONGEST_PAUSE, http_post.LONGEST_WISH, http_post.FIRST_PAUSE) == (60, 600, 1)
    assert (alertmanager.AGAIN_SECONDS, relay.REFUSALS) == (60, 3)
    assert timedelta(seconds=alertmanager.OLD_SECONDS) > LAPSES_AFTER + ENDS_TOLD_FOR
    assert transitions.SESSION_MS == 10_000
    assert "within 10 s" in TEXT
    assert int(CONFIGS["alerts"]["min.compaction.lag.ms"]) == 7 * DAY_MS
    assert FIRES_FOR.total_seconds() == 300
    assert f"`{MODEL}`" in PAGE
    refused = TEXT.partition("Only ")[2].partition(" say that")[0]
    assert set(map(int, re.findall(r"\d+", refused))) == http_post.ABOUT_THE_BODY
    assert relay.group_of("<group>", "<name>") in PAGE


# -- what an alert carries -----------------------------------------------------------------------


def test_the_example_of_evidence_fits_the_schema_and_can_be_explained() -> None:
    [example] = [
        orjson.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.S) if "since" in each
    ]
    alert = {**Story("churn").fire(), "evidence": example}
    jsonschema.Draft202012Validator(schema("alert")).validate(alert)
    assert explain(alert).rest == []


def test_the_table_of_evidence_has_every_key_of_the_schema() -> None:
    assert sorted(keys(PAGE, "key of `evidence`")) == sorted(
        schema("alert")["properties"]["evidence"]["properties"]
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("since", 7), ("samples", -1), ("columns", [{"distance": 1}]), ("segments", [{"rows": [1, 2]}]),
        ("versions", [{}]), ("labels", {"coverage": 2}), ("examples", [1]), ("examples", ["x"] * 6),
        ("detections", [{"detector": "adwin"}]), ("reference", []), ("recent_values", ["x"]),
        ("columns", [{"column": "a", "cells": [["x", 0.5]]}]),
        ("columns", [{"column": "a", "missing": [0.1]}]),
    ],
)  # fmt: skip
def test_evidence_of_another_shape_does_not_fit_the_schema(key: str, value: Any) -> None:
    alert = Story("churn").fire()
    validator = jsonschema.Draft202012Validator(schema("alert"))
    validator.validate({**alert, "evidence": {"something": "new"}})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**alert, "evidence": {key: value}})


def test_the_numbers_about_evidence_are_those_of_the_code() -> None:
    assert f"the last {MAX_DETECTIONS} alarms" in TEXT
    assert f"last {MAX_VALUES_TOLD} raw values" in TEXT
    assert (MOST_EXAMPLES, STRETCH_ROWS) == (5, 100)
    assert f"the last {STRETCH_ROWS} to {2 * STRETCH_ROWS}" in TEXT
    evidence = schema("alert")["properties"]["evidence"]["properties"]
    assert evidence["detections"]["maxItems"] == MAX_DETECTIONS
    assert evidence["recent_values"]["maxItems"] == MAX_VALUES_TOLD
    assert evidence["examples"]["maxItems"] == MOST_EXAMPLES
