"""The head of both topics, and what may happen only there."""

from __future__ import annotations

import time
from typing import Any

import pytest

from streamer.adapters import codec
from streamer.adapters.readers import Chunk
from streamer.adapters.seat import (
    BURST_RECORDS,
    FRESH_SECONDS,
    HEALTHY_RECORDS,
    IDLE_COMMIT_SECONDS,
    POISONS,
    Seat,
)
from streamer.checkpoint import Checkpoint
from streamer.domain.objectives import ModelSpec, Objectives
from streamer.domain.partition import Partition
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline, Poison
from tests.adapters.fakes import Bench, prediction, settle, with_bench
from tests.domain.feed import START_MS


@pytest.fixture
def seat() -> Seat:
    """A live seat that has processed one prediction and is at the head of both topics."""
    seat = Seat(0, 1)
    waits = Objectives(default=ModelSpec("*", label_wait_ms=60_000))
    pipeline = Pipeline(Partition(waits, lambda model: True), 0, ("p", "l"), codec.decode_event)
    seat.live(pipeline, Checkpoint(codec, {}))
    seat.accept(Chunk(PREDICTIONS, 0, 1, 0, [prediction(0)]))
    seat.end(PREDICTIONS, 1)
    seat.end(LABELS, 0)
    run = seat.next_run()
    assert run is not None
    pipeline.run(run.kind, run.records)
    seat.under_way = 0
    seat.clock.learn(int(time.time() * 1000))
    assert seat.at_head
    return seat


def committed(seat: Seat) -> Pipeline:
    """The seat's pipeline, with nothing in it that is not saved."""
    assert seat.pipeline
    assert seat.checkpoint
    seat.checkpoint.prepare(seat.pipeline)
    seat.dirty = False
    return seat.pipeline


def test_time_passes_at_the_head_while_the_leaders_answer(seat: Seat) -> None:
    pipeline = committed(seat)
    now, second = time.monotonic(), START_MS + 10_000
    seat.tick(now, second)
    assert pipeline.partition.now == second
    late = now + FRESH_SECONDS + 1
    seat.tick(late, second + 11_000)
    assert pipeline.partition.now == second, "the head may be stale: nobody has confirmed it"
    seat.confirm_head(PREDICTIONS, 1, late)
    seat.tick(late, second + 11_000)
    assert pipeline.partition.now == second, "one of both topics is not enough"
    seat.confirm_head(LABELS, 0, late)
    seat.tick(late, second + 11_000)
    assert pipeline.partition.now == second + 11_000


def test_a_log_that_goes_on_beyond_what_has_arrived_confirms_no_head(seat: Seat) -> None:
    late = time.monotonic() + FRESH_SECONDS + 1
    seat.confirm_head(PREDICTIONS, 2, late)
    seat.confirm_head(LABELS, 0, late)
    assert not seat.sure_of_head(late)


def test_a_tick_that_lets_a_prediction_expire_is_worth_a_commit(seat: Seat) -> None:
    now = time.monotonic()
    seat.tick(now, START_MS + 30_000)
    pipeline = committed(seat)
    seat.tick(now, START_MS + 40_000)
    assert not seat.dirty, "nothing has happened"
    seat.tick(now, START_MS + 62_000)
    assert pipeline.partition.identity()["predictions"]["expired"] == 1
    assert seat.dirty
    assert not pipeline.effects.alerts


def test_transaction_markers_at_the_head_are_behind_the_position(seat: Seat) -> None:
    pipeline = committed(seat)
    seat.end(PREDICTIONS, 3)
    seat.tick(time.monotonic(), START_MS)
    assert pipeline.positions == [3, 0]
    assert seat.accept(Chunk(PREDICTIONS, 0, 1, 3, [prediction(3)])), "the next chunk begins there"


def test_markers_before_records_that_are_not_processed_yet_move_nothing(seat: Seat) -> None:
    pipeline = committed(seat)
    seat.accept(Chunk(PREDICTIONS, 0, 1, 1, [prediction(1)]))
    seat.end(PREDICTIONS, 4)
    seat.tick(time.monotonic(), START_MS)
    assert pipeline.positions == [1, 0]


def test_a_commit_waits_for_its_interval_but_not_longer_than_the_work_lasts(seat: Seat) -> None:
    seat.dirty = True
    begin = seat.committed_at
    seat.moved_at = begin + 5
    assert not seat.due(begin + 5.1, 1.0, 10.0)
    assert seat.due(begin + 5.3, 1.0, 10.0), "at the head, and the traffic pauses"
    assert not seat.due(begin + 5.3, 5.5, 10.0), "but never sooner than the shortest interval"
    seat.accept(Chunk(PREDICTIONS, 0, 1, 1, [prediction(1)]))
    assert not seat.due(begin + 6.0, 1.0, 10.0)
    assert seat.due(begin + 10.0, 1.0, 10.0)
    seat.dirty = False
    assert not seat.due(begin + 10.0, 1.0, 10.0)
    assert seat.due(begin + IDLE_COMMIT_SECONDS, 1.0, 10.0)


def test_what_a_burst_leaves_behind_is_saved_as_soon_as_it_is_over(seat: Seat) -> None:
    begin = seat.committed_at = seat.moved_at = time.monotonic()
    seat.dirty, seat.unsaved = True, BURST_RECORDS - 1
    assert not seat.due(begin + 0.3, 1.0, 10.0), "a trickle waits for the interval"
    seat.unsaved += 1
    assert seat.due(begin + 0.3, 1.0, 10.0)
    assert not seat.due(begin + 0.1, 1.0, 10.0), "it may go on"


def test_poison_now_and_then_is_forgiven_and_one_after_another_is_not(seat: Seat) -> None:
    for n in range(3 * POISONS):
        offset = n * 2 * HEALTHY_RECORDS
        assert seat.set_aside(Poison(PREDICTIONS, offset))
        seat.passed((offset + HEALTHY_RECORDS + 1, 0))
    assert len(seat.skip) == 0, "what is behind us need not be remembered"
    for n in range(POISONS):
        assert seat.set_aside(Poison(LABELS, n))
        seat.passed((0, n + 1))
    assert not seat.set_aside(Poison(LABELS, POISONS))


def test_a_record_that_was_set_aside_is_not_to_blame_again(seat: Seat) -> None:
    assert seat.set_aside(Poison(LABELS, 7))
    assert not seat.set_aside(Poison(LABELS, 7))


def test_a_quarantined_partition_lets_its_records_go() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        bench.deliver(0, *range(1000))
        seat: Any = bench.seats[0]
        bench.ownership.custody.quarantine(seat, "why")
        await settle()
        assert bench.readers.done == [1000, 0]
        assert seat.merger.next_run() is None
        assert seat.merger.waiting_for is None

    with_bench(scenario)
