"""The judge of the soak finds against what grows, and against what is lost; doctored evidence shows it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.soak.evidence import Evidence, Probe, Sample
from tests.soak.judge import growth, judge, slope_mb_h
from tests.soak.sender import Sent

MINUTES = 60.0
GARBAGE = {"predictions/undecodable": 5, "labels/not_an_object": 4}


def sound() -> Evidence:
    """An hour in which all went well, with the noise of one."""
    chance = random.Random(5)
    samples = [
        Sample(
            at,
            400 + chance.gauss(0, 3),
            9_950,
            12_000,
            300_000,
            9_000,
            1.0,
            150 + at / 10 % 100,
            at / 5,
            0,
            at * 20_000,
        )
        for at in range(0, 3600, 10)
    ]
    probes = [Probe(at, 2_000 + at % 7, 20.0, 2 + chance.random() / 5) for at in range(90, 3600, 180)]
    clock, end = Sent(60, (500, 500)), Sent(3660, (36_000_500, 36_000_500))
    sent = replace(end, garbage=GARBAGE, guests={"predictions": 100, "labels": 100})
    counters = {
        topic: {"consumed": 36_000_500, "waiting": 500, "joined": 36_000_000 - dead, "dead_letter": dead}
        for topic, dead in (("predictions", 45), ("labels", 4))
    }
    return Evidence(
        minutes=MINUTES,
        rate=20_000,
        partitions=4,
        samples=samples,
        probes=probes,
        clock=clock,
        end=end,
        sent=sent,
        same_worker=True,
        restores=4,
        counters=counters,
        dead={**GARBAGE, "predictions/capacity": 40},
        fired=7,
        resolved=7,
        kept_from=(9,) * 8,
        restarted_s=(1.0,) * 4,
        at_head_s=9.0,
        finished=True,
    )


def samples(doctor: Callable[[Sample], Sample]) -> Evidence:
    evidence = sound()
    evidence.samples = [doctor(each) for each in evidence.samples]
    return evidence


def probes(doctor: Callable[[Probe], Probe]) -> Evidence:
    evidence = sound()
    evidence.probes = [doctor(each) for each in evidence.probes]
    return evidence


def test_a_sound_hour_is_found_sound() -> None:
    assert judge(sound()) == []


def test_a_rising_memory_is_found() -> None:
    leaking = samples(lambda each: replace(each, rss_mb=each.rss_mb + 30 * each.at / 3600))
    assert "memory grows by" in growth(leaking)[0]
    assert slope_mb_h(leaking.samples) == pytest.approx(30, abs=2)


def test_memory_that_jumps_once_is_found_though_its_slope_may_pass() -> None:
    jumped = samples(lambda each: replace(each, rss_mb=each.rss_mb + 25 * (each.at > 2400)))
    assert any("median memory" in problem for problem in growth(jumped))


def test_memory_that_rises_only_while_it_warms_up_is_no_leak() -> None:
    warming = samples(lambda each: replace(each, rss_mb=each.rss_mb - max(0, 200 * (1 - each.at / 1200))))
    assert judge(warming) == []


@pytest.mark.parametrize("where", ["series", "folded"])
def test_rising_series_are_found_shown_or_folded(where: str) -> None:
    rising = samples(lambda each: replace(each, **{where: int(getattr(each, where) + each.at / 2)}))
    assert ["series" in problem for problem in growth(rising)] == [True]


def test_a_state_topic_that_compaction_does_not_hold_is_found() -> None:
    growing = samples(lambda each: replace(each, state_mb=each.state_mb + each.at / 10))
    assert ["state on disk" in problem for problem in growth(growing)] == [True]


def test_growing_live_state_and_restore_time_are_found() -> None:
    growing = probes(lambda each: Probe(each.at, int(each.live + each.at), each.live_mb * (1 + each.at), 9.0))
    assert ["live" in problem for problem in growth(growing)] == [True, True]
    slower = probes(lambda each: replace(each, restore_s=each.restore_s + each.at / 500))
    assert ["restore" in problem for problem in growth(slower)] == [True]


def test_too_few_samples_prove_nothing() -> None:
    evidence = sound()
    evidence.probes = evidence.probes[:8]
    assert judge(evidence) == ["too few samples to tell whether anything grows"]


@pytest.mark.parametrize("by", [1, -1])
def test_one_record_lost_or_counted_twice_is_found(by: int) -> None:
    evidence = sound()
    evidence.counters["labels"]["consumed"] -= by
    evidence.counters["labels"]["joined"] -= by
    assert ["consumed" in problem for problem in judge(evidence)] == [True]


def test_outcomes_that_do_not_add_up_are_found() -> None:
    evidence = sound()
    evidence.counters["predictions"]["joined"] -= 1
    assert ["do not add up" in problem for problem in judge(evidence)] == [True]


@pytest.mark.parametrize(
    "dead",
    [
        {"predictions/undecodable": 6},
        {"labels/misplaced": 1},
        {"predictions/capacity": 101},
        {"labels/capacity": 101},
    ],
)
def test_dead_letters_beyond_the_garbage_and_the_guests_are_found(dead: dict[str, int]) -> None:
    evidence = sound()
    evidence.dead |= dead
    assert ["dead letters" in problem for problem in judge(evidence)] == [True]


@pytest.mark.parametrize(
    ("what", "value", "words"),
    [
        ("same_worker", False, "same process"),
        ("restores", 5, "came again"),
        ("fenced", 1, "refused"),
        ("quarantined", 1, "quarantined"),
        ("restarted_s", (1.0,), "came back"),
        ("fired", 0, "nothing is proven"),
        ("resolved", 0, "nothing is proven"),
        ("kept_from", (0, 9), "retention"),
        ("finished", False, "not finished"),
        ("end", Sent(3660, (30_000_000, 30_000_000)), "fell behind"),
        ("problems", ["the worker ended with 1"], "ended with 1"),
    ],
)
def test_everything_else_that_was_promised_is_looked_at(what: str, value: object, words: str) -> None:
    evidence = sound()
    setattr(evidence, what, value)
    assert [words in problem for problem in judge(evidence)] == [True]


def test_a_worker_that_does_not_keep_up_is_found() -> None:
    assert ["keep up" in problem for problem in growth(samples(lambda each: replace(each, lag_s=30.0)))] == [
        True
    ]


def test_a_short_run_is_not_judged_by_growth() -> None:
    evidence = samples(lambda each: replace(each, rss_mb=each.at))
    evidence.minutes = 3.0
    assert judge(evidence) == []
