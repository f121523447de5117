"""The transitions that one target has yet to take, as a consumer group: committed once each was delivered.

Where a group has no offsets yet its target is told what fires now, not all of the past: (1) read a
partition to its end; (2) commit where that was, as metadata, so that a restart knows what was past;
(3) hand out the last words that fire; (4) commit the end; from there on every transition.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from streamer.adapters.alert_log import Alert, alert_in, say_no_alert
from streamer.adapters.attempts import log
from streamer.adapters.kafka import (
    NOT_ALLOWED,
    ClientConfig,
    close_quietly,
    committed_offsets,
    error_of,
    member_config,
)

SESSION_MS = 10_000
ASK_SECONDS = 10.0
MOST_WAITING = 200
COMMIT_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Item:
    """``alert`` None: nothing to deliver. ``then``: the position to commit once it was, None: not yet."""

    partition: int
    alert: Alert | None
    at: float  # record time, epoch seconds
    then: int | None


@dataclass(slots=True)
class _Past:
    """What a new target is not told, but for the last words that fire. ``end`` None: not known yet."""

    end: int | None
    words: dict[str, tuple[int, Item]] = field(default_factory=dict)


class Transitions:
    """In the order of their partition. ``waiting``: handed over by Kafka, not done yet, in order."""

    def __init__(self, base: ClientConfig, topic: str, group: str, instance: str | None = None) -> None:
        self._topic = topic
        self.waiting: deque[Item] = deque()
        self._past: dict[int, _Past] = {}
        self._done: dict[int, TopicPartition] = {}
        self._commit_at = 0.0
        self._paused = False
        config = member_config(base, group, SESSION_MS, instance)
        self._consumer = Consumer(
            config
            | {
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        self._consumer.subscribe(
            [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def step(self, seconds: float) -> None:
        """Serve the group, read on, commit what is done. Raises KafkaException: a person has to act."""
        message = self._consumer.poll(seconds)
        if message is not None:
            self._take(message)
        if self._done and time.monotonic() >= self._commit_at:
            self._commit()
        self._throttle()

    def done(self) -> None:
        """The first one was delivered."""
        item = self.waiting.popleft()
        if item.then is not None:
            self._done[item.partition] = TopicPartition(self._topic, item.partition, item.then)
            self._commit()

    def close(self) -> None:
        close_quietly(self._consumer)

    # -- what Kafka says ------------------------------------------------------------------------

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is None:
            self._put(message)
        elif error.code() == error._PARTITION_EOF:
            self._reached_end(message.partition(), message.offset())
        elif error.fatal() or error.code() in NOT_ALLOWED or error.code() == error._FATAL:
            raise KafkaException(error)

    def _reached_end(self, number: int, end: int) -> None:
        past = self._past.get(number)
        if past is not None and past.end is None:
            past.end = end
            self._commit_now([TopicPartition(self._topic, number, 0, f"past={end}")])
        elif past is not None and past.end is not None:
            past.end = min(past.end, end)  # shorter than it was: somebody has made the topic anew
        self._leave_past(number, end)

    def _put(self, message: Any) -> None:
        number, offset = message.partition(), message.offset()
        self._leave_past(number, offset)
        item = Item(number, self._alert_in(message), message.timestamp()[1] / 1000, offset + 1)
        past = self._past.get(number)
        if past is None:
            self.waiting.append(item)
            return
        name = (message.key() or b"").decode("utf-8", "replace")
        past.words.pop(name, None)
        if item.alert is not None and item.alert.get("status") != "resolved":
            past.words[name] = (offset, item)

    def _leave_past(self, number: int, position: int) -> None:
        past = self._past.get(number)
        if past is None or past.end is None or position < past.end:
            return
        del self._past[number]
        firing = [item for _, item in sorted(past.words.values(), key=lambda each: each[0])]
        self.waiting += [Item(number, item.alert, item.at, None) for item in firing]
        self.waiting.append(Item(number, None, 0.0, past.end))

    def _alert_in(self, message: Any) -> Alert | None:
        if message.value() is None:
            return None
        alert = alert_in(message)
        if alert is not None and alert.get("status") in ("firing", "updated", "resolved"):
            return alert
        say_no_alert(message)
        return None

    # -- the group ------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        begins = []
        for each in committed_offsets(consumer, partitions, ASK_SECONDS):
            fresh = each.offset < 0
            past = re.fullmatch(r"past=(\d+)", each.metadata or "")
            if fresh or past:
                self._past[each.partition] = _Past(int(past[1]) if past else None)
            begins.append(
                TopicPartition(self._topic, each.partition, OFFSET_BEGINNING if fresh else each.offset)
            )
        consumer.assign(begins)
        consumer.resume(begins)
        self._paused = False

    def _on_revoke(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        gone = {each.partition for each in partitions}
        self.waiting = deque(item for item in self.waiting if item.partition not in gone)
        for number in gone:
            self._past.pop(number, None)
            self._done.pop(number, None)

    def _throttle(self) -> None:
        """A target that is away holds up the reading, not the membership."""
        much = len(self.waiting) >= (MOST_WAITING if not self._paused else MOST_WAITING // 2)
        if much != self._paused:
            assigned = self._consumer.assignment()
            (self._consumer.pause if much else self._consumer.resume)(assigned)
            self._paused = much

    def _commit(self) -> None:
        if self._commit_now([*self._done.values()]):
            self._done.clear()
        self._commit_at = time.monotonic() + COMMIT_AGAIN_SECONDS

    def _commit_now(self, offsets: list[TopicPartition]) -> bool:
        """What fails is committed with the next one; a relay that dies before delivers once more."""
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("what was delivered could not be noted yet: %s", error_of(error).str())
            return False
        return True
