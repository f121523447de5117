"""The bins: every edge in its place, every scalar lookup the same as its vectorised twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import bins

probabilities = st.one_of(st.floats(0, 1), st.sampled_from(bins.SCORE_EDGES))
latencies = st.one_of(st.floats(0, 1e7), st.sampled_from(bins.LATENCY_EDGES))
finite = st.floats(allow_nan=False, allow_infinity=False)


def test_codes_fit_sixteen_bits() -> None:
    assert bins.BINARY_CODES == 4 * bins.SCORE_BINS <= 65_535
    assert bins.MULTICLASS_CODES == bins.MAX_CLASSES**2 <= 65_535


def test_every_row_has_a_code_of_its_own() -> None:
    binary = {bins.binary_code(b, p, a) for b in range(bins.SCORE_BINS) for p in (0, 1) for a in (0, 1)}
    assert binary == set(range(bins.BINARY_CODES))
    classes = range(bins.MAX_CLASSES)
    assert {bins.multiclass_code(a, p) for a in classes for p in classes} == set(range(bins.MULTICLASS_CODES))


def test_score_edges_ascend_evenly_in_logit() -> None:
    logits = [math.log(p / (1 - p)) for p in bins.SCORE_EDGES]
    assert np.allclose(np.diff(logits), 28 / 1000, rtol=1e-3)
    assert (logits[0], logits[-1]) == pytest.approx((-14, 14))


def test_one_half_is_exactly_a_score_edge() -> None:
    assert 0.5 in bins.SCORE_EDGES
    assert bins.score_bin(0.5) == bins.score_bin(math.nextafter(0.5, 0)) + 1


def test_zero_and_one_lie_in_the_end_bins() -> None:
    assert bins.score_bin(0.0) == 0
    assert bins.score_bin(1.0) == bins.NO_SCORE - 1 == bins.SCORE_BINS - 2


def test_a_score_center_lies_in_or_at_the_end_of_its_bin() -> None:
    inner = bins.SCORE_CENTERS[1 : bins.NO_SCORE - 1]
    assert [bins.score_bin(p) for p in inner] == list(range(1, bins.NO_SCORE - 1))
    assert np.all(np.diff(bins.SCORE_CENTERS[: bins.NO_SCORE]) > 0)
    assert math.isnan(bins.SCORE_CENTERS[bins.NO_SCORE])


@given(st.lists(probabilities, min_size=1))
def test_score_bins_rise_with_the_score_and_agree_with_the_scalar_twin(values: list[float]) -> None:
    ordered = sorted(values)
    found = bins.score_bins(np.array(ordered))
    assert found.tolist() == [bins.score_bin(p) for p in ordered]
    assert np.all(np.diff(found) >= 0)
    assert found[0] >= 0
    assert found[-1] < bins.NO_SCORE


@given(st.lists(latencies, min_size=1))
def test_latency_bins_rise_with_the_latency_and_agree_with_the_scalar_twin(values: list[float]) -> None:
    ordered = sorted(values)
    found = bins.latency_bins(np.array(ordered))
    assert found.tolist() == [bins.latency_bin(ms) for ms in ordered]
    assert np.all(np.diff(found) >= 0)
    assert found[0] >= 0
    assert found[-1] < bins.LATENCY_BINS


@pytest.mark.parametrize("ms", [0.01, 0.05, 0.99, 1.0, 2.5, 7.5, 99.0, 250.0, 1_000.0, 60_000.0, 100_000.0])
def test_two_digit_thresholds_are_exactly_latency_edges(ms: float) -> None:
    assert ms in bins.LATENCY_EDGES


def test_prometheus_bucket_bounds_are_exactly_latency_edges() -> None:
    seconds = [m * 10.0**e for e in (-3, -2, -1, 0, 1) for m in (1, 2.5, 5, 7.5) if m * 10.0**e <= 60] + [60]
    assert {float(f"{bound * 1000:.6g}") for bound in seconds} <= set(bins.LATENCY_EDGES)


def test_latency_edges_ascend_by_at_most_a_tenth() -> None:
    edges = np.array(bins.LATENCY_EDGES)
    steps = np.diff(edges) / edges[:-1]
    assert np.all(steps > 0)
    assert np.all(steps <= 0.1 + 1e-12)


@given(st.lists(latencies, min_size=1), st.sampled_from(range(len(bins.LATENCY_EDGES))))
def test_counts_up_to_an_edge_are_the_rows_at_or_below_it(values: list[float], edge: int) -> None:
    counts = np.bincount(bins.latency_bins(np.array(values)), minlength=bins.LATENCY_BINS)
    assert counts[: edge + 1].sum() == sum(ms <= bins.LATENCY_EDGES[edge] for ms in values)


def feature_bin_by_arithmetic(value: float) -> int:
    """The same bins from ``math.frexp`` instead of the bits."""
    middle = bins.FEATURE_BINS // 2
    if abs(value) < np.finfo(float).tiny:
        return middle
    mantissa, exponent = math.frexp(abs(value))
    step = (exponent - 1 + 40) * 8 + int((2 * mantissa - 1) * 8)
    step = min(max(step, 0), middle - 1) + 1
    return middle + (step if value > 0 else -step)


@given(st.lists(finite, min_size=1))
def test_feature_bins_rise_with_the_value_and_agree_with_arithmetic(values: list[float]) -> None:
    ordered = sorted(values)
    found = bins.feature_bins(np.array(ordered))
    assert found.tolist() == [bins.feature_bin(value) for value in ordered]
    assert found.tolist() == [feature_bin_by_arithmetic(value) for value in ordered]
    assert np.all(np.diff(found) >= 0)


@given(finite)
def test_feature_bins_mirror_each_other_around_zero(value: float) -> None:
    positive, negative = bins.feature_bins(np.array([value, -value]))
    assert positive + negative == bins.FEATURE_BINS - 1


@given(finite)
def test_a_feature_lies_between_the_edges_of_its_bin(value: float) -> None:
    index = int(bins.feature_bins(np.array([value]))[0])
    edges = [*bins.FEATURE_LOWER_EDGES, math.inf]
    assert edges[index] <= value <= edges[index + 1]


def test_feature_edges_ascend_by_at_most_an_eighth() -> None:
    edges = bins.FEATURE_LOWER_EDGES
    assert edges.shape == (bins.FEATURE_BINS,)
    assert np.all(np.diff(edges) > 0)
    positive = edges[bins.FEATURE_BINS // 2 + 2 :]
    assert np.all(np.diff(positive) / positive[:-1] <= 0.125)


def test_zero_and_subnormal_features_share_the_middle_bin() -> None:
    found = bins.feature_bins(np.array([0.0, -0.0, 5e-324, -5e-324]))
    assert set(found.tolist()) == {bins.FEATURE_BINS // 2}


def test_infinite_and_huge_features_lie_in_the_end_bins() -> None:
    found = bins.feature_bins(np.array([-math.inf, -1e300, 1e300, math.inf]))
    assert found.tolist() == [0, 0, bins.FEATURE_BINS - 1, bins.FEATURE_BINS - 1]


def test_feature_bins_keep_the_shape_of_a_strided_view() -> None:
    values = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(bins.feature_bins(values[:, ::2]), bins.feature_bins(values)[:, ::2])
