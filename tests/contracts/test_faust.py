"""What we override or use from inside Faust: its names, its signatures, and the promises we lean on."""

from __future__ import annotations

import asyncio
import gc
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
import mode
import pytest
from faust import types
from faust.transport import base, consumer, drivers, producer

from streamer.adapters import faust_app, transport
from streamer.adapters.transport import ChunkConsumer, NoProducer, Run


def test_the_version_is_the_one_that_we_know_inside() -> None:
    assert version("faust-streaming") == "0.15.3"


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ChunkConsumer, consumer.Consumer), (NoProducer, producer.Producer)]
)
def test_every_method_that_we_override_exists_and_takes_our_arguments(ours: type, theirs: type) -> None:
    for name, method in vars(ours).items():
        if not inspect.isfunction(method) or name in ("_begin", "topic_partitions"):
            continue
        original = getattr(theirs, name, None)
        assert original is not None, f"Faust has no {theirs.__name__}.{name} any more"
        wanted = [
            p for p in inspect.signature(original).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD
        ]
        offered = inspect.signature(method).parameters.values()
        loose = any(p.kind == p.VAR_POSITIONAL for p in offered)
        assert loose or len(list(offered)) >= len([p for p in wanted if p.default is p.empty]), name


def test_no_abstract_method_is_left_open() -> None:
    assert not getattr(ChunkConsumer, "__abstractmethods__", None)
    assert not getattr(NoProducer, "__abstractmethods__", None)


def test_the_attributes_that_the_transport_reads_are_there() -> None:
    source = inspect.getsource(consumer.Consumer)
    for name in ("flow_active", "can_resume_flow", "on_partitions_assigned"):
        assert name in source, name
    assert "consumer_generation_id" in inspect.getsource(types.app)
    assert "on_rebalance_start" in dir(faust.App)
    assert isinstance(drivers.TRANSPORTS.aliases, dict)
    assert issubclass(transport.Transport, base.Transport)
    assert issubclass(mode.CrashingSupervisor, mode.SupervisorStrategy)


class Source:
    """Runs for the transport, without a broker; notes what the agent was given."""

    topics = ("p", "l")
    partitions = 2

    def __init__(self, runs: list[Run], fail: bool = False) -> None:
        self.runs, self.fail = runs, fail
        self.processed: list[Run] = []
        self.beats = 0
        self.began = self.ended = False

    async def begin(self) -> None:
        self.began = True

    async def next_runs(self, timeout: float) -> list[Run]:
        if not self.runs:
            await asyncio.sleep(timeout)
            return []
        first, self.runs = self.runs[:3], self.runs[3:]
        return first

    def process(self, run: Run) -> None:
        if self.fail:
            raise RuntimeError("a bug")
        self.processed.append(run)

    def beat(self) -> None:
        self.beats += 1

    async def end(self) -> None:
        self.ended = True


async def run_app(source: Any, until: Any, tmp_path: Path) -> Any:
    app = faust_app.build_app(source, "contract", "127.0.0.1:1", str(tmp_path))
    await app.start()
    async with asyncio.timeout(20):
        while not until(app):
            await asyncio.sleep(0.01)
    await app.stop()
    return app


def test_the_agent_gets_every_run_once_and_in_order_whatever_their_offsets(tmp_path: Path) -> None:
    # Offsets fall back after a restore: Faust must not take the run for an old one.
    runs = [Run(n % 2, n % 2, 1, []) for n in range(20)]
    source = Source(list(runs))
    asyncio.run(run_app(source, lambda app: len(source.processed) == 20 and source.beats > 2, tmp_path))
    for number in (0, 1):
        mine = [run for run in source.processed if run.partition == number]
        assert [id(run) for run in mine] == [id(run) for run in runs if run.partition == number]
    assert source.began
    assert source.ended


def test_faust_keeps_nothing_of_a_run_that_was_processed(tmp_path: Path) -> None:
    """Its own commits empty its books of acks; there are none here, and they would grow for ever."""
    source = Source([Run(n % 2, n % 2, 1, []) for n in range(300)])
    app = asyncio.run(run_app(source, lambda app: len(source.processed) == 300, tmp_path))
    consumer = app.consumer
    assert sum(map(len, consumer._acked_index.values())) == 0
    assert sum(map(len, consumer._acked.values())) == 0
    gc.collect()
    assert len(consumer._unacked_messages) == 0


def test_an_exception_in_the_agent_stops_the_app_and_is_not_acked_away(tmp_path: Path) -> None:
    source = Source([Run(0, 0, 1, [])], fail=True)
    app = asyncio.run(run_app(source, lambda app: app.crash_reason is not None, tmp_path))
    assert "a bug" in repr(app.crash_reason)
