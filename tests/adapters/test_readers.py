"""The poll thread: what it reads, what it leaves, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError

from streamer.adapters import readers as readers_module
from streamer.adapters.readers import Chunk, Readers
from streamer.pipeline import Unreadable
from tests.adapters.fake_client import Client, Message, eof, record
from tests.adapters.fakes import Bench, settle, with_bench


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.chunks: list[Chunk] = []
        self.hoarded: dict[tuple[int, int], tuple[int, float]] = {}
        self.wanted: frozenset[int] = frozenset()

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.told.append((name, *arguments))

    def arrived(self, chunks: list[Chunk]) -> None:
        self.chunks += chunks

    def starving(self) -> frozenset[int]:
        return self.wanted

    def hoards(self) -> dict[tuple[int, int], tuple[int, float]]:
        return self.hoarded

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [rest for what, *rest in self.told if what == name]  # type: ignore[misc]


@pytest.fixture(autouse=True)
def _no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.adapters.readers.Consumer", Client)
    monkeypatch.setattr("streamer.adapters.member.Consumer", Client)
    monkeypatch.setattr(readers_module, "IDLE_SECONDS", 0.0)


def build(listener: Any, chunk: int = 100, max_buffered: int = 1000) -> tuple[Readers, Client, Client]:
    readers = Readers({}, {}, ("p", "l"), listener, chunk, max_buffered)
    first: Any
    second: Any
    first, second = readers._readers
    return readers, first, second


def do_what_was_asked(readers: Readers) -> None:
    while readers._asked:
        readers._guard(readers._asked.popleft())


def started(listener: Listener, positions: tuple[int, int] = (0, 0)) -> tuple[Readers, Client, Client]:
    readers, first, second = build(listener)
    readers.start_reading(0, 5, positions)
    do_what_was_asked(readers)
    return readers, first, second


# -- the thread itself ---------------------------------------------------------------------------


def test_a_poll_thread_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    readers, _, _ = build(listener)
    monkeypatch.setattr(readers, "_read_some", lambda: 1 / 0)
    readers.start()
    readers.join(10)
    assert isinstance(listener.named("died")[0][0], ZeroDivisionError)


def test_a_poll_thread_that_cannot_even_join_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    readers, _, _ = build(listener)
    monkeypatch.setattr(readers._member, "join", lambda: 1 / 0)
    readers.start()
    readers.join(10)
    assert isinstance(listener.named("died")[0][0], ZeroDivisionError)


def test_the_worker_stops_when_its_poll_thread_has_died() -> None:
    async def scenario(bench: Bench) -> None:
        await asyncio.to_thread(bench.ownership.died, ZeroDivisionError("a bug"))
        assert isinstance(bench.ownership.crashed, ZeroDivisionError)

    with_bench(scenario)


def test_what_the_group_complains_of_is_remembered_until_there_are_partitions() -> None:
    readers, _, _ = build(Listener())
    client: Any = readers._member._client
    client.batches = [[Message(0, 0, KafkaError.GROUP_AUTHORIZATION_FAILED)]]
    readers._member.poll(0)
    assert readers.trouble is not None
    assert "authorization" in readers.trouble.lower()


def test_a_partition_that_only_one_reader_takes_is_read_by_none_and_reported() -> None:
    listener = Listener()
    readers, first, second = build(listener)
    second.refuse = True
    readers.start_reading(0, 5, (0, 0))
    do_what_was_asked(readers)
    assert (first.at, second.at) == ({}, {})
    [(partition, epoch, error)] = listener.named("unstarted")
    assert (partition, epoch, error.code()) == (0, 5, KafkaError._STATE)


def test_a_partition_that_cannot_be_read_is_quarantined() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        bench.ownership._unstarted(0, bench.seats[0].epoch, KafkaError(KafkaError._STATE))
        assert "cannot be read" in bench.stats.quarantined[0]

    with_bench(scenario)


# -- epochs ------------------------------------------------------------------------------------------


def test_an_old_request_to_stop_does_not_stop_a_later_epoch() -> None:
    readers, first, second = started(Listener())
    readers.stop_reading(0, 4)
    do_what_was_asked(readers)
    assert (first.at, second.at) == ({0: 0}, {0: 0})
    readers.stop_reading(0, 5)
    do_what_was_asked(readers)
    assert (first.at, second.at) == ({}, {})


def test_reading_asked_for_during_a_revocation_ends_with_the_request_to_stop_after_it() -> None:
    readers, first, second = build(Listener())
    readers.start_reading(0, 5, (0, 0))
    readers.stop_reading(0, 5)
    readers._revoked({0}, False)  # the thread gets to what it was asked only now
    do_what_was_asked(readers)
    assert (first.at, second.at) == ({}, {})


# -- ends of partition ----------------------------------------------------------------------------------


def test_an_end_that_records_follow_in_the_same_batch_is_no_end() -> None:
    listener = Listener()
    readers, first, _ = started(listener, (4, 0))
    first.batches = [[record(0, 4), eof(0, 5), record(0, 5), record(0, 6)]]
    readers._consume(0, 0.0)
    assert listener.named("ended") == []
    first.batches = [[record(0, 7), eof(0, 8)]]
    readers._consume(0, 0.0)
    assert [list(each) for each in listener.named("ended")] == [[0, 0, 5, 8]]


def test_what_lies_before_an_end_without_being_a_record_is_behind_us() -> None:
    listener = Listener()
    readers, first, _ = started(listener)
    first.batches = [[record(0, 0), eof(0, 3)], [record(0, 3)]]
    readers._consume(0, 0.0)
    readers._consume(0, 0.0)
    assert [(chunk.begins, chunk.end) for chunk in listener.chunks] == [(0, 1), (3, 4)]


# -- stretches that cannot be read -------------------------------------------------------------------------


def test_an_unreadable_stretch_is_stepped_over_and_handed_on_in_its_place() -> None:
    listener = Listener()
    readers, first, _ = started(listener)
    first.ends, first.bad = {0: 20}, {0: range(3, 9)}
    for _ in range(20):
        readers._consume(0, 0.0)
    before, stretch, after = listener.chunks
    assert [r.offset() for r in before.records] == [0, 1, 2]
    assert stretch.records == [Unreadable(3, 8, before.records[-1].timestamp()[1])]
    assert (stretch.begins, stretch.end) == (3, 9)
    assert [r.offset() for r in after.records] == list(range(9, 20))
    assert len(listener.named("failed")) == 2, "twice it might have been an accident"
    assert [list(each) for each in listener.named("ended")] == [[0, 0, 5, 20]]


def test_an_unreadable_stretch_at_the_end_of_the_log_is_stepped_over_as_well() -> None:
    listener = Listener()
    readers, first, _ = started(listener)
    first.ends, first.bad = {0: 6}, {0: range(2, 6)}
    for _ in range(20):
        readers._consume(0, 0.0)
    assert [(chunk.begins, chunk.end) for chunk in listener.chunks] == [(0, 2), (2, 6)]
    assert [list(each) for each in listener.named("ended")] == [[0, 0, 5, 6]]


def test_a_stretch_that_becomes_readable_again_loses_nothing() -> None:
    listener = Listener()
    readers, first, _ = started(listener)
    first.ends, first.bad = {0: 6}, {0: range(6)}
    for _ in range(2):
        readers._consume(0, 0.0)
    first.bad = {}
    readers._consume(0, 0.0)
    [chunk] = listener.chunks
    assert [r.offset() for r in chunk.records] == list(range(6))


# -- hoards --------------------------------------------------------------------------------------------------


def test_a_partition_that_hoards_is_paused_and_comes_back_at_half() -> None:
    listener = Listener()
    readers, _, second = started(listener)  # its share is 500
    second.ends = {0: None}
    for _ in range(7):
        readers._consume(1, 0.0)
    listener.hoarded = {(1, 0): (700, 0.5)}
    readers._relieve()
    assert 0 in second.at, "it may move any moment"
    listener.hoarded = {(1, 0): (700, 1.5)}
    readers._relieve()
    assert second.at == {}
    assert readers._waiting(1) == 0, "what is held for a paused partition starves nobody"
    listener.hoarded = {(1, 0): (251, 0.0)}
    readers._relieve()
    assert second.at == {}
    listener.hoarded = {(1, 0): (250, 0.0)}
    readers._relieve()
    assert second.at == {0: 700}, "it goes on where it stopped"


def test_a_partition_whose_other_topic_is_unreachable_takes_neither_memory_nor_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readers_module, "PRESSED_SECONDS", 0.05)
    monkeypatch.setattr(readers_module, "MEMBER_EVERY", 0.005)

    async def scenario(bench: Bench) -> None:
        readers, predictions, labels = build(bench.ownership)
        predictions.ends = labels.ends = {0: None, 1: None}
        predictions.away = {0}
        bench.ownership.readers = bench.ownership.custody.readers = readers
        await bench.ownership._assigned({0, 1})
        await settle()
        await bench.ownership.next_runs(0.0)
        stuck, working = bench.seats[0], bench.seats[1]
        deadline = time.monotonic() + 10
        while working.next[0] < 20_000:
            assert time.monotonic() < deadline, f"partition 1 got to {working.next}"
            readers._turn()
            for run in await bench.ownership.next_runs(0.001):
                bench.ownership.process(run)
            assert stuck.queued[1] <= 2000, "it hoards without a bound"
        assert readers._readings[0].paused == [False, True]
        predictions.away = set()
        wait = time.monotonic() + 10
        while stuck.next[1] < 3_000:
            assert time.monotonic() < wait, "it does not come back"
            readers._turn()
            for run in await bench.ownership.next_runs(0.001):
                bench.ownership.process(run)

    with_bench(scenario)


def test_a_stopped_thread_closes_its_clients() -> None:
    readers, _, _ = build(Listener())
    readers.start()
    readers.stop()
    readers.join(10)
    assert not readers.is_alive()
