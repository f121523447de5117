"""The judge is seen to find against the program: each way of being wrong, on doctored evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from streamer.adapters import codec
from streamer.adapters.topics import Topics
from streamer.checkpoint import Checkpoint, OutRecord
from streamer.config import parse_objectives
from streamer.domain.partition import Partition
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline
from tests.chaos.judge import Verdict, judge, judge_counters
from tests.domain.feed import IDENTITY, Record
from tests.e2e.oracle import Evidence
from tests.e2e.traffic import OBJECTIVES, traffic

RECORDS = 24_000
COMMIT_EVERY = 700
PERIOD = 3_000
NAMES = Topics(trace="trace")
SOURCES = (NAMES.predictions, NAMES.labels)
WANTED = parse_objectives(OBJECTIVES)
BROKERS_MS = 1_795_000_000_000
Step = tuple[int, Record]
Tamper = Callable[[Pipeline], None]


@dataclass(frozen=True, slots=True)
class Told:
    """A record of an output topic, as a client answers it."""

    record: OutRecord

    def value(self) -> bytes | None:
        return self.record.value

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.record.headers)


def log() -> list[Step]:
    """What was written, in the order in which it is read."""
    offsets = [0, 0]
    steps: list[Step] = []
    for number, (kind, _, key, value) in enumerate(traffic(lambda made: made < RECORDS, 1, period=PERIOD)):
        steps.append((kind, Record(BROKERS_MS + number // 2, offsets[kind], value, key)))
        offsets[kind] += 1
    return steps


def run(steps: list[Step], tamper: Tamper = lambda pipeline: None) -> Evidence:
    """What a worker leaves that takes these records. ``tamper``: with its memory, before the last commit."""
    pipeline = Pipeline(Partition(WANTED, lambda model: True), 0, SOURCES, codec.decode_event)
    checkpoint = Checkpoint(codec, IDENTITY)
    rooms: dict[str, list[OutRecord]] = {}
    state: dict[bytes, bytes] = {}

    def commit() -> None:
        for record in checkpoint.prepare(pipeline, trace=True).records:
            rooms.setdefault(record.room, []).append(record)
            if record.room == "state":
                state.pop(record.key, None)
                if record.value is not None:
                    state[record.key] = record.value

    for number, (kind, record) in enumerate(steps, start=1):
        pipeline.run(kind, [record])
        if number % COMMIT_EVERY == 0:
            commit()
    tamper(pipeline)
    commit()
    topics = {room: [Told(record) for record in records] for room, records in rooms.items()}
    return Evidence(
        [orjson.loads(each.value() or b"") for each in topics["trace"]],
        ([r for kind, r in steps if kind == PREDICTIONS], [r for kind, r in steps if kind == LABELS]),
        topics["alerts"],
        topics["reports"],
        topics["dead_letters"],
        state,
    )


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return log()


@pytest.fixture(scope="module")
def honest(steps: list[Step]) -> Evidence:
    return run(steps)


def verdict_of(evidence: Evidence) -> Verdict:
    return judge(evidence, NAMES, 0, 1, WANTED)


def test_an_honest_run_is_found_to_be_one(honest: Evidence) -> None:
    verdict = verdict_of(honest)
    assert verdict.problems == []
    assert (verdict.lost, verdict.twice, verdict.alert_differences, verdict.alerts_twice) == (0, 0, 0, 0)
    assert verdict.records == sum(map(len, honest.sources)) >= RECORDS
    assert verdict.alerts == len(honest.alerts)
    assert min(verdict.fired, verdict.resolved, len(honest.dead_letters)) > 0


# -- records ---------------------------------------------------------------------------------------


def test_a_record_that_was_stepped_over_is_lost(steps: list[Step], honest: Evidence) -> None:
    without = [*steps[:5_000], *steps[5_001:]]
    verdict = verdict_of(replace(run(without), sources=honest.sources))
    assert (verdict.lost, verdict.twice) == (1, 0)
    assert "1 of" in verdict.problems[0]


def test_a_record_behind_the_last_commit_is_lost(steps: list[Step], honest: Evidence) -> None:
    verdict = verdict_of(replace(run(steps[:-3]), sources=honest.sources))
    assert (verdict.lost, verdict.twice) == (3, 0)
    assert verdict.problems


def test_a_record_that_was_taken_twice_is_counted_twice(steps: list[Step], honest: Evidence) -> None:
    verdict = verdict_of(replace(run([*steps[:5_000], steps[4_999], *steps[5_000:]]), sources=honest.sources))
    assert (verdict.lost, verdict.twice) == (0, 1)
    assert verdict.problems


def test_one_lost_and_one_taken_twice_do_not_make_up_for_each_other(
    steps: list[Step], honest: Evidence
) -> None:
    wrong = [*steps[:5_000], *steps[5_001:15_000], steps[14_999], *steps[15_000:]]
    assert steps[5_000][0] == steps[14_999][0], "of one topic"
    verdict = verdict_of(replace(run(wrong), sources=honest.sources))
    assert (verdict.lost, verdict.twice) == (1, 1)


def test_a_whole_commit_that_was_done_again_is_counted_twice(honest: Evidence) -> None:
    again = honest.trace[10]
    verdict = verdict_of(replace(honest, trace=[*honest.trace[:11], again, *honest.trace[11:]]))
    assert verdict.twice == sum(count for kind, count in again["order"] if kind >= 0)
    assert verdict.problems


def test_a_commit_that_is_missing_is_lost(honest: Evidence) -> None:
    verdict = verdict_of(replace(honest, trace=[*honest.trace[:10], *honest.trace[11:]]))
    assert verdict.lost == sum(count for kind, count in honest.trace[10]["order"] if kind >= 0)
    assert verdict.problems


# -- what was told ---------------------------------------------------------------------------------


def told(honest: Evidence, alerts: list[Any]) -> Verdict:
    return verdict_of(replace(honest, alerts=alerts))


def test_an_alert_that_is_told_twice_is_found(honest: Evidence) -> None:
    verdict = told(honest, [*honest.alerts[:4], honest.alerts[3], *honest.alerts[4:]])
    assert (verdict.alerts_twice, verdict.alert_differences) == (1, 1)
    assert verdict.problems


def test_an_alert_that_is_missing_is_found(honest: Evidence) -> None:
    verdict = told(honest, [*honest.alerts[:3], *honest.alerts[4:]])
    assert (verdict.alerts_twice, verdict.alert_differences) == (0, 1)
    assert verdict.problems


def test_an_alert_with_another_figure_is_found(honest: Evidence) -> None:
    document = orjson.loads(honest.alerts[3].value())
    document["value"] = -1.0
    wrong = Told(OutRecord("alerts", b"", orjson.dumps(document)))
    verdict = told(honest, [*honest.alerts[:3], wrong, *honest.alerts[4:]])
    assert verdict.alert_differences == 2, "one is missing, one is too many"
    assert verdict.problems


def test_alerts_in_another_order_are_found(honest: Evidence) -> None:
    first, second, *rest = honest.alerts
    verdict = told(honest, [second, first, *rest])
    assert verdict.alert_differences == 1
    assert verdict.problems


def test_a_report_that_is_missing_or_there_twice_is_found(honest: Evidence) -> None:
    first, *rest = honest.reports
    for wrong in (rest, [first, first, *rest]):
        assert verdict_of(replace(honest, reports=wrong)).problems


def test_a_dead_letter_that_is_missing_or_there_twice_is_found(honest: Evidence) -> None:
    first, *rest = honest.dead_letters
    for wrong in (rest, [first, first, *rest]):
        assert verdict_of(replace(honest, dead_letters=wrong)).problems


# -- what the next owner would begin with ------------------------------------------------------------


def miscount(pipeline: Pipeline) -> None:
    pipeline.partition.consumed["predictions"] += 1


def test_a_counter_that_is_one_too_high_is_found(steps: list[Step]) -> None:
    verdict = verdict_of(run(steps, miscount))
    assert (verdict.lost, verdict.twice) == (0, 1)
    assert any("identity" in problem for problem in verdict.problems)


def test_state_of_an_earlier_commit_is_found(honest: Evidence, steps: list[Step]) -> None:
    verdict = verdict_of(replace(honest, state=run(steps[:20_000]).state))
    assert verdict.lost == len(steps) - 20_000
    assert any("figures differ" in problem for problem in verdict.problems)


def test_state_with_a_record_missing_is_found(honest: Evidence) -> None:
    state = dict(honest.state)
    del state[next(key for key in state if b"version" in key)]
    assert any("cannot be trusted" in each for each in verdict_of(replace(honest, state=state)).problems)


def test_a_figure_that_is_wrong_although_all_is_counted_is_found(steps: list[Step], honest: Evidence) -> None:
    scored = (number for number in range(20_000, len(steps)) if b'"score":' in (steps[number][1].data or b""))
    where = next(scored)
    kind, record = steps[where]
    event = orjson.loads(record.data or b"")
    misread = replace(record, data=orjson.dumps(event | {"prediction": 1 - event["prediction"]}))
    verdict = verdict_of(
        replace(run([*steps[:where], (kind, misread), *steps[where + 1 :]]), sources=honest.sources)
    )
    assert (verdict.lost, verdict.twice) == (0, 0)
    assert any("figures differ" in problem for problem in verdict.problems)


# -- what the workers say ----------------------------------------------------------------------------


def counters() -> dict[str, dict[str, int]]:
    return {
        "predictions": {"consumed": 60, "joined": 40, "waiting": 15, "duplicate": 3, "dead_letter": 2},
        "labels": {"consumed": 50, "joined": 40, "waiting": 4, "unmatched": 6},
    }


def changed() -> Iterator[tuple[str, str, int]]:
    for topic, terms in counters().items():
        for term in terms:
            yield topic, term, 1
            yield topic, term, -1


def test_counters_that_add_up_to_what_was_sent_are_found_right() -> None:
    verdict = judge_counters(counters(), (60, 50))
    assert (verdict.lost, verdict.twice, verdict.problems) == (0, 0, [])


@pytest.mark.parametrize(("topic", "term", "by"), list(changed()))
def test_a_counter_that_is_off_by_one_is_found(topic: str, term: str, by: int) -> None:
    found: Mapping[str, dict[str, int]] = counters()
    found[topic][term] += by
    assert judge_counters(found, (60, 50)).problems


def test_counters_that_fall_short_of_what_was_sent_are_records_lost_and_the_reverse_twice() -> None:
    short, long = judge_counters(counters(), (61, 50)), judge_counters(counters(), (60, 48))
    assert (short.lost, short.twice) == (1, 0)
    assert (long.lost, long.twice) == (0, 2)
    assert short.problems
    assert long.problems
