"""One change of the world is one change in all alerts that it causes, and two changes are two."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from streamer.domain.alerts import Incident, Rule, State
from streamer.domain.changes import join_change
from streamer.domain.objectives import (
    DataDriftSpec,
    DetectorSpec,
    DriftSpec,
    ModelSpec,
    Objectives,
    ReferenceSpec,
    ThresholdSpec,
    WindowSpec,
)
from tests.domain.feed import Disk, Log, build, feed

RULE = Rule("m", "", "accuracy", "threshold", "accuracy", "page", None)
SPEC = ModelSpec(
    "m",
    task="binary",
    windows=(WindowSpec("last", 500),),
    thresholds=(
        ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 500), minimum=0.8),
        ThresholdSpec("recall", "recall", WindowSpec("last", 500), minimum=0.8),
    ),
    drift=(DriftSpec("error", (DetectorSpec("adwin"),), quiet_rows=2000),),
    reference=ReferenceSpec("first", 2000),
    data_drift=DataDriftSpec(rows=500),
)
SECOND = 1000


def played(late: int, bad: tuple[range, ...], seed: int = 2) -> Log:
    """A prediction a second; in bad times an age is tripled and the model often wrong; labels come late."""
    chance, log = random.Random(seed), Log()
    truths = []
    for number in range(max(each.stop for each in bad) + late):
        wrong = any(number in each for each in bad)
        guess = chance.randrange(2)
        truths.append(guess ^ (chance.random() < (0.45 if wrong else 0.08)))
        log.predict(number, guess, features={"age": chance.gauss(40, 9) * (3 if wrong else 1)})
        if number >= late:
            log.label(number - late, truths[number - late])
        log.wait(SECOND)
    return log


def alerts_of(log: Log, spec: ModelSpec = SPEC) -> list[dict[str, Any]]:
    pipeline = build(Objectives(models={"m": spec}))
    feed(pipeline, log.steps)
    return pipeline.take_effects().alerts


@pytest.mark.parametrize("late", [0, 3000])
def test_everything_that_one_change_sets_off_has_one_change_however_late_labels_are(late: int) -> None:
    told = alerts_of(played(late, (range(6000, 9000),)))
    opened = [each for each in told if each["status"] == "firing"]
    assert {each["rule"] for each in opened} >= {"accuracy", "recall", "drift.error", "drift.data"}
    assert len({each["incident"] for each in opened}) == len(opened)
    assert len({each["change"] for each in opened}) == 1
    assert opened[0]["change"] == opened[0]["incident"]
    for each in told:  # for all of its life
        first = next(step for step in opened if step["incident"] == each["incident"])
        assert each["change"] == first["change"]


def test_what_goes_wrong_at_another_time_is_another_change_though_the_first_one_is_still_open() -> None:
    spec = replace(SPEC, drift=(DriftSpec("error", (DetectorSpec("adwin"),), quiet_rows=100_000),))
    told = alerts_of(played(0, (range(6000, 7000), range(13_000, 15_000))), spec)
    opened = [each for each in told if each["status"] == "firing" and each["rule"] == "accuracy"]
    assert len(opened) == 2
    assert opened[0]["change"] != opened[1]["change"]


def incident(onset: int, name: str = "", state: State = State.FIRING) -> Incident:
    return Incident(state=state, identity=name, change=name, onset=onset, started_at=onset)


def fired(others: list[Incident], now: int, near_ms: float) -> str:
    mine = Incident()
    step = mine.fire(RULE, now, 0.5, "")
    join_change(step, mine, [mine, *others], now, near_ms)
    assert step.change == mine.change
    assert step.document({"topic": "p", "partition": 0, "offset": 1}, 1)["change"] == mine.change
    own = mine.change == mine.identity
    later = mine.update(RULE, now + 1, 0.4, "")
    assert later.change == mine.change
    return "own" if own else mine.change


def test_the_nearest_open_incident_gives_the_change() -> None:
    others = [incident(1000, "a"), incident(1900, "b"), incident(2000, "c", State.INACTIVE), incident(0, "d")]
    assert fired(others, 2000, 500) == "b"
    assert fired(others, 1300, 500) == "a"
    assert fired(others, 5000, 500) == "own"
    assert fired([], 2000, 500) == "own"


def test_a_restart_changes_nothing_of_it() -> None:
    log = played(0, (range(6000, 9000),))
    expected = [each["change"] for each in alerts_of(log)]
    disk = Disk(Objectives(models={"m": SPEC}))
    pipeline = build(disk.objectives)
    found = []
    for begin in range(0, len(log.steps), 400):
        feed(pipeline, log.steps[begin : begin + 400])
        found += [each["change"] for each in pipeline.effects.alerts]
        disk.commit(pipeline)
        pipeline = disk.restore(random.Random(begin))
    assert found == expected
    assert len(expected) > 4
