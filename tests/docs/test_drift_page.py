"""The numbers on the page about drift are those of the code."""

from __future__ import annotations

import re

from streamer.domain import comparison, distances
from streamer.domain.profile import MAX_CATEGORIES
from tests.docs.pages import page

TEXT = " ".join(page("drift.md").split())


def test_limits_and_factors_are_those_of_the_code() -> None:
    assert f"({comparison.BURST:.0%}".replace("%", " %") in TEXT
    assert f"({comparison.NOTABLE:.0%} or more)".replace("%", " %") in TEXT
    factors = re.findall(r"\d+", TEXT.partition("multiplied by ")[2].partition(" or a million")[0])
    assert [*map(int, factors), 1_000_000] == list(comparison.FACTORS)
    assert (distances.GROUPS, distances.HALF_A_ROW, MAX_CATEGORIES) == (10, 0.5, 100)
    assert "ten groups" in TEXT
    assert "half a row" in TEXT
    assert "the hundred first ones" in TEXT
