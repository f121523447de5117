"""The brokers' clock against the worker's own: whichever is wrong, nothing is decided by it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from streamer.adapters.clock import DOUBT_SECONDS, BrokersClock, why_in_doubt
from streamer.adapters.readers import Chunk
from streamer.pipeline import LABELS, PREDICTIONS
from tests.adapters.fakes import Bench, prediction, seat_of, settle, with_bench

OVER = DOUBT_SECONDS + 5
HOUR = 3600.0


class Times:
    """The worker's clock, and one that only goes on; both stand still until told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own, self.running = time.time(), time.monotonic()
        monkeypatch.setattr(time, "time", lambda: self.own)
        monkeypatch.setattr(time, "monotonic", lambda: self.running)

    def pass_(self, seconds: float) -> None:
        self.own += seconds
        self.running += seconds

    @property
    def own_ms(self) -> int:
        return int(self.own * 1000)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Iterator[Times]:
    with monkeypatch.context() as patch:
        yield Times(patch)


def test_before_the_first_commit_nobody_knows_what_time_it_is(times: Times) -> None:
    clock = BrokersClock()
    assert clock.now_ms() is None
    assert clock.ahead() is None
    assert clock.in_doubt
    assert not clock.holds


def test_it_goes_on_from_the_time_that_the_broker_told(times: Times) -> None:
    clock = BrokersClock()
    clock.learn(times.own_ms - 20_000)
    times.pass_(7)
    assert clock.now_ms() == pytest.approx(times.own_ms - 20_000, abs=2)
    assert clock.ahead() == pytest.approx(-20, abs=0.01)


@pytest.mark.parametrize("wrong", [HOUR, -HOUR, OVER, -OVER])
def test_clocks_over_a_minute_apart_are_in_doubt_until_one_is_set(times: Times, wrong: float) -> None:
    clock = BrokersClock()
    clock.learn(times.own_ms + int(wrong * 1000))
    assert clock.now_ms() is None
    assert clock.ahead() == pytest.approx(wrong, abs=0.01)
    times.own += wrong
    assert clock.now_ms() == pytest.approx(times.own_ms, abs=2)


def test_a_record_from_the_future_holds_until_its_time_has_come(times: Times) -> None:
    clock = BrokersClock()
    clock.learn(times.own_ms)
    clock.saw(times.own_ms + int(OVER * 1000))
    assert clock.holds
    assert clock.in_doubt
    assert clock.ahead() == pytest.approx(OVER, abs=0.01)
    times.pass_(OVER - DOUBT_SECONDS + 1)
    assert not clock.holds
    assert clock.now_ms() is not None


def test_what_is_wrong_names_the_worst_and_the_cure() -> None:
    assert why_in_doubt({0: 1.0, 1: -59.0}) == ""
    text = why_in_doubt({0: 1.0, 3: -HOUR, 2: OVER})
    assert text.startswith("partitions [2, 3]: the brokers' clock is 3600 s behind this worker's")
    assert "NTP" in text


def future(seconds: float) -> int:
    return int((time.time() + seconds) * 1000)


def test_a_worker_holds_records_from_the_future_says_so_and_goes_on_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        seat, own = seat_of(bench), time.time()
        records = [prediction(0, at=future(-1)), prediction(1, at=future(HOUR))]
        bench.ownership._arrived([Chunk(PREDICTIONS, 0, seat.epoch, 0, records)])
        bench.ownership._ended(LABELS, 0, seat.epoch, 0)
        bench.ownership.heads.answered_at = time.monotonic()
        bench.work()
        bench.ownership.beat()
        assert seat.pipeline
        assert seat.pipeline.positions[PREDICTIONS] == 0
        ready, why = bench.ownership.ready()
        assert not ready
        assert "3600 s ahead of this worker's" in why
        assert bench.stats.clock_ahead[0] == pytest.approx(HOUR, abs=5)
        monkeypatch.setattr(time, "time", lambda: own + HOUR)
        seat.clock.learn(future(0))
        bench.ownership.beat()
        bench.work()
        assert seat.pipeline.positions[PREDICTIONS] == 2
        assert "ahead" not in bench.ownership.ready()[1]

    with_bench(scenario)


def test_held_records_give_way_to_those_of_other_partitions() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.assign(0)
        seat = seat_of(bench)
        bench.ownership._arrived([Chunk(PREDICTIONS, 0, seat.epoch, 0, [prediction(0, at=future(HOUR))])])
        seat.moved_at -= 5
        records, waited = bench.ownership.hoards()[PREDICTIONS, 0]
        assert (records, waited > 4) == (1, True)

    with_bench(scenario)


def test_a_worker_without_work_asks_the_time_until_it_knows_it() -> None:
    async def scenario(bench: Bench) -> None:
        bench.restorer.prepare = lambda writer: setattr(writer, "told_ms", future(-HOUR))
        await bench.assign(0)
        seat = seat_of(bench)
        for topic in (PREDICTIONS, LABELS):
            bench.ownership._ended(topic, 0, seat.epoch, 0)
        for _ in range(3):  # each tells again that the clocks differ
            bench.ownership.beat()
            await settle()
        written = len(bench.writer(0).written)
        assert written >= 3
        bench.writer(0).told_ms = None
        for _ in range(4):
            bench.ownership.beat()
            await settle()
        assert len(bench.writer(0).written) <= written + 1, "then it is known, and nothing is to be saved"
        assert not seat.clock.in_doubt

    with_bench(scenario)
