"""Examples of an alert: ids of wrong rows, those that its figure is about, the newest last."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.domain.examples import MOST_EXAMPLES, STRETCH_ROWS, LargestErrors
from streamer.domain.objectives import Limits, ModelSpec, Objectives, WindowSpec
from tests.domain.feed import Disk, Log, build, feed
from tests.domain.traffic import threshold

LAST_50 = WindowSpec("last", 50)


def alerts_of(spec: ModelSpec, answers: list[tuple[Any, Any]], restart: bool = False) -> list[dict[str, Any]]:
    """What is told of a model that answered so, and of what was true."""
    log = Log()
    for number, (guess, truth) in enumerate(answers):
        log.predict(f"p{number}", guess, spec.model)
        log.label(f"p{number}", truth, spec.model)
    objectives = Objectives(models={spec.model: spec}, limits=Limits())
    disk = Disk(objectives)
    pipeline = build(objectives)
    found = []
    for step in log.steps:
        feed(pipeline, [step])
        if restart:
            found += pipeline.effects.alerts
            disk.commit(pipeline)
            pipeline = disk.restore()
    return found + pipeline.take_effects().alerts


def examples(alerts: list[dict[str, Any]], rule: str) -> list[str]:
    [first] = [each for each in alerts if each["rule"] == rule and each["status"] == "firing"]
    found: list[str] = first["evidence"]["examples"]
    return found


def spec(task: Any, *thresholds: Any, **more: Any) -> ModelSpec:
    settings: dict[str, Any] = {"windows": (LAST_50,), "thresholds": thresholds, "drift": (), **more}
    return ModelSpec("m", task=task, evaluate_every=40, **settings)


def limit(signal: str, **more: Any) -> Any:
    return threshold(signal, **{"window": LAST_50, **more})


GOOD: list[tuple[Any, Any]] = [(1, 1), (0, 0)] * 10
MIXED = [*GOOD, (1, 0), (0, 1), (1, 0), (0, 1), (1, 0), (1, 0), (1, 0), (0, 1), (1, 0), (0, 1)]


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("accuracy", ["p25", "p26", "p27", "p28", "p29"]),
        ("precision", ["p22", "p24", "p25", "p26", "p28"]),  # answered yes
        ("recall", ["p21", "p23", "p27", "p29"]),  # answered no
        ("f1", ["p25", "p26", "p27", "p28", "p29"]),
    ],
)
def test_examples_are_the_rows_that_the_figure_got_wrong(
    signal: str, expected: list[str], restart: bool
) -> None:
    model = spec("binary", limit(signal, minimum=0.99))
    alerts = alerts_of(model, [*MIXED, *GOOD[:10]], restart)
    assert examples(alerts, signal) == expected


def test_of_one_class_of_many_only_its_own_rows_are_examples() -> None:
    model = spec(
        "multiclass",
        limit("precision", minimum=0.99, klass="b", rule="precision b"),
        limit("recall", minimum=0.99, klass="b", rule="recall b"),
        limit("f1", minimum=0.99, klass="b", rule="f1 b"),
        limit("recall", minimum=0.99),
    )
    answers = [("a", "a"), ("b", "b"), ("c", "c"), ("c", "b"), ("b", "a"), ("a", "c"), ("b", "c"), ("a", "b")]
    alerts = alerts_of(model, answers * 5)
    assert examples(alerts, "precision b") == ["p22", "p28", "p30", "p36", "p38"]
    assert examples(alerts, "recall b") == ["p23", "p27", "p31", "p35", "p39"]
    assert examples(alerts, "f1 b") == ["p31", "p35", "p36", "p38", "p39"]
    assert examples(alerts, "recall") == ["p35", "p36", "p37", "p38", "p39"]


def test_of_a_regression_the_largest_errors_lately_are_examples() -> None:
    large = {7: 900.0, 530: 50.0, 550: 70.0, 551: 70.0, 650: 60.0, 719: 40.0}
    answers = [(large.get(at, 1.0), 0.0) for at in range(720)]
    window = WindowSpec("last", 100)
    model = replace(spec("regression", limit("mae", maximum=1.5, window=window)), evaluate_every=240)
    assert examples(alerts_of(model, answers), "mae") == ["p530", "p550", "p551", "p650", "p719"]


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_largest_errors_do_not_depend_on_how_rows_were_cut(seed: int) -> None:
    chance = random.Random(seed)
    errors = [chance.choice([0.5, 1.0, chance.random()]) for _ in range(777)]
    ids = [f"p{at}" for at in range(len(errors))]
    whole, cut = LargestErrors(STRETCH_ROWS), LargestErrors(STRETCH_ROWS)
    whole.take(0, ids, None, errors)
    at = 0
    while at < len(errors):
        end = at + chance.randint(1, 260)
        cut.take(at, ids[at:end], None, errors[at:end])
        state, cut = cut.snapshot(), LargestErrors(STRETCH_ROWS)
        cut.restore(state)
        at = min(end, len(errors))
    assert cut.snapshot() == whole.snapshot()
    lately = range(len(errors) // STRETCH_ROWS * STRETCH_ROWS - STRETCH_ROWS, len(errors))
    best = sorted(lately, key=lambda at: (errors[at], at))[-MOST_EXAMPLES:]
    assert whole.of(None) == [ids[at] for at in sorted(best)]


def test_drift_of_the_error_has_examples_where_it_got_worse_and_only_there() -> None:
    model = replace(ModelSpec("m", task="binary", windows=(LAST_50,)), evaluate_every=10)
    answers = [(1, 1)] * 600 + [(1, 0)] * 400 + [(1, 1)] * 600
    told = [each for each in alerts_of(model, answers) if each["kind"] == "concept_drift"]
    assert {each["direction"] for each in told} == {"worse", "better"}
    for alert in told:
        found = alert["evidence"].get("examples")
        if alert["status"] == "resolved" or alert["direction"] == "better":
            assert found is None
        else:
            assert found
            assert all(600 <= int(each[1:]) < 1_000 for each in found)


def test_a_resolution_has_no_examples_and_neither_has_an_alert_about_predictions() -> None:
    model = spec(
        "binary",
        limit("accuracy", minimum=0.8),
        limit("throughput", minimum=1e9, window=WindowSpec("duration", 60_000)),
    )
    alerts = alerts_of(model, [*MIXED, *GOOD * 20])
    assert {each["status"] for each in alerts} >= {"firing", "resolved"}
    for alert in alerts:
        assert ("examples" in alert["evidence"]) == (
            alert["rule"] == "accuracy" and alert["status"] != "resolved"
        )


def test_whoever_wants_no_ids_in_alerts_gets_none() -> None:
    model = spec("binary", limit("accuracy", minimum=0.99), alert_examples=False)
    [alert] = alerts_of(model, MIXED + GOOD[:10])
    assert "examples" not in alert["evidence"]
    assert "p2" not in str(alert)
