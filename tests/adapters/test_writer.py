"""The writer of one partition against a producer that refuses, stalls or is fenced."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamer.adapters import transactions
from streamer.adapters.kafka import Verdict, verdict_of
from streamer.adapters.transactions import (
    Fenced,
    PartitionWriter,
    Rooms,
    Unreachable,
    Unwritable,
    read_state,
)
from streamer.checkpoint import Commit, OutRecord

COMMIT = Commit(7, [OutRecord("state", b"k", b"v")], (0, 0), 0, 1)


def error(code: int, retriable: bool = False, abortable: bool = False, fatal: bool = False) -> KafkaException:
    return KafkaException(KafkaError(code, "as the test wants it", fatal, retriable, abortable))


class Producer:
    """Each call takes the next answer of its kind: an error to raise, or None; then it works."""

    def __init__(self, config: Any = None) -> None:
        self.answers: dict[str, list[KafkaException | None]] = {}
        self.always: dict[str, KafkaException] = {}
        self.calls: list[str] = []

    def _next(self, call: str) -> None:
        self.calls.append(call)
        waiting = self.answers.get(call, [])
        found = waiting.pop(0) if waiting else self.always.get(call)
        if found is not None:
            raise found

    def init_transactions(self, seconds: float) -> None:
        self._next("init")

    def begin_transaction(self) -> None:
        self._next("begin")

    def produce(self, *arguments: Any, **more: Any) -> None:
        self._next("produce")

    def commit_transaction(self, seconds: float) -> None:
        self._next("commit")

    def abort_transaction(self, seconds: float) -> None:
        self._next("abort")

    def poll(self, seconds: float) -> None: ...
    def purge(self) -> None: ...


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody really waits; the pauses are noted."""
    noted: list[float] = []

    def wait(self: PartitionWriter, seconds: float) -> None:
        if seconds >= transactions.SHORTEST_PAUSE:
            noted.append(seconds)
        if self.gone.is_set():
            raise Unreachable("given up")

    monkeypatch.setattr(PartitionWriter, "_wait", wait)
    return noted


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> PartitionWriter:
    monkeypatch.setattr(transactions, "Producer", Producer)
    return PartitionWriter({}, "g", 3, Rooms({"state": "state"}))


def producer(writer: PartitionWriter) -> Producer:
    found: Any = writer._producer
    return found  # type: ignore[no-any-return]


TIMED_OUT = error(KafkaError._TIMED_OUT, retriable=True)


@pytest.mark.parametrize(
    ("problem", "verdict"),
    [
        (TIMED_OUT, Verdict.RETRY),
        (error(KafkaError.TOPIC_AUTHORIZATION_FAILED, abortable=True), Verdict.ABORT),
        (error(KafkaError._FENCED, fatal=True), Verdict.FENCED),
        (error(KafkaError.INVALID_PRODUCER_EPOCH, fatal=True), Verdict.FENCED),
        (error(KafkaError.PRODUCER_FENCED), Verdict.FENCED),
        (error(KafkaError._STATE), Verdict.FENCED),
        (error(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True), Verdict.FENCED),
        (error(KafkaError.MSG_SIZE_TOO_LARGE), Verdict.UNWRITABLE),
        (error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True), Verdict.UNWRITABLE),
    ],
    ids=lambda value: value.args[0].name() if isinstance(value, KafkaException) else "",
)
def test_only_a_replaced_or_broken_client_is_fenced(problem: KafkaException, verdict: Verdict) -> None:
    assert verdict_of(problem.args[0]) is verdict


def test_an_unknown_outcome_is_asked_for_again_and_never_aborted(
    writer: PartitionWriter, pauses: list[float]
) -> None:
    producer(writer).answers["commit"] = [TIMED_OUT] * 5
    writer.write(COMMIT)
    assert producer(writer).calls == ["begin", "produce", *["commit"] * 6]


def test_a_record_that_the_client_refuses_ends_the_commit_with_the_cure(
    writer: PartitionWriter, pauses: list[float]
) -> None:
    producer(writer).always["produce"] = error(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(Unwritable, match=r"2 bytes for state \(key b'k'\)"):
        writer.write(COMMIT)
    assert producer(writer).calls == ["begin", "produce", "abort"]


def test_a_passing_cause_is_sent_again_after_longer_and_longer_pauses(
    writer: PartitionWriter, pauses: list[float]
) -> None:
    producer(writer).answers["commit"] = [error(KafkaError._MSG_TIMED_OUT, abortable=True)] * 8
    writer.write(COMMIT)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_the_same_lasting_cause_three_times_ends_the_commit(
    writer: PartitionWriter, pauses: list[float]
) -> None:
    producer(writer).always["commit"] = error(KafkaError.TOPIC_AUTHORIZATION_FAILED, abortable=True)
    with pytest.raises(Unwritable, match="Let this worker write"):
        writer.write(COMMIT)
    assert producer(writer).calls.count("abort") == 3


def test_who_is_fenced_does_not_abort(writer: PartitionWriter, pauses: list[float]) -> None:
    producer(writer).always["commit"] = error(KafkaError._FENCED, fatal=True)
    with pytest.raises(Fenced):
        writer.write(COMMIT)
    assert "abort" not in producer(writer).calls


def test_a_worker_that_may_not_write_says_so_at_the_assignment(writer: PartitionWriter) -> None:
    producer(writer).always["init"] = error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True)
    with pytest.raises(Unwritable):
        writer.take_over()


# -- given up ---------------------------------------------------------------------------------------


def stall(call: str) -> Callable[[PartitionWriter], None]:
    def prepare(writer: PartitionWriter) -> None:
        producer(writer).always[call] = TIMED_OUT

    return prepare


@pytest.mark.parametrize("stalled", ["commit", "abort", "init"])
def test_every_wait_for_a_broker_ends_when_the_partition_is_given_up(
    writer: PartitionWriter, stalled: str
) -> None:
    stall(stalled)(writer)
    if stalled == "abort":
        producer(writer).always["commit"] = error(KafkaError._MSG_TIMED_OUT, abortable=True)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            writer.take_over() if stalled == "init" else writer.write(COMMIT)
        except Unreachable as problem:
            raised.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    writer.close()
    thread.join(5)
    assert len(raised) == 1
    assert stalled == "abort" or "abort" not in producer(writer).calls


def test_a_queue_that_never_empties_ends_when_the_partition_is_given_up(writer: PartitionWriter) -> None:
    def full(*arguments: Any, **more: Any) -> None:
        raise BufferError

    producer(writer).produce = full  # type: ignore[method-assign]
    threading.Timer(0.2, writer.gone.set).start()
    with pytest.raises(Unreachable):
        writer.write(COMMIT)


NOBODY = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def test_reading_state_ends_when_the_partition_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "ASK_SECONDS", 0.3)
    gone = threading.Event()
    threading.Timer(0.5, gone.set).start()
    began = time.monotonic()
    with pytest.raises(Unreachable, match="given up"):
        read_state(NOBODY, "g", "state", 0, gone=gone)
    assert time.monotonic() - began < 5


STUCK = """
import asyncio, logging
from tests.adapters.fakes import Bench, settle
from tests.adapters.test_writer import COMMIT, Producer, TIMED_OUT
from streamer.adapters import transactions
from streamer.adapters.transactions import PartitionWriter, Rooms

async def main():
    transactions.Producer = Producer
    bench = Bench()
    await bench.ownership.begin()
    await bench.assign(0)
    seat = bench.seats[0]
    rooms = Rooms(dict.fromkeys(("state", "alerts", "reports", "dead_letters", "trace"), "t"))
    seat.writer = PartitionWriter({}, "g", 0, rooms, seat.gone)
    seat.writer._producer.always["commit"] = TIMED_OUT
    bench.deliver(0, 0)
    bench.work()
    await settle(0.5)
    assert seat.commit is not None
    await bench.ownership.end()

asyncio.run(main())
print("ended")
"""


def test_a_process_whose_broker_is_away_ends() -> None:
    began = time.monotonic()
    run = subprocess.run([sys.executable, "-c", STUCK], timeout=30, capture_output=True, check=True)
    assert run.stdout == b"ended\n", run.stderr
    assert time.monotonic() - began < 15
