"""Lanes without a broker: what may go next, whatever comes first."""

from __future__ import annotations

import pytest

from streamer.adapters.lanes import PATIENCE_SECONDS, At, Lanes, Load
from tests.domain.feed import START_MS, Record

P0, P1, L0 = (0, 0), (0, 1), (1, 0)


def records(*seconds: float, first: int = 0) -> list[Record]:
    return [Record(START_MS + int(each * 1000), first + n, b"{}") for n, each in enumerate(seconds)]


def lanes(*ats: At, most_records: int = 1_000, most_bytes: int = 1_000_000) -> Lanes:
    made = Lanes(most_records, most_bytes)
    for at in ats:
        made.open(at, 0, 0, 0.0)
    return made


def take(made: Lanes, limit: int = 100, now: float = 0.0) -> Load:
    load = made.next_load(limit, now)
    made.done(load, now)
    return load


def test_nothing_goes_before_every_lane_has_spoken() -> None:
    made = lanes(P0, L0)
    made.push(L0, records(1, 2, 3), 0.0)
    assert take(made) == {}
    made.push(P0, records(2), 0.0)
    assert take(made) == {L0: 2, P0: 1}
    assert take(made) == {}
    made.end(P0, 1, 0.0)
    assert take(made) == {L0: 1}


def test_nobody_waits_for_long_for_a_lane_that_does_not_come() -> None:
    made = lanes(P0, L0)
    made.push(L0, records(1), 0.0)
    assert take(made, now=PATIENCE_SECONDS - 0.1) == {}
    assert take(made, now=PATIENCE_SECONDS + 0.1) == {L0: 1}


def test_who_reads_elsewhere_and_is_behind_is_waited_for() -> None:
    made = lanes(L0)
    made.push(L0, records(1, 2, 3), 0.0)
    made.end(L0, 3, 0.0)
    assert made.next_load(100, 0.0, START_MS + 2_000) == {L0: 2}


def test_a_load_has_the_earliest_records_and_predictions_first() -> None:
    made = lanes(P0, P1, L0)
    made.push(L0, records(1, 1, 1, 2), 0.0)
    made.push(P0, records(1, 3), 0.0)
    made.push(P1, records(0, 1, 9), 0.0)
    load = made.next_load(4, 0.0)
    assert load == {P0: 1, P1: 2, L0: 1}
    assert [(lane.at, record.offset()) for lane, record in made.records_of(load)] == [
        (P1, 0), (P0, 0), (P1, 1), (L0, 0)
    ]  # fmt: skip


def test_a_record_from_the_future_goes_with_the_one_behind_it() -> None:
    made = lanes(P0, L0)
    made.push(P0, records(1, 1_000_000), 0.0)
    made.push(L0, records(2, 3, 4), 0.0)
    made.push(P0, records(2, 3, first=2), 0.0)
    assert take(made) == {P0: 4, L0: 2}
    made.end(P0, 4, 0.0)
    assert take(made) == {L0: 1}


def test_positions_follow_what_is_taken_and_then_the_end_of_the_log() -> None:
    made = lanes(P0)
    made.push(P0, records(1, 2), 0.0)
    made.end(P0, 7, 0.0)
    lane = made.get(P0)
    assert lane is not None
    assert (lane.after(0)[0], lane.after(1)[0], lane.after(2)) == (0, 1, (7, START_MS + 2_000))
    take(made)
    assert (lane.position, lane.told, lane.clock_ms, lane.bytes) == (7, 7, START_MS + 2_000, 0)


def test_what_was_there_before_is_left_out() -> None:
    made = lanes(P0)
    made.push(P0, records(1, 2), 0.0)
    made.push(P0, records(1, 2, 3), 0.0)
    made.end(P0, 2, 0.0)  # of before
    lane = made.get(P0)
    assert lane is not None
    assert [each.offset() for each in lane.records] == [0, 1, 2]
    assert not lane.ended


@pytest.mark.parametrize("bound", [{"most_records": 6}, {"most_bytes": 700}])
def test_a_lane_is_full_once_it_holds_more_than_its_share(bound: dict[str, int]) -> None:
    made = lanes(P0, L0, **bound)
    made.push(P0, records(1, 2, 3), 0.0)
    made.push(L0, records(1, 2, 3, 4), 0.0)
    assert made.full() == {L0}


def test_a_stretch_that_cannot_be_read_takes_its_place_among_the_records() -> None:
    made = lanes(P0)
    lane = made.get(P0)
    assert lane is not None
    made.push(P0, records(1), 0.0)
    tried = [lane.reading.stumble(0) for _ in range(5)]
    assert tried == [None, None, 2, 3, 4]
    made.push(P0, records(2, first=4), 0.0)
    assert [(type(each).__name__, each.offset()) for each in lane.records] == [
        ("Record", 0), ("Unreadable", 3), ("Record", 4)
    ]  # fmt: skip
