"""The composition root: builds a worker from settings and objectives, runs it, takes it down.

Nothing here is global but the signal handlers: two workers fit into one
process, each with its own group, registry and port.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException

from streamer.adapters import codec
from streamer.adapters.exposition import Exposition, ProcessorStats, serve
from streamer.adapters.faust_app import build_app
from streamer.adapters.kafka import admin_of, member_config, reader_config
from streamer.adapters.ownership import Ownership, Pace
from streamer.adapters.readers import Readers
from streamer.adapters.restore import Restorer
from streamer.adapters.transactions import Rooms
from streamer.config import Settings
from streamer.domain.objectives import Objectives
from streamer.errors import StreamerError
from streamer.home import home

log = logging.getLogger("streamer.app")
BROKER_SECONDS = 10.0


class WorkerError(StreamerError):
    """The worker cannot start; the message names the cure."""


class Worker:
    """One process's share of the work: Kafka in, Kafka and /metrics out."""

    def __init__(self, settings: Settings, objectives: Objectives) -> None:
        self.settings, self.objectives = settings, objectives
        self.topics = settings.topics
        self.base = settings.client_config()
        self.stats = ProcessorStats()
        self.exposition = Exposition(self.stats, max_series=settings.max_series)
        self._cleanups: list[tuple[str, Callable[[], Any]]] = []

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None] | None = None) -> int:
        """Work until ``stop`` is set or something of ours fails; answers the exit status.

        Raises:
            WorkerError: before any work, with the cure.
        """
        partitions, cluster = await asyncio.to_thread(self._look_at_cluster)
        ownership = self._build(partitions, cluster)
        server = serve(
            self.exposition,
            self.settings.metrics_host,
            self.settings.metrics_port,
            ownership.health,
            ownership.ready,
        )
        self._cleanups.append(("metrics server", server.close))
        with tempfile.TemporaryDirectory(prefix="streamer-") as scratch:
            app = build_app(ownership, self.settings.group, self.settings.bootstrap, scratch)
            try:
                await app.start()
                log.info("metrics on http://%s:%d/metrics", self.settings.metrics_host, server.port)
                return await self._watch(app, ownership, stop, on_ready)
            finally:
                # The last commit comes first: Faust may take its time to stop.
                await ownership.end()
                await _within(app.stop(), 10.0, "Faust")
                self._clean_up()

    def _look_at_cluster(self) -> tuple[int, str]:
        """How many partitions there are, and which cluster it is."""
        admin = admin_of(self.base)
        try:
            listed = admin.list_topics(timeout=BROKER_SECONDS)
        except KafkaException as error:
            raise WorkerError(
                f"no Kafka at {self.settings.bootstrap} ({error.args[0].str()}): start one with"
                " `streamer broker`, or name yours with --bootstrap or STREAMER_BOOTSTRAP"
            ) from error
        missing = [name for name in self.topics.by_role().values() if name not in listed.topics]
        if missing:
            raise WorkerError(
                f"topics {', '.join(missing)} are missing at {self.settings.bootstrap}:"
                " make them with `streamer topics create`"
            )
        counts = {name: len(listed.topics[name].partitions) for name in self.topics.by_role().values()}
        if len(set(counts.values())) != 1:
            raise WorkerError(
                f"the topics differ in their number of partitions ({counts}), so a model's predictions and"
                " labels cannot meet: make them anew with `streamer topics create`"
            )
        return len(listed.topics[self.topics.predictions].partitions), str(listed.cluster_id)

    def _build(self, partitions: int, cluster: str) -> Ownership:
        settings, topics = self.settings, self.topics
        sources = (topics.predictions, topics.labels)

        def readers_for(listener: Any) -> Readers:
            return Readers(
                member_config(
                    self.base, settings.group, int(settings.session_timeout * 1000), settings.instance_id
                ),
                reader_config(self.base, f"{settings.group}.reader"),
                sources,
                listener,
                settings.chunk,
                settings.max_buffered,
            )

        restorer = Restorer(
            base=self.base,
            group=settings.group,
            topics=sources,
            state_topic=topics.state,
            partitions=partitions,
            rooms=Rooms({"trace": None, **topics.by_role()}),
            codec=codec,
            objectives=self.objectives,
            home=lambda model: home(model, partitions, settings.partitioner),
            identity={
                "group": settings.group,
                "cluster": cluster,
                "partitions": partitions,
                "topics": list(sources),
                "partitioner": settings.partitioner,
            },
            decode=codec.decode_event,
        )
        pace = Pace(settings.commit_interval, settings.commit_interval_max, settings.commit_share)
        return Ownership(restorer, readers_for, self.exposition, self.stats, pace, settings.trace)

    async def _watch(
        self, app: Any, ownership: Ownership, stop: asyncio.Event, on_ready: Callable[[], None] | None
    ) -> int:
        """Until told to stop, or until something failed that must not be worked around."""
        while not stop.is_set():
            if on_ready is not None and ownership.ready()[0]:
                on_ready()
                on_ready = None
            failed = app.crash_reason or ownership.crashed
            if failed is not None:
                log.error("the worker failed and stops; a restart begins at the last commit", exc_info=failed)
                return 1
            try:
                await asyncio.wait_for(stop.wait(), 0.1)
            except TimeoutError:
                continue
        return 0

    def _clean_up(self) -> None:
        """Last built, first taken down; one that fails does not stop the others."""
        while self._cleanups:
            name, cleanup = self._cleanups.pop()
            try:
                cleanup()
            except Exception:
                log.exception("taking down the %s", name)


async def _within(work: Any, seconds: float, what: str) -> None:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        log.warning("%s did not stop within %.0f s", what, seconds)


def run_worker(settings: Settings, objectives: Objectives, on_ready: Callable[[], None] | None = None) -> int:
    """Run one worker until SIGINT or SIGTERM; answers the exit status.

    Raises:
        WorkerError: it could not start; nothing was changed.
    """

    async def main() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        began = time.monotonic()
        status = await Worker(settings, objectives).run(stop, on_ready)
        log.info("stopped after %.0f s", time.monotonic() - began)
        return status

    return asyncio.run(main())
