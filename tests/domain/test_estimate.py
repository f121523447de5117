"""Performance before labels: right where scores mean what they meant, blind where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from streamer.domain.bins import NO_SCORE, SCORE_BINS, SCORE_CENTERS, binary_code
from streamer.domain.estimate import ESTIMATED, NoCalibration, calibrated, estimate, rising
from streamer.domain.reference import Reference

Rows = tuple[np.ndarray, np.ndarray]  # scores, and what was true


def rows(seed: int, count: int, centre: float = 0.0, bent: float = 1.0) -> Rows:
    """Scores around a centre (in logits); ``bent``: how much too sure of itself the model is."""
    source = np.random.default_rng(seed)
    logits = source.normal(centre, 1.5, count)
    truth = source.random(count) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-bent * logits)), truth


def reference_of(made: Rows, labels: bool = True) -> Reference:
    found = Reference("m", made_of="some rows")
    for score, actual in zip(*made, strict=True):
        at = found.take_answer(float(score), bool(score > 0.5))
        found.rows += 1
        if labels:
            found.truths[binary_code(at, int(score > 0.5), int(actual))] += 1
    return found


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=60))
def test_pooling_is_scikit_learns_isotonic_regression(pairs: list[tuple[float, int]]) -> None:
    values, weights = (np.array(part, np.float64) for part in zip(*pairs, strict=True))
    expected = IsotonicRegression().fit_transform(np.arange(len(values)), values, sample_weight=weights)
    assert rising(values, weights) == pytest.approx(expected, abs=1e-9)


def test_calibration_straightens_out_a_model_that_is_too_sure() -> None:
    truths = reference_of(rows(1, 40_000, bent=2.0)).truths
    found = calibrated(truths.reshape(SCORE_BINS, 2, 2).sum(axis=1), "")
    assert (np.diff(found) >= 0).all()
    for score in (0.05, 0.3, 0.5, 0.8, 0.98):
        at = int(np.abs(SCORE_CENTERS[:NO_SCORE] - score).argmin())
        logit = np.log(score / (1 - score)) / 2.0
        assert found[at] == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.04)


@pytest.mark.parametrize("bent", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("centre", [-2.0, 0.0, 1.5])
def test_where_other_rows_come_the_estimate_follows_without_a_label(bent: float, centre: float) -> None:
    reference = reference_of(rows(1, 60_000, bent=bent))
    made = rows(2, 20_000, centre, bent)
    scores, truth = made
    guessed = scores > 0.5
    found = {each.name: each for each in estimate(reference, reference_of(made, labels=False))}
    assert list(found) == list(ESTIMATED)
    assert {(each.actual, each.rows, each.labelled) for each in found.values()} == {(None, 20_000, 0)}
    expected = {
        "accuracy": accuracy_score(truth, guessed),
        "precision": precision_score(truth, guessed),
        "recall": recall_score(truth, guessed),
        "f1": f1_score(truth, guessed),
        "auc_roc": roc_auc_score(truth, scores),
    }
    assert {name: each.value for name, each in found.items()} == pytest.approx(expected, abs=0.03)
    assert found["accuracy"].value == pytest.approx(expected["accuracy"], abs=0.012)


def test_where_there_are_labels_the_actual_figures_stand_beside_it() -> None:
    made = rows(2, 5_000)
    found = {each.name: each for each in estimate(reference_of(rows(1, 5_000)), reference_of(made))}
    assert found["accuracy"].actual == pytest.approx(accuracy_score(made[1], made[0] > 0.5))
    assert found["accuracy"].labelled == 5_000


def test_the_margin_holds_in_nearly_all_of_many_runs() -> None:
    reference = reference_of(rows(1, 100_000))
    inside = 0
    for seed in range(2, 102):
        [accuracy, *_] = estimate(reference, reference_of(rows(seed, 1_000)))
        assert accuracy.value is not None
        assert accuracy.actual is not None
        assert accuracy.margin is not None
        inside += abs(accuracy.value - accuracy.actual) <= accuracy.margin
    # Three standard errors; a run in a hundred may lie outside by the calibration's own error.
    assert inside >= 97
    assert accuracy.margin < 0.05


def test_it_cannot_see_that_the_same_score_has_come_to_mean_the_opposite() -> None:
    reference = reference_of(rows(1, 20_000))
    scores, truth = rows(2, 5_000)
    [before, *_] = estimate(reference, reference_of((scores, truth)))
    [after, *_] = estimate(reference, reference_of((scores, ~truth)))
    assert before.value == after.value
    assert before.actual == pytest.approx(1 - (after.actual or 0))


def test_rows_without_a_score_are_not_estimated() -> None:
    current = reference_of(rows(2, 500), labels=False)
    for _ in range(100):
        current.take_answer(None, True)
    assert {each.rows for each in estimate(reference_of(rows(1, 500)), current)} == {500}


def test_without_scores_or_labels_it_says_what_is_missing() -> None:
    enough = reference_of(rows(1, 200))
    with pytest.raises(NoCalibration, match=r"some rows has 0 rows .* and 100 are needed"):
        estimate(reference_of(rows(1, 200), labels=False), enough)
    with pytest.raises(NoCalibration, match="no row of empty has a score"):
        estimate(enough, Reference("m", made_of="empty"))
