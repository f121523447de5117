"""Distances are those of SciPy and of their definitions; what chance makes is what theory says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from streamer.domain.distances import (
    equal_groups,
    expected_psi,
    grouped,
    jensen_shannon,
    psi,
    shares,
    total_variation,
    wasserstein,
)

counts = st.lists(st.integers(0, 1000), min_size=6, max_size=6).map(np.array)


@given(counts, counts)
def test_jensen_shannon_and_wasserstein_are_scipys(before: np.ndarray, after: np.ndarray) -> None:
    assume(before.sum() and after.sum())
    expected = jensenshannon(before, after, base=2)
    assert jensen_shannon(before, after) == pytest.approx(np.nan_to_num(expected), abs=1e-7)
    at = np.array([-3.0, -1.0, 0.0, 0.5, 4.0, 20.0])
    deviation = np.sqrt(np.cov(at, fweights=before, bias=True)) if before.sum() > 1 else 0.0
    assume(deviation > 1e-9)
    moved = wasserstein_distance(at, at, before, after)
    assert wasserstein(before, after, at) == pytest.approx(moved / deviation, rel=1e-9, abs=1e-12)


@given(counts, counts)
def test_all_are_zero_for_the_same_and_two_of_them_know_no_direction(
    before: np.ndarray, after: np.ndarray
) -> None:
    assume(before.sum() and after.sum())
    at = np.arange(6.0)
    assert psi(before, before) == jensen_shannon(before, before) == total_variation(before, before) == 0
    assert wasserstein(before, before, at) == 0
    assert psi(before, after) >= 0
    assert 0 <= total_variation(before, after) <= 1
    assert 0 <= jensen_shannon(before, after) <= 1 + 1e-12
    assert total_variation(before, after) == pytest.approx(total_variation(after, before))
    assert psi(before, after) == pytest.approx(psi(after, before), abs=1e-12)


def test_psi_is_its_definition_and_an_empty_cell_weighs_as_much_as_its_rows() -> None:
    before, after = np.array([500, 500]), np.array([250, 750])
    p, q = np.array([500.5, 500.5]) / 1001, np.array([250.5, 750.5]) / 1001
    assert psi(before, after) == pytest.approx(((q - p) * np.log(q / p)).sum())
    few = psi([1000, 0], [999, 1])
    many = psi([1000, 0], [500, 500])
    assert 0 < few < 0.01 < 3 < many < 10


def test_chance_alone_makes_the_psi_that_theory_expects() -> None:
    source = np.random.default_rng(7)
    weights = np.full(10, 0.1)
    found = [
        psi(source.multinomial(5_000, weights), source.multinomial(2_000, weights)) for _ in range(2_000)
    ]
    assert np.mean(found) == pytest.approx(expected_psi(10, 5_000, 2_000), rel=0.05)


def test_one_value_that_moved_is_infinitely_far_in_deviations_of_none() -> None:
    assert wasserstein([5, 0], [0, 5], [0.0, 1.0]) == float("inf")
    assert shares([0, 0]).tolist() == [0, 0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200).map(np.array), st.integers(1, 12))
def test_groups_are_about_equal_and_hold_every_cell_once(cells: np.ndarray, groups: int) -> None:
    assume(cells.sum())
    starts = equal_groups(cells, groups)
    assert starts[0] == 0
    assert len(starts) <= groups
    assert (np.diff(starts) > 0).all()
    found = grouped(cells, starts)
    assert found.sum() == cells.sum()
    # A group goes over its part by no more than the one cell that fills it.
    assert found.max() <= cells.sum() / groups + 2 * cells.max()
