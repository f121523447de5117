"""How labels come: coverage of what has matured, lags, and warnings that neither cry wolf nor sleep."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from streamer.domain import labelling as labelling_module
from streamer.domain.label_warnings import (
    COVERAGE_GAP,
    LATER,
    MIN_ROWS,
    MISSING,
    SIGNIFICANCE,
    chi_squared_tail,
    differ,
    latest,
    warn,
)
from streamer.domain.labelling import GENERATION, LAG_BINS, Labelling, median_lag
from streamer.domain.objectives import ModelSpec, Objectives
from streamer.domain.segments import Segments
from streamer.pipeline import Pipeline
from tests.domain.feed import START_MS, Disk, Log, build, feed
from tests.domain.test_readings import samples

seeds = st.integers(0, 2**32)
WAIT_S = 100
MODEL = ModelSpec("m", task="binary", segments=("country",), label_wait_ms=1000 * WAIT_S, drift=())
CLASSES = ["negative", "positive"]


def told_by(pipeline: Pipeline) -> dict[str, str]:
    """The warnings that hold, in words."""
    groups = pipeline.partition.models["m"].every_version[0].groups
    coverage = groups.labelling.coverage(groups.clock)
    return warn(groups.labelling, coverage, groups.labelling.lags, CLASSES).texts


def found_in(pipeline: Pipeline, name: str) -> dict[str, float]:
    return {key[-1]: value for key, value in samples(pipeline).items() if key[0] == name}


# -- coverage ---------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_coverage_is_that_of_the_predictions_which_have_waited_long_enough(seed: int) -> None:
    """The oracle knows of each prediction when it was made and whether a label came in time."""
    chance = random.Random(seed)
    pipeline, log = build(Objectives(models={"m": MODEL})), Log()
    made: list[tuple[int, str, bool]] = []
    due: list[tuple[int, int]] = []
    for second in range(420):
        log.at = START_MS + 1000 * second
        for pid in [pid for when, pid in due if when == second]:
            log.label(pid)
        for _ in range(chance.randrange(3)):
            country = chance.choice(["DE", "NL"])
            labelled = chance.random() < (0.9 if country == "DE" else 0.5)
            if labelled:
                due.append((second + 1 + chance.randrange(90 if country == "NL" else 3), len(made)))
            made.append((second, country, labelled))
            log.predict(len(made) - 1, segments={"country": country})
        if second % 60 == 59:
            feed(pipeline, log.steps)
            log.steps.clear()
            width = WAIT_S // 10
            now = (log.at - log.at % 1000) // 1000
            first = now - WAIT_S - (now - WAIT_S) % width
            mature = [each for each in made if first - 10 * width <= START_MS // 1000 + each[0] < first]
            shown = found_in(pipeline, "segment_label_coverage_ratio")
            for country in ("DE", "NL"):
                had = [labelled for _, of, labelled in mature if of == country]
                assert shown.get(f"country={country}") == (sum(had) / len(had) if had else None)


def test_a_group_with_quick_labels_is_not_taken_for_one_with_more_of_them() -> None:
    """Half of both have labels; those of one come at once, of the other after 90 of 100 s."""
    pipeline, log = build(Objectives(models={"m": MODEL})), Log()
    due: dict[int, list[int]] = {}
    for at in range(4 * 350):
        log.at = START_MS + 250 * at
        for pid in due.pop(at, ()):
            log.label(pid)
        country = "DE" if at % 2 else "NL"
        if at // 2 % 2:
            due.setdefault(at + (4 if country == "DE" else 360), []).append(at)
        log.predict(at, segments={"country": country})
    feed(pipeline, log.steps)
    version = pipeline.partition.models["m"].every_version[0]
    shown = found_in(pipeline, "segment_label_coverage_ratio")
    assert shown == {"country=DE": 0.5, "country=NL": 0.5}
    assert found_in(pipeline, "label_warning")[MISSING] == 0.0
    # Over all that is settled one seems to be covered far better.
    every = version.groups.labelling._counts.sum(axis=1)
    settled = {at: every[0, at] / every[:, at].sum() for at in (5, 6)}
    assert abs(settled[5] - settled[6]) > 2 * COVERAGE_GAP


def test_another_wait_begins_anew_and_never_shows_what_was_counted_in_part() -> None:
    disk = Disk(Objectives(models={"m": MODEL}))
    pipeline, log = build(disk.objectives), Log()

    def seconds(pipeline: Pipeline, count: int) -> None:
        for _ in range(count):
            log.wait(1000)
            log.predict(log.at, segments={"country": "DE"})
            if log.at // 1000 % 2:
                log.label(log.at)
        feed(pipeline, log.steps)
        log.steps.clear()

    seconds(pipeline, 250)
    assert found_in(pipeline, "segment_label_coverage_ratio") == {"country=DE": 0.5}
    disk.commit(pipeline)
    disk.objectives = Objectives(models={"m": replace(MODEL, label_wait_ms=50_000)})
    pipeline = disk.restore()
    assert found_in(pipeline, "segment_label_coverage_ratio") == {}
    seconds(pipeline, 45)
    assert found_in(pipeline, "segment_label_coverage_ratio") == {}
    seconds(pipeline, 80)
    shown = found_in(pipeline, "segment_label_coverage_ratio")["country=DE"]
    assert shown == pytest.approx(0.5, abs=0.02)


# -- lags -------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.5, 5e6), min_size=1, max_size=300))
def test_the_median_lag_is_right_to_within_a_third(lags: list[float]) -> None:
    counted = Labelling(1000, 0, None)
    counted.count_labels(
        np.array([5] * len(lags)), None, None, None, (1000 * np.array(lags)).astype(np.int64)
    )
    median = np.quantile(lags, 0.5, method="inverted_cdf")
    shown = median_lag(counted.lags[0])
    assert shown is not None
    assert shown / 1.34 <= max(1.0, median) <= shown * 1.34


@given(seeds)
@settings(max_examples=10)
def test_the_last_labels_are_the_same_ones_however_rows_are_cut(seed: int) -> None:
    chance = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelling_module, "GENERATION", 50)
        lags = (1000 * chance.lognormal(4, 2, 333)).astype(np.int64)
        classes = chance.integers(0, 2, 333)
        whole, cut = Labelling(10_000, 2, None), Labelling(10_000, 2, None)
        for counted, ends in ((whole, [333]), (cut, [*sorted(chance.integers(1, 333, 9).tolist()), 333])):
            start = 0
            for end in ends:
                if end > start:
                    part = slice(start, end)
                    counted.count_labels(
                        np.full(end - start, 7), classes[part], classes[part], None, lags[part]
                    )
                start = end
        assert whole.snapshot() == cut.snapshot()
        assert whole.lags[0].sum() == 83  # the generation before, and 33 of the one that fills


def test_counts_of_a_generation_fit_their_cells() -> None:
    counted = Labelling(10_000, 2, None)
    same = np.zeros(3 * GENERATION, np.int64)
    counted.count_labels(same, same, same, None, same)
    assert counted.lags[0].sum() == GENERATION


def test_a_state_that_does_not_fit_is_refused() -> None:
    counted = Labelling(10_000, 2, None)
    counted.count_labels(*[np.zeros(5, np.int64)] * 3, None, np.zeros(5, np.int64))
    state = counted.snapshot()
    for name in ("counts", "lags"):
        places, values = state[name]
        for bad in ([places + b"\xff\xff\xff\x7f", values + values[:4]], [places, values[:-4]]):
            with pytest.raises(ValueError, match="do not fit"):
                Labelling(10_000, 2, None).restore({**state, name: bad}, 0)


# -- the tests --------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 21, 62])
@pytest.mark.parametrize("value", [0.01, 1.0, 7.5, 40.0, 300.0])
def test_the_tail_of_chi_squared_is_scipys(value: float, freedom: int) -> None:
    assert chi_squared_tail(value, freedom) == pytest.approx(
        stats.chi2.sf(value, freedom), rel=1e-9, abs=1e-300
    )


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=2, max_size=6))
def test_groups_differ_where_scipys_test_says_so_and_by_enough(cells: list[tuple[int, int]]) -> None:
    joined, expired = np.array(cells).T
    kept = [(a, b) for a, b in cells if a + b >= MIN_ROWS]
    table = np.array(kept)
    found = differ(joined, expired)
    if len(kept) < 2 or not table.sum(axis=0).all():
        assert found is None
        return
    shares = table[:, 0] / table.sum(axis=1)
    p = stats.chi2_contingency(table, correction=False).pvalue
    assert (found is not None) == (p < SIGNIFICANCE and np.ptp(shares) >= COVERAGE_GAP)
    if found is not None:
        low, high = (joined[at] / (joined[at] + expired[at]) for at in found)
        assert (low, high) == (shares.min(), shares.max())


def test_a_difference_that_does_not_matter_is_none_however_many_rows_there_are() -> None:
    rows = np.array([10**6, 10**6])
    for gap, found in ((COVERAGE_GAP * 0.9, None), (COVERAGE_GAP * 1.1, (0, 1))):
        joined = (rows * [0.7, 0.7 + gap]).astype(np.int64)
        assert differ(joined, rows - joined) == found


@pytest.mark.parametrize(("moved", "late"), [(15, False), (25, True)])
def test_few_rows_have_to_be_further_apart(moved: int, late: bool) -> None:
    """Of 50 against 50 rows, so many come later: chance makes up to 19 of that, once in a thousand."""
    lags = np.zeros((2, LAG_BINS), np.int64)
    lags[0, 20], lags[1, 20], lags[1, 30] = 50, 50 - moved, moved
    assert (latest(lags) is not None) == late


def test_a_class_is_late_where_the_test_of_kolmogorov_and_smirnov_says_so() -> None:
    chance = np.random.default_rng(5)
    told = quiet = 0
    for _ in range(300):
        shift, sizes = chance.choice([1.0, 1.3, 2.5]), chance.integers(40, 900, 2)
        values = [chance.lognormal(6, 1, sizes[0]), chance.lognormal(6, 1, sizes[1]) * shift]
        lags = np.zeros((2, LAG_BINS), np.int64)
        for at, each in enumerate(values):
            np.add.at(lags[at], np.searchsorted(labelling_module.LAG_EDGES_S, each), 1)
        test = stats.ks_2samp(*values, method="asymp")
        found = latest(lags)
        if found is not None:
            told += 1
            assert test.pvalue < 1.5 * SIGNIFICANCE  # Smirnov's limit is a little larger than its first term
            assert test.statistic >= 0.2
        elif test.pvalue < SIGNIFICANCE / 10 and test.statistic > 0.3 and sizes.min() >= MIN_ROWS:
            quiet += 1
    assert told > 50
    assert quiet == 0


def test_lags_below_ten_seconds_do_not_differ() -> None:
    lags = np.zeros((2, LAG_BINS), np.int64)
    lags[0, 0], lags[1, 7] = 500, 500
    assert latest(lags) is None


def test_chance_alone_warns_of_nothing() -> None:
    """Two hundred looks at groups that are alike."""
    chance = np.random.default_rng(6)
    segments = Segments(("country",), 20)
    for each in "abcdefgh":
        segments.code({"country": each})
    warned = 0
    for _ in range(200):
        counted = Labelling(10_000, 2, segments)
        rows = 3_000
        joint, classes = chance.integers(0, 10, rows), chance.integers(0, 2, rows)
        got, buckets = chance.random(rows) < 0.7, np.full(rows, 5)
        lags = (1000 * chance.lognormal(5, 1, rows)).astype(np.int64)
        counted.count_labels(buckets[got], classes[got], classes[got], joint[got], lags[got])
        counted.count_expired(buckets[~got], classes[~got], joint[~got])
        found = warn(counted, counted.coverage(20_000), counted.lags, CLASSES)
        assert found.judged == {MISSING, LATER}
        warned += bool(found.texts)
    assert warned <= 1


# -- from records to warnings -------------------------------------------------------------------


def traffic_of(answer: Any, seconds: int = 240, model: ModelSpec = MODEL) -> Pipeline:
    """``answer(at)``: (segments, prediction, label or None, after how many seconds)."""
    pipeline, log = build(Objectives(models={"m": model})), Log()
    due: dict[int, list[tuple[int, Any]]] = {}
    for second in range(seconds):
        log.at = START_MS + 1000 * second
        for pid, label in due.pop(second, ()):
            log.label(pid, label)
        for at in range(10 * second, 10 * second + 10):
            country, prediction, label, wait = answer(at)
            log.predict(at, prediction, segments={"country": country})
            if label is not None:
                due.setdefault(second + wait, []).append((at, label))
    feed(pipeline, log.steps)
    return pipeline


def test_labels_that_are_missing_for_one_country_are_warned_of_and_for_none_are_not() -> None:
    chance = random.Random(1)

    def answer(at: int) -> Any:
        country = "DE" if at % 2 else "NL"
        return country, at // 2 % 2, 1 if chance.random() < (0.9 if country == "DE" else 0.6) else None, 2

    pipeline = traffic_of(answer)
    assert found_in(pipeline, "label_warning") == {MISSING: 1.0}
    told = told_by(pipeline)
    assert "by country" in told[MISSING]
    assert "country=NL" in told[MISSING].partition("%")[2].partition(",")[0]
    fair = traffic_of(lambda at: ("DE" if at % 2 else "NL", at // 2 % 2, 1 if at % 3 else None, 2))
    assert found_in(fair, "label_warning") == {MISSING: 0.0}


def test_a_model_without_segments_is_warned_by_its_predicted_classes() -> None:
    plain = replace(MODEL, segments=())
    pipeline = traffic_of(
        lambda at: ("DE", at % 2, at // 2 % 2 if at % 2 or at % 3 else None, 2), model=plain
    )
    assert found_in(pipeline, "label_warning") == {MISSING: 1.0, LATER: 0.0}
    told = told_by(pipeline)
    assert "by predicted class" in told[MISSING]
    assert "of negative have one" in told[MISSING]


def test_a_class_whose_labels_come_later_is_warned_of() -> None:
    pipeline = traffic_of(lambda at: ("DE", 1, at % 2, 2 if at % 2 else 60))
    assert found_in(pipeline, "label_warning")[LATER] == 1.0
    assert found_in(traffic_of(lambda at: ("DE", 1, at % 2, at % 50)), "label_warning")[LATER] == 0.0


def test_lag_by_segment_is_the_median_of_its_labels() -> None:
    pipeline = traffic_of(lambda at: ("DE" if at % 2 else "NL", 1, 1, 3 if at % 2 else 50))
    shown = found_in(pipeline, "segment_label_lag_seconds")
    assert shown["country=DE"] == pytest.approx(3, rel=0.34)
    assert shown["country=NL"] == pytest.approx(50, rel=0.34)


def test_a_regression_has_no_classes_to_compare() -> None:
    model = replace(MODEL, task="regression")
    pipeline = traffic_of(lambda at: ("DE" if at % 2 else "NL", 1.5, 1.0 if at % 2 else None, 2), model=model)
    assert found_in(pipeline, "label_warning") == {MISSING: 1.0}
