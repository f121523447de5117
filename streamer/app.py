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
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from streamer.adapters import codec
from streamer.adapters.commits import Pace
from streamer.adapters.exposition import Exposition, ProcessorStats, RouterStats, serve
from streamer.adapters.faust_app import build_app
from streamer.adapters.health import Answer
from streamer.adapters.heap import calm_the_collector, keep_the_heap_small
from streamer.adapters.kafka import admin_of, member_config, reader_config
from streamer.adapters.ownership import Ownership
from streamer.adapters.readers import Readers
from streamer.adapters.restore import Restorer
from streamer.adapters.rights import Role, missing_rights, rights_of
from streamer.adapters.router import Membership, Router
from streamer.adapters.sources import SourcesError, check_clock, identity_of, topic_ids
from streamer.adapters.topics import cluster_of, unequal_partitions, why_missing
from streamer.adapters.transactions import Rooms
from streamer.config import Settings
from streamer.domain.objectives import Objectives
from streamer.errors import StreamerError
from streamer.home import home
from streamer.routing import Routes

log = logging.getLogger("streamer.app")
ROUTER_SECONDS = 8.0


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
            WorkerError, TopicsError: before any work, with the cure.
        """
        counts, identity = await asyncio.to_thread(self._look_at_cluster)
        ownership = self._build(identity["partitions"], identity)
        router = self._build_router(counts, identity["partitions"], ownership) if self.topics.routed else None
        settings = self.settings
        server = serve(
            self.exposition,
            settings.metrics_host,
            settings.metrics_port,
            partial(_both, ownership.health, router.health if router else _fine),
            partial(_both, ownership.ready, router.ready if router else _fine),
            settings.certificate,
        )
        self._cleanups.append(("metrics server", server.close))
        with tempfile.TemporaryDirectory(prefix="streamer-") as scratch:
            app = build_app(ownership, self.settings.group, self.settings.bootstrap, scratch)
            try:
                await app.start()
                if router is not None:
                    router.start()
                log.info("metrics on %s/metrics", server.url)
                return await self._watch(app, ownership, stop, on_ready)
            finally:
                await self._take_down(app, ownership, router)

    async def _take_down(self, app: Any, ownership: Ownership, router: Router | None) -> None:
        """The last commit comes first: Faust may take its time to stop. A step that fails skips no other."""
        if router is not None:
            router.stop()
        try:
            await ownership.end()
        finally:
            try:
                await _within(app.stop(), 10.0, "Faust")
            finally:
                if router is not None and router.is_alive():
                    await asyncio.to_thread(router.join, ROUTER_SECONDS)
                self._clean_up()

    def _look_at_cluster(self) -> tuple[dict[str, int], dict[str, Any]]:
        """How many partitions each topic has, and what the state of ours belongs to."""
        listed = cluster_of(self.base)
        missing = [name for name in self.topics.by_role().values() if name not in listed.topics]
        if missing:
            raise WorkerError(f"{why_missing(self.base, missing)} (Kafka at {self.settings.bootstrap})")
        counts = {name: len(listed.topics[name].partitions) for name in self.topics.by_role().values()}
        unequal = unequal_partitions(self.topics, counts)
        if unequal:
            raise WorkerError("\n".join(f"topic {name} {why}" for name, why in unequal.items()))
        lacking = missing_rights(self.base, rights_of(Role.WORKER, self.topics, self.settings.group))
        if lacking:
            raise WorkerError(
                f"the Kafka at {self.settings.bootstrap} does not allow this worker: {'; '.join(lacking)}."
                f" Allow it what `streamer topics acls --worker User:… --group {self.settings.group}` prints"
            )
        inputs, admin = self.topics.inputs, admin_of(self.base)
        try:
            check_clock(admin, inputs, self.topics.state)
            ids = topic_ids(admin, inputs)
        except SourcesError as error:
            raise WorkerError(f"{error} (Kafka at {self.settings.bootstrap})") from error
        identity = identity_of(self.settings.group, str(listed.cluster_id), inputs, ids)
        return counts, identity | {
            "partitions": counts[inputs[0]],
            "partitioner": self.settings.partitioner,
        }

    def _build(self, partitions: int, identity: dict[str, Any]) -> Ownership:
        settings, topics = self.settings, self.topics

        def readers_for(listener: Any) -> Readers:
            return Readers(
                member_config(
                    self.base, settings.group, int(settings.session_timeout * 1000), settings.instance_id
                ),
                reader_config(self.base, settings.group),
                topics.inputs,
                listener,
                settings.chunk,
                settings.max_buffered,
            )

        restorer = Restorer(
            base=self.base,
            group=settings.group,
            topics=topics.inputs,
            state_topic=topics.state,
            partitions=partitions,
            rooms=Rooms({"trace": None, **topics.by_role()}),
            codec=codec,
            objectives=self.objectives,
            home=lambda model: home(model, partitions, settings.partitioner),
            identity=identity,
            decode=codec.decode_event,
            routed=topics.routed,
        )
        pace = Pace(settings.commit_interval, settings.commit_interval_max, settings.commit_share)
        return Ownership(restorer, readers_for, self.exposition, self.stats, pace, settings.trace)

    def _build_router(self, counts: dict[str, int], partitions: int, ownership: Ownership) -> Router:
        settings, sources = self.settings, self.topics.sources
        self.stats.router = RouterStats()
        router = Router(
            self.base,
            settings.group,
            self.topics,
            (counts[sources[0]], counts[sources[1]]),
            Routes(sources, partitions, lambda model: home(model, partitions, settings.partitioner),
                   codec.decode_event),
            Membership(int(settings.session_timeout * 1000), uuid.uuid4().hex[:12], settings.instance_id),
            self.stats.router,
            ownership.expelled,
            partial(ownership.tasks.crash, "the router"),
            settings.chunk,
            settings.max_buffered,
        )  # fmt: skip
        ownership.caught_up = router.caught_up
        return router

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


def _fine() -> Answer:
    return True, ""


def _both(first: Callable[[], Answer], second: Callable[[], Answer]) -> Answer:
    """The first that is not well, else what the first one says."""
    answer, other = first(), second()
    return answer if other[0] or not answer[0] else other


async def _within(work: Any, seconds: float, what: str) -> None:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        log.warning("%s did not stop within %.0f s", what, seconds)


def run_worker(settings: Settings, objectives: Objectives, on_ready: Callable[[], None] | None = None) -> int:
    """Run one worker until SIGINT or SIGTERM; answers the exit status.

    Raises:
        WorkerError, TopicsError: it could not start; nothing was changed.
    """

    async def main() -> int:
        calm_the_collector()
        keep_the_heap_small()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        began = time.monotonic()
        status = await Worker(settings, objectives).run(stop, on_ready)
        log.info("stopped after %.0f s", time.monotonic() - began)
        return status

    return asyncio.run(main())
