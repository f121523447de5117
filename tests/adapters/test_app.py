"""The worker's end: whatever fails on the way, nothing else is skipped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamer.app import Worker
from streamer.config import Settings
from streamer.domain.objectives import Objectives


def test_a_last_commit_that_fails_keeps_neither_faust_nor_the_metrics_server_up() -> None:
    taken_down: list[str] = []

    class Ends:
        async def end(self) -> None:
            raise ValueError("a bug")

        async def stop(self) -> None:
            taken_down.append("faust")
            raise OSError("and another")

    class Routes:
        def stop(self) -> None: ...

        def is_alive(self) -> bool:
            return True

        def join(self, seconds: float) -> None:
            taken_down.append("router")

    worker = Worker(Settings(), Objectives())
    worker._cleanups.append(("metrics server", lambda: taken_down.append("metrics server")))
    ends: Any = Ends()
    routes: Any = Routes()
    with pytest.raises(OSError, match="and another"):
        asyncio.run(worker._take_down(ends, ends, routes))
    assert taken_down == ["faust", "router", "metrics server"]
