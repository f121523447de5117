"""The worker's own asyncio tasks: none fails unnoticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("streamer.tasks")
T = TypeVar("T")


class Tasks:
    """Starts tasks and remembers the first failure. ``crashed``: why the worker has to stop."""

    def __init__(self) -> None:
        self.crashed: BaseException | None = None
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return task

    def crash(self, what: str, error: BaseException) -> None:
        """Something failed that must not be worked around. Any thread may say so."""
        log.error("%s failed", what, exc_info=error)
        self.crashed = self.crashed or error

    def cancel(self) -> None:
        for task in list(self._running):
            task.cancel()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.crash("a task of the worker", error)
