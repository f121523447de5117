"""The yardstick comes to what the comparison tells people, for every column and every distance."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.domain.bins import FEATURE_BINS, NO_SCORE, SCORE_BINS, feature_bin, score_bin
from streamer.domain.comparison import Change, compare
from streamer.domain.distances import Distance
from streamer.domain.reference import Column, Reference
from streamer.domain.stretch import ANSWERS, Layout, Stretch, together
from streamer.domain.yardstick import Yardstick

FEATURES = ("age", "income", "mixed")
LAYOUT = Layout("prediction", FEATURES, ("no", "yes"))
DISTANCES: tuple[Distance, ...] = ("psi", "jensen_shannon", "total_variation", "wasserstein")


def stretch(chance: random.Random, rows: int, kind: str = "usual") -> Stretch:
    """Random rows; ``kind`` says what is the matter with them."""
    cells = np.zeros(LAYOUT.cells, np.int64)
    names: dict[str, Counter[str]] = {"colour": Counter(), "mixed": Counter()}
    for _ in range(rows):
        score = chance.betavariate(2, 5) if kind != "score" else chance.betavariate(6, 2)
        at = NO_SCORE if chance.random() < 0.1 else score_bin(score)
        yes = int(score > 0.5)
        cells[2 * at + yes] += 1
        cells[ANSWERS + yes] += 1
        values: dict[int, Any] = {
            0: chance.gauss(40, 10) * (1000 if kind == "unit" else 1),
            1: chance.choice([0.0, 1.0, 2.0, 3.0]) if kind != "stuck" else 2.0,
            2: chance.random(),
        }
        if kind == "nulls" and chance.random() < 0.3:
            del values[0]
        if kind == "range" and chance.random() < 0.05:
            values[0] = 1e6
        if chance.random() < (0.4 if kind == "types" else 0.05):
            names["mixed"]["text"] += 1
            del values[2]
        for feature, value in values.items():
            cells[LAYOUT.start(feature) + feature_bin(value)] += 1
        colours = ["red", "green", "blue", *(["violet"] if kind == "unseen" else [])]
        names["colour"][chance.choice(colours)] += 1
    return Stretch.of(rows, 0, 1000, cells, names)


def told(reference: Stretch, current: Stretch) -> dict[str, Change]:
    changes = compare(
        LAYOUT.reference(reference, "m", None, "before"), LAYOUT.reference(current, "m", None, "now")
    )
    return {change.column: change for change in changes}


KINDS = ["usual", "score", "unit", "stuck", "nulls", "range", "types", "unseen"]


@given(st.integers(0, 2**32), st.sampled_from(KINDS), st.sampled_from(DISTANCES))
@settings(max_examples=60, deadline=None)
def test_it_measures_what_the_comparison_tells(seed: int, kind: str, distance: Distance) -> None:
    chance = random.Random(seed)
    before, now = (
        stretch(chance, chance.randrange(150, 400)),
        stretch(chance, chance.randrange(150, 400), kind),
    )
    ruler = Yardstick(LAYOUT.reference(before, "m", None, "before"), LAYOUT, distance)
    changes, found = told(before, now), {each.column: each for each in ruler.measure(now)}
    assert found.keys() == changes.keys()
    for column, change in changes.items():
        expected = getattr(change, distance)
        if distance == "wasserstein" and expected is None:
            expected = change.total_variation  # a column without numbers
        assert found[column].distance == pytest.approx(expected, rel=1e-9, abs=1e-12), column
        assert found[column].missing == pytest.approx(change.missing[1]), column
        if distance == "psi":
            assert found[column].chance == pytest.approx(change.chance), column
        unit = any("another unit" in each for each in change.findings)
        assert found[column].wrong == bool(change.findings) or unit, (column, change.findings)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_what_is_the_matter_is_found_in_its_column_alone(kind: str) -> None:
    chance = random.Random(7)
    before, now = stretch(chance, 4000), stretch(chance, 1000, kind)
    ruler = Yardstick(LAYOUT.reference(before, "m", None, "before"), LAYOUT, "psi")
    where = {"score": {"score", "prediction"}, "stuck": {"feature:income"}, "types": {"feature:mixed"},
             "unseen": {"feature:colour"}}.get(kind, {"feature:age"})  # fmt: skip
    assert {each.column for each in ruler.measure(now) if each.beyond(0.2)} == where
    assert not [each for each in ruler.measure(stretch(chance, 1000)) if each.beyond(0.2)]


def test_a_feature_that_the_reference_never_had_is_found_once_many_rows_have_it() -> None:
    chance = random.Random(3)
    ruler = Yardstick(LAYOUT.reference(stretch(chance, 500), "m", None, ""), LAYOUT, "psi")
    now = stretch(chance, 500)
    now.names["brand"] = Counter(x=24)  # below a twentieth of the rows
    assert not [each for each in ruler.measure(now) if each.column == "feature:brand"]
    now.names["brand"] = Counter(x=25)
    [found] = [each for each in ruler.measure(now) if each.column == "feature:brand"]
    assert found.beyond(1e9)
    assert found.missing == pytest.approx(0.95)


def test_only_the_features_that_are_watched_are_measured() -> None:
    chance = random.Random(4)
    reference = LAYOUT.reference(stretch(chance, 500), "m", None, "")
    ruler = Yardstick(reference, LAYOUT, "psi", ["age"])
    found = {each.column for each in ruler.measure(stretch(chance, 300, "unseen"))}
    assert found == {"feature:age", "prediction", "score"}


def test_a_feature_set_in_one_row_of_a_thousand_is_not_stuck_where_it_is_never_set() -> None:
    before, now = Column(), Column()
    before.names, now.names = Counter(off=9_990, on=10), Counter(off=2_000)
    changes = compare(
        Reference("m", None, "", 10_000, {"flag": before}), Reference("m", None, "", 2_000, {"flag": now})
    )
    assert changes[0].findings == ()
    before.names = Counter(off=9_000, on=1_000)
    changes = compare(
        Reference("m", None, "", 10_000, {"flag": before}), Reference("m", None, "", 2_000, {"flag": now})
    )
    assert "it has one value" in changes[0].findings[0]


@given(st.integers(0, 2**32), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_stretches_add_up_and_come_back_from_what_is_saved(seed: int, parts: int) -> None:
    chance = random.Random(seed)
    every = [stretch(chance, 30) for _ in range(parts)]
    whole = together(every, LAYOUT.cells)
    assert whole.rows == 30 * parts
    assert (whole.run(0, LAYOUT.cells) == sum(each.run(0, LAYOUT.cells) for each in every)).all()
    assert whole.names["colour"] == sum((each.names["colour"] for each in every), Counter())
    back = Stretch.of_plain(whole.plain())
    assert (back.run(0, LAYOUT.cells) == whole.run(0, LAYOUT.cells)).all()
    assert (back.rows, back.first, back.last, back.names) == (
        whole.rows,
        whole.first,
        whole.last,
        whole.names,
    )


def test_bytes_that_do_not_fit_are_refused() -> None:
    plain = stretch(random.Random(1), 20).plain()
    plain[3] = plain[3][:-4]
    with pytest.raises(ValueError, match="do not fit"):
        Stretch.of_plain(plain)


def test_the_layout_has_room_for_every_bin() -> None:
    assert LAYOUT.cells == 2 * SCORE_BINS + (1 + len(FEATURES)) * FEATURE_BINS
