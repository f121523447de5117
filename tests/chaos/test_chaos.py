"""Chaos in short: nine fixed seeds with about 24,000 records each; ``make chaos`` has at least 100,000."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import Crew, line_of
from tests.chaos.play import Outcome
from tests.chaos.results import Entry, entry_of
from tests.chaos.schedule import WEIGHTS, Kind, Moment, draw

SHORT = {"records": 24_000, "rate": 3_000, "period": 3_000}
# Between them, every fault at every moment.
SEEDS = (4, 15, 104, 105, 106, 110, 195, 1413)
SPARE_SEEDS = (2015, 2022)
"""Zombies only, asleep with a commit in hand; played where none of the others was caught writing."""

SIDE_BY_SIDE = 2
SHORTEST = {"records": 9_000, "rate": 3_000, "period": 1_200}
ROUTED_SEED = 1398  # two workers and one that joins, one killed while its router writes, one told to stop
TIMEOUT = 600


@pytest.fixture(scope="module")
def played(bootstrap: str) -> dict[int, tuple[Outcome, Entry]]:
    """What came out of each seed."""
    found: dict[int, tuple[Outcome, Entry]] = {}
    for seeds in (SEEDS, *((spare,) for spare in SPARE_SEEDS)):
        if any(outcome.refused for outcome, _ in found.values()):
            break
        found |= _played(bootstrap, seeds)
    return found


def _played(bootstrap: str, seeds: tuple[int, ...]) -> dict[int, tuple[Outcome, Entry]]:
    crew = Crew(bootstrap, iter(seeds), SIDE_BY_SIDE, SHORT)
    found: dict[int, tuple[Outcome, Entry]] = {}
    try:
        for schedule, outcome, scratch in crew.results():
            entry = entry_of(schedule, outcome, "")
            found[schedule.seed] = (outcome, entry)
            print(line_of(schedule.seed, entry))
            for log in sorted(Path(scratch).glob("*.log")) if entry["failed"] else ():
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")
    finally:
        crew.close()
    return found


def test_the_seeds_cover_every_fault_at_every_moment() -> None:
    faults = {(fault.kind, fault.moment) for seed in SEEDS for fault in draw(seed, **SHORT).faults}
    assert faults == set(WEIGHTS)


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_or_counted_twice_or_told_twice_under(
    seed: int, played: dict[int, tuple[Outcome, Entry]]
) -> None:
    outcome, entry = played[seed]
    assert outcome.verdict.problems == []
    assert (entry["lost"], entry["twice"], entry["alert_differences"], entry["alerts_twice"]) == (0, 0, 0, 0)
    assert entry["records"] >= SHORT["records"]


@pytest.mark.timeout(TIMEOUT)
def test_the_faults_met_what_they_were_aimed_at(played: dict[int, tuple[Outcome, Entry]]) -> None:
    for moment in (Moment.COMMIT, Moment.RESTORE, Moment.REBALANCE):
        assert sum(outcome.hits[moment] for outcome, _ in played.values()) > 0, moment
    assert sum(outcome.cut for outcome, _ in played.values()) > 0, "no transaction was cut off in its middle"
    assert not [outcome.verdict.problems for outcome, _ in played.values() if outcome.verdict.problems]
    assert sum(outcome.refused for outcome, _ in played.values()) > 0, "no zombie's commit was refused"


@pytest.mark.timeout(TIMEOUT)
def test_a_router_brings_home_each_record_of_sources_of_any_key_once(bootstrap: str) -> None:
    crew = Crew(bootstrap, iter([ROUTED_SEED]), 1, {**SHORTEST, "repartition": True})
    try:
        [(schedule, outcome, _)] = crew.results()
    finally:
        crew.close()
    print(line_of(ROUTED_SEED, entry_of(schedule, outcome, "")))
    assert schedule.sources not in (None, (schedule.partitions, schedule.partitions))
    assert {fault.kind for fault in schedule.faults} >= {Kind.KILL}
    assert outcome.verdict.problems == []
    assert outcome.verdict.records >= SHORTEST["records"]
