"""Every scene in short; ``make limits`` has them at their full size, and writes down what it measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.limits.disk import cannot_mount
from tests.limits.footprint import cannot_limit
from tests.limits.scenes import SCENES
from tests.limits.stage import Outcome

CANNOT: dict[str, Callable[[], str | None]] = {"disk": cannot_mount, "memory": cannot_limit}


@pytest.fixture
def played(bootstrap: str, tmp_path: Path) -> Callable[[str], Outcome]:
    """``played(scene)``: what came out; skips with the reason where this machine cannot play it."""

    def play(name: str) -> Outcome:
        why = CANNOT.get(name, lambda: None)()
        if why is not None:
            pytest.skip(why)
        outcome = SCENES[name].play(bootstrap, tmp_path, SCENES[name].short, print)
        for log in sorted(tmp_path.glob("*/*.log")) if outcome.verdict.problems else ():
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")
        return outcome

    return play


def held(outcome: Outcome) -> None:
    verdict = outcome.verdict
    assert verdict.problems == []
    assert (verdict.lost, verdict.twice, verdict.alert_differences, verdict.alerts_twice) == (0, 0, 0, 0)
    assert verdict.records > 0


def test_low_limits_keep_a_worker_within_its_memory_and_too_little_of_it_loses_nothing(
    played: Callable[[str], Outcome],
) -> None:
    outcome = played("memory")
    held(outcome)
    assert min(outcome.figures["gave_way"].values()) > 0
    assert outcome.figures["ended_with"] != 0


def test_more_models_than_the_series_have_room_for_are_exact_also_after_a_kill(
    played: Callable[[str], Outcome],
) -> None:
    outcome = played("models")
    held(outcome)
    assert outcome.verdict.fired > 0
    assert outcome.figures["series_dropped"] > 0


def test_beside_a_hot_model_every_neighbour_gets_its_alerts_and_nobody_else_gets_any(
    played: Callable[[str], Outcome],
) -> None:
    outcome = played("hot")
    held(outcome)
    for act in SCENES["hot"].short.acts:
        assert all(each["alerts"] > 0 for each in outcome.figures[act].values())


def test_a_worker_waits_for_a_broker_whose_disk_is_full_and_goes_on_once_there_is_room(
    played: Callable[[str], Outcome],
) -> None:
    outcome = played("disk")
    held(outcome)
    assert outcome.verdict.fired > 0
