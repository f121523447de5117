"""On streams with known drift, the alerts' evidence holds exactly what River says when fed by hand."""

from __future__ import annotations

import pytest
from river import drift

from benchmarks.detection.streams import labels_and_guesses
from streamer.domain.objectives import LIFETIME, DetectorSpec, DriftSpec, ModelSpec, Objectives
from tests.domain.feed import Log, build, feed
from tests.shared_data import data_file

# file, rows that the model learns from, first row of each new concept, rows within which it has to be found
STREAMS = [
    ("insects_2016_abrupt.csv.gz", 500, (1775, 3550), 400),
    ("lobo2020_sine_0123_abrupto.csv.gz", 1000, (10_000, 20_000, 30_000), 1000),
    ("tornado_sine1_w_50_n_0.1_101.csv.gz", 1000, (20_000, 40_000, 60_000, 80_000), 1000),
    ("tornado_mixed_w_50_n_0.1_101.csv.gz", 1000, (20_000, 40_000, 60_000, 80_000), 1000),
]
SPEC = ModelSpec(
    model="frozen",
    task="multiclass",
    windows=(LIFETIME,),
    drift=(DriftSpec("error", (DetectorSpec("adwin"), DetectorSpec("page_hinkley"))),),
)


def by_river(errors: list[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"adwin": [], "page_hinkley": []}
    for name, detector in (("adwin", drift.ADWIN()), ("page_hinkley", drift.PageHinkley())):
        for position, error in enumerate(errors, start=1):
            detector.update(error)
            if detector.drift_detected:
                found[name].append(position)
    return found


@pytest.mark.parametrize(("name", "learn", "truth", "within"), STREAMS, ids=[each[0] for each in STREAMS])
def test_detections_are_rivers_and_every_known_drift_is_found(
    name: str, learn: int, truth: tuple[int, ...], within: int
) -> None:
    labels, guesses = labels_and_guesses(data_file(name), learn)
    log = Log()
    pipeline = build(Objectives(models={"frozen": SPEC}))
    for number, (label, guess) in enumerate(zip(labels.tolist(), guesses.tolist(), strict=True)):
        log.predict(number, f"c{guess}", model="frozen")
        log.label(number, f"c{label}", model="frozen")
    feed(pipeline, log.steps)
    alerts = [alert for alert in pipeline.take_effects().alerts if alert["kind"] == "concept_drift"]
    found: dict[str, set[int]] = {"adwin": set(), "page_hinkley": set()}
    for alert in alerts:
        for detection in alert["evidence"]["detections"]:
            found[detection["detector"]].add(detection["position"])
    expected = by_river([int(a != b) for a, b in zip(labels.tolist(), guesses.tolist(), strict=True)])
    assert {kind: sorted(positions) for kind, positions in found.items()} == expected
    for row in truth:
        begins = row - learn
        for kind, positions in found.items():
            assert any(begins < at <= begins + within for at in positions), (kind, row, sorted(positions))
