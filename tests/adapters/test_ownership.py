"""Partitions come and go while commits and restores are under way: what is not ours is left alone."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError

from streamer.adapters.custody import Custody
from streamer.adapters.ownership import Repartitioned
from streamer.adapters.seat import Standing
from streamer.adapters.transactions import Fenced
from streamer.checkpoint import UntrustedState
from streamer.pipeline import LABELS, PREDICTIONS
from tests.adapters.fakes import Bench, Writer, settle, with_bench


def closed_gate(bench: Bench) -> list[Writer]:
    """Writers made from now on write only when their gate is opened."""
    made: list[Writer] = []

    def prepare(writer: Writer) -> None:
        writer.gate.clear()
        made.append(writer)

    bench.restorer.prepare = prepare
    return made


async def in_the_middle_of_a_commit(bench: Bench) -> Any:
    await bench.assign(0)
    writer = bench.writer(0)
    writer.gate.clear()
    bench.deliver(0, 0)
    bench.work()
    await settle()
    assert bench.seats[0].commit is not None
    return writer


def test_a_worker_stops_where_somebody_has_added_partitions() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        await bench.assign(0, bench.ownership.partitions)
        assert isinstance(bench.ownership.crashed, Repartitioned)
        assert list(bench.seats) == [0], "models may have other homes now: nothing of it is taken"

    with_bench(scenario)


# -- a seat that is no longer ours does nothing -----------------------------------------------


def test_a_commit_of_an_earlier_ownership_that_is_refused_leaves_the_new_one_alone() -> None:
    async def scenario(bench: Bench) -> None:
        old = await in_the_middle_of_a_commit(bench)
        await bench.revoke(0, lost=True)
        await bench.assign(0)
        new = bench.seats[0]
        old.error = Fenced("replaced")
        old.gate.set()
        await settle()
        assert bench.seats[0] is new
        assert new.standing is Standing.LIVE
        assert bench.readers.reads() == {0: new.epoch}
        assert ("rejoin",) not in bench.readers.calls
        assert bench.shown() == [0]
        assert bench.stats.fenced == 1, "it is counted all the same"

    with_bench(scenario)


def test_a_partition_given_away_during_its_first_commit_is_neither_read_nor_shown() -> None:
    async def scenario(bench: Bench) -> None:
        bench.restorer.first = True
        made = closed_gate(bench)
        await bench.assign(0)
        leaving = asyncio.create_task(bench.revoke(0))
        await settle()
        made[0].gate.set()  # its last commit waits for the first, which then goes through
        await leaving
        await bench.assign()
        assert bench.readers.reads() == {}
        assert bench.shown() == []
        assert made[0].closed

    with_bench(scenario)


def test_a_first_commit_that_outlives_the_revocation_brings_nothing_to_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamer.adapters.ownership.LEAVE_SECONDS", 1.05)

    async def scenario(bench: Bench) -> None:
        bench.restorer.first = True
        made = closed_gate(bench)
        await bench.assign(0)
        await bench.revoke(0)
        assert bench.ownership.custody.kept == {}, "who is not saved in time is not kept"
        made[0].gate.set()
        await settle()
        assert ("start", 0) not in [call[:2] for call in bench.readers.calls]
        assert bench.shown() == []

    with_bench(scenario)


def test_a_commit_that_goes_through_after_the_partition_was_lost_shows_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        writer = await in_the_middle_of_a_commit(bench)
        await bench.revoke(0, lost=True)
        calls = list(bench.readers.calls)
        writer.gate.set()
        await settle()
        assert len(writer.written) == 1
        assert bench.shown() == []
        assert bench.readers.calls == calls, "no offsets are told for what is not ours"

    with_bench(scenario)


def test_an_untrusted_state_of_a_partition_that_is_gone_quarantines_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        bench.restorer.gate.clear()
        bench.restorer.errors = [UntrustedState("bad")]
        await bench.assign(0)
        await bench.revoke(0)
        bench.restorer.gate.set()
        await settle()
        assert bench.stats.quarantined == {}

    with_bench(scenario)


def test_a_good_restore_ends_the_quarantine_of_an_earlier_ownership() -> None:
    async def scenario(bench: Bench) -> None:
        bench.restorer.errors = [UntrustedState("bad")]
        await bench.assign(0)
        assert bench.stats.quarantined == {0: "bad"}
        await bench.revoke(0)
        await bench.assign(0)
        assert bench.stats.quarantined == {}
        assert bench.seats[0].standing is Standing.LIVE

    with_bench(scenario)


def test_an_error_of_an_earlier_epoch_quarantines_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        seat = bench.seats[0]
        gone = KafkaError(KafkaError._AUTO_OFFSET_RESET)
        bench.ownership._failed(LABELS, 0, seat.epoch - 1, gone)
        assert seat.standing is Standing.LIVE
        bench.ownership._failed(LABELS, 0, seat.epoch, gone)
        assert seat.standing is Standing.QUARANTINED
        assert "retention" in bench.stats.quarantined[0]

    with_bench(scenario)


def test_reading_that_was_asked_for_while_the_partition_was_being_revoked_is_taken_back() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        await bench.revoke(0)
        # The poll thread gets to these only after the revocation.
        assert bench.readers.calls[-1][0] == "stop"
        assert bench.readers.reads() == {}

    with_bench(scenario)


def test_a_slow_first_commit_gets_no_second_one_beside_it() -> None:
    async def scenario(bench: Bench) -> None:
        bench.restorer.first = True
        made = closed_gate(bench)
        await bench.assign(0)
        seat = bench.seats[0]
        first = seat.commit
        assert first is not None
        seat.committed_at -= 3600
        bench.ownership.beat()
        assert seat.commit is first
        made[0].gate.set()

    with_bench(scenario)


# -- lost, fenced, kept --------------------------------------------------------------------------


def test_runs_of_a_lost_partition_are_dropped_and_their_credit_returned() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        writer = bench.writer(0)
        bench.deliver(0, 0, 1)
        runs = bench.runs()
        bench.deliver(0, 2, 3)
        await bench.revoke(0, lost=True)
        for run in runs:
            bench.ownership.process(run)
        bench.ownership.beat()
        await settle()
        assert writer.written == []
        assert bench.readers.done == [4, 0]
        assert bench.stats.lost == 1

    with_bench(scenario)


def test_a_refused_commit_gives_the_partition_up_and_joins_again_once() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0, 1)
        for number in (0, 1):
            bench.writer(number).error = Fenced("replaced")
            bench.deliver(number, 0)
        bench.work()
        await settle()
        assert bench.seats == {}
        assert bench.readers.reads() == {}
        assert bench.shown() == []
        assert bench.readers.calls.count(("rejoin",)) == 1
        assert bench.stats.fenced == 2

    with_bench(scenario)


def test_a_partition_that_comes_straight_back_keeps_its_memory() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        seat, calls = bench.seats[0], bench.restorer.calls
        bench.deliver(0, 0)
        bench.work()
        await bench.revoke(0)
        await bench.assign(0)
        assert bench.seats[0] is seat
        assert bench.restorer.calls == calls
        assert bench.readers.reads() == {0: seat.epoch}

    with_bench(scenario)


def test_nothing_is_kept_by_who_leaves_the_group_or_loses_its_place() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0, 1)
        custody: Custody = bench.ownership.custody
        await bench.revoke(0)
        assert list(custody.kept) == [0]
        await bench.revoke(1, lost=True)
        assert custody.kept == {}
        await bench.assign(2)
        custody.rejoining = True
        await bench.revoke(2)
        assert custody.kept == {}

    with_bench(scenario)


def test_a_fenced_worker_forgets_what_it_kept() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0, 1)
        await bench.revoke(0)
        bench.writer(1).error = Fenced("replaced")
        bench.deliver(1, 0)
        bench.work()
        await settle()
        assert bench.ownership.custody.kept == {}

    with_bench(scenario)


# -- the group's events ------------------------------------------------------------------------------


def test_an_assignment_waits_for_the_revocation_before_it() -> None:
    async def scenario(bench: Bench) -> None:
        old = await in_the_middle_of_a_commit(bench)
        first = bench.seats[0]
        ownership = bench.ownership

        def poll_thread() -> None:
            # The loop was busy for longer than the poll thread waits, so both are queued by now.
            asyncio.run_coroutine_threadsafe(ownership._revoked({0}, False), loop)
            ownership.assigned({0})

        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=poll_thread)
        thread.start()
        thread.join()
        await settle()
        assert bench.seats[0] is first, "the last commit is still under way"
        old.gate.set()
        await settle()
        assert list(bench.seats) == [0]
        assert bench.seats[0].standing is Standing.LIVE
        assert bench.readers.reads() == {0: bench.seats[0].epoch}

    with_bench(scenario)


def test_a_revocation_on_a_stopping_loop_or_with_a_bug_in_it_never_hurts_the_poll_thread() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)

        async def bug(*arguments: Any) -> None:
            raise ValueError("a bug")

        bench.ownership._revoked = bug  # type: ignore[method-assign]
        await asyncio.to_thread(bench.ownership.revoked, {0}, False)
        assert isinstance(bench.ownership.crashed, ValueError)

        async def cancelled(*arguments: Any) -> None:
            raise asyncio.CancelledError

        bench.ownership._revoked = cancelled  # type: ignore[method-assign]
        bench.ownership.tasks.crashed = None
        await asyncio.to_thread(bench.ownership.revoked, {0}, False)
        assert bench.ownership.crashed is None

    with_bench(scenario)


def test_one_last_commit_that_fails_keeps_no_other_from_being_saved() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0, 1)
        writers = [bench.writer(0), bench.writer(1)]
        writers[0].error = ValueError("a bug")
        for number in (0, 1):
            bench.seats[number].dirty = True
        await bench.ownership.end()
        assert bench.readers.stopping
        assert len(writers[1].written) == 1
        assert bench.ownership.crashed is None

    with_bench(scenario)


def test_who_is_in_no_group_or_reaches_no_broker_is_not_ready() -> None:
    async def scenario(bench: Bench) -> None:
        bench.readers.trouble = "Group authorization failed"
        assert bench.ownership.ready() == (False, "not in the group yet: Group authorization failed")
        bench.readers.trouble = None
        await bench.assign(0)
        assert bench.ownership.ready() == (False, "the brokers do not answer")
        bench.restorer.log_ends = {(PREDICTIONS, 0): 0, (LABELS, 0): 0}
        bench.ownership.beat()
        await settle()
        assert bench.ownership.ready() == (True, "1 partitions live")
        await bench.revoke(0)
        assert not bench.ownership.ready()[0], "a rebalance is under way"

    with_bench(scenario)


def test_the_end_of_the_worker_gives_every_thread_up() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0, 1, 2)
        await bench.revoke(2)
        seats = [*bench.seats.values(), *bench.ownership.custody.kept.values()]
        assert len(seats) == 3
        await bench.ownership.end()
        assert all(seat.gone.is_set() for seat in seats)

    with_bench(scenario)


def test_what_becomes_of_partitions_is_told_every_time_however_often_it_happens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(2):
            await bench.assign(0)
            await bench.revoke(0, lost=True)

    with caplog.at_level("INFO"):
        with_bench(scenario)
    for said in ("assigned partitions [0]", "lost partitions [0]"):
        assert caplog.messages.count(said) == 2


def test_a_worker_that_ends_in_the_middle_of_a_rebalance_lets_its_last_commits_be() -> None:
    async def scenario(bench: Bench) -> None:
        writer = await in_the_middle_of_a_commit(bench)
        seat = bench.seats[0]
        revoked = asyncio.ensure_future(bench.ownership._revoked({0}, False))
        await settle()
        ended = asyncio.ensure_future(bench.ownership.end())
        await settle()
        assert not seat.gone.is_set(), "its commit is still under way"
        writer.gate.set()
        await asyncio.gather(revoked, ended)
        assert seat.gone.is_set()
        assert len(writer.written) == 1

    with_bench(scenario)
