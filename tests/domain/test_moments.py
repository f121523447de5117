"""Windows of regression: the exact sums of exactly the rows that belong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import river.metrics
import river.utils
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from streamer.adapters import codec
from streamer.domain.moment_windows import build_moment_window
from streamer.domain.moments import Moments, regression_estimate
from streamer.domain.objectives import LIFETIME, REGRESSION_SCORES, WindowSpec
from streamer.domain.windows import BLOCK_ROWS, PANES, Window

LONG = (BLOCK_ROWS, BLOCK_ROWS + 1, 10_000)
MINUTE = WindowSpec("duration", PANES * 1000)
SHORT = (WindowSpec("last", 1), WindowSpec("last", 7), WindowSpec("duration", 120), MINUTE, LIFETIME)
START = 1_700_000_000_000
Pair = tuple[float, float]
Rows = list[tuple[Pair, int]]

seeds = st.integers(0, 2**32)
measurements = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1e-9, 1e100, -1e100]))
steps_ms = st.sampled_from([0, 0, 0, 1, 7, 999, 1000, 1001, 30_000, 59_000, 60_000, 61_000, 10**6])


@st.composite
def timed_rows(draw: st.DrawFn) -> Rows:
    pairs = draw(st.lists(st.tuples(measurements, measurements, steps_ms), min_size=1, max_size=40))
    times = START + np.cumsum([step for _, _, step in pairs])
    return [((error, label), time) for (error, label, _), time in zip(pairs, times.tolist(), strict=True)]


def ordinary_rows(chance: random.Random, count: int) -> Rows:
    return [((chance.gauss(1, 3), chance.gauss(20, 5)), START + at * 100) for at in range(count)]


def extend(window: Window, rows: Rows) -> None:
    if rows:
        window.extend([pair for pair, _ in rows], [time for _, time in rows])


def moments_of(rows: Rows) -> list[str]:
    moments = Moments()
    for (error, label), _ in rows:
        moments.update(error, label)
    return moments.snapshot()


def pieces(chance: random.Random, count: int, longest: int) -> Iterator[slice]:
    start = 0
    while start < count:
        stop = start + chance.randint(1, longest)
        yield slice(start, stop)
        start = stop


class Saved:
    """What the state topic holds of one window."""

    def __init__(self) -> None:
        self.head: Any = None
        self.blocks: dict[int, bytes] = {}

    def save(self, window: Window) -> dict[int, bytes | None]:
        head, changed = window.snapshot()
        self.head = codec.encode_cell(head)
        for block, data in changed.items():
            self.blocks.pop(block, None)
            if data is not None:
                self.blocks[block] = data
        return changed

    def load(self, spec: WindowSpec) -> Window:
        window = build_moment_window(spec)
        blocks = list(self.blocks.items())
        random.Random(len(blocks)).shuffle(blocks)
        window.restore(codec.decode_cell(self.head), dict(blocks))
        return window


@given(timed_rows(), st.integers(1, 20), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_window_of_rows_holds_the_exact_sums_of_the_last_rows(
    rows: Rows, size: int, chance: random.Random
) -> None:
    window = build_moment_window(WindowSpec("last", size))
    for piece in pieces(chance, len(rows), 9):
        extend(window, rows[piece])
        assert window.tally.snapshot() == moments_of(rows[: piece.stop][-size:])


@pytest.mark.parametrize("size", LONG)
def test_a_window_longer_than_a_block_holds_the_last_rows_and_goes_on_after_every_restore(size: int) -> None:
    chance = random.Random(size)
    rows = ordinary_rows(chance, 2 * size + BLOCK_ROWS)
    spec, saved = WindowSpec("last", size), Saved()
    never, again = build_moment_window(spec), build_moment_window(spec)
    for piece in pieces(chance, len(rows), 3_000):
        extend(never, rows[piece])
        extend(again, rows[piece])
        assert again.tally.snapshot() == never.tally.snapshot()
        saved.save(again)
        again = saved.load(spec)
    assert again.tally.snapshot() == moments_of(rows[-size:])


@pytest.mark.parametrize("size", LONG)
def test_a_long_window_goes_on_after_a_restore_at_each_row_around_the_ends_of_blocks(size: int) -> None:
    chance = random.Random(size)
    rows = ordinary_rows(chance, 2 * size + 8)
    spec, saved = WindowSpec("last", size), Saved()
    never, again = build_moment_window(spec), build_moment_window(spec)
    done = 0
    for edge in (BLOCK_ROWS, size, 2 * size):
        for stop in range(max(done + 1, edge - 2), edge + 3):
            extend(never, rows[done:stop])
            extend(again, rows[done:stop])
            done = stop
            saved.save(again)
            again = saved.load(spec)
            assert again.tally.snapshot() == never.tally.snapshot()


def test_a_commit_writes_only_the_blocks_that_new_rows_have_touched() -> None:
    window, saved = build_moment_window(WindowSpec("last", 10_000)), Saved()
    extend(window, ordinary_rows(random.Random(1), 10_500))
    assert len(saved.save(window)) == 3
    assert saved.save(window) == {}
    extend(window, ordinary_rows(random.Random(2), 1))
    assert len(saved.save(window)) == 1
    assert len(saved.head) < 1_000


@given(timed_rows(), st.sampled_from([PANES, 120, PANES * 1000]))
@settings(max_examples=60, deadline=None)
def test_a_window_of_time_holds_the_exact_sums_of_its_panes(rows: Rows, size: int) -> None:
    window = build_moment_window(WindowSpec("duration", size))
    pane_ms = size // PANES
    for at, row in enumerate(rows):
        extend(window, [row])
        newest = row[1] // pane_ms
        inside = [each for each in rows[: at + 1] if each[1] // pane_ms > newest - PANES]
        assert window.tally.snapshot() == moments_of(inside)


@given(timed_rows(), st.sampled_from(SHORT), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_sums_do_not_depend_on_how_rows_were_cut_into_chunks(
    rows: Rows, spec: WindowSpec, chance: random.Random
) -> None:
    whole, cut = build_moment_window(spec), build_moment_window(spec)
    extend(whole, rows)
    for piece in pieces(chance, len(rows), 8):
        extend(cut, rows[piece])
    assert cut.tally.snapshot() == whole.tally.snapshot()


@given(timed_rows(), st.sampled_from(SHORT))
@settings(max_examples=60, deadline=None)
def test_a_window_that_is_restored_after_every_row_goes_on_as_if_it_had_never_stopped(
    rows: Rows, spec: WindowSpec
) -> None:
    never, again, saved = build_moment_window(spec), build_moment_window(spec), Saved()
    for row in rows:
        extend(never, [row])
        extend(again, [row])
        saved.save(again)
        again = saved.load(spec)
        assert again.tally.snapshot() == never.tally.snapshot()
        assert again.span_ms() == never.span_ms()


@given(timed_rows(), st.sampled_from(SHORT), seeds)
@settings(max_examples=40, deadline=None)
def test_a_crash_between_two_commits_loses_only_what_was_not_saved(
    rows: Rows, spec: WindowSpec, seed: int
) -> None:
    chance = random.Random(seed)
    window, saved = build_moment_window(spec), Saved()
    saved.save(window)
    done = 0
    while done < len(rows):
        stop = min(len(rows), done + chance.randint(1, 6))
        extend(window, rows[done:stop])
        if chance.random() < 0.3:
            window = saved.load(spec)
            continue
        saved.save(window)
        done = stop
    never = build_moment_window(spec)
    extend(never, rows)
    assert window.tally.snapshot() == never.tally.snapshot() == saved.load(spec).tally.snapshot()


def test_rolling_scores_equal_river_and_scikit_learn_on_the_rows_of_the_window() -> None:
    chance = random.Random(3)
    window = build_moment_window(WindowSpec("last", 50))
    oracles = {
        "mae": river.utils.Rolling(river.metrics.MAE, window_size=50),
        "rmse": river.utils.Rolling(river.metrics.RMSE, window_size=50),
    }
    truth = [chance.gauss(20, 5) for _ in range(200)]
    guess = [y + chance.gauss(1, 3) for y in truth]
    for at, (y, predicted) in enumerate(zip(truth, guess, strict=True), start=1):
        extend(window, [((predicted - y, y), START)])
        for score, oracle in oracles.items():
            oracle.update(y, predicted)
            estimate = regression_estimate(window.tally, score)
            assert estimate is not None
            assert estimate.value == pytest.approx(oracle.get(), rel=1e-9)
        if at >= 2:
            r2 = regression_estimate(window.tally, "r2")
            assert r2 is not None
            assert r2.value == pytest.approx(metrics.r2_score(truth[:at][-50:], guess[:at][-50:]), rel=1e-9)
            bias = regression_estimate(window.tally, "bias")
            assert bias is not None
            assert bias.value == pytest.approx(np.mean(guess[:at][-50:]) - np.mean(truth[:at][-50:]))


@pytest.mark.parametrize("spec", [WindowSpec("last", 10), MINUTE])
def test_an_outlier_that_has_left_a_window_leaves_no_trace_in_any_score(spec: WindowSpec) -> None:
    chance = random.Random(4)
    rows = [(pair, START + 10**6) for pair, _ in ordinary_rows(chance, 10)]
    touched, clean = build_moment_window(spec), build_moment_window(spec)
    extend(touched, [((1e100, -1e100), START)])
    extend(touched, rows)
    extend(clean, rows)
    for score in REGRESSION_SCORES:
        assert regression_estimate(touched.tally, score, 0.95) == regression_estimate(
            clean.tally, score, 0.95
        )


def test_an_empty_window_has_no_score() -> None:
    for spec in SHORT:
        assert all(
            regression_estimate(build_moment_window(spec).tally, score) is None for score in REGRESSION_SCORES
        )


def test_a_restored_ring_with_a_lost_block_is_refused() -> None:
    spec, saved = WindowSpec("last", 10_000), Saved()
    window = build_moment_window(spec)
    extend(window, ordinary_rows(random.Random(5), 10_000))
    saved.save(window)
    del saved.blocks[2]
    with pytest.raises(ValueError, match="2 blocks of rows where 3"):
        saved.load(spec)


@given(st.lists(st.tuples(measurements, measurements), max_size=30), st.integers(1, 10))
def test_taking_rows_back_in_another_order_leaves_the_rest(pairs: list[Pair], keep: int) -> None:
    moments, rest = Moments(), Moments()
    for error, label in pairs:
        moments.update(error, label)
    for error, label in reversed(pairs[keep:]):
        moments.revert(error, label)
    for error, label in pairs[:keep]:
        rest.update(error, label)
    assert moments == rest


def test_rows_beside_a_giant_one_keep_their_sum_to_the_last_bit() -> None:
    moments = Moments()
    moments.update(1e16, 0.0)
    for _ in range(1_000):
        moments.update(1.0, 0.0)
    moments.revert(1e16, 0.0)
    bias = regression_estimate(moments, "bias")
    assert bias is not None
    assert bias.value == 1.0
