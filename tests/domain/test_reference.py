"""A reference is small, adds up, and comes back from JSON as it was."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain.objectives import Quota
from streamer.domain.profile import MAX_CATEGORIES, OTHER, Profile
from streamer.domain.reference import Column, Reference

values = st.one_of(st.floats(-1e9, 1e9), st.integers(-1000, 1000), st.sampled_from("abcdef"))
rows = st.lists(
    st.dictionaries(st.sampled_from(["x", "y", "z"]), st.one_of(values, st.none()), max_size=3), max_size=40
)


def reference_of(features: list[dict[str, object]]) -> Reference:
    found, profile, chance = Reference("m"), Profile(10, Quota(10)), random.Random(3)
    for row in features:
        found.rows += 1
        profile.take(dict(row))
        found.take_answer(chance.random(), chance.random() < 0.5)
        found.predictions.take(str(chance.randrange(2)))
    found.take_features(profile)
    return found


@given(rows, rows)
def test_two_stretches_merged_are_the_whole(first: list[dict[str, object]], second: list) -> None:
    merged = reference_of(first)
    merged.merge(reference_of(second))
    whole = reference_of([*first, *second])
    assert merged.rows == whole.rows
    for name in whole.columns.keys() | merged.columns.keys():
        empty = Column()
        ours, wanted = merged.columns.get(name, empty), whole.columns.get(name, empty)
        assert (ours.bins == wanted.bins).all()
        assert ours.names == wanted.names
        assert merged.missing(name) == whole.missing(name)
    assert merged.predictions.values == whole.predictions.values
    assert merged.scores.sum() == whole.scores.sum()


@given(rows, rows)
def test_what_came_after_and_what_was_before_are_the_whole(
    first: list[dict[str, object]], second: list
) -> None:
    earlier, whole = reference_of(first), reference_of(first)
    whole.merge(reference_of(second))
    after = whole.since(earlier)
    assert after.rows == len(second)
    for name, column in after.columns.items():
        assert column.values + earlier.columns.get(name, Column()).values == whole.columns[name].values
    earlier.merge(after)
    assert {**earlier.plain(), "made_of": ""} == {**whole.plain(), "made_of": ""}
    if second:
        with pytest.raises(ValueError, match="before"):
            reference_of(first).since(whole)


@given(rows)
def test_it_comes_back_from_json_as_it_was(features: list[dict[str, object]]) -> None:
    found = reference_of(features)
    plain = json.loads(json.dumps(found.plain()))
    assert Reference.of_plain(plain).plain() == found.plain()


def test_what_is_missing_counts_null_and_what_was_not_sent() -> None:
    found = reference_of([{"x": 1.0, "y": "a"}, {"x": None}, {"x": 2.0}, {"x": float("nan")}])
    assert (found.missing("x"), found.missing("y"), found.missing("z")) == (0.5, 0.75, 1.0)


def test_names_are_bounded_also_after_a_merge() -> None:
    one, other = Column(), Column()
    for number in range(MAX_CATEGORIES):
        one.take(f"a{number}")
        other.take(f"b{number}")
    one.add(other)
    assert len(one.names) == MAX_CATEGORIES + 1
    assert one.names[OTHER] == MAX_CATEGORIES
    assert one.values == 2 * MAX_CATEGORIES


def test_quantiles_of_small_whole_numbers_are_exact() -> None:
    column = Column()
    for value in (-3, -1, 0, 0, 1, 2, 5):
        column.take(value)
    assert [column.quantile(q) for q in (0.0, 0.5, 1.0)] == [-3.0, 0.0, 5.0]
    assert Column().quantile(0.5) is None


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -1},
        {"rows": "many"},
        {"features": {"x": {"bins": [[99999, 1]], "names": {}}}},
        {"features": {"x": {"bins": [[1]], "names": {}}}},
        {"features": []},
        {"answers": [[-1, 2]]},
        {"truths": [[0, -2]]},
        {"labels": None},
        {"judged": True},
    ],
)
def test_what_is_no_reference_is_refused(change: dict[str, object]) -> None:
    plain = {**Reference("m").plain(), **change}
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError, IndexError)):
        Reference.of_plain(plain)
