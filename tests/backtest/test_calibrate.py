"""A budget of false alarms is kept on streams in which nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from streamer.adapters.tables import TableError
from streamer.backtest.bootstrap import Event, History
from streamer.backtest.calibrate import START, calibrate, count, read, warm_up
from streamer.domain.calibration import calibrated, own_value
from streamer.domain.objectives import DetectorSpec, DriftSpec, ModelSpec, ThresholdSpec, WindowSpec
from streamer.pipeline import LABELS, PREDICTIONS
from streamer.replay import Plan

RUN_LENGTH, EXPECTED = 1000, 200
TOUCHY = (DetectorSpec("adwin", (("delta", 0.3),)), DetectorSpec("page_hinkley", (("threshold", 8.0),)))
SPEC = ModelSpec(
    "m",
    task="binary",
    windows=(),
    drift=(DriftSpec("error", TOUCHY, quiet_rows=100),),
    thresholds=(
        ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 200), minimum=0.86, confidence=0.6),
    ),
)


def coins(rows: int, seed: int, again: float = 0.3) -> Iterator[Event]:
    """One of ten is wrong, and after a wrong one three of ten are."""
    wrong = False
    for number, toss in enumerate(np.random.default_rng(seed).random(rows).tolist()):
        wrong = toss < (again if wrong else 0.1 * (1 - again) / 0.9)
        common = {"prediction_id": str(number), "model": "m", "timestamp": START + 10 * number}
        yield PREDICTIONS, {**common, "prediction": number % 2}
        yield LABELS, {**common, "label": number % 2 ^ wrong}


@pytest.fixture(scope="module")
def history() -> History:
    found = History()
    for kind, event in coins(20_000, 1):
        (found.prediction if kind == PREDICTIONS else found.label)(event)
    return found


@pytest.mark.timeout(200)
def test_on_a_fresh_stream_no_more_is_told_than_the_budget_and_a_fifth(history: History) -> None:
    found = calibrate(SPEC, history, RUN_LENGTH, rows=100_000)
    strict, rows = calibrated(SPEC, found.settings), RUN_LENGTH * EXPECTED
    [before], [after] = (count([spec], coins(rows, 2), warm_up(spec)) for spec in (SPEC, strict))
    assert sum(after.values()) <= 1.2 * EXPECTED
    assert sum(before.values()) > 2 * EXPECTED  # else the budget would be no feat
    assert sum(found.tried.values()) <= 1.5 * found.allowed
    assert not any(setting.extrapolated for setting in found.settings)


def test_the_same_seed_finds_the_same(history: History) -> None:
    assert calibrate(SPEC, history, RUN_LENGTH, rows=10_000) == calibrate(
        SPEC, history, RUN_LENGTH, rows=10_000
    )


def test_an_objective_that_the_history_breaks_cannot_be_made_quiet(history: History) -> None:
    broken = replace(
        SPEC,
        drift=(),
        thresholds=(
            ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 200), minimum=0.99, hold_rows=0),
        ),
    )
    found = calibrate(broken, history, RUN_LENGTH * 1000, rows=10_000)
    [setting] = found.settings
    strict = calibrated(broken, found.settings)
    # It opens once and stays open, whatever the confidence: what is left is as the file has it, or stricter.
    assert own_value(strict, setting.knob) >= 0.95


def test_a_short_log_is_refused_with_what_it_takes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log = tmp_path / "log.csv"
    log.write_text("prediction,label\n" + "1,1\n" * 50)
    with pytest.raises(TableError, match=r"50 predictions are too few .* at least 1,000"):
        read(Plan("m", log), lambda done, total: None, lambda: True)
