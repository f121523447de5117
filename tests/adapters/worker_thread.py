"""A whole worker inside the test's process, so that a test can look into it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from streamer.adapters.ownership import Ownership
from streamer.adapters.topics import Topics
from streamer.app import Worker
from streamer.config import Settings
from streamer.domain.objectives import Objectives
from streamer.home import home
from streamer.local import free_ports
from tests.deadline import wait_until


def settings_for(bootstrap: str, names: Topics, **more: Any) -> Settings:
    prefix = names.predictions.removesuffix("predictions")
    return Settings(
        bootstrap=bootstrap,
        topic_prefix=prefix,
        group=f"{prefix}group",
        metrics_port=free_ports(1)[0],
        commit_interval=0.1,
        session_timeout=10,
        trace=names.trace is not None,
        **more,
    )


class WorkerThread:
    """Runs while the ``with`` block does. ``status``: its exit status afterwards."""

    def __init__(self, settings: Settings) -> None:
        self.worker = Worker(settings, Objectives())
        self.ownership: Ownership | None = None
        self.status: int | None = None
        self.error: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run)
        build = self.worker._build

        def remember(*arguments: Any) -> Ownership:
            self.ownership = build(*arguments)
            return self.ownership

        self.worker._build = remember  # type: ignore[method-assign]

    def _run(self) -> None:
        async def main() -> int:
            self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
            return await self.worker.run(self._stop)

        try:
            self.status = asyncio.run(main())
        except BaseException as error:
            self.error = error

    def __enter__(self) -> WorkerThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(40)
        assert not self._thread.is_alive()

    def until(self, done: Callable[[Ownership], Any], what: str, seconds: float = 30.0) -> Any:
        """Wait for something that can be seen on the worker."""

        def look() -> Any:
            assert self.error is None, self.error
            return self.ownership is not None and done(self.ownership)

        return wait_until(look, seconds, what)

    def until_consumed(self, partition: int, records: int) -> None:
        """Wait until that many records of one partition are processed and committed."""
        self.until(
            lambda ownership: consumed(ownership, partition) == records,
            f"{records} records of partition {partition}",
        )


def consumed(ownership: Ownership, partition: int) -> int:
    readings = ownership.custody.exposition.partitions.get(partition)
    if readings is None:
        return -1
    return sum(readings.identity[topic]["consumed"] for topic in ("predictions", "labels"))


def model_of(partition: int, partitions: int) -> str:
    """The name of a model whose home is this partition."""
    return next(f"m{i}" for i in range(1000) if home(f"m{i}", partitions) == partition)
