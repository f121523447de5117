"""What we take from inside River: the state of its detectors, and that it can be put back at any moment."""

from __future__ import annotations

import random
from importlib.metadata import version
from typing import Any

import pytest
from river import drift

from streamer.adapters import codec
from streamer.domain.drift import SignalWatch
from streamer.domain.objectives import DetectorSpec

BOTH = (DetectorSpec("adwin"), DetectorSpec("page_hinkley"))


def shifting(chance: random.Random, count: int = 3000) -> list[int]:
    """0/1 losses whose rate jumps every 700 values."""
    return [int(chance.random() < (0.1, 0.6)[(at // 700) % 2]) for at in range(count)]


def test_the_version_is_the_one_whose_state_we_know() -> None:
    assert version("river").startswith("0.26.")


def test_adwins_whole_state_is_its_helpers_bytes_and_one_flag() -> None:
    adwin = drift.ADWIN()
    assert isinstance(adwin._helper.__getstate__(), bytes)
    assert adwin._drift_detected is False
    assert {"_helper", "_drift_detected"} <= set(vars(adwin))


def test_page_hinkleys_state_is_plain_numbers() -> None:
    detector = drift.PageHinkley()
    for value in shifting(random.Random(1), 100):
        detector.update(value)
    parameters = {"alpha", "delta", "min_instances", "mode", "threshold", "_test_drift"}
    state = {"_sum_increase", "_sum_decrease", "_min_increase", "_max_decrease", "_drift_detected"}
    assert set(vars(detector)) == parameters | state | {"_x_mean"}
    assert {"n", "_mean"} <= set(vars(detector._x_mean))
    assert all(isinstance(getattr(detector, name), (int, float)) for name in state)


def through_bytes(watch: SignalWatch) -> SignalWatch:
    state: Any = codec.decode_cell(codec.encode_cell(watch.snapshot()))
    fresh = SignalWatch(BOTH, bounded=True)
    fresh.restore(state)
    return fresh


@pytest.mark.parametrize("seed", range(3))
def test_a_snapshot_after_every_single_value_changes_nothing(seed: int) -> None:
    values = shifting(random.Random(seed))
    plain, saved = SignalWatch(BOTH, bounded=True), SignalWatch(BOTH, bounded=True)
    found, again = [], []
    for value in values:
        found += plain.update(value) or []
        again += saved.update(value) or []
        saved = through_bytes(saved)
    assert again == found
    # The restored detector stood at an alarm more than once: without its flag it would raise a second one.
    assert {each.detector for each in found} == {"adwin", "page_hinkley"}
