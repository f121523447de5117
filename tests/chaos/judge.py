"""The judge: what the topics hold, and what the workers say, against a run that nothing ever disturbed.

It trusts no figure of the program. Which records there are comes from the
source topics, how many were sent from the sender; the trace says in which
order commits took them, and the oracle works out everything else from that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from streamer.adapters import codec
from streamer.adapters.scrape import Scrape
from streamer.adapters.topics import Topics
from streamer.checkpoint import UntrustedState
from streamer.domain.objectives import Objectives
from streamer.pipeline import KINDS, Poison
from tests.domain.feed import facts
from tests.e2e.oracle import Evidence, Oracle, identities_hold

OUTCOMES = {"predictions": "streamer_predictions_pending", "labels": "streamer_labels_parked"}
Counters = dict[str, dict[str, int]]


@dataclass(slots=True)
class Verdict:
    """``problems``: a sentence for each promise that did not hold.

    ``lost``, ``twice``: records. ``alerts``: transitions that had to be told, ``fired`` and ``resolved``
    among them; ``alert_differences``: missing, wrong or too many; ``alerts_twice``: told more than once.
    """

    records: int = 0
    lost: int = 0
    twice: int = 0
    alerts: int = 0
    fired: int = 0
    resolved: int = 0
    alert_differences: int = 0
    alerts_twice: int = 0
    commits: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Another partition's."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def judge(
    evidence: Evidence, names: Topics, partition: int, partitions: int, objectives: Objectives
) -> Verdict:
    """Promises 1 and 2 for one partition."""
    verdict = Verdict(records=sum(map(len, evidence.sources)), commits=len(evidence.trace))
    _count_records(evidence, verdict)
    _count_alerts(evidence, verdict)
    oracle = Oracle(evidence, names, partition, partitions, objectives)
    try:
        oracle.replay()
    except (AssertionError, IndexError, Poison) as error:
        verdict.problems.append(f"the traced order cannot be replayed: {_first_line(error)}")
    else:
        _compare_alerts(evidence, oracle, verdict)
        _compare_figures(oracle, verdict)
        try:
            oracle.judge()
        except (AssertionError, UntrustedState) as error:
            if not verdict.problems:
                verdict.problems.append(f"not what an undisturbed run gives: {_first_line(error)}")
    verdict.problems = [f"partition {partition}: {each}" for each in verdict.problems]
    return verdict


def _first_line(error: BaseException) -> str:
    return (str(error) or repr(error)).splitlines()[0]


def _count_records(evidence: Evidence, verdict: Verdict) -> None:
    """Between two commits lie so many records of the topic, and so many were taken."""
    for kind, records in enumerate(evidence.sources):
        offsets = [record.offset() for record in records]
        at = lost = twice = 0
        for commit in evidence.trace:
            end = bisect_left(offsets, commit["positions"][kind])
            taken = sum(count for each, count in commit["order"] if each == kind)
            lost += max(0, end - at - taken)
            twice += max(0, taken - (end - at))
            at = end
        lost += len(offsets) - at
        verdict.lost += lost
        verdict.twice += twice
        if lost or twice:
            what = f"{lost} of {len(records)} {KINDS[kind]} lost, {twice} counted twice"
            verdict.problems.append(f"{what}, by the trace")


def _count_alerts(evidence: Evidence, verdict: Verdict) -> None:
    """An id for each transition, each once, on the alerts topic and among the reports."""
    for topic, records in (("alerts", evidence.alerts), ("reports", evidence.reports)):
        documents = [orjson.loads(record.value()) for record in records]
        # The oracle holds what else is reported against its own: it has no id.
        ids = Counter(each["alert_id"] for each in documents if each.get("type", "alert") == "alert")
        again = sum(count - 1 for count in ids.values())
        if again:
            verdict.problems.append(f"{again} transitions twice on {topic}")
        if topic == "alerts":
            verdict.alerts_twice += again


def _compare_alerts(evidence: Evidence, oracle: Oracle, verdict: Verdict) -> None:
    expected = [codec.encode_json(alert) for alert in oracle.effects.alerts]
    told = [record.value() for record in evidence.alerts]
    statuses = Counter(alert["status"] for alert in oracle.effects.alerts)
    verdict.alerts = len(expected)
    verdict.fired, verdict.resolved = statuses["firing"], statuses["resolved"]
    missing, surplus = Counter(expected) - Counter(told), Counter(told) - Counter(expected)
    wrong = missing.total() + surplus.total() or int(expected != told)
    verdict.alert_differences += wrong
    if wrong:
        what = f"{missing.total()} alerts missing, {surplus.total()} too many"
        verdict.problems.append(
            f"{what}, of {len(expected)}" if missing or surplus else "alerts out of order"
        )


def _parts(found: Any, right: Any) -> str:
    """Which parts of something differ, and how: the beginning of it."""
    if isinstance(found, list) and isinstance(right, list) and len(found) == len(right):
        found, right = dict(enumerate(found)), dict(enumerate(right))
    if not isinstance(found, dict) or not isinstance(right, dict):
        return f"{str(found)[:900]} and not {str(right)[:900]}"
    names = [name for name in {**right, **found} if found.get(name) != right.get(name)]
    return "; ".join(f"{name}: {_parts(found.get(name), right.get(name))}" for name in names[:3])


def _compare_figures(oracle: Oracle, verdict: Verdict) -> None:
    """What the next owner would begin with, against what the oracle has in memory."""
    try:
        restored, expected = facts(oracle.restored()), facts(oracle.pipeline)
    except UntrustedState as error:
        verdict.problems.append(f"the state cannot be trusted: {error}")
        return
    if not identities_hold(restored):
        verdict.problems.append(f"an identity does not hold: {restored['identity']}")
    for topic in KINDS:
        found, right = (each["identity"][topic]["consumed"] for each in (restored, expected))
        verdict.lost += max(0, right - found)
        verdict.twice += max(0, found - right)
    wrong = [key for key in {**expected, **restored} if restored.get(key) != expected.get(key)]
    if wrong:
        told = (f"{key} ({_parts(restored.get(key), expected.get(key))})" for key in wrong[:5])
        verdict.problems.append(f"figures differ of {', '.join(told)}")


def counters_of(scrapes: Iterable[Scrape]) -> Counters:
    """What /metrics of all workers say about both topics: consumed, and where it ended."""
    found: Counters = {topic: Counter() for topic in KINDS}
    for scrape in scrapes:
        for topic, waiting in OUTCOMES.items():
            found[topic]["consumed"] += int(scrape.total(f"streamer_{topic}_consumed_total"))
            found[topic]["waiting"] += int(scrape.total(waiting))
            for labels, value in scrape.matching(f"streamer_{topic}_total"):
                outcome = labels["outcome"]
                found[topic][outcome] = found[topic].get(outcome, 0) + int(value)
    return found


def judge_counters(counters: Mapping[str, Mapping[str, int]], sent: Sequence[int]) -> Verdict:
    """The identities over /metrics, and consumed against what the sender knows to be in each topic."""
    verdict = Verdict()
    for topic, there in zip(KINDS, sent, strict=True):
        consumed, ended = counters[topic]["consumed"], sum(counters[topic].values())
        verdict.lost += max(0, there - consumed)
        verdict.twice += max(0, consumed - there)
        if consumed != there:
            verdict.problems.append(f"/metrics: {consumed} {topic} consumed, {there} sent")
        if ended != 2 * consumed:
            verdict.problems.append(f"/metrics: {topic} do not add up: {dict(counters[topic])}")
    return verdict
