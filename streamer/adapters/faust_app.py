"""The worker as a Faust app: one agent consumes runs, one timer beats."""

from __future__ import annotations

from typing import Any

import faust
import mode
from faust.transport import drivers

from streamer.adapters.ownership import Ownership
from streamer.adapters.transport import Run

SCHEME = "librdkafka"
BEAT_SECONDS = 0.1


class App(faust.App):
    """A Faust app that knows where its runs come from; ``transport`` asks for it."""

    run_source: Ownership


def build_app(ownership: Ownership, name: str, bootstrap: str, data_dir: str) -> App:
    """Wire the agent and the timer. Faust keeps no state, no tables and no web server here."""
    drivers.TRANSPORTS.aliases[SCHEME] = "streamer.adapters.transport:Transport"
    app = App(
        name,
        broker=f"{SCHEME}://{bootstrap.split(',')[0]}",
        store="memory://",
        datadir=data_dir,
        web_enabled=False,
        # An exception in an agent would ack and lose the event: stop the worker, the state knows better.
        agent_supervisor=mode.CrashingSupervisor,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        # Back-pressure is by credit in the readers; Faust's own would idle half of the time.
        stream_buffer_maxsize=1_000_000,
    )
    app.run_source = ownership
    # No acks: Faust would note each one until a commit of its own, of which there is none.
    source = app.topic(*ownership.topics, value_serializer="raw", key_serializer="raw", acks=False)

    async def watch(stream: Any) -> None:
        """Process runs one after another."""
        run: Run
        async for run in stream:
            ownership.process(run)

    app.agent(source, name="watch")(watch)
    app.timer(BEAT_SECONDS)(_beat(ownership))
    return app


def _beat(ownership: Ownership) -> Any:
    async def beat() -> None:
        ownership.beat()

    return beat
