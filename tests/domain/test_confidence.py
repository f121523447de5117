"""Confidence sequences: a model that is compared with itself is called different in at most 1 run of 20."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import gammainc, gammaln

from streamer.domain import confidence
from streamer.domain.confidence import (
    ALPHA,
    FEWEST,
    AsymptoticSequence,
    BoundedSequence,
    ConfidenceSequence,
)

RHO, RHO_SQUARED = confidence._RHO, confidence._RHO_SQUARED
RUNS, ROWS = 1000, 10_000
MOST = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # beyond chance
Matrix = np.ndarray


def classes(agree: float, better: float = 0.0, runs: int = RUNS, rows: int = ROWS, seed: int = 1) -> Matrix:
    """Differences of 0/1 losses of two versions that often agree; ``better``: how much the second one is."""
    chance = np.random.default_rng(seed).random((runs, rows), np.float32)
    apart = (1 - agree) / 2
    return (chance < apart - better / 2).astype(np.float32) - (chance > 1 - apart - better / 2)


def numbers(runs: int = RUNS, rows: int = ROWS, seed: int = 2) -> Matrix:
    """Differences of absolute errors of two models that are alike, with tails as heavy as Student's of 3."""
    chance = np.random.default_rng(seed)
    shared = chance.standard_t(3, (runs, rows))
    first, second = (0.5 * chance.standard_t(3, (runs, rows)) for _ in range(2))
    return np.abs(shared + first) - np.abs(shared + second)


def edge(spread: float) -> float:
    """Of the sum of values from 0 to 1: the mixture's boundary, by the closed form of proposition S5."""

    def above(distance: float) -> float:
        shape, x = spread + RHO, distance + spread + RHO
        own = RHO * math.log(RHO) - gammaln(RHO) - math.log(gammainc(RHO, RHO))
        rest = gammaln(shape) + math.log(gammainc(shape, x)) - shape * math.log(x) + distance + spread
        return float(own + rest - math.log(2 / ALPHA))

    return float(brentq(above, 0.1, 100 + 10 * math.sqrt(spread), xtol=1e-9))


def spreads(values: Matrix) -> Matrix:
    """The sums of squared distances of the values, brought to 0 … 1, from the mean before each."""
    rows = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, axis=1, dtype=np.float64) / (rows + 1)
    means = np.concatenate([np.zeros((len(values), 1)), means[:, :-1]], axis=1)
    return np.cumsum(((values - means) / 2) ** 2, axis=1)


def bounded(values: Matrix) -> tuple[Matrix, Matrix]:
    """The sequence for all runs and rows at once; shape as ``values``.

    Between 1,000 places the edge is taken for straight; it bulges, so that is narrower, if anything.
    """
    rows, spread = np.arange(1, values.shape[1] + 1), spreads(values)
    places = np.linspace(0, math.sqrt(spread.max()), 1000) ** 2
    margin = 2 * np.interp(spread, places, [edge(each) for each in places]) / rows
    means = np.cumsum(values, axis=1, dtype=np.float64) / rows
    return means - margin, means + margin


def asymptotic(values: Matrix) -> tuple[Matrix, Matrix]:
    rows = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, axis=1) / rows
    deviations = np.sqrt(np.maximum(0, np.cumsum(values**2, axis=1) / rows - means**2))
    grown = rows * RHO_SQUARED + 1
    margin = deviations * np.sqrt(2 * grown / (rows**2 * RHO_SQUARED) * np.log(np.sqrt(grown) / ALPHA))
    return means - margin, means + margin


def ever_wrong(low: Matrix, high: Matrix, truth: Matrix | float = 0.0, first: int = 1) -> float:
    """The share of runs in which the truth was outside after any row from the ``first`` on."""
    outside = (low > truth) | (high < truth)
    return float(outside[:, first - 1 :].any(axis=1).mean())


@pytest.mark.parametrize(("make", "formula"), [(BoundedSequence, bounded), (AsymptoticSequence, asymptotic)])
def test_row_by_row_it_is_the_formula_of_the_paper(make: type[ConfidenceSequence], formula: object) -> None:
    for values in (classes(0.8, 0.05, 3, 900), classes(0.99, 0.0, 3, 900, seed=5)):
        low, high = formula(values)  # type: ignore[operator]
        for run, row in enumerate(values):
            sequence = make()
            for number, value in enumerate(row.tolist()):
                sequence.update(value)
                if number >= FEWEST:
                    at = low[run, number], high[run, number]
                    assert sequence.interval() == pytest.approx(at, abs=(at[1] - at[0]) * 5e-4)


@pytest.mark.parametrize("spread", [0, 0.01, 1, 10, 300, 1e4, 1e6, 1e8])
def test_the_sum_over_a_grid_is_the_integral(spread: float) -> None:
    assert confidence._boundary(spread) == pytest.approx(edge(spread), rel=1e-3)


def test_the_weights_of_the_grid_are_those_of_a_mixture() -> None:
    """Then it is exact however well the sum stands for the integral."""
    bets, weights = confidence._BETS, np.exp(confidence._LOG_WEIGHTS)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    for spread in (0.0, 2.0, 500.0):
        costs = (-np.log1p(-bets) - bets) * spread
        wealth = float((weights * np.exp(bets * confidence._boundary(spread) - costs)).sum())
        assert wealth == pytest.approx(2 / ALPHA)


@pytest.mark.parametrize("agree", [0.5, 0.9, 0.99])
def test_a_classifier_against_itself_is_called_different_in_one_run_of_twenty_at_most(
    agree: float,
) -> None:
    assert ever_wrong(*bounded(classes(agree))) <= MOST


def test_a_regression_against_itself_is_called_different_in_one_run_of_twenty_at_most() -> None:
    assert ever_wrong(*asymptotic(numbers()), first=FEWEST) <= MOST


def test_the_true_difference_stays_inside_too() -> None:
    assert ever_wrong(*bounded(classes(0.9, better=0.03)), truth=-0.03) <= MOST


def test_where_the_difference_changes_it_is_the_mean_so_far_that_stays_inside() -> None:
    """The second version is better at first, and then as much worse."""
    half = ROWS // 2
    parts = [classes(0.8, 0.1, rows=half), classes(0.8, -0.1, rows=half, seed=3)]
    truth = np.cumsum(np.repeat([-0.1, 0.1], half)) / np.arange(1, ROWS + 1)
    low, high = bounded(np.concatenate(parts, axis=1))
    assert ever_wrong(low, high, truth) <= MOST
    assert (high[:, half - 1] < 0).mean() > 0.9
    assert (low[:, -1] < 0).mean() > 0.9
    assert (high[:, -1] > 0).mean() > 0.9


@pytest.mark.parametrize("make", [lambda: classes(0.9), numbers], ids=["classes", "numbers"])
def test_an_ordinary_interval_fails_the_same_check(make: Callable[[], Matrix]) -> None:
    values = make()
    rows = np.arange(1, ROWS + 1)
    means = np.cumsum(values, axis=1, dtype=np.float64) / rows
    squares = np.cumsum(values**2, axis=1, dtype=np.float64) / rows
    margin = 1.96 * np.sqrt(np.maximum(0, squares - means**2) / rows)
    assert ever_wrong(means - margin, means + margin, first=FEWEST) > 4 * ALPHA


def test_a_better_version_is_found_and_more_rows_make_it_surer() -> None:
    low, high = bounded(classes(0.8, better=0.1, runs=100, rows=4000))
    assert (high[:, -1] < 0).mean() > 0.9
    assert ((high - low)[:, 3000] < (high - low)[:, 500]).all()


def test_without_rows_it_can_be_anything_and_never_beyond_what_can_be() -> None:
    sequence = BoundedSequence()
    assert sequence.interval() == (-1, 1)
    for _ in range(3):
        sequence.update(1.0)
    assert sequence.interval()[1] == 1


@given(st.lists(st.floats(-1, 1), max_size=60), st.integers(0, 60))
@settings(max_examples=50)
def test_what_was_saved_goes_on_to_the_last_bit(values: list[float], cut: int) -> None:
    for make in (BoundedSequence, AsymptoticSequence):
        whole, first, second = make(), make(), make()
        for value in values:
            whole.update(value)
        for value in values[:cut]:
            first.update(value)
        second.restore(first.snapshot())
        for value in values[cut:]:
            second.update(value)
        assert second.interval() == whole.interval()


def test_before_a_hundred_rows_numbers_say_nothing() -> None:
    sequence = AsymptoticSequence()
    for value in np.linspace(5, 6, FEWEST - 1).tolist():
        sequence.update(value)
    assert sequence.interval() == (-math.inf, math.inf)
