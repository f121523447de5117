"""Knobs, ladders and the rung that is quiet enough."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain.calibration import (
    LADDERS,
    RUNGS,
    Calibration,
    Kind,
    Knob,
    Setting,
    at_rung,
    calibrated,
    choose,
    knobs_of,
    own_value,
    shares,
)
from streamer.domain.objectives import (
    DataDriftSpec,
    DetectorSpec,
    DriftSpec,
    ModelSpec,
    ReferenceSpec,
    ThresholdSpec,
    WindowSpec,
)

WINDOW = WindowSpec("last", 1000)
SPEC = ModelSpec(
    "m",
    task="binary",
    thresholds=(
        ThresholdSpec("accuracy", "accuracy", WINDOW, minimum=0.8),
        ThresholdSpec("bare", "f1", WINDOW, minimum=0.5, confidence=None),
        ThresholdSpec("silence", "silence", WINDOW, maximum=1000.0),
    ),
    drift=(
        DriftSpec("error", (DetectorSpec("adwin"), DetectorSpec("page_hinkley", (("alpha", 1.0),)))),
        DriftSpec("score", (DetectorSpec("adwin", (("delta", 0.1),)),)),
    ),
    reference=ReferenceSpec("first", 1000),
    data_drift=DataDriftSpec(distance="wasserstein", maximum=0.5),
)
KNOBS = [
    Knob("accuracy", "confidence"),
    Knob("drift.error", "adwin", 0),
    Knob("drift.error", "page_hinkley", 1),
    Knob("drift.score", "adwin", 0),
    Knob("drift.data", "max"),
]
KINDS: list[Kind] = [*LADDERS]


def test_every_detector_and_every_bound_can_be_turned_and_nothing_else() -> None:
    assert list(knobs_of(SPEC)) == KNOBS
    assert [own_value(SPEC, knob) for knob in KNOBS] == [0.95, 0.002, 50.0, 0.1, 2.0]


def test_each_rule_may_spend_the_same_and_its_detectors_share_it() -> None:
    found = shares(KNOBS)
    assert found == {
        KNOBS[0]: 1 / 4, KNOBS[1]: 1 / 8, KNOBS[2]: 1 / 8, KNOBS[3]: 1 / 4, KNOBS[4]: 1 / 4,
    }  # fmt: skip
    assert math.fsum(found.values()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_ladder_leads_from_loose_to_strict(kind: Kind) -> None:
    ladder = LADDERS[kind]
    heights = [ladder.scale(rung) for rung in ladder.rungs]
    assert heights == sorted(set(heights))
    assert len(heights) == RUNGS
    assert [ladder.back(height) for height in heights] == pytest.approx(ladder.rungs)
    assert ladder.scale(ladder.last) > heights[-1]


def test_a_rung_has_each_rule_with_one_of_its_detectors() -> None:
    first, second = at_rung(SPEC, 3, 0), at_rung(SPEC, 3, 1)
    assert first.thresholds[0].confidence == LADDERS["confidence"].rungs[3]
    assert first.thresholds[1] == SPEC.thresholds[1]
    assert first.data_drift.limit == pytest.approx(LADDERS["max"].rungs[3] * 0.25)  # of the usual limit
    assert [each.detectors for each in first.drift] == [
        (DetectorSpec("adwin", (("delta", LADDERS["adwin"].rungs[3]),)),)
    ] * 2
    threshold = LADDERS["page_hinkley"].rungs[3]
    [only] = second.drift
    assert only.detectors == (DetectorSpec("page_hinkley", (("alpha", 1.0), ("threshold", threshold))),)
    assert (second.thresholds, second.reference) == ((), None)


def test_a_calibration_makes_rules_stricter_and_never_looser() -> None:
    loose = [Setting(knob, LADDERS[knob.kind].rungs[0], 0.1, False) for knob in KNOBS]
    assert [own_value(calibrated(SPEC, loose), knob) for knob in KNOBS] == pytest.approx(
        [own_value(SPEC, knob) for knob in KNOBS]
    )
    strict = [replace(each, value=LADDERS[each.knob.kind].last) for each in loose]
    found = calibrated(SPEC, strict)
    assert [own_value(found, knob) for knob in KNOBS] == [LADDERS[knob.kind].last for knob in KNOBS]
    assert found.thresholds[1:] == SPEC.thresholds[1:]
    unreachable = [replace(each, value=None) for each in loose]
    assert calibrated(SPEC, unreachable) == SPEC


def counts_of(kind: Kind, at_first: float, slope: float, exposure: float) -> list[int]:
    """Incidents of a rule whose rate falls by ``slope`` (e-folds) from the first rung to the last."""
    ladder = LADDERS[kind]
    low, high = ladder.scale(ladder.rungs[0]), ladder.scale(ladder.rungs[-1])
    return [
        round(exposure * at_first * math.exp(-slope * (ladder.scale(rung) - low) / (high - low)))
        for rung in ladder.rungs
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", [30.0, 1.0, 1e-3])
def test_a_rate_that_falls_exponentially_is_met_whether_it_can_be_counted_or_not(
    kind: Kind, wanted: float
) -> None:
    exposure = 50.0
    found = choose(Knob("r", kind), counts_of(kind, 200, 9, exposure), exposure, wanted)
    assert found.value is not None
    ladder = LADDERS[kind]
    low, high = ladder.scale(ladder.rungs[0]), ladder.scale(ladder.rungs[-1])
    rate = 200 * math.exp(-9 * (ladder.scale(found.value) - low) / (high - low))
    assert rate == pytest.approx(wanted, rel=0.15 if wanted >= 1 else 0.6)
    assert found.extrapolated == (wanted < 0.1)


def test_a_rule_that_is_quiet_enough_on_the_first_rung_stays_there() -> None:
    knob = Knob("r", "adwin")
    assert choose(knob, [20, *[0] * (RUNGS - 1)], 100.0, 0.5) == Setting(knob, 10**-0.5, 0.2, False)
    assert choose(knob, [0] * RUNGS, 100.0, 0.5) == Setting(knob, 10**-0.5, 0.0, False)


def test_what_is_too_rare_to_say_anything_stands_on_the_first_rung_without_any() -> None:
    knob = Knob("r", "page_hinkley")
    found = choose(knob, [5, 2, 0, *[0] * (RUNGS - 3)], 1.0, 1e-6)
    assert (found.value, found.extrapolated) == (LADDERS["page_hinkley"].rungs[2], True)


def test_a_rule_that_strictness_does_not_quiet_has_no_place() -> None:
    knob = Knob("r", "confidence")
    found = choose(knob, [500] * RUNGS, 10.0, 0.1)
    assert found == Setting(knob, None, pytest.approx(50.0), True)


@given(
    st.sampled_from(KINDS),
    st.lists(st.integers(0, 3000), min_size=RUNGS, max_size=RUNGS),
    st.floats(0.01, 1e4),
    st.floats(1e-6, 1e3),
)
def test_whatever_was_counted_there_is_an_answer_on_the_ladder(
    kind: Kind, counts: list[int], exposure: float, wanted: float
) -> None:
    counts.sort(reverse=True)
    found = choose(Knob("r", kind), counts, exposure, wanted)
    ladder = LADDERS[kind]
    if found.value is not None:
        at = ladder.scale(found.value)
        assert ladder.scale(ladder.rungs[0]) - 1e-9 <= at <= ladder.scale(ladder.last) + 1e-9
    if not found.extrapolated:
        assert found.rate <= wanted * (1 + 1e-9)


def test_a_calibration_is_the_same_after_it_was_a_file() -> None:
    settings = (Setting(KNOBS[0], 0.99, 0.2, False), Setting(KNOBS[2], None, 4.0, True))
    made = Calibration("m", "1 per 30d", "may.csv", 10, 3, 1e6, settings, 500, {"accuracy": 1})
    assert Calibration.of_plain(made.plain()) == made
    assert made.allowed == 5e-4
    assert made.lacks(SPEC) == ["drift.error", "drift.score", "drift.data"]
    with pytest.raises(ValueError, match="no setting"):
        Calibration.of_plain({**made.plain(), "settings": [
            {"knob": {"rule": "r", "kind": "magic", "part": 0}, "value": 1, "rate": 0, "extrapolated": False}
        ]})  # fmt: skip
