"""On streams with known drift, an alert says since when: near the truth, in the time of the predictions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from benchmarks.detection.streams import labels_and_guesses
from streamer.domain.objectives import DetectorSpec, DriftSpec, Objectives
from tests.domain.feed import Log, build, feed
from tests.shared_data import data_file
from tests.truth.test_known_drift import SPEC, STREAMS

LATE_ROWS = 300  # labels come so many predictions late
SECOND = 1_000


def alerts_of(name: str, learn: int, detector: str) -> tuple[int, list[dict[str, Any]]]:
    """When the stream began, and the alerts that open an incident; a prediction a second."""
    labels, guesses = labels_and_guesses(data_file(name), learn)
    drift = (DriftSpec("error", (DetectorSpec(detector),), quiet_rows=1000),)  # type: ignore[arg-type]
    pipeline = build(Objectives(models={"frozen": replace(SPEC, drift=drift)}))
    log = Log()
    began = log.at
    for number in range(len(labels) + LATE_ROWS):
        if number < len(labels):
            log.predict(number, f"c{guesses[number]}", model="frozen")
        if number >= LATE_ROWS:
            log.label(number - LATE_ROWS, f"c{labels[number - LATE_ROWS]}", model="frozen")
        log.wait(SECOND)
    feed(pipeline, log.steps)
    return began, [each for each in pipeline.take_effects().alerts if each["status"] == "firing"]


@pytest.mark.parametrize("detector", ["adwin", "page_hinkley"])
@pytest.mark.parametrize(("name", "learn", "truth", "within"), STREAMS, ids=[each[0] for each in STREAMS])
def test_every_known_drift_is_dated_to_within_seventy_five_rows(
    name: str, learn: int, truth: tuple[int, ...], within: int, detector: str
) -> None:
    began, alerts = alerts_of(name, learn, detector)
    dated: dict[int, float] = {}
    for alert in alerts:
        since = datetime.fromisoformat(alert["evidence"]["since"]).timestamp() * 1000
        row = (since - began) / SECOND + learn
        found = alert["evidence"]["detections"][0]["position"] + learn
        for change in truth:
            if change < found <= change + within:  # the first alarm after it, not a false one
                dated.setdefault(change, row)
    assert set(dated) == set(truth)
    for change, row in dated.items():
        assert abs(row - change) <= 75, dated
