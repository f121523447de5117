"""Windows of codes: the counts of exactly the rows that belong, however they came and however often saved."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.adapters import codec
from streamer.domain.objectives import LIFETIME, WindowSpec
from streamer.domain.windows import (
    BLOCK_ROWS,
    PANES,
    Window,
    build_window,
    pack_counts,
    unpack_counts,
)

CODES = 12
LONG = (BLOCK_ROWS, BLOCK_ROWS + 1, 10_000)
MINUTE = WindowSpec("duration", PANES * 1000)
SHORT = (WindowSpec("last", 1), WindowSpec("last", 7), WindowSpec("duration", 120), MINUTE, LIFETIME)
START = 1_700_000_000_000
Rows = list[tuple[int, int]]

codes = st.integers(0, CODES - 1)
seeds = st.integers(0, 2**32)
steps_ms = st.sampled_from([0, 0, 0, 1, 7, 999, 1000, 1001, 30_000, 59_000, 60_000, 61_000, 10**6])


@st.composite
def timed_rows(draw: st.DrawFn) -> Rows:
    """Codes with times that never fall and at times leap over whole windows."""
    pairs = draw(st.lists(st.tuples(codes, steps_ms), min_size=1, max_size=60))
    times = START + np.cumsum([step for _, step in pairs])
    return list(zip([code for code, _ in pairs], times.tolist(), strict=True))


def extend(window: Window, rows: Rows) -> None:
    if rows:
        window.extend(np.array([code for code, _ in rows], np.intp), [time for _, time in rows])


def counts_of(rows: list[int]) -> list[int]:
    return np.bincount(rows, minlength=CODES).tolist()


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

    def load(self, spec: WindowSpec, size: int = CODES) -> Window:
        window = build_window(spec, size)
        blocks = list(self.blocks.items())
        random.Random(len(blocks)).shuffle(blocks)  # a compacted topic keeps no order
        window.restore(codec.decode_cell(self.head), dict(blocks))
        return window


def filled(spec: WindowSpec, rows: int) -> Saved:
    window, saved = build_window(spec, CODES), Saved()
    extend(window, [(at % CODES, START + at) for at in range(rows)])
    saved.save(window)
    return saved


# -- what is in a window ---------------------------------------------------------


@given(st.lists(codes, max_size=60), st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_window_of_rows_holds_the_last_rows_after_every_chunk(
    rows: list[int], size: int, chance: random.Random
) -> None:
    window = build_window(WindowSpec("last", size), CODES)
    for piece in pieces(chance, len(rows), 9):
        extend(window, [(code, START) for code in rows[piece]])
        assert window.tally.tolist() == counts_of(rows[: piece.stop][-size:])


@pytest.mark.parametrize("size", LONG)
def test_a_window_longer_than_a_block_holds_the_last_rows_in_chunks_of_any_size(size: int) -> None:
    chance = random.Random(size)
    rows = [chance.randrange(CODES) for _ in range(2 * size + 3_000)]
    window = build_window(WindowSpec("last", size), CODES)
    for piece in pieces(chance, len(rows), 2_500):
        extend(window, [(code, START) for code in rows[piece]])
        assert window.tally.tolist() == counts_of(rows[: piece.stop][-size:])


def test_a_chunk_longer_than_the_window_leaves_only_its_last_rows() -> None:
    window = build_window(WindowSpec("last", 3), CODES)
    extend(window, [(code, START) for code in (1, 1, 2, 3, 4, 5, 6, 7)])
    assert window.tally.tolist() == counts_of([5, 6, 7])


@given(timed_rows(), st.sampled_from([PANES, 120, PANES * 1000]))
@settings(max_examples=60, deadline=None)
def test_a_window_of_time_holds_what_pandas_finds_in_its_panes(rows: Rows, size: int) -> None:
    table = pd.DataFrame(rows, columns=["code", "time"])
    table["pane"] = table.time // (size // PANES)
    window = build_window(WindowSpec("duration", size), CODES)
    for at, row in enumerate(rows):
        extend(window, [row])
        so_far = table.iloc[: at + 1]
        inside = so_far[so_far.pane > so_far.pane.iloc[-1] - PANES]
        assert window.tally.tolist() == counts_of(inside.code.tolist())


@given(timed_rows())
@settings(max_examples=50, deadline=None)
def test_a_window_of_time_holds_all_younger_than_it_less_a_pane_and_none_older_than_it(rows: Rows) -> None:
    window = build_window(MINUTE, CODES)
    extend(window, rows)
    ages = rows[-1][1] - np.array([time for _, time in rows])
    held = int(window.tally.sum())
    pane = MINUTE.size // PANES
    assert np.count_nonzero(ages < MINUTE.size - pane) <= held <= np.count_nonzero(ages < MINUTE.size)


def test_a_row_leaves_with_its_pane_and_not_a_millisecond_sooner() -> None:
    window = build_window(MINUTE, CODES)
    start = START // 1000 * 1000  # where a pane begins
    extend(window, [(1, start + 999), (2, start + 1000)])
    extend(window, [(3, start + 59_999)])
    assert window.tally.tolist() == counts_of([1, 2, 3])
    extend(window, [(4, start + 60_000)])
    assert window.tally.tolist() == counts_of([2, 3, 4])


@given(timed_rows(), st.sampled_from(SHORT), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_counts_do_not_depend_on_how_rows_were_cut_into_chunks(
    rows: Rows, spec: WindowSpec, chance: random.Random
) -> None:
    whole, cut = build_window(spec, CODES), build_window(spec, CODES)
    extend(whole, rows)
    for piece in pieces(chance, len(rows), 8):
        extend(cut, rows[piece])
    assert cut.tally.tolist() == whole.tally.tolist()
    assert cut.span_ms() == whole.span_ms()


@given(timed_rows())
@settings(max_examples=30, deadline=None)
def test_the_lifetime_holds_every_row_and_spans_all_of_them(rows: Rows) -> None:
    window = build_window(LIFETIME, CODES)
    assert window.span_ms() == 0
    extend(window, rows)
    assert window.tally.tolist() == counts_of([code for code, _ in rows])
    assert window.span_ms() == rows[-1][1] - rows[0][1]


@given(timed_rows())
@settings(max_examples=50, deadline=None)
def test_a_window_of_time_spans_what_it_has_seen_and_never_more_than_its_size(rows: Rows) -> None:
    window = build_window(MINUTE, CODES)
    for row in rows:
        extend(window, [row])
        assert 0 <= window.span_ms() < MINUTE.size
        assert window.span_ms() <= row[1] - rows[0][1]
    if rows[-1][1] - rows[0][1] < MINUTE.size - MINUTE.size // PANES:
        assert window.span_ms() == rows[-1][1] - rows[0][1]


# -- saved and restored ------------------------------------------------------------


@given(timed_rows(), st.sampled_from(SHORT))
@settings(max_examples=80, deadline=None)
def test_a_window_that_is_restored_after_every_row_goes_on_as_if_it_had_never_stopped(
    rows: Rows, spec: WindowSpec
) -> None:
    never, again, saved = build_window(spec, CODES), build_window(spec, CODES), Saved()
    for row in rows:
        extend(never, [row])
        extend(again, [row])
        saved.save(again)
        again = saved.load(spec)
        assert again.tally.tolist() == never.tally.tolist()
        assert again.span_ms() == never.span_ms()


@given(timed_rows(), st.sampled_from(SHORT), seeds)
@settings(max_examples=60, deadline=None)
def test_a_crash_between_two_commits_loses_only_what_was_not_saved(
    rows: Rows, spec: WindowSpec, seed: int
) -> None:
    chance = random.Random(seed)
    window, saved = build_window(spec, CODES), Saved()
    saved.save(window)
    done = 0
    while done < len(rows):
        stop = min(len(rows), done + chance.randint(1, 6))
        extend(window, rows[done:stop])
        if chance.random() < 0.3:
            window = saved.load(spec)  # a crash: the rows come again
            continue
        saved.save(window)
        done = stop
    never = build_window(spec, CODES)
    extend(never, rows)
    assert window.tally.tolist() == never.tally.tolist()
    assert saved.load(spec).tally.tolist() == never.tally.tolist()


@pytest.mark.parametrize("size", LONG)
@pytest.mark.parametrize("longest", [1_300, 15_000])
def test_a_window_longer_than_a_block_goes_on_after_every_restore(size: int, longest: int) -> None:
    chance = random.Random(size)
    spec = WindowSpec("last", size)
    rows = [(chance.randrange(CODES), START) for _ in range(3 * size)]
    never, again, saved = build_window(spec, CODES), build_window(spec, CODES), Saved()
    for piece in pieces(chance, len(rows), longest):
        extend(never, rows[piece])
        extend(again, rows[piece])
        saved.save(again)
        again = saved.load(spec)
        assert again.tally.tolist() == never.tally.tolist()


@pytest.mark.parametrize("size", LONG)
def test_a_long_window_goes_on_after_a_restore_at_each_row_around_the_ends_of_blocks(size: int) -> None:
    chance = random.Random(size)
    spec = WindowSpec("last", size)
    window, saved = build_window(spec, CODES), Saved()
    rows: list[int] = []
    for edge in (BLOCK_ROWS, size, size + BLOCK_ROWS, 2 * size):
        fresh = [chance.randrange(CODES) for _ in range(max(0, edge - 2 - len(rows)))]
        extend(window, [(code, START) for code in fresh])
        rows += fresh
        for _ in range(5):
            rows.append(chance.randrange(CODES))
            extend(window, [(rows[-1], START)])
            saved.save(window)
            window = saved.load(spec)
            assert window.tally.tolist() == counts_of(rows[-size:])


def test_a_commit_writes_only_the_blocks_that_new_rows_have_touched() -> None:
    spec, saved = WindowSpec("last", 10_000), Saved()
    window = build_window(spec, CODES)
    extend(window, [(1, START)] * 25_000)
    assert len(saved.save(window)) == 3
    assert saved.save(window) == {}
    extend(window, [(2, START)])
    [data] = saved.save(window).values()
    assert data is not None
    assert len(data) <= 2 * BLOCK_ROWS
    assert len(saved.head) < 500


def test_a_restored_long_window_writes_nothing_again_before_a_new_row() -> None:
    window = filled(WindowSpec("last", 10_000), 12_000).load(WindowSpec("last", 10_000))
    assert window.snapshot()[1] == {}


def test_each_pane_is_written_once_when_it_is_full_and_taken_back_when_it_is_too_old() -> None:
    window, saved = build_window(MINUTE, CODES), Saved()
    written: list[int] = []
    removed: list[int] = []
    for second in range(3 * PANES):
        extend(window, [(second % CODES, START + second * 1000)])
        for pane, data in saved.save(window).items():
            (removed if data is None else written).append(pane)
    first = START // 1000
    assert written == list(range(first, first + 3 * PANES - 1))
    assert removed == list(range(first, first + 2 * PANES))
    assert len(saved.blocks) == PANES - 1


def test_a_window_that_slept_for_longer_than_itself_takes_all_its_panes_back() -> None:
    window, saved = build_window(MINUTE, CODES), Saved()
    extend(window, [(1, START + second * 1000) for second in range(PANES)])
    saved.save(window)
    extend(window, [(2, START + 10**7)])
    saved.save(window)
    assert saved.blocks == {}
    assert saved.load(MINUTE).tally.tolist() == counts_of([2])


# -- what is not trusted ---------------------------------------------------------------


def test_a_short_ring_that_is_not_as_long_as_it_says_is_refused() -> None:
    spec = WindowSpec("last", 7)
    saved = filled(spec, 5)
    head = codec.decode_cell(saved.head)
    saved.head = codec.encode_cell({**head, "seen": 6})
    with pytest.raises(ValueError, match="5 rows where 6"):
        saved.load(spec)


@pytest.mark.parametrize("spec", [WindowSpec("last", 7), WindowSpec("last", 5_000), MINUTE, LIFETIME])
def test_a_code_outside_the_range_of_the_window_is_refused(spec: WindowSpec) -> None:
    saved = filled(spec, 5_004)
    with pytest.raises(ValueError, match=r"code"):
        saved.load(spec, CODES - 1)


def test_a_long_ring_with_a_lost_block_is_refused() -> None:
    spec = WindowSpec("last", 10_000)
    saved = filled(spec, 12_000)
    del saved.blocks[1]
    with pytest.raises(ValueError, match="do not add up"):
        saved.load(spec)


def test_a_window_of_time_with_a_lost_pane_is_refused() -> None:
    saved = filled(MINUTE, 10_000)
    saved.blocks.popitem()
    with pytest.raises(ValueError, match="full panes where"):
        saved.load(MINUTE)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=50))
def test_packed_counts_come_back_as_they_were(values: list[int]) -> None:
    counts: NDArray[np.int64] = np.array(values, np.int64)
    packed = codec.decode_cell(codec.encode_cell(pack_counts(counts)))
    assert unpack_counts(packed, len(values)).tolist() == values


@pytest.mark.parametrize("packed", [[b"\x05\x00", b"\x01" + bytes(7)], [b"\x01\x00", b""]])
def test_packed_counts_that_do_not_fit_are_refused(packed: list[bytes]) -> None:
    with pytest.raises(ValueError, match="counts do not fit"):
        unpack_counts(packed, 5)


@pytest.mark.parametrize("kind", ["last", "duration"])
def test_a_window_that_moves_needs_a_size(kind: Any) -> None:
    with pytest.raises(ValueError, match="needs a size"):
        WindowSpec(kind, 0)
