"""What we take from inside River: the state of its detectors, and that it can be put back at any moment."""

from __future__ import annotations

import random
from importlib.metadata import version
from statistics import fmean
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
        found += plain.feed([value])
        again += saved.feed([value])
        saved = through_bytes(saved)
    assert again == found
    # The restored detector stood at an alarm more than once: without its flag it would raise a second one.
    assert {each.detector for each in found} == {"adwin", "page_hinkley"}


@pytest.mark.parametrize("mode", ["up", "down", "both"])
@pytest.mark.parametrize("kind", ["adwin", "page_hinkley"])
def test_the_inside_of_a_detector_is_what_rivers_own_update_makes_of_it(kind: str, mode: str) -> None:
    chance = random.Random(f"{kind}{mode}")
    parameters = (("threshold", 8.0), ("mode", mode)) if kind == "page_hinkley" else (("clock", 8),)
    watch = SignalWatch((DetectorSpec(kind, parameters),), bounded=True)
    [ours] = watch.watches
    river: Any = {"adwin": drift.ADWIN, "page_hinkley": drift.PageHinkley}[kind](**dict(parameters))
    values, at, alarms = [*shifting(chance), *(chance.gauss(0, 3) for _ in range(2000))], 0, 0
    while at < len(values):
        part = values[at : at + chance.randint(1, 40)]
        at += len(part)
        watch.feed(part)
        for value in part:
            river.update(value)
            alarms += river.drift_detected
        assert inside(ours.detector) == inside(river)
    assert alarms > 3


def inside(detector: Any) -> dict[str, Any]:
    """Everything a detector consists of, as plain values."""
    found = {**vars(detector), "_test_drift": None}
    if "_helper" in found:
        found["_helper"] = detector._helper.__getstate__()
    if "_x_mean" in found:
        found["_x_mean"] = vars(detector._x_mean)
    return found


# -- what an alarm is described by ------------------------------------------------------------


def test_width_and_estimation_are_the_size_and_the_mean_of_what_adwin_keeps() -> None:
    values = shifting(random.Random(2), 1_500)
    adwin, begin = drift.ADWIN(), 0
    alarms = 0
    for position, value in enumerate(values, start=1):
        adwin.update(value)
        width = int(adwin.width)
        assert 0 < width <= position - begin
        assert adwin.estimation == pytest.approx(fmean(values[position - width : position]))
        if adwin.drift_detected:
            alarms += 1
            assert width < position - begin, "right after an alarm only the tail is left"
            begin = position
    assert alarms >= 2


def test_an_adwin_that_has_seen_nothing_has_no_width_and_an_estimation_of_zero() -> None:
    assert (drift.ADWIN().width, drift.ADWIN().estimation) == (0, 0.0)


def test_adwin_starts_from_nothing_with_the_value_after_an_alarm() -> None:
    adwin = until_alarm(drift.ADWIN())
    assert adwin.width > 1
    adwin.update(1)
    assert (adwin.width, adwin.drift_detected) == (1, False)


def test_page_hinkley_starts_from_nothing_with_the_value_after_an_alarm() -> None:
    detector = until_alarm(drift.PageHinkley())
    detector.update(1)
    fresh = drift.PageHinkley()
    fresh.update(1)
    plain = set(vars(fresh)) - {"_test_drift", "_x_mean"}
    assert {name: vars(detector)[name] for name in plain} == {name: vars(fresh)[name] for name in plain}
    assert (detector._x_mean.n, detector._x_mean._mean) == (fresh._x_mean.n, fresh._x_mean._mean)


def until_alarm(detector: Any) -> Any:
    for value in shifting(random.Random(3)):
        detector.update(value)
        if detector.drift_detected:
            return detector
    raise AssertionError("no alarm")


# -- the bytes ------------------------------------------------------------------------------------


def test_a_helper_takes_its_bytes_back_in_a_fresh_detector_of_any_parameters() -> None:
    values = shifting(random.Random(4), 400)
    adwin = drift.ADWIN(delta=0.01, clock=5)
    for value in values:
        adwin.update(value)
    again = drift.ADWIN()
    again._helper.__setstate__(adwin._helper.__getstate__())
    assert (again.width, again.total, again.variance) == (adwin.width, adwin.total, adwin.variance)
    assert again._helper.__getstate__() == adwin._helper.__getstate__()


def test_the_bytes_carry_the_parameters_along_so_changed_ones_have_to_begin_anew() -> None:
    def first_alarm(detector: Any) -> int:
        for position, value in enumerate(shifting(random.Random(5)), start=1):
            detector.update(value)
            if detector.drift_detected:
                return position
        return 0

    quiet, touchy, swapped = drift.ADWIN(delta=1e-30), drift.ADWIN(delta=0.5), drift.ADWIN(delta=1e-30)
    swapped._helper.__setstate__(touchy._helper.__getstate__())
    assert first_alarm(swapped) == first_alarm(touchy) < first_alarm(quiet)


CORRUPT = [b"", b"\x00", b"\xff" * 64, b"not an ADWIN at all"]


@pytest.mark.parametrize("data", CORRUPT)
def test_corrupt_bytes_make_rivers_core_panic_with_what_is_no_exception(data: bytes) -> None:
    adwin = drift.ADWIN()
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - this very base class is what we pin
        adwin._helper.__setstate__(data)
    assert type(caught.value).__name__ == "PanicException"
    assert not isinstance(caught.value, Exception)


@pytest.mark.parametrize("data", CORRUPT)
def test_our_own_door_turns_the_panic_into_an_error_that_a_restart_can_refuse(data: bytes) -> None:
    watch = SignalWatch(BOTH, bounded=True)
    state = watch.snapshot()
    state["watches"][0]["state"] = [data, False]
    with pytest.raises(ValueError, match="River cannot read the bytes"):
        SignalWatch(BOTH, bounded=True).restore(state)


def test_bytes_cut_off_anywhere_are_never_taken_for_a_state() -> None:
    adwin = drift.ADWIN()
    for value in shifting(random.Random(6), 500):
        adwin.update(value)
    whole = adwin._helper.__getstate__()
    for end in random.Random(7).sample(range(len(whole)), 25):
        with pytest.raises(BaseException) as caught:  # noqa: PT011
            drift.ADWIN()._helper.__setstate__(whole[:end])
        assert type(caught.value).__name__ == "PanicException"


# -- stopped at any moment ----------------------------------------------------------------------------

SCALED = (
    DetectorSpec("page_hinkley", warm_up=80),
    DetectorSpec("adwin", scaled=True, warm_up=80),
    DetectorSpec("adwin"),
)


def scaled_through_bytes(watch: SignalWatch) -> SignalWatch:
    state: Any = codec.decode_cell(codec.encode_cell(watch.snapshot()))
    fresh = SignalWatch(SCALED, bounded=False)
    fresh.restore(state)
    return fresh


def climbing(seed: int, count: int = 900) -> list[float]:
    chance = random.Random(seed)
    return [500 + 90 * ((at // 200) % 2) + chance.gauss(0, 20) for at in range(count)]


@pytest.mark.parametrize("stop", [1, 2, 79, 80, 81, 82, 150])
def test_a_snapshot_during_at_the_end_of_and_after_a_warm_up_changes_nothing(stop: int) -> None:
    values = climbing(1)
    never, again = SignalWatch(SCALED, bounded=False), SignalWatch(SCALED, bounded=False)
    for value in values[:stop]:
        assert never.feed([value]) == []
        again.feed([value])
    again = scaled_through_bytes(again)
    found = [never.feed([value]) for value in values[stop:]]
    assert [again.feed([value]) for value in values[stop:]] == found
    assert any(found)


@pytest.mark.parametrize("seed", range(3))
def test_a_snapshot_right_at_an_alarm_does_not_raise_it_again_and_misses_none(seed: int) -> None:
    never, again = SignalWatch(SCALED, bounded=False), SignalWatch(SCALED, bounded=False)
    alarms = 0
    for value in climbing(seed):
        expected = never.feed([value])
        assert again.feed([value]) == expected
        if expected:
            alarms += 1
            again = scaled_through_bytes(again)
    assert alarms >= 3


def test_without_the_flag_a_snapshot_at_an_alarm_would_go_on_differently() -> None:
    adwin = until_alarm(drift.ADWIN())
    forgetful = drift.ADWIN()
    forgetful._helper.__setstate__(adwin._helper.__getstate__())
    adwin.update(1)
    forgetful.update(1)
    assert forgetful.width != adwin.width
