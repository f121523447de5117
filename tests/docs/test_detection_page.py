"""docs/detection.md is what docs/detection.json says, and that keeps its promises."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from benchmarks.detection.page import PAGE, page_of

RESULTS: dict[str, Any] = orjson.loads(PAGE.with_suffix(".json").read_bytes())


def test_the_page_is_made_of_the_results() -> None:
    assert PAGE.read_text() == page_of(RESULTS)


def test_every_stream_that_was_asked_for_is_there() -> None:
    names = " ".join(each["file"] for each in RESULTS["detections"])
    for name in ("electricity", "weather", "insects", "lobo2020", "tornado", "employment"):
        assert name in names


@pytest.mark.parametrize("each", RESULTS["budgets"], ids=lambda each: str(each["stream"]))
def test_where_nothing_changes_no_more_is_told_than_the_budget_and_a_fifth(each: dict[str, Any]) -> None:
    assert each["budget"] >= 200
    assert each["after"] <= 1.2 * each["budget"]
    assert each["after"] == sum(each["by_rule"].values())
