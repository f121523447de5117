"""The generator of schedules: the same seed gives the same, and every kind of fault comes up."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.schedule import MOST_WORKERS, NEWCOMERS, WEIGHTS, Kind, Schedule, draw

SEEDS = range(1, 101)


def test_a_schedule_is_a_pure_function_of_its_seed() -> None:
    assert [draw(seed) for seed in SEEDS] == [draw(seed) for seed in SEEDS]
    assert len({draw(seed).faults for seed in SEEDS}) == len(SEEDS)


def test_the_short_form_of_a_seed_has_the_same_faults() -> None:
    assert [draw(seed, records=20_000).faults for seed in SEEDS] == [draw(seed).faults for seed in SEEDS]


def test_a_schedule_has_at_least_a_hundred_thousand_records_and_one_to_three_workers() -> None:
    schedules = [draw(seed) for seed in SEEDS]
    assert min(schedule.records for schedule in schedules) >= 100_000
    assert {schedule.workers for schedule in schedules} == set(range(1, MOST_WORKERS + 1))
    assert {schedule.static for schedule in schedules} == {True, False}


def test_a_hundred_seeds_cover_every_fault_at_every_moment() -> None:
    seen = Counter((fault.kind, fault.moment) for seed in SEEDS for fault in draw(seed).faults)
    assert set(seen) == set(WEIGHTS)
    assert min(seen.values()) >= 3


def workers_over_time(schedule: Schedule) -> list[int]:
    alive, found = schedule.workers, [schedule.workers]
    for fault in schedule.faults:
        if fault.kind is Kind.JOIN or (fault.kind is Kind.FREEZE and fault.moment in NEWCOMERS):
            alive += 1
        alive -= fault.kind is Kind.LEAVE
        found.append(alive)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_come_in_order_and_there_are_always_one_to_three_workers(seed: int) -> None:
    schedule = draw(seed)
    moments = [fault.after for fault in schedule.faults]
    assert moments == sorted(moments)
    assert moments[0] > 0
    assert moments[-1] < 1
    assert set(workers_over_time(schedule)) <= set(range(1, MOST_WORKERS + 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_zombie_has_an_heir(seed: int) -> None:
    """Another worker, one that joins for it, or one that takes its name."""
    schedule = draw(seed)
    for alive, fault in zip(workers_over_time(schedule), schedule.faults, strict=False):
        if fault.kind is Kind.DOUBLE:
            assert schedule.static
        if fault.kind is Kind.FREEZE:
            assert alive > 1 or fault.moment in NEWCOMERS
