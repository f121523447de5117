"""Profiles of features: counts that numpy finds too, whenever the buffer was emptied."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.domain.bins import FEATURE_BINS, feature_bins
from streamer.domain.objectives import Quota
from streamer.domain.profile import MAX_CATEGORIES, MAX_FEATURE_NAME, Profile

Row = dict[str, Any]
seeds = st.integers(0, 2**32)
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**20), 10**20), st.just(0)
)
scalars = st.one_of(numbers, st.booleans(), st.none(), st.sampled_from(["red", "blue", ""]))
alike = st.lists(st.fixed_dictionaries({"age": numbers, "income": numbers, "debt": numbers}), max_size=30)
mixed = st.lists(st.dictionaries(st.sampled_from("abcdef"), scalars, max_size=6), max_size=30)


def profile_of(rows: list[Row], cuts: set[int] | None = None, room: int = 200) -> Profile:
    """``cuts``: rows before which the buffer is emptied."""
    profile = Profile(room, Quota(10**6))
    for at, row in enumerate(rows):
        if cuts and at in cuts:
            profile.flush()
        profile.take(dict(row))
    profile.flush()
    return profile


def counts(values: list[float]) -> list[int]:
    clipped = np.clip(np.array([float(value) for value in values]), -1e300, 1e300)
    return np.bincount(feature_bins(clipped), minlength=FEATURE_BINS).tolist()


def state(profile: Profile) -> Any:
    return codec.decode_cell(codec.encode_cell(profile.snapshot()))


def figures(profile: Profile) -> Any:
    """All that was counted, by the names of the features."""
    saved = state(profile)
    return {
        **saved,
        "names": set(saved["names"]),
        "numeric": dict(zip(saved["names"], saved["numeric"], strict=True)),
    }


# -- numbers -------------------------------------------------------------------------


@given(alike, st.sets(st.integers(0, 30)))
@settings(deadline=None)
def test_the_counts_of_a_numeric_feature_are_those_of_numpy(rows: list[Row], cuts: set[int]) -> None:
    profile = profile_of(rows, cuts)
    assert profile.rows == len(rows)
    for name in ("age", "income", "debt") if rows else ():
        assert profile.numeric[name].tolist() == counts([row[name] for row in rows])
    assert not profile.categories
    assert not profile.missing


@given(alike, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_in_which_a_row_names_its_features_does_not_matter(rows: list[Row], chance: Any) -> None:
    shuffled = []
    for row in rows:
        items = list(row.items())
        chance.shuffle(items)
        shuffled.append(dict(items))
    one, other = profile_of(rows), profile_of(shuffled)
    assert one.numeric.keys() == other.numeric.keys()
    for name in one.numeric:
        assert one.numeric[name].tolist() == other.numeric[name].tolist()


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=99))
def test_a_median_is_the_lower_edge_of_the_bin_in_which_numpys_lower_median_lies(values: list[float]) -> None:
    profile = profile_of([{"x": value} for value in values])
    median = profile.median("x")
    expected = float(np.quantile(values, 0.5, method="lower"))
    assert median is not None
    assert median <= expected <= median * 1.1251


def test_a_feature_without_a_number_has_no_median() -> None:
    profile = profile_of([{"x": 1.0}])
    empty = Profile(5, Quota(10**6))
    empty.restore({**state(profile), "numeric": [[b"", b""]]})
    assert empty.median("x") is None


# -- everything else -----------------------------------------------------------------


@given(mixed)
@settings(deadline=None)
def test_missing_values_and_categories_are_counted_by_name(rows: list[Row]) -> None:
    profile = profile_of(rows)
    for name in "abcdef":
        values = [row[name] for row in rows if name in row]
        assert profile.missing[name] == sum(value is None for value in values)
        texts = Counter(value for value in values if isinstance(value, str))
        found = profile.categories.get(name, Counter())
        assert {text: found[text] for text in texts} == dict(texts)
        total = found.total() + profile.missing[name]
        if name in profile.numeric:
            total += int(profile.numeric[name].sum())
        assert total == len(values)


def test_a_boolean_is_a_category_until_its_feature_was_a_number() -> None:
    profile = profile_of([{"x": True}, {"x": False}, {"x": 1.5}, {"x": True}])
    assert profile.categories["x"] == {"true": 1, "false": 1}
    assert profile.numeric["x"].tolist() == counts([1.5, 1.0])


def test_values_that_are_neither_are_counted_by_their_type() -> None:
    profile = profile_of([{"x": [1]}, {"x": {"a": 1}}, {"x": [2, 3]}])
    assert profile.categories["x"] == {"<list>": 2, "<dict>": 1}


def test_values_that_are_not_finite_are_missing() -> None:
    profile = profile_of([{"x": float("nan"), "y": 1.0}, {"x": float("inf"), "y": 2.0}] * 3)
    assert profile.missing["x"] == 6
    assert profile.numeric["y"].sum() == 6


# -- bounds --------------------------------------------------------------------------


def test_the_rarer_categories_are_other() -> None:
    profile = profile_of([{"x": f"value {number}"} for number in range(MAX_CATEGORIES + 30)] * 2)
    found = profile.categories["x"]
    assert len(found) == MAX_CATEGORIES + 1
    assert found["other"] == 60
    assert found["value 0"] == 2


def test_long_values_are_cut_and_features_with_long_names_are_not_kept() -> None:
    profile = profile_of([{"x": "v" * 5_000, "n" * (MAX_FEATURE_NAME + 1): 1}])
    assert list(profile.categories["x"]) == ["v" * 100]
    assert profile.numeric == {}
    assert profile.overflow == 1


@given(mixed, st.integers(0, 4))
@settings(deadline=None)
def test_no_more_features_are_kept_than_there_is_room_and_the_rest_are_counted(
    rows: list[Row], room: int
) -> None:
    profile = profile_of(rows, room=room)
    kept = profile.numeric.keys() | profile.categories.keys() | profile.missing.keys()
    assert len(kept) <= room
    assert profile.overflow == sum(name not in kept for row in rows for name in row)


# -- at any moment, and after any stop -----------------------------------------------


@given(mixed, st.sets(st.integers(0, 30)))
@settings(deadline=None)
def test_figures_do_not_depend_on_when_the_buffer_was_emptied(rows: list[Row], cuts: set[int]) -> None:
    assert figures(profile_of(rows, cuts)) == figures(profile_of(rows))


@given(
    st.lists(st.one_of(st.fixed_dictionaries({"a": numbers, "b": numbers}), st.just({"a": 1})), max_size=30)
)
@settings(max_examples=50, deadline=None)
def test_a_row_of_another_shape_does_not_change_how_its_neighbours_are_counted(rows: list[Row]) -> None:
    assert figures(profile_of(rows)) == figures(profile_of(rows, set(range(30))))


@given(mixed)
@settings(max_examples=40, deadline=None)
def test_a_profile_that_is_restored_after_every_row_goes_on_as_if_it_had_never_stopped(
    rows: list[Row],
) -> None:
    never, again = Profile(200, Quota(10**6)), Profile(200, Quota(10**6))
    for row in rows:
        never.take(dict(row))
        again.take(dict(row))
        saved = state(again)
        again = Profile(200, Quota(10**6))
        again.restore(saved)
        assert state(again) == saved
    assert figures(again) == figures(never)


def test_a_restored_profile_still_takes_blocks_of_alike_rows_and_new_features() -> None:
    chance = random.Random(1)
    rows = [{name: chance.gauss(0, 1) for name in ("a", "b", "c")} for _ in range(200)]
    saved = state(profile_of(rows[:100]))
    again = Profile(200, Quota(10**6))
    again.restore(saved)
    for row in [*rows[100:], {"d": "new"}, {"e": 5}]:
        again.take(dict(row))
    whole = profile_of([*rows, {"d": "new"}, {"e": 5}])
    assert figures(again) == figures(whole)


def test_counts_that_do_not_fit_a_feature_are_refused() -> None:
    saved = state(profile_of([{"x": 1.0}]))
    saved["numeric"] = [[(FEATURE_BINS).to_bytes(2, "little"), (1).to_bytes(8, "little")]]
    with pytest.raises(ValueError, match="do not fit"):
        Profile(5, Quota(10**6)).restore(saved)
