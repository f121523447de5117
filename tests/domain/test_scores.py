"""The scores against scikit-learn, River and numpy on the same rows."""

from __future__ import annotations

import itertools
import math
import timeit
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import river.metrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from streamer.domain import bins, latency, scores
from streamer.domain.moments import Moments, regression_estimate
from streamer.domain.objectives import BINARY_SCORES, MULTICLASS_SCORES, REGRESSION_SCORES
from streamer.domain.scores import Estimate, binary_estimate, multiclass_estimate

Row = tuple[int, int]
bits = st.integers(0, 1)
binary_rows = st.lists(st.tuples(bits, bits), min_size=1, max_size=60)
scored_rows = st.lists(st.tuples(st.floats(0, 1), bits), min_size=1, max_size=60)
multiclass_rows = st.lists(st.tuples(st.integers(0, 63), st.integers(0, 63)), min_size=1, max_size=60)
few_classes_rows = st.lists(st.tuples(st.integers(3, 6), st.integers(2, 5)), min_size=1, max_size=60)
measurements = st.floats(-1e6, 1e6)
regression_rows = st.lists(st.tuples(measurements, measurements), min_size=1, max_size=40)
latency_rows = st.lists(st.floats(0.011, 90_000), min_size=1, max_size=60)
shares = st.floats(0, 1)


def binary_counts(
    p: Sequence[float] | npt.NDArray[np.float64], actual: Sequence[int]
) -> npt.NDArray[np.int64]:
    p, actual = np.asarray(p), np.asarray(actual)
    return np.bincount(4 * bins.score_bins(p) + 2 * (p >= 0.5) + actual, minlength=bins.BINARY_CODES)


def unscored_counts(rows: Sequence[Row]) -> npt.NDArray[np.int64]:
    """Rows are (actual, predicted)."""
    codes = [bins.binary_code(bins.NO_SCORE, predicted, actual) for actual, predicted in rows]
    return np.bincount(codes, minlength=bins.BINARY_CODES)


def multiclass_counts(rows: Sequence[Row]) -> npt.NDArray[np.int64]:
    return np.bincount([bins.multiclass_code(a, p) for a, p in rows], minlength=bins.MULTICLASS_CODES)


def latency_counts(values: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.bincount(bins.latency_bins(np.asarray(values)), minlength=bins.LATENCY_BINS)


def moments_of(rows: Sequence[tuple[float, float]]) -> Moments:
    """Rows are (label, prediction)."""
    moments = Moments()
    for label, prediction in rows:
        moments.update(prediction - label, label)
    return moments


def value_of(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


# -- binary ------------------------------------------------------------------


@given(binary_rows)
def test_confusion_scores_equal_scikit_learn_exactly(rows: list[Row]) -> None:
    actual, predicted = map(list, zip(*rows, strict=True))
    counts = unscored_counts(rows)
    assert list(scores.confusion(counts)) == [
        metrics.confusion_matrix(actual, predicted, labels=[0, 1])[a, p] for p in (0, 1) for a in (0, 1)
    ]
    assert value_of(binary_estimate(counts, "accuracy")) == metrics.accuracy_score(actual, predicted)
    for score, oracle in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        expected = oracle(actual, predicted, zero_division=np.nan)
        estimate = binary_estimate(counts, score)
        assert math.isnan(expected) if estimate is None else estimate.value == expected


@given(binary_rows)
def test_confusion_scores_equal_river(rows: list[Row]) -> None:
    oracles = {
        "accuracy": river.metrics.Accuracy(),
        "precision": river.metrics.Precision(),
        "recall": river.metrics.Recall(),
        "f1": river.metrics.F1(),
    }
    for oracle in oracles.values():
        for actual, predicted in rows:
            oracle.update(bool(actual), bool(predicted))
    for score, oracle in oracles.items():
        estimate = binary_estimate(unscored_counts(rows), score)
        assert (estimate.value if estimate else 0.0) == pytest.approx(oracle.get())


@given(scored_rows)
def test_auc_is_within_its_error_of_scikit_learn(rows: list[tuple[float, int]]) -> None:
    p, actual = map(list, zip(*rows, strict=True))
    estimate = binary_estimate(binary_counts(p, actual), "auc_roc")
    if len(set(actual)) == 1:
        assert estimate is None
    else:
        assert estimate is not None
        assert abs(estimate.value - metrics.roc_auc_score(actual, p)) <= estimate.error + 1e-12


@pytest.mark.parametrize("positive_share", [0.002, 0.05, 0.5])
def test_auc_is_within_a_thousandth_at_any_share_of_positives(positive_share: float) -> None:
    random = np.random.default_rng(7)
    actual = (random.random(200_000) < positive_share).astype(int)
    logit = random.normal(2 * actual, 1) + math.log(positive_share / (1 - positive_share)) - 2
    p = 1 / (1 + np.exp(-logit))
    p[random.random(p.size) < 0.01] = 0.0
    p[random.random(p.size) < 0.001] = 1.0
    estimate = binary_estimate(binary_counts(p, actual), "auc_roc", 0.95)
    expected = metrics.roc_auc_score(actual, p)
    assert estimate is not None
    assert estimate.lower is not None
    assert estimate.upper is not None
    assert abs(estimate.value - expected) < 0.001
    assert abs(estimate.value - expected) <= estimate.error
    assert estimate.lower < expected < estimate.upper


@given(scored_rows)
def test_log_loss_and_brier_are_within_their_error_of_scikit_learn(rows: list[tuple[float, int]]) -> None:
    p, actual = map(list, zip(*rows, strict=True))
    counts = binary_counts(p, actual)
    clipped = np.clip(p, bins.SCORE_EDGES[0], bins.SCORE_EDGES[-1])
    log_loss, brier = binary_estimate(counts, "log_loss"), binary_estimate(counts, "brier")
    assert log_loss is not None
    assert brier is not None
    assert abs(log_loss.value - metrics.log_loss(actual, clipped, labels=[0, 1])) <= log_loss.error
    assert abs(brier.value - np.mean((np.array(p) - actual) ** 2)) <= brier.error
    assert log_loss.error < 0.0141
    assert brier.error < 0.01


def test_a_certain_and_wrong_score_costs_a_finite_log_loss() -> None:
    assert value_of(binary_estimate(binary_counts([0.0, 1.0], [1, 0]), "log_loss")) == pytest.approx(
        14, abs=1e-5
    )


@given(scored_rows, binary_rows)
def test_rows_without_a_score_count_only_for_the_confusion_scores(
    scored: list[tuple[float, int]], unscored: list[Row]
) -> None:
    p, actual = map(list, zip(*scored, strict=True))
    alone = binary_counts(p, actual)
    both = alone + unscored_counts(unscored)
    for score in ("auc_roc", "log_loss", "brier"):
        assert binary_estimate(both, score, 0.95) == binary_estimate(alone, score, 0.95)
    accuracy = binary_estimate(both, "accuracy")
    assert accuracy is not None
    assert accuracy.n == len(scored) + len(unscored)


@pytest.mark.parametrize("score", BINARY_SCORES)
def test_a_binary_score_of_no_rows_is_undefined(score: str) -> None:
    assert binary_estimate(np.zeros(bins.BINARY_CODES, np.int64), score, 0.95) is None


def test_undefined_is_none_and_not_zero() -> None:
    negative_only = binary_counts([0.1, 0.2], [0, 0])
    assert [binary_estimate(negative_only, score) for score in ("precision", "recall", "f1", "auc_roc")] == [
        None
    ] * 4
    missed = binary_counts([0.1, 0.2], [1, 0])
    assert binary_estimate(missed, "precision") is None
    assert value_of(binary_estimate(missed, "recall")) == 0.0
    assert value_of(binary_estimate(missed, "f1")) == 0.0
    assert binary_estimate(unscored_counts([(0, 1), (1, 0)]), "auc_roc") is None


def test_n_is_the_denominator_of_the_score() -> None:
    counts = binary_counts([0.9, 0.9, 0.9, 0.1, 0.1], [1, 0, 0, 1, 0])
    found = {score: binary_estimate(counts, score) for score in BINARY_SCORES}
    assert {score: estimate.n for score, estimate in found.items() if estimate} == {
        "accuracy": 5, "precision": 3, "recall": 2, "f1": 4, "auc_roc": 5, "log_loss": 5, "brier": 5,
    }  # fmt: skip


@given(scored_rows, st.sampled_from(BINARY_SCORES), st.floats(0.5, 0.999))
def test_bounds_enclose_the_value_and_its_binning_error(
    rows: list[tuple[float, int]], score: str, confidence: float
) -> None:
    p, actual = map(list, zip(*rows, strict=True))
    estimate = binary_estimate(binary_counts(p, actual), score, confidence)
    if estimate is None or estimate.lower is None or estimate.upper is None:
        return
    assert estimate.lower <= max(0.0, estimate.value - estimate.error) + 1e-12
    assert estimate.upper >= estimate.value - 1e-12
    assert estimate.lower >= 0
    assert score == "log_loss" or estimate.upper <= 1


@given(scored_rows, st.integers(0, 60))
def test_figures_do_not_depend_on_panes_or_the_type_of_the_counts(
    rows: list[tuple[float, int]], cut: int
) -> None:
    p, actual = map(list, zip(*rows, strict=True))
    whole = binary_counts(p, actual)
    parts = binary_counts(p[:cut], np.array(actual[:cut], int)) + binary_counts(
        p[cut:], np.array(actual[cut:], int)
    )
    for score in BINARY_SCORES:
        expected = binary_estimate(whole, score, 0.95)
        assert binary_estimate(parts, score, 0.95) == expected
        assert binary_estimate(whole.astype(np.uint32), score, 0.95) == expected


def test_auc_and_losses_hold_for_billions_of_rows() -> None:
    counts = binary_counts([0.3, 0.6, 0.0, 1.0], [0, 1, 1, 0])
    for score in ("auc_roc", "log_loss", "brier"):
        assert value_of(binary_estimate(counts * 10**9, score)) == pytest.approx(
            value_of(binary_estimate(counts, score))
        )


@pytest.mark.parametrize(("score", "truth"), [("auc_roc", 0.8413447), ("brier", None), ("log_loss", None)])
def test_one_sided_bounds_miss_the_truth_as_rarely_as_they_say(score: str, truth: float | None) -> None:
    random = np.random.default_rng(11)

    def sample(n: int) -> npt.NDArray[np.int64]:
        actual = (random.random(n) < 0.3).astype(int)
        logit = random.normal(math.sqrt(2) * actual, 1) - 1
        return binary_counts(1 / (1 + np.exp(-logit)), actual)

    expected = truth if truth is not None else value_of(binary_estimate(sample(2_000_000), score))
    found = [binary_estimate(sample(300), score, 0.95) for _ in range(1000)]
    too_high = sum(e.lower > expected for e in found if e and e.lower is not None)
    too_low = sum(e.upper < expected for e in found if e and e.upper is not None)
    assert 10 <= too_high <= 80
    assert 10 <= too_low <= 80


def test_a_perfect_auc_of_few_rows_is_not_certain() -> None:
    estimate = binary_estimate(binary_counts([0.9, 0.1, 0.2, 0.3], [1, 0, 0, 0]), "auc_roc", 0.95)
    assert estimate is not None
    assert estimate.lower is not None
    assert (estimate.value, estimate.upper) == (1.0, 1.0)
    assert estimate.lower < 0.8


def test_an_unknown_score_is_refused() -> None:
    for call in (
        lambda: binary_estimate(unscored_counts([(1, 1)]), "mae"),
        lambda: multiclass_estimate(multiclass_counts([(1, 1)]), "auc_roc"),
        lambda: multiclass_estimate(multiclass_counts([(1, 1)]), "accuracy", klass_index=1),
        lambda: regression_estimate(moments_of([(1, 1)]), "f1"),
    ):
        with pytest.raises(ValueError, match="no score"):
            call()


# -- Wilson ------------------------------------------------------------------


def test_wilson_equals_its_published_two_sided_intervals() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, 95 % two-sided: 97.5 % on each side."""
    for successes, n, expected in (
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ):
        assert scores.wilson(successes, n, 0.975) == pytest.approx(expected, abs=5e-5)


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.51, 0.9999))
def test_wilson_bounds_solve_the_score_test(successes: int, failures: int, confidence: float) -> None:
    n = successes + failures
    z = scores.z_of(confidence)
    for bound in scores.wilson(successes, n, confidence):
        if 0 < bound < 1:
            assert (successes / n - bound) ** 2 == pytest.approx(z * z * bound * (1 - bound) / n, abs=1e-9)


def test_wilson_is_exact_at_the_ends_and_says_nothing_of_no_rows() -> None:
    assert scores.wilson(0, 0, 0.95) == (0.0, 1.0)
    assert scores.wilson(0, 10, 0.95)[0] == 0.0
    assert scores.wilson(10, 10, 0.95)[1] == 1.0


def test_f1_bounds_are_those_of_the_jaccard_index() -> None:
    estimate = binary_estimate(unscored_counts([(1, 1)] * 6 + [(0, 1)] * 3 + [(1, 0)]), "f1", 0.9)
    lower, upper = scores.wilson(6, 10, 0.9)
    assert estimate == Estimate(0.75, 10, 2 * lower / (1 + lower), 2 * upper / (1 + upper))


# -- multiclass --------------------------------------------------------------


@given(st.one_of(multiclass_rows, few_classes_rows))
def test_multiclass_scores_equal_scikit_learn_exactly(rows: list[Row]) -> None:
    actual, predicted = map(list, zip(*rows, strict=True))
    counts = multiclass_counts(rows)
    assert value_of(multiclass_estimate(counts, "accuracy")) == metrics.accuracy_score(actual, predicted)
    present = sorted({*actual, *predicted})
    expected = metrics.precision_recall_fscore_support(
        actual, predicted, labels=present, average="macro", zero_division=0
    )
    assert [value_of(multiclass_estimate(counts, score)) for score in ("precision", "recall", "f1")] == list(
        expected[:3]
    )


@given(few_classes_rows)
def test_per_class_scores_equal_scikit_learn_exactly(rows: list[Row]) -> None:
    actual, predicted = map(list, zip(*rows, strict=True))
    counts = multiclass_counts(rows)
    oracle = metrics.precision_recall_fscore_support(
        actual, predicted, labels=range(64), zero_division=np.nan
    )
    for score, expected in zip(("precision", "recall", "f1"), oracle, strict=False):
        for klass in range(8):
            estimate = multiclass_estimate(counts, score, 0.95, klass)
            assert math.isnan(expected[klass]) if estimate is None else estimate.value == expected[klass]


def test_per_class_figures_have_bounds_and_macro_figures_have_none() -> None:
    counts = multiclass_counts([(0, 0), (0, 1), (2, 2)])
    macro, of_class = (
        multiclass_estimate(counts, "recall", 0.95),
        multiclass_estimate(counts, "recall", 0.95, 0),
    )
    assert macro == Estimate((0.5 + 0.0 + 1.0) / 3, 3)
    assert of_class == Estimate(0.5, 2, *scores.wilson(1, 2, 0.95))


@pytest.mark.parametrize("score", MULTICLASS_SCORES)
def test_a_multiclass_score_of_no_rows_is_undefined(score: str) -> None:
    assert multiclass_estimate(np.zeros(bins.MULTICLASS_CODES, np.int64), score, 0.95) is None


# -- regression --------------------------------------------------------------


@given(regression_rows)
def test_regression_scores_equal_scikit_learn(rows: list[tuple[float, float]]) -> None:
    label, prediction = (np.array(column) for column in zip(*rows, strict=True))
    moments = moments_of(rows)
    expected = {
        "mae": metrics.mean_absolute_error(label, prediction),
        "rmse": metrics.root_mean_squared_error(label, prediction),
        "bias": np.mean(prediction - label),
    }
    for score, figure in expected.items():
        assert value_of(regression_estimate(moments, score)) == pytest.approx(figure, rel=1e-9, abs=1e-9)


def test_r2_equals_scikit_learn_and_river_even_far_from_zero() -> None:
    random = np.random.default_rng(3)
    label = 1e7 + random.normal(0, 1, 500)
    prediction = label + random.normal(0, 0.3, 500)
    oracle = river.metrics.R2()
    for y, predicted in zip(label.tolist(), prediction.tolist(), strict=True):
        oracle.update(y, predicted)
    found = value_of(regression_estimate(moments_of(list(zip(label, prediction, strict=True))), "r2"))
    assert found == pytest.approx(metrics.r2_score(label, prediction), rel=1e-9)
    assert found == pytest.approx(oracle.get(), rel=1e-6)


@given(regression_rows, regression_rows)
def test_a_row_that_is_taken_back_leaves_no_trace(
    kept: list[tuple[float, float]], taken: list[tuple[float, float]]
) -> None:
    moments = moments_of(kept + taken)
    for label, prediction in taken:
        moments.revert(prediction - label, label)
    assert moments.snapshot() == moments_of(kept[::-1]).snapshot()


def test_an_outlier_that_left_the_window_leaves_no_trace() -> None:
    moments = moments_of([(1.0, 1.5), (2.0, 2.25)])
    before = moments.snapshot()
    for outlier in (1e6, 1e100, 1e280):
        moments.update(outlier, -outlier)
        moments.revert(outlier, -outlier)
    assert moments.snapshot() == before


def test_a_row_that_is_not_finite_changes_nothing() -> None:
    moments = moments_of([(1.0, 1.5)])
    before = moments.snapshot()
    for e, y in ((math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, -math.inf)):
        with pytest.raises((OverflowError, ValueError)):
            moments.update(e, y)
    assert moments.snapshot() == before


@given(regression_rows, st.integers(0, 40))
def test_merged_and_restored_moments_equal_those_of_all_rows(
    rows: list[tuple[float, float]], cut: int
) -> None:
    merged = Moments.restore(moments_of(rows[:cut]).snapshot())
    merged.merge(moments_of(rows[cut:]))
    assert merged.snapshot() == moments_of(rows).snapshot()


def test_moments_refuse_a_state_that_is_not_theirs() -> None:
    for state in (("1", "2"), ("x",) * 7):
        with pytest.raises(ValueError):  # noqa: PT011 - int and unpacking word it their own way
            Moments.restore(state)


def test_regression_scores_without_a_meaning_are_undefined() -> None:
    assert [regression_estimate(Moments(), score, 0.95) for score in REGRESSION_SCORES] == [None] * 4
    assert regression_estimate(moments_of([(5.0, 4.0), (5.0, 6.0)]), "r2") is None
    assert regression_estimate(moments_of([(0.0, 1e200)]), "rmse") is None
    single = regression_estimate(moments_of([(5.0, 4.0)]), "mae", 0.95)
    assert single == Estimate(1.0, 1)


@pytest.mark.parametrize(("score", "truth"), [("mae", math.sqrt(2 / math.pi)), ("rmse", 1.0), ("bias", 0.0)])
def test_one_sided_regression_bounds_miss_the_truth_as_rarely_as_they_say(score: str, truth: float) -> None:
    random = np.random.default_rng(5)
    too_high = too_low = 0
    for _ in range(500):
        errors = random.normal(0, 1, 200).tolist()
        estimate = regression_estimate(moments_of([(0.0, e) for e in errors]), score, 0.95)
        assert estimate is not None
        assert estimate.lower is not None
        assert estimate.upper is not None
        too_high += estimate.lower > truth
        too_low += estimate.upper < truth
    assert 8 <= too_high <= 50
    assert 8 <= too_low <= 50


# -- latency -----------------------------------------------------------------


@given(latency_rows, shares)
def test_a_latency_quantile_is_within_a_bins_width_of_numpy(values: list[float], q: float) -> None:
    found = latency.quantile(latency_counts(values), q)
    assert found is not None
    assert found == pytest.approx(np.quantile(values, q), rel=0.1 + 1e-9)


@given(latency_rows, shares)
def test_the_error_of_a_latency_quantile_holds(values: list[float], q: float) -> None:
    estimate = latency.latency_estimate(latency_counts(values), q)
    assert estimate is not None
    assert estimate.n == len(values)
    assert abs(estimate.value - np.quantile(values, q)) <= estimate.error * (1 + 1e-9)


@given(latency_rows)
def test_latency_quantiles_rise(values: list[float]) -> None:
    counts = latency_counts(values)
    found = [latency.quantile(counts, q) for q in np.linspace(0, 1, 21)]
    assert all(a is not None and b is not None and a <= b + 1e-9 for a, b in itertools.pairwise(found))


def test_latencies_beyond_the_edges_stay_at_the_edges() -> None:
    fast = latency.quantile(latency_counts([0.001] * 9), 0.5)
    assert fast is not None
    assert 0 < fast <= 0.01
    slow = latency.latency_estimate(latency_counts([1e9] * 9), 0.5, 200_000.0, 0.95)
    assert slow is not None
    assert (slow.value, slow.error) == (100_000.0, math.inf)
    assert latency.exceeds(latency_counts([1e9] * 9), 0.5, 200_000.0, 0.95) is False
    assert latency.exceeds(latency_counts([1e9] * 9), 0.5, 100_000.0, 0.95) is True


def test_latency_figures_of_no_rows_are_undefined() -> None:
    none = latency_counts(np.array([]))
    assert latency.quantile(none, 0.5) is None
    assert latency.latency_estimate(none, 0.5, 250.0, 0.95) is None
    assert latency.exceeds(none, 0.5, 250.0, 0.95) is None


@given(
    st.integers(0, 300),
    st.integers(0, 300),
    st.sampled_from([0.5, 0.95, 0.99]),
    st.sampled_from([0.8, 0.95, 0.999]),
)
def test_a_limit_on_an_edge_is_exceeded_as_wilson_says(
    below: int, above: int, q: float, confidence: float
) -> None:
    counts = latency_counts([250.0] * below + [250.0001] * above)
    n = below + above
    bound = scores.wilson(above, n, confidence)[0]
    if n and abs(bound - (1 - q)) > 1e-12:
        assert latency.exceeds(counts, q, 250.0, confidence) is (bound > 1 - q)
    if n:
        assert latency.exceeds(counts, q, 250.0, None) is (below < q * n)


@given(latency_rows, st.sampled_from([0.5, 0.95, 0.99]), st.floats(0.01, 2e5), st.floats(0.6, 0.99))
def test_the_lower_bound_breaks_a_limit_exactly_when_it_is_exceeded(
    values: list[float], q: float, limit: float, confidence: float
) -> None:
    counts = latency_counts(values)
    estimate = latency.latency_estimate(counts, q, limit, confidence)
    assert estimate is not None
    assert estimate.lower is not None
    assert (estimate.lower > limit) is latency.exceeds(counts, q, limit, confidence)
    assert estimate.upper is None or estimate.upper >= estimate.value


@given(latency_rows, st.floats(0.01, 2e5))
def test_a_limit_between_edges_is_never_held_as_broken_in_error(values: list[float], limit: float) -> None:
    if latency.exceeds(latency_counts(values), 0.5, limit, None):
        assert np.mean(np.array(values) > limit) > 0.5 - 1e-12


# -- speed -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "microseconds"), [("accuracy", 10), ("f1", 10), ("auc_roc", 40), ("log_loss", 40)]
)
def test_a_score_costs_microseconds(score: str, microseconds: float) -> None:
    random = np.random.default_rng(1)
    counts = binary_counts(random.random(1000), random.integers(0, 2, 1000))
    cost = min(timeit.repeat(lambda: binary_estimate(counts, score, 0.95), number=200, repeat=5)) / 200 * 1e6
    assert cost < 5 * microseconds, "five times the target, for slow and busy machines"
