"""Whether a soak kept its promises: each sentence names one that it did not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import linear_regression, median
from typing import TypeVar

from tests.chaos.judge import judge_counters
from tests.soak.evidence import Evidence, Probe, Sample

Timed = TypeVar("Timed", Sample, Probe)

# Below this the load was another than the one that is spoken of.
RATE_HELD = 0.99
# A shorter run sees too few commits, compactions and samples to tell growth from noise, and too
# few rows of a model for its alerts to be over.
JUDGED_MINUTES = 15.0
# Of the memory at hand, by an hour's slope and between the last two thirds: what an allocator's noise and
# ADWIN's logarithm are worth. A leak of 5 % an hour would fill a machine in a day; this is where it shows.
MEMORY = 0.05
# Rare series come late: a detector's first alarm on a version, a first percentile.
SERIES = 0.02
# What has to be restored: detectors keep a bucket more for each doubling of what they saw.
LIVE = 0.05
# The state topic swings between two compactions; the highest points of two thirds hit that swing differently.
STATE = 0.25
# A probe shares its core with the load, and reads what is not compacted yet as well.
RESTORE, RESTORE_S = 0.25, 0.5
# Record time not processed yet of a worker that keeps up: a commit, stretched where commits are dear.
LAG_S = 5.0


def judge(evidence: Evidence) -> list[str]:
    """All that did not hold, the soak's own problems first."""
    problems = list(evidence.problems)
    if not evidence.finished:
        return [*problems, "it was not finished"]
    problems += _counts(evidence) + _worker(evidence)
    if evidence.achieved < RATE_HELD * evidence.rate:
        problems.append(
            f"{evidence.achieved:,.0f} events a second were sent, not {evidence.rate:,}:"
            " the sender fell behind"
        )
    if evidence.minutes >= JUDGED_MINUTES:
        problems += growth(evidence) + _alerts(evidence)
    return problems


def _counts(evidence: Evidence) -> list[str]:
    """Nothing lost, nothing twice, and no dead letter that was not meant to be one."""
    problems = judge_counters(evidence.counters, evidence.sent.sent).problems
    capacity = {key: n for key, n in evidence.dead.items() if key.endswith("/capacity")}
    others = {key: n for key, n in evidence.dead.items() if key not in capacity}
    if others != dict(evidence.sent.garbage):
        problems.append(f"dead letters {others}, garbage sent {dict(evidence.sent.garbage)}")
    for key, n in capacity.items():
        most = evidence.sent.guests.get(key.removesuffix("/capacity"), 0)
        if n > most:
            problems.append(f"{n} dead letters {key}, but guests sent only {most} records")
    return problems


def _alerts(evidence: Evidence) -> list[str]:
    """Models turned bad and good again, so there is something to tell."""
    if evidence.fired and evidence.resolved:
        return []
    return [f"{evidence.fired} alerts fired, {evidence.resolved} resolved: nothing is proven of them"]


def _worker(evidence: Evidence) -> list[str]:
    """One process, one restore of each partition, no quarantine; and the next one found its way."""
    problems = []
    if not evidence.same_worker:
        problems.append("the worker was not the same process all the time")
    if evidence.restores != evidence.partitions:
        problems.append(f"{evidence.restores} restores of {evidence.partitions} partitions: some came again")
    if evidence.fenced:
        problems.append(f"{evidence.fenced} commits were refused")
    if evidence.quarantined:
        problems.append(f"{evidence.quarantined} partitions were quarantined")
    if len(evidence.restarted_s) != evidence.partitions:
        problems.append(f"after kill -9 {len(evidence.restarted_s)} of {evidence.partitions} came back")
    return problems


def growth(evidence: Evidence) -> list[str]:
    """Memory, series, state and restore time over the last two thirds; the first one is for warming up."""
    middle, last = thirds(evidence.samples, evidence)
    probes = thirds(evidence.probes, evidence)
    if min(len(middle), len(last), *(len(part) for part in probes)) < 2:
        return ["too few samples to tell whether anything grows"]
    problems = []
    resident = median(each.rss_mb for each in middle + last)
    if (slope := slope_mb_h(middle + last)) > MEMORY * resident:
        problems.append(f"memory grows by {slope:.1f} MB/h, more than {MEMORY:.0%} of {resident:.0f} MB")

    def bound(what: str, found: list[float], share: float, more: float = 0.0) -> None:
        before, after = found
        if after > before * (1 + share) + more:
            problems.append(
                f"{what}: {after:,.2f} in the last third, {before:,.2f} in the one before (bound {share:.0%})"
            )

    parts = (middle, last)
    bound("median memory in MB", [median(each.rss_mb for each in part) for part in parts], MEMORY)
    bound("series", [max(each.series + each.folded for each in part) for part in parts], SERIES)
    bound("MB of state on disk", [max(each.state_mb for each in part) for part in parts], STATE)
    bound("live records of state", [median(each.live for each in part) for part in probes], LIVE)
    bound("live MB of state", [median(each.live_mb for each in part) for part in probes], LIVE)
    restores = [median(each.restore_s for each in part) for part in probes]
    bound("seconds of a restore", restores, RESTORE, RESTORE_S)
    lag = median(each.lag_s for each in last)
    if lag > LAG_S:
        problems.append(f"the worker is {lag:.1f} s behind: it does not keep up")
    if not all(evidence.kept_from):
        problems.append("retention has deleted nothing in some partitions: the topics were not bounded")
    return problems


def thirds(each: Sequence[Timed], evidence: Evidence) -> tuple[list[Timed], list[Timed]]:
    """Those of the middle third of the time, and of the last."""
    third = evidence.minutes * 60 / 3
    middle = [one for one in each if third <= one.at < 2 * third]
    return middle, [one for one in each if one.at >= 2 * third]


def slope_mb_h(samples: Sequence[Sample]) -> float:
    """Least squares over the worker's memory, in MB an hour."""
    if len(samples) < 2:
        return 0.0
    return linear_regression([one.at / 3600 for one in samples], [one.rss_mb for one in samples]).slope
