"""Alarms against known changes: what is found, missed and false, and what baselines are worth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.backtest.drive import Told
from streamer.backtest.verdict import Found, always, judge, never


def told(row: int, status: str = "firing", rule: str = "drift.error", change: str = "") -> Told:
    return Told(row, {"status": status, "rule": rule, "change": change or f"{row}"})


def test_incidents_of_one_change_count_once() -> None:
    steps = [
        told(1030, change="a"),
        told(1040, rule="accuracy", change="a"),
        told(1900, rule="x", change="a"),
    ]
    verdict = judge(steps, [1000], 100)
    assert (verdict.incidents, verdict.false, verdict.changes[0].incidents) == (1, 0, 1)
    assert judge([told(900, change="b"), told(1010, change="b")], [1000], 100).false == 1


def test_a_change_is_found_by_the_first_that_people_are_told_after_it() -> None:
    verdict = judge(
        [told(40), told(1030), told(1040, rule="accuracy"), told(1200, "resolved"), told(2050, "updated")],
        [1000, 2000, 3000],
        100,
    )
    assert verdict.changes == (
        Found(1000, 30, "drift.error", 2),
        Found(2000, 50, "drift.error", 0),  # news of an incident that was open
        Found(3000, None, None, 0),
    )
    assert (verdict.found, verdict.missed, verdict.false, verdict.incidents) == (2, 1, 1, 3)
    assert (verdict.delay, verdict.precision, verdict.recall) == (40, 1 - 1 / 3, 2 / 3)


def test_the_first_changed_prediction_may_tell_and_the_last_old_one_may_not() -> None:
    assert judge([told(1001)], [1000], 5).changes[0].delay == 1
    assert judge([told(1005)], [1000], 5).found == 1
    assert judge([told(1006)], [1000], 5).found == 0
    assert judge([told(1000)], [1000], 5).false == 1


def test_a_late_alarm_never_finds_the_change_before_the_last_one() -> None:
    verdict = judge([told(1050)], [1000, 1040], 500)
    assert [each.delay for each in verdict.changes] == [None, 10]


def test_without_an_alarm_nothing_is_found_and_nothing_is_false() -> None:
    verdict = never([5, 9])
    assert (verdict.found, verdict.missed, verdict.false, verdict.delay) == (0, 2, 0, None)
    assert (verdict.precision, verdict.recall, verdict.f1) == (None, 0.0, 0.0)


def test_an_alarm_at_each_evaluation_finds_everything_and_is_mostly_false() -> None:
    verdict = always(10_000, 100, [2_050, 7_000], 300)
    assert [each.delay for each in verdict.changes] == [50, 100]
    assert (verdict.incidents, verdict.false) == (100, 94)
    assert verdict.f1 is not None
    assert verdict.f1 < 0.15


@given(
    st.lists(st.tuples(st.integers(1, 500), st.sampled_from(["firing", "updated", "resolved"])), max_size=30),
    st.lists(st.integers(0, 499), max_size=6, unique=True),
    st.integers(1, 200),
)
def test_every_incident_is_false_or_belongs_to_one_change(
    steps: list[tuple[int, str]], changes: list[int], within: int
) -> None:
    steps.sort()
    verdict = judge(
        [told(row, status, change=f"{at}") for at, (row, status) in enumerate(steps)], sorted(changes), within
    )
    opened = sum(status == "firing" for _, status in steps)
    assert verdict.false + sum(each.incidents for each in verdict.changes) == verdict.incidents == opened
    assert verdict.found + verdict.missed == len(changes)
