"""Mix and rate of every segment add up to the change, and say what changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain.decomposition import Part, decompose
from streamer.domain.scores import Estimate

sides = st.none() | st.builds(
    Estimate, st.floats(-1e6, 1e6, allow_nan=False), st.integers(1, 10**7)
)  # fmt: skip


def mean(side: list[Estimate | None]) -> float:
    rows = sum(each.n for each in side if each)
    return sum(each.value * each.n for each in side if each) / rows


@given(st.lists(st.tuples(sides, sides), max_size=8))
def test_the_parts_sum_to_the_change_of_the_mean(
    segments: list[tuple[Estimate | None, Estimate | None]],
) -> None:
    before, after = [old for old, _ in segments], [new for _, new in segments]
    parts = decompose(before, after)
    if not any(before) or not any(after):
        assert parts is None
        return
    assert parts is not None
    change = mean(after) - mean(before)
    size = max(abs(each.value) for pair in segments for each in pair if each)
    assert sum(part.total for part in parts) == pytest.approx(change, abs=1e-9 * (1 + size))


def test_a_segment_that_got_worse_is_rate_alone() -> None:
    parts = decompose([Estimate(0.9, 500), Estimate(0.8, 500)], [Estimate(0.7, 50), Estimate(0.8, 50)])
    assert parts is not None
    assert parts[0] == pytest.approx(Part(mix=0.0, rate=-0.1))
    assert parts[1] == pytest.approx(Part(0.0, 0.0))


def test_more_rows_of_a_bad_segment_are_mix_alone_and_none_of_a_segment_at_the_mean() -> None:
    parts = decompose(
        [Estimate(0.9, 40), Estimate(0.5, 20), Estimate(0.7, 40)],
        [Estimate(0.9, 20), Estimate(0.5, 40), Estimate(0.7, 40)],
    )
    assert parts is not None
    assert [part.rate for part in parts] == pytest.approx([0.0, 0.0, 0.0])
    assert [part.mix for part in parts] == pytest.approx([-0.04, -0.04, 0.0])


def test_what_is_there_at_one_time_only_is_all_mix() -> None:
    parts = decompose([Estimate(0.8, 100), None], [Estimate(0.8, 50), Estimate(0.2, 50)])
    assert parts is not None
    assert [part.rate for part in parts] == [0.0, 0.0]
    assert sum(part.mix for part in parts) == pytest.approx(-0.3)
    assert parts[1].mix < parts[0].mix < 0
