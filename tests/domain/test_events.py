"""The event contract: what is taken, what is refused, and with which reason."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamer.domain.events import (
    CURES,
    FUTURE_MS,
    LATEST_MS,
    MAX_ID,
    MAX_NAME,
    SECONDS_LIMIT,
    Reason,
    Refused,
    read_id,
    read_name,
    read_timestamp,
    remap,
    rfc3339,
)
from streamer.domain.objectives import Limits, Objectives
from streamer.pipeline import LABELS, PREDICTIONS
from tests.domain.feed import START_MS, Log, build, feed

AT_ANY_TIME = LATEST_MS
milliseconds = st.integers(SECONDS_LIMIT, LATEST_MS - 1)
this_century = st.integers(SECONDS_LIMIT, 4_102_444_800_000)


def reason_of(value: Any, latest_ms: int = AT_ANY_TIME) -> Reason:
    with pytest.raises(Refused) as caught:
        read_timestamp(value, latest_ms)
    return caught.value.reason


# -- timestamps ---------------------------------------------------------------------------


@given(milliseconds)
def test_epoch_milliseconds_are_taken_as_they_are(time: int) -> None:
    assert read_timestamp(time, AT_ANY_TIME) == time


@given(milliseconds, st.floats(0, 0.99))
def test_a_fraction_of_a_millisecond_is_dropped(time: int, fraction: float) -> None:
    moment = time + fraction
    assume(moment < LATEST_MS)  # a float of that size may have been rounded up to the bound
    assert read_timestamp(moment, AT_ANY_TIME) == int(moment)


@pytest.mark.parametrize("seconds", [0, 1, 1_700_000_000, 1_700_000_000.5, SECONDS_LIMIT - 1, 99_999_999_999])
def test_what_looks_like_seconds_is_refused_as_that(seconds: float) -> None:
    assert reason_of(seconds) is Reason.TIMESTAMP_SECONDS


@given(milliseconds, st.integers(-14 * 60, 14 * 60))
def test_rfc_3339_is_understood_in_any_zone(time: int, offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time)
    try:
        text = moment.astimezone(zone).isoformat()
    except OverflowError:
        return
    assert read_timestamp(text, AT_ANY_TIME) == time


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.000Z",
        "2023-11-14 22:13:20Z",
        "2023-11-14T23:13:20+01:00",
        "2023-11-14T17:43:20.0004-04:30",
        "2023-11-14T22:13:20",
    ],
)
def test_usual_texts_of_one_moment_are_that_moment_and_one_without_a_zone_is_utc(text: str) -> None:
    assert read_timestamp(text, AT_ANY_TIME) == 1_700_000_000_000


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_texts_are_read_as_pandas_reads_them(moment: datetime) -> None:
    text = moment.isoformat() + "Z"
    expected = (pd.Timestamp(text) - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)
    assert read_timestamp(text, AT_ANY_TIME) == expected


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, [], {}, "", "yesterday", "2023-11-14", "2023-13-14T22:13:20Z",
        "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:00", "1700000000000", "x" * 41,
        -1, -1.5e12, math.nan, math.inf, -math.inf, LATEST_MS, 1e300, 10**30,
    ],
)  # fmt: skip
def test_what_is_no_time_is_an_invalid_field(value: Any) -> None:
    assert reason_of(value) is Reason.INVALID_FIELD


@given(this_century)
def test_a_time_may_be_as_late_as_the_bound_and_not_a_millisecond_later(latest: int) -> None:
    assert read_timestamp(latest, latest) == latest
    assert reason_of(latest + 1, latest) is Reason.TIMESTAMP_FUTURE
    assert reason_of(rfc3339(latest + 1), latest) is Reason.TIMESTAMP_FUTURE


@pytest.mark.parametrize("kind", [PREDICTIONS, LABELS])
@pytest.mark.parametrize(
    ("ahead", "reason"),
    [(0, None), (FUTURE_MS, None), (FUTURE_MS + 2_000, Reason.TIMESTAMP_FUTURE), (-(10**10), None)],
)
def test_an_event_may_be_old_but_not_five_minutes_ahead_of_the_brokers_clock(
    kind: int, ahead: int, reason: Reason | None
) -> None:
    pipeline, log = build(Objectives()), Log()
    event = {"prediction_id": "1", "model": "m", "prediction": 1, "label": 1, "timestamp": START_MS + ahead}
    log.put(kind, event)
    feed(pipeline, log.steps)
    dead = [letter.reason for letter in pipeline.take_effects().dead_letters]
    assert dead == ([] if reason is None else [reason])


@given(this_century)
def test_a_time_that_was_written_is_read_back(time: int) -> None:
    assert read_timestamp(rfc3339(time), AT_ANY_TIME) == time


def test_a_time_is_written_with_milliseconds_and_a_z() -> None:
    assert rfc3339(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"


# -- ids and names ---------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=MAX_ID))
def test_an_id_may_be_any_text(text: str) -> None:
    assert read_id(text) == text


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_a_whole_number_is_an_id_and_a_name_too(number: int) -> None:
    assert read_id(number) == read_name(number) == str(number)


@pytest.mark.parametrize("value", [None, "", "x" * (MAX_ID + 1), 1.5, True, [], {}, 10**18, -(10**18)])
def test_anything_else_is_no_id(value: Any) -> None:
    with pytest.raises(Refused) as caught:
        read_id(value)
    assert caught.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize(
    "value", [None, "", "a\nb", "a\x1fb", "a\x00", "x" * (MAX_NAME + 1), 1.5, True, ["m"]]
)
def test_anything_but_short_printable_text_is_no_name(value: Any) -> None:
    with pytest.raises(Refused) as caught:
        read_name(value)
    assert caught.value.reason is Reason.INVALID_FIELD


def test_a_name_may_be_as_long_as_its_limit() -> None:
    assert read_name("x" * MAX_NAME) == "x" * MAX_NAME
    with pytest.raises(Refused):
        read_name("xxx", limit=2)


# -- foreign logs -------------------------------------------------------------------------------


def test_a_foreign_field_is_found_under_its_path_and_the_event_is_left_as_it_was() -> None:
    event = {"meta": {"ids": {"inference": "7"}}, "out": 1, "prediction_id": "not this"}
    paths = (("prediction_id", ("meta", "ids", "inference")), ("prediction", ("out",)))
    mapped = remap(event, paths)
    assert (mapped["prediction_id"], mapped["prediction"]) == ("7", 1)
    assert event["prediction_id"] == "not this"
    assert mapped["meta"] == event["meta"]


@pytest.mark.parametrize("event", [{}, {"meta": 3}, {"meta": None}, {"meta": {}}, {"meta": {"id": None}}])
def test_a_path_that_leads_nowhere_leaves_our_own_field(event: dict[str, Any]) -> None:
    paths = (("prediction_id", ("meta", "id")),)
    assert remap({**event, "prediction_id": "ours"}, paths)["prediction_id"] == "ours"
    assert "prediction_id" not in remap(event, paths)


def test_two_fields_may_be_taken_from_each_others_place() -> None:
    paths = (("prediction", ("label",)), ("label", ("prediction",)))
    assert remap({"prediction": 1, "label": 2}, paths) == {"prediction": 2, "label": 1}


# -- what becomes a dead letter -------------------------------------------------------------------


def test_every_reason_has_its_cure() -> None:
    assert set(CURES) == set(Reason)
    assert all(CURES.values())


GOOD = {"prediction_id": "1", "timestamp": START_MS, "model": "m", "prediction": 1, "label": 1}


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        *(
            (kind, {name: None}, Reason.INVALID_FIELD)
            for kind in (PREDICTIONS, LABELS)
            for name in ("prediction_id", "timestamp")
        ),
        *(
            each
            for value in (None, "maybe", [1], {"a": 1}, 0.5)
            for each in (
                (PREDICTIONS, {"prediction": value}, Reason.UNKNOWN_CLASS),
                (LABELS, {"label": value}, Reason.UNKNOWN_CLASS),
            )
        ),
        (PREDICTIONS, {"model": "away"}, Reason.MISPLACED),
        (PREDICTIONS, {"model": "a\tb"}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"model": None}, Reason.MISSING_FIELD),
        (PREDICTIONS, {"timestamp": 1_700_000_000}, Reason.TIMESTAMP_SECONDS),
        (PREDICTIONS, {"latency_ms": -1}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"latency_ms": "fast"}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"latency_ms": True}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"features": [1]}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"score": 1.5}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"score": -0.1}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"score": "high"}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"score": True}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"scores": {}}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"scores": {"0": 0.5}}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"version": ["v"]}, Reason.INVALID_FIELD),
        (PREDICTIONS, {"version": "v" * 101}, Reason.INVALID_FIELD),
    ],
)
def test_a_field_that_is_wrong_makes_a_dead_letter_with_its_reason_and_changes_nothing_else(
    kind: int, change: dict[str, Any], reason: Reason
) -> None:
    pipeline, log = build(Objectives()), Log()
    log.predict("before", 1)
    log.put(kind, {**GOOD, **change})
    feed(pipeline, log.steps)
    [letter] = pipeline.take_effects().dead_letters
    assert (letter.kind, letter.reason) == (kind, reason)
    found = pipeline.partition.identity()
    assert found["predictions"]["pending"] == 1
    assert found[("predictions", "labels")[kind]]["dead_letter"] == 1
    assert found["labels"]["parked"] == 0


@pytest.mark.parametrize("missing", ["prediction_id", "timestamp", "model", "prediction"])
def test_a_field_that_is_missing_is_said_to_be_missing(missing: str) -> None:
    pipeline, log = build(Objectives()), Log()
    log.put(PREDICTIONS, {name: value for name, value in GOOD.items() if name != missing})
    feed(pipeline, log.steps)
    [letter] = pipeline.take_effects().dead_letters
    assert letter.reason is Reason.MISSING_FIELD


def test_more_models_than_a_partition_may_watch_are_refused_and_the_known_ones_are_not() -> None:
    pipeline, log = build(Objectives(limits=Limits(max_models=2))), Log()
    for number, model in enumerate(["a", "b", "c", "a", "d", "b"]):
        log.predict(number, 1, model=model)
    feed(pipeline, log.steps)
    assert [letter.reason for letter in pipeline.take_effects().dead_letters] == [Reason.CAPACITY] * 2
    assert pipeline.partition.identity()["predictions"]["pending"] == 4


@given(
    st.dictionaries(st.text(max_size=9), st.one_of(st.none(), st.booleans(), st.text(max_size=9)), max_size=5)
)
@settings(max_examples=30, deadline=None)
def test_fields_that_are_not_in_the_contract_are_ignored(more: dict[str, Any]) -> None:
    pipeline, log = build(Objectives()), Log()
    contract = {"score", "scores", "features", "latency_ms", "version", *GOOD}
    log.put(PREDICTIONS, {**{k: v for k, v in more.items() if k not in contract}, **GOOD})
    feed(pipeline, log.steps)
    assert pipeline.partition.identity()["predictions"]["pending"] == 1
