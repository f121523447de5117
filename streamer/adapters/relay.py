"""Tells each target of the alerts, in a thread of its own: one that is away holds up no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException

from streamer.adapters.alertmanager import Alertmanager, AlertmanagerFeed
from streamer.adapters.attempts import Attempts, log
from streamer.adapters.http_post import Outcome
from streamer.adapters.kafka import ClientConfig, error_of
from streamer.adapters.topics import required_topics
from streamer.adapters.transitions import Transitions
from streamer.adapters.webhooks import Webhook

LOOK_SECONDS = 0.2
END_SECONDS = 5.0  # what takes longer than that to answer is asked again by the next life
REFUSALS = 3


class Feed(Protocol):
    """What keeps one target informed."""

    def run(self, going: Callable[[], bool]) -> None: ...


def group_of(group: str, target: str) -> str:
    """The consumer group that holds a target's offsets; the relay has rights on all that begin so."""
    return f"{group}.relay.{target}"


class WebhookFeed:
    """Posts each transition at least once, in order; it goes on when the target has said that it has it."""

    def __init__(
        self,
        base: ClientConfig,
        topic: str,
        group: str,
        instance: str | None,
        hook: Webhook,
        attempts: Attempts,
    ) -> None:
        self._base, self._topic, self._group, self._instance = base, topic, group, instance
        self._hook, self._attempts = hook, attempts

    def run(self, going: Callable[[], bool]) -> None:
        """Raises KafkaException where a person has to do something."""
        while going():
            try:
                self._run(going)
            except KafkaException as error:
                cause = error_of(error)
                if not (cause.retriable() or cause.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT)):
                    raise
                # Nothing is lost: what was not committed comes again.
                log.warning("%s: Kafka does not answer (%s); joining again", self._group, cause.str())

    def _run(self, going: Callable[[], bool]) -> None:
        transitions = Transitions(self._base, self._topic, self._group, self._instance)
        try:
            while going():
                first = transitions.waiting[0] if transitions.waiting else None
                self._attempts.counts.waiting_since = (
                    None if first is None or first.alert is None else first.at
                )
                pause = self._attempts.due - time.monotonic()
                if first is None or pause > 0:
                    transitions.step(LOOK_SECONDS if first is None else min(LOOK_SECONDS, pause))
                    continue
                if first.alert is None or self._deliver(first.alert):
                    transitions.done()
                transitions.step(0.0)
        finally:
            transitions.close()

    def _deliver(self, alert: dict[str, object]) -> bool:
        """True once it has it, or will never have it."""
        reply = self._hook.post(alert)
        self._attempts.note(reply)
        if reply.taken:
            self._attempts.counts.taken += 1
        elif reply.outcome is Outcome.REFUSED and self._attempts.tries >= REFUSALS:
            log.error(
                "%s refuses transition %s for good: %s. It is left out; the topic still has it",
                self._attempts.target, alert.get("alert_id"), reply.why,
            )  # fmt: skip
            self._attempts.counts.refused += 1
            self._attempts.clear()
            return True
        return reply.taken


class Relay:
    """All targets of one alerts topic."""

    def __init__(self, base: ClientConfig, topic: str, group: str, instance: str | None = None) -> None:
        self._base, self._topic, self._group, self._instance = base, topic, group, instance
        self._feeds: dict[str, Feed] = {}
        self.attempts: dict[str, Attempts] = {}

    def add_alertmanager(self, name: str, target: Alertmanager) -> None:
        self._feeds[name] = AlertmanagerFeed(
            self._base, self._topic, group_of(self._group, name), target, self._attempts_of(name)
        )

    def add_webhook(self, name: str, hook: Webhook) -> None:
        self._feeds[name] = WebhookFeed(
            self._base,
            self._topic,
            group_of(self._group, name),
            self._instance,
            hook,
            self._attempts_of(name),
        )

    def _attempts_of(self, name: str) -> Attempts:
        return self.attempts.setdefault(name, Attempts(name))

    def run(self, stopped: threading.Event) -> None:
        """Until ``stopped``, or until one feed cannot go on.

        Raises:
            StreamerError, KafkaException: what keeps it from going on; all have ended.
        """
        required_topics(self._base, [self._topic])
        failures: list[BaseException] = []
        end = threading.Event()

        def run(feed: Feed) -> None:
            try:
                feed.run(lambda: not (stopped.is_set() or end.is_set()))
            except BaseException as error:
                failures.append(error)
                end.set()

        threads = [
            threading.Thread(target=run, args=(feed,), name=name, daemon=True)
            for name, feed in self._feeds.items()
        ]
        for thread in threads:
            thread.start()
        log.info("%s → %s", self._topic, ", ".join(self._feeds))
        while not (stopped.wait(LOOK_SECONDS) or end.is_set()):
            pass
        _join(threads)
        if failures:
            raise failures[0]


def _join(threads: Sequence[threading.Thread]) -> None:
    deadline = time.monotonic() + END_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            log.warning("%s is left in the middle of a request; it will be told again", thread.name)
