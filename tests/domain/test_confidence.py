"""Confidence sequences: a model that is compared with itself is called different in at most 1 run of 20."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.domain.confidence import _RHO_SQUARED as RHO_SQUARED
from streamer.domain.confidence import ALPHA, FEWEST, AsymptoticSequence, BoundedSequence, ConfidenceSequence

RUNS, ROWS = 1000, 4000
MOST = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # beyond chance
Matrix = np.ndarray


def classes(agree: float, better: float = 0.0, runs: int = RUNS, seed: int = 1) -> Matrix:
    """Differences of 0/1 losses of two versions that often agree; ``better``: how much the second one is."""
    chance = np.random.default_rng(seed)
    apart = (1 - agree) / 2
    return chance.choice([-1.0, 0.0, 1.0], (runs, ROWS), p=[apart + better / 2, agree, apart - better / 2])


def numbers(seed: int = 2) -> Matrix:
    """Differences of absolute errors, with heavier tails than a normal distribution has."""
    return np.random.default_rng(seed).standard_t(5, (RUNS, ROWS))


def bounded(values: Matrix) -> tuple[Matrix, Matrix]:
    """The sequence by the formulas of the paper, for all runs and rows at once; shape as ``values``."""
    x, rows = (values + 1) / 2, np.arange(1, values.shape[1] + 1)
    means = (0.5 + np.cumsum(x, axis=1)) / (rows + 1)
    spreads = (0.25 + np.cumsum((x - means) ** 2, axis=1)) / (rows + 1)
    first = np.full((len(x), 1), 0.5), np.full((len(x), 1), 0.25)
    means_before, spreads_before = (
        np.concatenate([start, found[:, :-1]], axis=1)
        for start, found in zip(first, (means, spreads), strict=True)
    )
    log = math.log(2 / ALPHA)
    bets = np.minimum(0.5, np.sqrt(2 * log / (spreads_before * rows * np.log(1 + rows))))
    psi = (-np.log(1 - bets) - bets) / 4
    weights = np.cumsum(bets, axis=1)
    centre = np.cumsum(bets * x, axis=1) / weights
    margin = (log + np.cumsum(4 * (x - means_before) ** 2 * psi, axis=1)) / weights
    low, high = np.maximum.accumulate(centre - margin, axis=1), np.minimum.accumulate(centre + margin, axis=1)
    return 2 * np.maximum(low, 0) - 1, 2 * np.minimum(high, 1) - 1


def asymptotic(values: Matrix) -> tuple[Matrix, Matrix]:
    rows = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, axis=1) / rows
    deviations = np.sqrt(np.maximum(0, np.cumsum(values**2, axis=1) / rows - means**2))
    grown = rows * RHO_SQUARED + 1
    margin = deviations * np.sqrt(2 * grown / (rows**2 * RHO_SQUARED) * np.log(np.sqrt(grown) / ALPHA))
    return means - margin, means + margin


def ever_wrong(low: Matrix, high: Matrix, truth: float = 0.0) -> float:
    """The share of runs in which the truth was outside at any time after the first rows."""
    outside = (low[:, FEWEST:] > truth) | (high[:, FEWEST:] < truth)
    return float(outside.any(axis=1).mean())


@pytest.mark.parametrize(("make", "formula"), [(BoundedSequence, bounded), (AsymptoticSequence, asymptotic)])
def test_row_by_row_it_is_the_formula_of_the_paper(make: type[ConfidenceSequence], formula: object) -> None:
    for values in (classes(0.8, 0.05, 3)[:, :900], classes(0.99, 0.0, 3, seed=5)[:, :900]):
        low, high = formula(values)  # type: ignore[operator]
        for run, row in enumerate(values):
            sequence = make()
            for number, value in enumerate(row.tolist()):
                sequence.update(value)
                if number >= FEWEST:
                    assert sequence.interval() == pytest.approx(
                        (low[run, number], high[run, number]), abs=1e-9
                    )


@pytest.mark.parametrize("agree", [0.5, 0.9, 0.99])
def test_a_classifier_against_itself_is_called_different_in_one_run_of_twenty_at_most(
    agree: float,
) -> None:
    assert ever_wrong(*bounded(classes(agree))) <= MOST


def test_a_regression_against_itself_is_called_different_in_one_run_of_twenty_at_most() -> None:
    assert ever_wrong(*asymptotic(numbers())) <= MOST


def test_the_true_difference_stays_inside_too() -> None:
    assert ever_wrong(*bounded(classes(0.9, better=0.03)), truth=-0.03) <= MOST


def test_an_ordinary_interval_fails_the_same_check() -> None:
    values = classes(0.9)
    rows = np.arange(1, ROWS + 1)
    means = np.cumsum(values, axis=1) / rows
    margin = 1.96 * np.sqrt(np.maximum(0, np.cumsum(values**2, axis=1) / rows - means**2) / rows)
    assert ever_wrong(means - margin, means + margin) > 4 * ALPHA


def test_a_better_version_is_found_and_more_rows_make_it_surer() -> None:
    low, high = bounded(classes(0.8, better=0.1, runs=100))
    assert (high[:, -1] < 0).mean() > 0.9
    assert ((high - low)[:, 3000] < (high - low)[:, 500]).all()


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
