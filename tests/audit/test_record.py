"""The record for auditors: what was in force, kept, told; the same bytes from the same records."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from streamer.adapters.report_log import Reported
from streamer.audit.page import page_of
from streamer.audit.record import record_of
from streamer.domain.objectives import DAY_MS, HOUR_MS, Objectives
from tests.domain.feed import Disk, Log, build, feed
from tests.domain.test_periods import SPEC, START

DAYS = 9
NIGHT = datetime.fromtimestamp(START / 1000, UTC)


@pytest.fixture(scope="module")
def reports() -> list[Reported]:
    """Nine days: bad on the third, silent on the sixth and seventh, other objectives from the fifth on."""
    chance, log = random.Random(4), Log(START + HOUR_MS)
    disk = Disk(Objectives(revision=1, models={"m": SPEC}))
    pipeline = build(disk.objectives)
    for day in range(DAYS):
        if day == 4:
            disk.commit(pipeline)
            limit = replace(SPEC.thresholds[0], minimum=0.95)
            disk.objectives = Objectives(revision=2, models={"m": replace(SPEC, thresholds=(limit,))})
            pipeline = disk.restore()
        log.at = START + day * DAY_MS + HOUR_MS
        for number in range(0 if day in (5, 6) else 300):
            wrong = chance.random() < (0.5 if day == 2 else 0.1)
            log.predict(f"{day}-{number}", 1, features={"age": 3}, segments={"country": "DE"})
            log.label(f"{day}-{number}", int(not wrong))
            log.wait(60_000)
        feed(pipeline, log.steps)
        log.steps = []
    disk.commit(pipeline)
    return [Reported(3, 2 * at, value, orjson.loads(value)) for at, value in enumerate(disk.reports)]


def made(
    reports: list[Reported], begin: datetime | None = None, end: datetime | None = None
) -> dict[str, Any]:
    found = record_of("reports", "m", reports, begin, end)
    return orjson.loads(orjson.dumps(found))  # type: ignore[no-any-return]


def test_every_day_is_there_with_what_was_in_force_and_what_was_kept(reports: list[Reported]) -> None:
    record = made(reports)
    assert [day["start"][8:10] for day in record["days"]] == [
        (NIGHT + timedelta(days=day)).strftime("%d") for day in (0, 1, 2, 3, 4, 7)
    ]  # the last one is not over
    assert [each["objectives_revision"] for each in record["objectives"]] == [1, 2]
    assert [each["objectives"][0]["min"] for each in record["objectives"]] == [0.7, 0.95]
    old, new = record["kept"]
    assert (old["min"], old["days"], old["kept"]) == (0.7, 4, 3)
    assert old["worst"] < 0.7
    assert old["worst_day"].startswith((NIGHT + timedelta(days=2)).isoformat()[:10])
    assert (new["min"], new["days"], new["kept"]) == (0.95, 2, 0)
    [volume] = record["volumes"]
    assert (volume["predictions"], volume["labels"], volume["coverage"]) == (1800, 1800, 1.0)
    [gap] = record["gaps"]
    assert gap["from"].startswith((NIGHT + timedelta(days=5)).isoformat()[:10])
    assert gap["to"].startswith((NIGHT + timedelta(days=7)).isoformat()[:10])


def test_every_incident_is_there_with_its_life(reports: list[Reported]) -> None:
    record = made(reports)
    told = [each.document for each in reports if each.document["type"] == "alert"]
    assert sum(len(each["steps"]) for each in record["incidents"]) == len(told)
    assert {each["incident"] for each in record["incidents"]} == {each["incident"] for each in told}
    for each in record["incidents"]:
        mine = [alert for alert in told if alert["incident"] == each["incident"]]
        assert [step["alert_id"] for step in each["steps"]] == [alert["alert_id"] for alert in mine]
        assert each["started_at"] == mine[0]["started_at"]
        assert each["resolved_at"] == mine[-1]["resolved_at"]
    assert {"accuracy", "drift.error"} <= {each["rule"] for each in record["incidents"]}


def test_a_part_of_the_time_has_what_was_in_force_then_and_what_was_open(reports: list[Reported]) -> None:
    begin, end = NIGHT + timedelta(days=4), NIGHT + timedelta(days=5)
    record = made(reports, begin, end)
    assert [day["start"] for day in record["days"]] == [begin.isoformat().replace("+00:00", "Z")]
    assert [each["objectives_revision"] for each in record["objectives"]] == [1, 2]
    whole = made(reports)
    opened = [each for each in whole["incidents"] if datetime.fromisoformat(each["started_at"]) < end]
    assert len(record["incidents"]) <= len(opened)
    for each in record["incidents"]:
        assert each["resolved_at"] is None or datetime.fromisoformat(each["resolved_at"]) >= begin


def test_the_same_records_give_the_same_bytes_and_others_another_hash(reports: list[Reported]) -> None:
    end = NIGHT + timedelta(days=3)
    first = made(reports, None, end)
    assert first == made([*reports], None, end)
    assert page_of(first) == page_of(made(reports, None, end))
    # What was written later changes nothing of what was over.
    later = Reported(3, 10_000, b"{}", reports[-1].document)
    assert made([*reports, later], None, end)["source"] | {"left_out": 0} == first["source"] | {"left_out": 0}
    forged = replace(reports[0], value=reports[0].value + b" ")
    assert made([forged, *reports[1:]], None, end)["source"]["sha256"] != first["source"]["sha256"]


@pytest.mark.parametrize(
    "document",
    [
        {"type": "period"},
        {"type": "period", "version": 3, "predictions": "many"},
        {"type": "objectives", "objectives": 5},
        {"type": "objectives", "objectives": [7]},
        {"type": "alert", "incident": None, "started_at": "yesterday"},
        {"type": "magic"},
        {},
        {"type": ["period"]},
    ],
)
def test_what_is_no_report_is_counted_and_changes_nothing(
    reports: list[Reported], document: dict[str, Any]
) -> None:
    expected = made(reports)
    found = made([*reports, Reported(3, 10_001, orjson.dumps(document), {**document, "model": "m"})])
    assert found["source"]["left_out"] == expected["source"]["left_out"] + 1
    assert {**found, "source": None} == {**expected, "source": None}


def test_no_text_of_a_report_becomes_markup(reports: list[Reported]) -> None:
    hostile = [
        replace(each, document={**each.document, "version": "<script>", "summary": "<b>", "rule": "<i>x"})
        for each in reports
    ]
    text = page_of(made(hostile))
    assert "<script>" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<details>") == len(made(hostile)["incidents"])
