"""Correlations from sums of whole numbers, and which feature answers for the ones that have changed."""

from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.domain.objectives import Quota
from streamer.domain.profile import Profile
from streamer.domain.relations import MOST_FEATURES, Relations, parted, places

FEATURES = ("a", "b", "c", "d")


def values(seed: int, rows: int = 2000, mixed: int | None = None) -> np.ndarray:
    """Four features that go together; the rows of one of them ``mixed`` up."""
    chance = np.random.default_rng(seed)
    common = chance.normal(0, 1, rows)
    found = np.stack([1000 + 20 * common + chance.normal(0, 5, rows)] * 2 + [np.exp(common)] * 2, axis=1)
    found += chance.normal(0, 0.1, found.shape) * found * 0.01
    if mixed is not None:
        chance.shuffle(found[:, mixed])
    return found


def relations_of(found: np.ndarray, cuts: int = 1) -> Relations:
    relations = Relations(FEATURES)
    for part in np.array_split(found, cuts):
        relations.take(part)
    return relations


def test_they_are_pearsons_of_the_places() -> None:
    found = values(1)
    expected = pd.DataFrame(places(found)).corr().to_numpy()
    assert relations_of(found).correlations() == pytest.approx(expected, abs=1e-9)


def test_they_are_close_to_those_of_the_ranks() -> None:
    found = values(2)
    ranks = pd.DataFrame(found).corr(method="spearman").to_numpy()
    assert relations_of(found).correlations() == pytest.approx(ranks, abs=0.05)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30))
def test_places_are_in_the_order_of_the_values(some: list[float]) -> None:
    found = places(np.sort(np.array(some)))
    assert (np.diff(found) >= 0).all()
    assert (found == np.round(found)).all()


@given(st.integers(1, 20), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_however_rows_are_cut_the_sums_are_the_same_and_they_add_up(cuts: int, seed: int) -> None:
    found = values(seed, 300)
    whole, parts = relations_of(found), relations_of(found, cuts)
    assert whole.plain() == parts.plain()
    first, second = relations_of(found[:100]), relations_of(found[100:])
    assert whole.since(first).plain() == second.plain()
    first.add(second)
    assert first.plain() == whole.plain()
    assert Relations.of_plain(whole.plain()).plain() == whole.plain()


@pytest.mark.parametrize("mixed", range(4))
def test_the_feature_whose_rows_were_mixed_up_answers_for_all_its_pairs(mixed: int) -> None:
    before = relations_of(values(3))
    found = parted(before, relations_of(values(4, 600, mixed)))
    assert list(found) == [FEATURES[mixed]]
    [one] = found.values()
    assert one.before > 0.8
    assert abs(one.after) < 0.2
    assert parted(before, relations_of(values(5, 600))) == {}


def test_a_unit_changes_nothing() -> None:
    before, now = values(6), values(7, 600)
    now[:, 2] *= 1000
    assert parted(relations_of(before), relations_of(now)) == {}


def test_few_rows_and_columns_of_one_value_say_nothing() -> None:
    before = values(8)
    assert parted(relations_of(before), relations_of(values(9, 99, mixed=0))) == {}
    constant = values(10, 600)
    constant[:, 1] = 7.0
    assert parted(relations_of(before), relations_of(constant)) == {}
    assert parted(Relations(), relations_of(before)) == {}


def test_no_false_alarm_in_a_thousand_comparisons_of_unrelated_features() -> None:
    chance = np.random.default_rng(11)
    before = relations_of(chance.lognormal(size=(5000, 4)))
    assert not any(parted(before, relations_of(chance.lognormal(size=(200, 4)))) for _ in range(1000))


def test_a_profile_counts_rows_in_which_all_are_numbers_and_begins_anew_with_a_new_feature() -> None:
    chance, profile = random.Random(12), Profile(100, Quota(100), related=True)
    for number in range(250):
        x = chance.gauss(0, 1)
        row = {"x": x, "y": 2 * x, "k": "a"}
        if number % 5 == 0:
            row["y"] = math.nan
        profile.take(row)
    profile.flush()
    assert profile.relations is not None
    assert profile.relations.features == ("x", "y")
    assert 150 < profile.relations.rows <= 200
    assert profile.relations.correlations()[0, 1] > 0.99
    profile.take({"x": 1.0, "y": 2.0, "z": 3.0})
    profile.flush()
    assert profile.relations.features == ("x", "y", "z")
    assert profile.relations.rows <= 1
    again = Profile(100, Quota(100), related=True)
    again.restore(profile.snapshot())
    assert again.relations is not None
    assert again.relations.plain() == profile.relations.plain()
    assert "relations" not in Profile(100, Quota(100)).snapshot()


def test_only_the_first_features_are_related_however_many_there_are() -> None:
    profile = Profile(200, Quota(200), related=True)
    for number in range(300):
        profile.take({f"f{index}": float(number * index) for index in range(100)})
    profile.flush()
    assert profile.relations is not None
    assert len(profile.relations.features) == MOST_FEATURES
    assert profile.relations.products.shape == (MOST_FEATURES, MOST_FEATURES)
