"""What a failing commit, tick or restore does to its partition, and to no other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamer.adapters import commits as commits_module
from streamer.adapters.commits import Pace
from streamer.adapters.custody import OutOfMemory
from streamer.adapters.seat import POISONS, Standing
from streamer.adapters.transactions import Unreachable, Unwritable
from streamer.domain.model import ModelMonitor
from streamer.domain.profile import Profile
from streamer.pipeline import Pipeline, Poison
from tests.adapters.fakes import Bench, prediction, settle, with_bench


def failure() -> BaseException:
    return ZeroDivisionError("a bug")


def bug(*arguments: Any, **more: Any) -> Any:
    raise failure()


async def two_partitions(bench: Bench) -> None:
    await bench.assign(0, 1)
    for number in (0, 1):
        bench.deliver(number, 0)


def only_the_first_is_quarantined(bench: Bench, why: str) -> None:
    assert list(bench.stats.quarantined) == [0]
    assert why in bench.stats.quarantined[0]
    assert [bench.seats[n].standing for n in (0, 1)] == [Standing.QUARANTINED, Standing.LIVE]
    assert list(bench.readers.reads()) == [1]
    assert bench.ownership.crashed is None


def test_outputs_that_cannot_be_written_quarantine_their_partition_with_the_cure() -> None:
    async def scenario(bench: Bench) -> None:
        await two_partitions(bench)
        bench.writer(0).error = Unwritable("partition 0: too large. Raise max.message.bytes")
        bench.work()
        await settle()
        only_the_first_is_quarantined(bench, "Raise max.message.bytes")
        assert ("rejoin",) not in bench.readers.calls
        assert len(bench.writer(1).written) == 1

    with_bench(scenario)


def break_saving(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.seats[0].checkpoint.prepare = bug  # type: ignore[union-attr, method-assign]
    bench.work()


def break_writing(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.writer(0).error = failure()
    bench.work()


def break_reading_figures(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    original, broken = commits_module.read_partition, bench.seats[0].pipeline.partition  # type: ignore[union-attr]
    patch.setattr(
        commits_module,
        "read_partition",
        lambda partition, previous: bug() if partition is broken else original(partition, previous),
    )
    bench.work()


def break_the_clock(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    """The models of partition 0 fail whenever a second has passed."""
    original, pipeline = ModelMonitor.tick, bench.seats[0].pipeline
    assert pipeline is not None
    broken = {id(model) for model in pipeline.partition.models.values()}

    def tick(self: ModelMonitor, now: int, before: int) -> Any:
        return bug() if id(self) in broken else original(self, now, before)

    patch.setattr(ModelMonitor, "tick", tick)


def break_a_tick(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.work()
    bench.seats[0].clock.learn(int(time.time() * 1000))  # else none is due
    break_the_clock(bench, patch)
    bench.ownership.beat()


def break_processing(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.seats[0].pipeline.run = bug  # type: ignore[union-attr, method-assign]
    bench.work()


@pytest.mark.parametrize(
    "break_it", [break_saving, break_writing, break_reading_figures, break_a_tick, break_processing]
)
def test_a_bug_of_ours_quarantines_its_partition_and_the_others_go_on(
    break_it: Callable[[Bench, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        await two_partitions(bench)
        break_it(bench, monkeypatch)
        await settle()
        only_the_first_is_quarantined(bench, "our own code failed")
        bench.deliver(1, 1)
        bench.work()
        await settle()
        assert bench.writer(1).written[-1].positions == (2, 0)

    with_bench(scenario)


@pytest.mark.parametrize(
    "run_out", [break_saving, break_writing, break_reading_figures, break_a_tick, break_processing]
)
def test_without_memory_the_worker_ends_and_what_is_half_done_is_never_saved(
    run_out: Callable[[Bench, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "failure", MemoryError)

    async def scenario(bench: Bench) -> None:
        await two_partitions(bench)
        run_out(bench, monkeypatch)
        await settle()
        assert isinstance(bench.ownership.crashed, OutOfMemory)
        assert "no memory was left" in bench.stats.quarantined[0]
        seat, writer = bench.seats[0], bench.writer(0)
        seat.dirty = True  # by records before that one
        before = len(writer.written)
        await bench.ownership.end()
        assert len(writer.written) == before

    with_bench(scenario)


def test_a_restore_without_memory_ends_the_worker() -> None:
    async def scenario(bench: Bench) -> None:
        bench.restorer.errors = [MemoryError()]
        await bench.assign(0)
        await settle()
        assert isinstance(bench.ownership.crashed, OutOfMemory)

    with_bench(scenario)


def test_a_commit_that_was_given_up_saves_nothing_and_stops_nobody() -> None:
    async def scenario(bench: Bench) -> None:
        await two_partitions(bench)
        bench.writer(0).error = Unreachable("given up")
        bench.work()
        await settle()
        assert bench.ownership.crashed is None
        assert bench.stats.quarantined == {}

    with_bench(scenario)


# -- restores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [Unreachable("no answer"), KafkaException(KafkaError(KafkaError._TRANSPORT))], ids=str
)
def test_a_restore_that_meets_no_broker_is_tried_again(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.adapters.recovery.RETRY_SECONDS", 0.01)

    async def scenario(bench: Bench) -> None:
        bench.restorer.errors = [error, error]
        await bench.assign(0)
        await settle()
        assert bench.seats[0].standing is Standing.LIVE
        assert bench.restorer.calls == 3
        assert bench.ownership.crashed is None

    with_bench(scenario)


@pytest.mark.parametrize("error", [Unwritable("not allowed"), ZeroDivisionError("a bug")], ids=str)
def test_a_restore_that_cannot_succeed_quarantines_its_partition(error: BaseException) -> None:
    async def scenario(bench: Bench) -> None:
        bench.restorer.errors = [error]
        await bench.assign(0)
        assert str(error) in bench.stats.quarantined[0]
        assert bench.ownership.crashed is None

    with_bench(scenario)


def test_restores_and_look_ups_that_hang_hold_up_no_commit() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        bench.restorer.gate.clear()
        await bench.assign(*range(1, 20))
        bench.deliver(0, 0)
        bench.work()
        await settle()
        assert len(bench.writer(0).written) == 1

    with_bench(scenario)


# -- poison ---------------------------------------------------------------------------------------------


def poison(on: Callable[[int], bool]) -> Callable[..., None]:
    """A ``Pipeline.run`` whose every record ``on`` these offsets fails."""
    original = Pipeline.run

    def run(self: Pipeline, kind: int, records: Any) -> None:
        for record in records:
            if on(record.offset()) and (kind, record.offset()) not in self.skip:
                raise Poison(kind, record.offset())
        original(self, kind, records)

    return run


async def feed_until_quiet(bench: Bench, last: int) -> None:
    """Deliver what the readers would, from the restored position on, until nothing changes."""
    for _ in range(50):
        seat = bench.seats[0]
        if seat.standing is not Standing.LIVE or seat.next[0] > last:
            break
        bench.deliver(0, *range(seat.next[0], last + 1))
        bench.work()
        await settle()


def test_one_poisonous_record_is_set_aside_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "run", poison(lambda offset: offset == 3))

    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        await feed_until_quiet(bench, 9)
        assert bench.seats[0].standing is Standing.LIVE
        assert bench.seats[0].pipeline is not None
        assert bench.seats[0].pipeline.partition.dead == {("predictions", "internal_error"): 1}

    with_bench(scenario)


def test_a_bug_that_blames_record_after_record_ends_in_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Profile.flush

    def flush(self: Profile) -> None:
        if any(features.get("x") == 666 for features in self.pending):
            raise ValueError("a bug in flush")
        original(self)

    monkeypatch.setattr(Profile, "flush", flush)

    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        seat = bench.seats[0]
        # The culprit waits in a block that is worked off with a later record: that one is blamed.
        records = [prediction(i, features={"x": 666 if i == 3 else i}) for i in range(400)]
        for _ in range(50):
            if seat.standing is not Standing.LIVE:
                break
            pipeline = seat.pipeline
            assert pipeline is not None
            try:
                pipeline.run(0, records)
            except Exception as error:
                bench.ownership._poisoned(seat, error)  # type: ignore[arg-type]
            await settle()
        assert seat.standing is Standing.QUARANTINED
        assert seat.poisons == POISONS + 1

    with_bench(scenario)


def test_a_record_that_is_to_blame_although_it_was_set_aside_ends_in_quarantine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        seat = bench.seats[0]
        bench.deliver(0, 0)
        bench.work()  # a model, whose clock is broken from now on
        break_the_clock(bench, monkeypatch)
        seat.skip.add((0, 1))
        assert seat.pipeline is not None
        with pytest.raises(Poison) as caught:
            seat.pipeline.run(0, [prediction(1, seat.pipeline.partition.now + 5000)])
        bench.ownership._poisoned(seat, caught.value)
        assert seat.standing is Standing.QUARANTINED

    with_bench(scenario)


# -- pace --------------------------------------------------------------------------------------------


def test_the_last_records_before_a_pause_are_committed_at_the_base_interval() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        seat = bench.seats[0]
        seat.commit_cost = 100.0  # so the pace is stretched to its longest
        assert bench.ownership.commits.interval == 60.0
        bench.deliver(0, 0)
        bench.work()
        await settle()
        assert bench.writer(0).written == [], "there may be more to come"
        await asyncio.sleep(0.25)
        bench.ownership.beat()
        await settle()
        assert len(bench.writer(0).written) == 1

    with_bench(scenario, Pace(0.2, 60.0, 0.1))
