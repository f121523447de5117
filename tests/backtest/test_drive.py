"""A log through the core is what a worker would have made of the same records."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streamer.adapters import codec
from streamer.backtest.drive import Drive
from streamer.domain.events import rfc3339
from streamer.domain.objectives import ModelSpec, Objectives, ThresholdSpec, WindowSpec
from streamer.pipeline import LABELS, PREDICTIONS
from tests.domain.feed import START_MS, Record, Step, build, facts, feed
from tests.domain.traffic import objectives, traffic

MINUTE = 60_000


def usable(steps: list[Step]) -> list[tuple[int, int, dict[str, Any]]]:
    """Those records that are objects with the name of a model; others are no event of a log."""
    found = []
    for kind, record in steps:
        try:
            event = codec.decode_event(record.data)
        except (TypeError, ValueError):
            continue
        if type(event) is dict and "model" in event:
            found.append((kind, record.at, event))
    return found


def records_of(events: list[tuple[int, int, dict[str, Any]]]) -> list[Step]:
    offsets = [0, 0]
    steps = []
    for kind, at, event in events:
        steps.append((kind, Record(at, offsets[kind], codec.encode_json(event))))
        offsets[kind] += 1
    return steps


@pytest.mark.parametrize("seed", range(12))
def test_the_same_records_give_the_same_alerts_and_figures_to_the_last_bit(seed: int) -> None:
    events = usable(traffic(random.Random(seed), 1500).steps)
    worker = build(objectives(), lambda name: True)
    feed(worker, records_of(events))
    drive = Drive(objectives(), 3, ("p", "l"))
    for kind, at, event in events:
        drive.take(kind, event, at)
    drive.feed()
    expected = worker.take_effects().alerts
    assert [each.alert for each in drive.told] == expected
    assert len(expected) > 20
    assert facts(drive.pipeline) == facts(worker)


def test_an_alert_knows_after_how_many_predictions_it_was_told() -> None:
    low = ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 10), minimum=0.5, min_samples=10)
    drive = Drive(Objectives(models={"m": ModelSpec("m", task="binary", thresholds=(low,), drift=())}))
    for number in range(400):
        event = {"prediction_id": str(number), "model": "m", "timestamp": START_MS, "prediction": 1}
        drive.prediction(event)
        late = number - 50
        if late >= 0:
            label = {
                "prediction_id": str(late),
                "model": "m",
                "timestamp": START_MS,
                "label": int(late < 120),
            }
            drive.label(label)
    drive.finish()
    [told] = drive.told
    assert told.alert["rule"] == "accuracy"
    # The 200th label is looked at with the 250th prediction: the hundred before it were all well.
    assert told.row == 250


def test_a_model_that_stops_for_a_while_is_told_to_be_silent_when_it_is() -> None:
    silence = ThresholdSpec("silence", "silence", WindowSpec("last", 1), maximum=5.0 * MINUTE, min_samples=0)
    drive = Drive(Objectives(models={"m": ModelSpec("m", task="binary", thresholds=(silence,), drift=())}))
    for at in (0, MINUTE, 20 * MINUTE, 21 * MINUTE):
        drive.prediction(
            {"prediction_id": str(at), "model": "m", "timestamp": START_MS + at, "prediction": 1}
        )
    drive.finish()
    steps = [(each.row, each.alert["status"], each.alert["updated_at"]) for each in drive.told]
    began = START_MS // 1000 * 1000
    assert steps == [
        (2, "firing", rfc3339(began + 6 * MINUTE + 1000)),
        (3, "resolved", rfc3339(began + 20 * MINUTE + 1000)),
    ]


def test_what_a_worker_could_not_have_used_is_counted_by_its_reason() -> None:
    drive = Drive(Objectives())
    good = {"prediction_id": "1", "model": "m", "timestamp": START_MS, "prediction": 1, "score": 0.5}
    drive.take(PREDICTIONS, good, START_MS)
    drive.take(PREDICTIONS, {**good, "prediction_id": "2", "score": 7}, START_MS)
    drive.take(LABELS, {"prediction_id": "1", "model": "m", "timestamp": START_MS}, START_MS)
    drive.feed()
    assert drive.unusable == {"invalid_field": 1, "missing_field": 1}
