"""The hot model's traffic is what the scene says it is, and an alert that nobody should see is found."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.limits.hot import HOT, NEIGHBOURS, TIMES, _steady, _wrong, traffic


def alert(model: str, rule: str = "latency_p95") -> tuple[float, dict[str, Any]]:
    return 0.0, {"model": model, "rule": rule, "status": "firing"}


def test_the_hot_model_has_a_hundred_times_the_predictions_of_each_of_the_others() -> None:
    counts = Counter(key.decode() for kind, _, key, _ in traffic(2, 3, TIMES) if kind == 0)
    assert counts.pop(HOT) == 6 * TIMES
    assert len(counts) == NEIGHBOURS
    assert set(counts.values()) == {6}


def test_alerts_of_models_that_turn_bad_are_right() -> None:
    assert not _steady("neighbour-1")
    assert list(_wrong([alert("neighbour-1"), alert(HOT)], burst=0)) == []


@pytest.mark.parametrize(
    ("found", "burst"),
    [
        (alert("neighbour-0"), 0),
        (alert("neighbour-1", "silence"), 0),
        (alert("neighbour-1", "accuracy"), 0),
        (alert(HOT), 10),
    ],
)
def test_an_alert_although_nothing_was_wrong_is_found(
    found: tuple[float, dict[str, Any]], burst: int
) -> None:
    [problem] = _wrong([found], burst)
    assert found[1]["model"] in problem
