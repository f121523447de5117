"""The merged order: by record time, the same however chunks arrive, never ahead of what may still come."""

from __future__ import annotations

import random
from bisect import bisect_left
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.merge import LABELS, PREDICTIONS, RUN_MS, Merger

Record = tuple[int, int, int]  # time, topic, offset

seeds = st.integers(0, 2**32)
gaps = st.lists(st.sampled_from([0, 0, 1, 30, 99, 100, 101, 250, 5_000]), max_size=40)


def records(topic: int, steps: list[int], start: int = 1_700_000_000_000) -> list[Record]:
    made, time = [], start
    for offset, step in enumerate(steps):
        time += step
        made.append((time, topic, offset))
    return made


def chunks(chance: random.Random, topic: list[Record]) -> list[list[Record]]:
    cut, start = [], 0
    while start < len(topic):
        size = chance.randint(1, 9)
        cut.append(topic[start : start + size])
        start += size
    return cut


def merger() -> Merger:
    return Merger(lambda record: record[0])


def drain(merged: Merger, into: list[Record]) -> None:
    while (run := merged.next_run()) is not None:
        kind, part = run
        assert part, "a run has at least one record"
        assert {record[1] for record in part} == {kind}
        into += part


def expected_order(both: list[Record]) -> list[Record]:
    """As pandas sorts: by step of record time, predictions first, in the order of each topic."""
    table = pd.DataFrame(both, columns=["time", "topic", "offset"])
    table["step"] = table.time // RUN_MS
    ordered = table.sort_values(["step", "topic", "offset"], kind="stable")
    return [tuple(row) for row in ordered[["time", "topic", "offset"]].to_numpy().tolist()]  # type: ignore[misc]


def arrive(chance: random.Random, topics: tuple[list[Record], list[Record]]) -> list[Record]:
    """The merged order for one random way in which chunks come and are asked for."""
    waiting = [chunks(chance, topic) for topic in topics]
    merged, order = merger(), []
    while any(waiting):
        topic = chance.choice([topic for topic in (PREDICTIONS, LABELS) if waiting[topic]])
        merged.push(topic, waiting[topic].pop(0))
        if not waiting[topic]:
            merged.end(topic)
        if chance.random() < 0.5:
            drain(merged, order)
    for topic in (PREDICTIONS, LABELS):
        merged.end(topic)
    drain(merged, order)
    assert merged.at_head
    return order


@given(gaps, gaps, seeds)
@settings(max_examples=80, deadline=None)
def test_any_way_in_which_chunks_arrive_gives_the_same_order(
    predictions: list[int], labels: list[int], seed: int
) -> None:
    topics = records(PREDICTIONS, predictions), records(LABELS, labels)
    assert arrive(random.Random(seed), topics) == expected_order([*topics[0], *topics[1]])


@given(gaps, gaps, seeds)
@settings(max_examples=50, deadline=None)
def test_nothing_is_handed_out_while_the_other_topic_may_have_something_earlier(
    predictions: list[int], labels: list[int], seed: int
) -> None:
    chance = random.Random(seed)
    topics = records(PREDICTIONS, predictions), records(LABELS, labels)
    waiting = [chunks(chance, topic) for topic in topics]
    merged = merger()
    while any(waiting):
        topic = chance.choice([topic for topic in (PREDICTIONS, LABELS) if waiting[topic]])
        merged.push(topic, waiting[topic].pop(0))
        if not waiting[topic]:
            merged.end(topic)
        while (run := merged.next_run()) is not None:
            kind, part = run
            other = LABELS if kind == PREDICTIONS else PREDICTIONS
            if waiting[other]:
                earliest = waiting[other][0][0][0] // RUN_MS
                last = part[-1][0] // RUN_MS
                assert last < earliest or (last == earliest and kind == PREDICTIONS)


@given(gaps, gaps, seeds)
@settings(max_examples=60, deadline=None)
def test_each_topic_keeps_its_own_order_and_loses_nothing_even_where_ends_come_too_early(
    predictions: list[int], labels: list[int], seed: int
) -> None:
    chance = random.Random(seed)
    topics = records(PREDICTIONS, predictions), records(LABELS, labels)
    waiting = [chunks(chance, topic) for topic in topics]
    merged, order = merger(), []
    while any(waiting):
        topic = chance.choice([topic for topic in (PREDICTIONS, LABELS) if waiting[topic]])
        merged.push(topic, waiting[topic].pop(0))
        if chance.random() < 0.5:
            merged.end(chance.choice([PREDICTIONS, LABELS]))
        drain(merged, order)
    merged.end(PREDICTIONS)
    merged.end(LABELS)
    drain(merged, order)
    for topic in (PREDICTIONS, LABELS):
        assert [record for record in order if record[1] == topic] == topics[topic]


def test_with_one_topic_empty_it_waits_until_the_client_says_that_there_is_no_more() -> None:
    merged = merger()
    merged.push(PREDICTIONS, [(0, PREDICTIONS, 0)])
    assert merged.next_run() is None
    assert merged.waiting_for == LABELS
    merged.end(LABELS)
    assert merged.waiting_for is None
    assert merged.next_run() == (PREDICTIONS, [(0, PREDICTIONS, 0)])


def test_a_topic_that_had_ended_and_has_more_is_waited_for_again() -> None:
    merged = merger()
    merged.end(LABELS)
    merged.push(LABELS, [(500, LABELS, 0)])
    merged.push(PREDICTIONS, [(0, PREDICTIONS, 0), (1_000, PREDICTIONS, 1)])
    assert merged.next_run() == (PREDICTIONS, [(0, PREDICTIONS, 0)])
    assert merged.next_run() == (LABELS, [(500, LABELS, 0)])
    assert merged.next_run() is None
    assert merged.waiting_for == LABELS


def test_predictions_of_one_step_come_before_its_labels_and_after_those_of_the_step_before() -> None:
    merged = merger()
    merged.push(LABELS, [(99, LABELS, 0), (100, LABELS, 1)])
    merged.push(PREDICTIONS, [(100, PREDICTIONS, 0), (199, PREDICTIONS, 1), (200, PREDICTIONS, 2)])
    merged.end(LABELS)
    merged.end(PREDICTIONS)
    order: list[Record] = []
    drain(merged, order)
    assert [record[:2] for record in order] == [
        (99, LABELS), (100, PREDICTIONS), (199, PREDICTIONS), (100, LABELS), (200, PREDICTIONS)
    ]  # fmt: skip


def test_a_run_is_as_long_as_the_other_topic_allows() -> None:
    merged = merger()
    merged.push(PREDICTIONS, records(PREDICTIONS, [1] * 5_000, start=0))
    merged.push(LABELS, [(2_000, LABELS, 0)])
    run = merged.next_run()
    assert run is not None
    assert len(run[1]) == bisect_left(range(1, 5_001), 2_100)


def test_an_empty_chunk_is_nothing_and_does_not_undo_an_end() -> None:
    merged = merger()
    merged.end(PREDICTIONS)
    merged.end(LABELS)
    merged.push(LABELS, [])
    assert merged.at_head
    assert merged.next_run() is None


@pytest.mark.parametrize("topic", [PREDICTIONS, LABELS])
def test_the_head_is_where_nothing_is_queued_and_both_topics_have_ended(topic: int) -> None:
    merged: Any = merger()
    assert not merged.at_head
    merged.end(topic)
    assert not merged.at_head
    merged.end(1 - topic)
    assert merged.at_head
    merged.push(topic, [(0, topic, 0)])
    assert not merged.at_head
    merged.next_run()
    assert not merged.at_head  # more may have come behind what came
    merged.end(topic)
    assert merged.at_head
