"""Positions mapped to dates: near the truth, bounded, and the same however the values came."""

from __future__ import annotations

import random
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.domain.timeline import MOST_MARKS, SAMPLES, Timeline
from tests.domain.feed import START_MS

seeds = st.integers(0, 2**32)


def pieces(chance: random.Random, count: int) -> list[tuple[int, int]]:
    cuts = sorted({0, count, *(chance.randrange(count) for _ in range(chance.randrange(30)))})
    return list(pairwise(cuts))


def noted(values: list[float], times: list[int], every: int = 100) -> Timeline:
    timeline = Timeline(every)
    timeline.note(0, times, values)
    return timeline


@given(seeds, st.integers(1, 300), st.integers(1, 3_000))
@settings(max_examples=40, deadline=None)
def test_however_values_are_cut_saved_and_restored_the_same_is_known(
    seed: int, every: int, count: int
) -> None:
    chance = random.Random(seed)
    values = [chance.random() for _ in range(count)]
    times = [START_MS + chance.randrange(10**7) for _ in range(count)]
    expected = noted(values, times, every).snapshot()
    timeline = Timeline(every)
    for begin, end in pieces(chance, count):
        timeline.note(begin, np.array(times[begin:end]), values[begin:end])
        state = codec.decode_cell(codec.encode_cell(timeline.snapshot()))
        timeline = Timeline(every)
        timeline.restore(state)
    assert timeline.snapshot() == expected


@given(seeds, st.sampled_from([1, 30, 100]), st.integers(10, 60_000))
@settings(max_examples=25, deadline=None)
def test_a_position_is_dated_to_within_a_mark_or_half_of_its_age(seed: int, every: int, count: int) -> None:
    chance = random.Random(seed)
    times = list(accumulate((chance.choice([0, 1, 5, 900]) for _ in range(count - 1)), initial=START_MS))
    timeline = noted([0.0] * count, times, every)
    apart = SAMPLES * max(1, every // SAMPLES)
    for position in (1, count, *(chance.randint(1, count) for _ in range(50))):
        found = timeline.at(position)
        assert found is not None
        around = max(apart, (count - position) // 2 + apart)
        assert times[max(0, position - 1 - around)] <= found <= times[min(count - 1, position - 1 + around)]


def test_on_a_steady_stream_any_position_has_its_exact_date_however_long_ago() -> None:
    count = 500_000
    timeline = noted([0.0] * count, [START_MS + 10 * at for at in range(1, count + 1)])
    for position in (60, 1_000, 77_777, 250_000, 499_900):
        assert timeline.at(position) == START_MS + 10 * position


def test_it_stays_bounded_over_a_million_values() -> None:
    timeline = Timeline(1)
    most = 0
    for begin in range(0, 1_000_000, 997):
        timeline.note(begin, range(begin, begin + 997), [0.5] * 997)
        most = max(most, len(timeline.snapshot()["marks"]))
    assert most <= MOST_MARKS
    assert len(codec.encode_cell(timeline.snapshot())) < 1_300


def test_a_label_that_was_late_dates_nothing() -> None:
    times = [START_MS + 1000 * at - (30 * 86_400_000 if at % 7 == 0 else 0) for at in range(2_000)]
    timeline = noted([0.0] * 2_000, times)
    for position in (100, 777, 1_999):
        assert abs((timeline.at(position) or 0) - START_MS - 1000 * position) < 100_000


def test_where_nothing_was_noted_there_is_no_date() -> None:
    assert Timeline(100).at(5) is None
    assert Timeline(100).onset((0, 0.0), 50) is None
    late = Timeline(100)  # of a state that had none: it begins in the middle
    late.note(10_000, range(START_MS, START_MS + 500))
    assert late.at(3_000) is None
    assert late.at(10_400) is not None
    bare = Timeline(100)
    bare.note(0, [], [0.0] * 500)
    assert bare.at(100) is None


@pytest.mark.parametrize("truth", [60, 400, 1_000, 1_900])
def test_a_clear_change_is_found_within_a_mark_or_half_of_its_age(truth: int) -> None:
    chance = random.Random(truth)
    values = [float(chance.random() < (0.1 if at < truth else 0.6)) for at in range(2_000)]
    timeline = noted(values, list(range(2_000)))
    found = timeline.onset((0, 0.0), 2_000)
    assert found is not None
    assert abs(found - truth) <= max(98, (2_000 - truth) // 2)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_of_all_that_was_noted_the_best_split_by_least_squares_is_taken(seed: int) -> None:
    chance = random.Random(seed)
    values = [chance.gauss(0, 1) + (at > 300) * chance.random() for at in range(500)]
    timeline = noted(values, list(range(500)), 1)
    state = timeline.snapshot()
    first = chance.randrange(300)
    noted_at = [at for at, _, _ in (*state["marks"], *state["samples"]) if first < at < 500]

    def left_over(split: int) -> float:
        parts = np.array(values[first:split]), np.array(values[split:])
        return float(sum(((part - part.mean()) ** 2).sum() for part in parts))

    assert timeline.onset((first, sum(values[:first])), 500) == min(noted_at, key=left_over)


@pytest.mark.parametrize("at", [0, 60, 1_000, 1_900, 1_999])
def test_what_came_from_a_time_on_is_counted_and_its_mean_is_that_of_its_values(at: int) -> None:
    values = [float(number % 7) for number in range(2_000)]
    timeline = noted(values, [START_MS + number for number in range(2_000)])
    found = timeline.since(START_MS + at, 2_000)
    if at == 1_999:
        assert found is None
        return
    assert found is not None
    rows, mean = found
    assert 0 <= 2_000 - at - rows <= max(99, (2_000 - at) // 2)
    assert mean == pytest.approx(sum(values[-rows:]) / rows)
