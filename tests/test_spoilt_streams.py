"""Real streams in which one feature is spoilt from a known row on: found, named first, and dated.

Needs ../shared/data (see tests/shared_data.py). These streams change by themselves all the time, so an
incident is open already when the feature breaks: what is new in it has to come first all the same.
"""

from __future__ import annotations

import csv
import gzip
import random
from datetime import datetime
from functools import cache
from typing import Any

import pytest

from streamer.config import parse_objectives
from tests.domain.feed import START_MS, Log, build, feed
from tests.shared_data import data_file

HALF_AN_HOUR_MS = 1_800_000
WINDOW = 1000
FIRST_ROW = {"electricity": 28_000}  # before, three of its columns were not recorded
OBJECTIVES = {
    # Its prices and demands are other ones every month: only what is far beyond that is to be told.
    "electricity": f"{{reference: previous 60d, drift: {{data: {{window: last {WINDOW}, max: 2}}}}}}",
    "weather": f"{{reference: first 5000, drift: {{data: {{window: last {WINDOW}}}}}}}",
}


def stream(name: str) -> list[tuple[dict[str, Any], str]]:
    """Features and class of each row."""
    with gzip.open(data_file(f"{name}.csv.gz"), "rt") as file:
        rows = list(csv.DictReader(file))
    label = list(rows[0])[-1]
    left_out = (label, "date")
    rows = rows[FIRST_ROW.get(name, 0) :]
    return [({k: float(v) for k, v in row.items() if k not in left_out}, row[label]) for row in rows]


def spoil(rows: list[tuple[dict[str, Any], str]], feature: str, kind: str, at: int) -> None:
    later = [features for features, _ in rows[at:]]
    mixed = [features[feature] for features in later]
    random.Random(1).shuffle(mixed)
    for features, other in zip(later, mixed, strict=True):
        features[feature] = {"scaled": features[feature] * 1000, "null": None, "mixed": other}[kind]


def alerts_of(name: str, rows: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    log = Log()
    for number, (features, klass) in enumerate(rows):
        log.wait(HALF_AN_HOUR_MS)
        log.predict(str(number), klass, features=features)
    pipeline = build(parse_objectives(f"defaults: {OBJECTIVES[name]}"))
    feed(pipeline, log.steps)
    return [each for each in pipeline.take_effects().alerts if each["rule"] == "drift.data"]


@cache
def unspoilt(name: str) -> list[dict[str, Any]]:
    return alerts_of(name, stream(name))


def row_at(time: str) -> int:
    return round((datetime.fromisoformat(time).timestamp() * 1000 - START_MS) / HALF_AN_HOUR_MS)


SPOILT = [
    ("electricity", ("nswprice", "vicprice", "vicdemand"), 12_000),
    ("weather", ("feat_1", "feat_2"), 12_000),
]
CASES = [
    (name, feature, kind, at)
    for name, features, at in SPOILT
    for feature in features
    for kind in ("scaled", "null", "mixed")
]


@pytest.mark.parametrize(("name", "feature", "kind", "at"), CASES)
def test_a_spoilt_feature_is_found_named_first_and_dated_within_a_window(
    name: str, feature: str, kind: str, at: int
) -> None:
    by_itself = [alert for alert in unspoilt(name) if _about(alert, feature, at)]
    assert not by_itself, "the test proves nothing where the stream does it by itself"
    rows = stream(name)
    spoil(rows, feature, kind, at)
    found = [alert for alert in alerts_of(name, rows) if _about(alert, feature, at)]
    assert found, "not found within a window"
    assert f"feature:{feature}" in found[0]["summary"]


def _about(alert: dict[str, Any], feature: str, at: int) -> bool:
    """Is it told within a window after this row, of this feature first, and dated within a window of it?"""
    evidence = alert["evidence"]
    return (
        "columns" in evidence
        and at <= row_at(alert["updated_at"]) <= at + WINDOW
        and evidence["columns"][0]["column"] == f"feature:{feature}"
        and abs(row_at(evidence["since"]) - at) <= WINDOW
    )
