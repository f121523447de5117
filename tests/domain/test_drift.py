"""Detectors: they alarm where River's do, know on which scale they stand, and survive every stop."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from streamer.adapters import codec
from streamer.domain.drift import Detection, SignalWatch
from streamer.domain.objectives import DetectorSpec

ADWIN, PAGE_HINKLEY = DetectorSpec("adwin"), DetectorSpec("page_hinkley")
BOTH = (ADWIN, PAGE_HINKLEY)
QUICK_ADWIN = DetectorSpec(
    "adwin", (("clock", 1), ("min_window_length", 2), ("grace_period", 4), ("delta", 0.3))
)
TOUCHY = DetectorSpec("page_hinkley", (("min_instances", 5), ("threshold", 1.5)))
seeds = st.integers(0, 2**32)


def losses(seed: int, count: int, every: int = 300) -> list[float]:
    """0/1 losses whose rate jumps now and then."""
    chance = random.Random(seed)
    return [float(chance.random() < (0.1, 0.7)[(at // every) % 2]) for at in range(count)]


def levels(seed: int, count: int, every: int = 250, unit: float = 1.0) -> list[float]:
    """A noisy figure that climbs by four deviations now and then."""
    chance = random.Random(seed)
    return [unit * (30 + 4 * (at // every % 3) + chance.gauss(0, 1)) for at in range(count)]


def alarms(watch: SignalWatch, values: Iterable[float]) -> list[Detection]:
    found: list[Detection] = []
    for value in values:
        found += watch.feed([value])
    return found


def by_river(detector: Any, values: Iterable[float]) -> list[int]:
    positions = []
    for position, value in enumerate(values, start=1):
        detector.update(value)
        if detector.drift_detected:
            positions.append(position)
    return positions


def saved(watch: SignalWatch) -> Any:
    return codec.decode_cell(codec.encode_cell(watch.snapshot()))


def restored(state: Any, specs: tuple[DetectorSpec, ...], bounded: bool) -> SignalWatch:
    watch = SignalWatch(specs, bounded)
    watch.restore(state)
    return watch


# -- the same alarms as River ---------------------------------------------------------


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_a_loss_raises_the_alarms_that_river_raises_when_fed_by_hand(seed: int) -> None:
    values = losses(seed, 1_500)
    found = alarms(SignalWatch(BOTH, bounded=True), values)
    assert [each.position for each in found if each.detector == "adwin"] == by_river(drift.ADWIN(), values)
    assert [each.position for each in found if each.detector == "page_hinkley"] == by_river(
        drift.PageHinkley(), values
    )
    assert found


@given(seeds, st.sampled_from([0.001, 0.05, 0.5]), st.integers(1, 40), st.sampled_from([1.0, 5.0, 20.0]))
@settings(max_examples=15, deadline=None)
def test_parameters_reach_river_as_they_were_given(
    seed: int, delta: float, clock: int, threshold: float
) -> None:
    values = losses(seed, 800)
    specs = (
        DetectorSpec("adwin", (("delta", delta), ("clock", clock))),
        DetectorSpec("page_hinkley", (("threshold", threshold), ("min_instances", clock))),
    )
    found = alarms(SignalWatch(specs, bounded=True), values)
    expected = {
        "adwin": by_river(drift.ADWIN(delta=delta, clock=clock), values),
        "page_hinkley": by_river(drift.PageHinkley(threshold=threshold, min_instances=clock), values),
    }
    for kind, positions in expected.items():
        assert [each.position for each in found if each.detector == kind] == positions


def test_adwin_sees_a_figure_of_any_unit_as_it_is() -> None:
    values = levels(1, 2_000, unit=100.0)
    found = alarms(SignalWatch((ADWIN,), bounded=False), values)
    assert [each.position for each in found] == by_river(drift.ADWIN(), values)


def test_several_detectors_of_one_kind_do_not_disturb_each_other() -> None:
    values = losses(3, 1_200)
    touchy = alarms(SignalWatch((TOUCHY,), bounded=True), values)
    together = alarms(SignalWatch((PAGE_HINKLEY, TOUCHY, ADWIN), bounded=True), values)
    for detection in touchy:
        assert detection.position in [each.position for each in together]
    assert len(together) > len(touchy)


# -- the door ----------------------------------------------------------------------------


@given(seeds, st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1, max_size=9))
@settings(max_examples=10, deadline=None)
def test_values_that_are_not_finite_are_counted_and_change_nothing_else(seed: int, bad: list[float]) -> None:
    chance = random.Random(seed)
    values = levels(seed, 800, every=200)
    mixed = list(values)
    for value in bad:
        mixed.insert(chance.randrange(len(mixed)), value)
    clean, dirty = SignalWatch(BOTH, bounded=False), SignalWatch(BOTH, bounded=False)
    assert alarms(dirty, mixed) == alarms(clean, values)
    assert {**saved(dirty), "refused": 0} == saved(clean)
    assert (dirty.refused, dirty.seen) == (len(bad), len(values))


# -- scale -------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [-20, -3, 7, 30])
def test_page_hinkley_alarms_at_the_same_values_whatever_their_unit(power: int) -> None:
    specs = (PAGE_HINKLEY,)
    one = alarms(SignalWatch(specs, bounded=False), levels(2, 3_000, every=900))
    other = alarms(SignalWatch(specs, bounded=False), levels(2, 3_000, every=900, unit=2.0**power))
    assert one
    assert [each.position for each in other] == [each.position for each in one]
    assert [each.after for each in other] == [each.after * 2.0**power for each in one]


@pytest.mark.parametrize("unit", [0.001, 1.0, 100.0])
def test_a_stable_figure_of_any_unit_raises_next_to_no_alarm(unit: float) -> None:
    chance = random.Random(5)
    values = [unit * chance.gauss(30, 1) for _ in range(6_000)]
    assert len(alarms(SignalWatch((PAGE_HINKLEY,), bounded=False), values)) <= 5
    raw = len(by_river(drift.PageHinkley(), values))
    assert raw > 100 if unit == 100.0 else raw <= 5


def test_a_tiny_figure_that_moves_is_seen_though_river_by_itself_is_blind_to_it() -> None:
    values = levels(6, 2_000, every=1_000, unit=1e-6)
    assert alarms(SignalWatch((PAGE_HINKLEY,), bounded=False), values)
    assert by_river(drift.PageHinkley(), values) == []


def test_nothing_alarms_during_the_warm_up_and_the_scale_is_frozen_after_it() -> None:
    spec = DetectorSpec("page_hinkley", warm_up=300)
    values = levels(7, 900, every=100)
    found = alarms(SignalWatch((spec,), bounded=False), values)
    mean, deviation = float(np.mean(values[:300])), float(np.std(values[:300]))
    scaled = [max(-10.0, min(10.0, (value - mean) / deviation)) for value in values[300:]]
    assert [each.position - 300 for each in found] == by_river(drift.PageHinkley(), scaled)


def test_one_giant_value_weighs_no_more_than_one_that_is_just_clipped() -> None:
    chance = random.Random(8)
    values = [chance.gauss(4 * (at > 1_000), 1) for at in range(1_500)]
    positions = []
    for giant in (12.0, 1e30):
        values[800] = giant
        positions.append([each.position for each in alarms(SignalWatch((PAGE_HINKLEY,), False), values)])
    assert positions[0]
    assert positions[0] == positions[1]


def test_a_figure_that_never_varied_while_warming_up_is_watched_in_its_own_unit() -> None:
    spec = DetectorSpec("page_hinkley", warm_up=50)
    values = [5.0] * 200 + [8.0] * 200
    found = alarms(SignalWatch((spec,), bounded=False), values)
    assert [each.position - 50 for each in found] == by_river(
        drift.PageHinkley(), [value - 5.0 for value in values[50:]]
    )
    assert found


@pytest.mark.parametrize(("scaled", "bounded"), [(True, True), (False, False)])
def test_a_detector_may_be_told_whether_to_scale(scaled: bool, bounded: bool) -> None:
    values = losses(9, 1_500)
    spec = DetectorSpec("page_hinkley", scaled=scaled, warm_up=100)
    found = [each.position for each in alarms(SignalWatch((spec,), bounded), values)]
    assert (found == by_river(drift.PageHinkley(), values)) is not scaled


def test_adwin_may_be_scaled_and_still_tells_levels_in_the_unit_of_the_signal() -> None:
    spec = DetectorSpec("adwin", scaled=True, warm_up=200)
    values = [1000 + 50 * each for each in levels(10, 1_600, every=800)]
    [found] = alarms(SignalWatch((spec,), bounded=False), values)
    assert found.cut is not None
    assert found.before == pytest.approx(np.mean(values[200 : found.cut]), rel=1e-9)
    assert found.after == pytest.approx(np.mean(values[found.cut : found.position]), rel=1e-9)


# -- what an alarm says -------------------------------------------------------------------


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_adwin_tells_the_means_on_both_sides_of_its_cut(seed: int) -> None:
    values = losses(seed, 2_000, every=500)
    begin = 0
    for found in alarms(SignalWatch((ADWIN,), bounded=True), values):
        assert found.cut is not None
        assert begin <= found.cut < found.position
        assert found.after == pytest.approx(np.mean(values[found.cut : found.position]))
        if found.cut > begin:
            assert found.before == pytest.approx(np.mean(values[begin : found.cut]), abs=1e-9)
        begin = found.position


def test_adwin_cuts_close_to_where_the_change_was() -> None:
    chance = random.Random(11)
    values = [float(chance.random() < (0.1 if at < 1_000 else 0.7)) for at in range(1_500)]
    [first, *_] = alarms(SignalWatch((ADWIN,), bounded=True), values)
    assert first.cut is not None
    assert abs(first.cut - 1_000) <= 64
    assert first.before == pytest.approx(0.1, abs=0.03)
    assert first.after > 0.3


def test_page_hinkley_does_not_tell_a_cut_and_compares_the_last_fifty_values_with_those_before() -> None:
    values = losses(12, 700, every=500)
    [first, *_] = alarms(SignalWatch((PAGE_HINKLEY,), bounded=True), values)
    assert first.cut is None
    assert first.after == pytest.approx(np.mean(values[first.position - 50 : first.position]))
    assert first.before == pytest.approx(np.mean(values[: first.position - 50]))


def test_a_second_alarm_speaks_only_of_values_since_the_first() -> None:
    values = losses(13, 2_600, every=600)
    found = alarms(SignalWatch((PAGE_HINKLEY,), bounded=True), values)
    first, second = found[:2]
    assert second.before == pytest.approx(np.mean(values[first.position : second.position - 50]))


@pytest.mark.parametrize("bounded", [True, False])
@given(seeds, st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_values_raise_the_same_alarms_however_they_are_cut(
    bounded: bool, seed: int, chance: random.Random
) -> None:
    specs = (QUICK_ADWIN, TOUCHY, DetectorSpec("page_hinkley", warm_up=60), ADWIN)
    values = losses(seed, 900, every=120) if bounded else levels(seed, 900, every=120)
    expected = alarms(SignalWatch(specs, bounded), values)
    watch, found, at = SignalWatch(specs, bounded), [], 0
    while at < len(values):
        size = chance.randint(1, 150)
        found += watch.feed(values[at : at + size])
        at += size
    assert found == expected
    assert len(found) > 5


# -- saved and restored --------------------------------------------------------------------


@pytest.mark.parametrize("bounded", [True, False])
@given(seeds)
@settings(max_examples=4, deadline=None)
def test_a_watch_that_is_restored_after_every_value_goes_on_as_if_it_had_never_stopped(
    bounded: bool, seed: int
) -> None:
    specs = (QUICK_ADWIN, TOUCHY, DetectorSpec("page_hinkley", warm_up=60), ADWIN)
    values = losses(seed, 700, every=120) if bounded else levels(seed, 700, every=120)
    never, again = SignalWatch(specs, bounded), SignalWatch(specs, bounded)
    total = 0
    for value in values:
        expected = never.feed([value])
        assert again.feed([value]) == expected
        total += len(expected)
        again = restored(saved(again), specs, bounded)
        assert saved(again) == saved(never)
    assert total > 5


def test_a_detector_whose_parameters_changed_begins_anew_and_the_others_go_on() -> None:
    values = losses(14, 2_000, every=400)
    before, after = values[:1_000], values[1_000:]
    watch = SignalWatch(BOTH, bounded=True)
    alarms(watch, before)
    changed = DetectorSpec("page_hinkley", (("threshold", 20.0),))
    again = restored(saved(watch), (ADWIN, changed), bounded=True)
    found = alarms(again, after)
    fresh = alarms(SignalWatch((changed,), bounded=True), after)
    assert fresh
    assert [(each.position - 1_000, each.before, each.after) for each in found if each.cut is None] == [
        (each.position, pytest.approx(each.before), pytest.approx(each.after)) for each in fresh
    ]
    assert [each for each in found if each.detector == "adwin"] == [
        each for each in alarms(watch, after) if each.detector == "adwin"
    ]


def test_another_warm_up_begins_a_new_warm_up() -> None:
    values = levels(15, 1_200, every=300)
    old, new = DetectorSpec("page_hinkley", warm_up=100), DetectorSpec("page_hinkley", warm_up=150)
    watch = SignalWatch((old,), bounded=False)
    alarms(watch, values[:600])
    again = restored(saved(watch), (new,), bounded=False)
    fresh = SignalWatch((new,), bounded=False)
    assert [each.position - 600 for each in alarms(again, values[600:])] == [
        each.position for each in alarms(fresh, values[600:])
    ]


def test_a_detector_that_was_added_starts_with_the_next_value() -> None:
    values = losses(16, 1_600, every=400)
    watch = SignalWatch((ADWIN,), bounded=True)
    alarms(watch, values[:800])
    again = restored(saved(watch), BOTH, bounded=True)
    found = [each.position - 800 for each in alarms(again, values[800:]) if each.detector == "page_hinkley"]
    assert found == by_river(drift.PageHinkley(), values[800:])


@pytest.mark.parametrize("core", [None, "text", b"\x00" * (2 << 20)])
def test_an_adwin_whose_bytes_are_missing_or_too_many_is_refused(core: Any) -> None:
    watch = SignalWatch((ADWIN,), bounded=True)
    state = watch.snapshot()
    state["watches"][0]["state"] = [core, False]
    with pytest.raises(ValueError, match="missing or too many"):
        restored(state, (ADWIN,), bounded=True)


def test_a_watch_without_detectors_only_counts() -> None:
    watch = SignalWatch((), bounded=True)
    assert alarms(watch, [0.5, 1.0]) == []
    assert watch.seen == 2
