"""The router's side of the sources: a member of a group of its own, which fills lanes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streamer.adapters.kafka import (
    ClientConfig,
    close_quietly,
    committed_offsets,
    member_config,
    reader_config,
)
from streamer.adapters.lanes import At, Lanes
from streamer.adapters.reading import UNREADABLE

log = logging.getLogger("streamer.router")


def source_config(base: ClientConfig, group: str, session_ms: int, instance: str | None) -> dict[str, Any]:
    """A member of the group that reads as well. It has no room of its own: the lanes have."""
    return {**member_config(base, group, session_ms, instance), **reader_config(base, group)} | {
        "queued.min.messages": 5_000,
        "queued.max.messages.kbytes": 8_192,
    }


class SourceReader:
    """Reads both sources' partitions that the group gives us.

    ``membership``: what proves to the group that they are ours, None while they are
    not. ``newcomers``: given to us, and where to go on is still to be found out.
    ``trouble``: what the client last complained of.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: tuple[str, str],
        lanes: Lanes,
        halt: Callable[[list[At], str], None],
        expelled: Callable[[KafkaError], None],
    ) -> None:
        self.topics, self.lanes = topics, lanes
        self._halt, self._expelled = halt, expelled
        self._kinds = {topic: kind for kind, topic in enumerate(topics)}
        self._client = Consumer(dict(config))
        self._paused: frozenset[At] = frozenset()
        self.membership: Any = None
        self.newcomers: set[At] = set()
        self.trouble: str | None = None

    def join(self) -> None:
        self._client.subscribe(
            list(self.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def close(self) -> None:
        """Leave the group: others have the partitions at once."""
        close_quietly(self._client)

    def committed(self, places: Sequence[TopicPartition], seconds: float) -> list[TopicPartition]:
        """The group's offsets, once no transaction that may still move them is open.

        Raises:
            KafkaException: no answer.
        """
        return committed_offsets(self._client, places, seconds)

    def start(self, positions: Mapping[At, tuple[int, int]], now: float) -> None:
        """Read the newcomers from there on: offset, and the time of the record before it in ms."""
        for at, (offset, clock_ms) in positions.items():
            self.lanes.open(at, offset, clock_ms, now)
        self.newcomers = set()
        self._paused = frozenset()
        places = [self.place(*lane.at, lane.begins) for lane in self.lanes]
        self._client.assign(places)
        # It remembers for ever what it was told to pause, whoever has had the partition meanwhile.
        self._client.resume(places)

    def place(self, kind: int, number: int, offset: int, metadata: str = "") -> TopicPartition:
        return TopicPartition(self.topics[kind], number, offset, metadata)

    # -- reading ------------------------------------------------------------------------

    def read(self, count: int, seconds: float, now: float) -> bool:
        """Fill the lanes, serve the group. True: the newcomers were ours before, and still are.

        A client that was away so long that the group has given it up learns that as it serves
        the group again. What it is told in the same breath as its partitions proves nothing.
        """
        before = bool(self.newcomers)
        messages: list[Any] = self._client.consume(count, seconds)
        arrived: dict[At, list[Any]] = {}
        others = []
        for message in messages:
            if message.error() is None:
                arrived.setdefault((self._kinds[message.topic()], message.partition()), []).append(message)
            else:
                others.append(message)
        for at, records in arrived.items():
            self.lanes.push(at, records, now)
        stuck: set[At] = set()
        for message in others:
            self._note(message, now, stuck)
        for at in stuck:
            self._step(at)
        self._hold_back()
        return before and bool(self.newcomers)

    def _hold_back(self) -> None:
        """Lanes that are full are read no further until they have room."""
        full = self.lanes.full()
        for change, ats in (
            (self._client.pause, full - self._paused),
            (self._client.resume, self._paused - full),
        ):
            if ats:
                change([self.place(*at, 0) for at in ats])
        self._paused = full

    def _note(self, message: Any, now: float, stuck: set[At]) -> None:
        """An end of a partition, or an error. The records of its batch have been taken.

        ``stuck``: the log cannot be read there. The client says so more than once while nobody listens.
        """
        error = message.error()
        if message.topic() in self._kinds and message.partition() is not None:
            at = (self._kinds[message.topic()], message.partition())
            if error.code() == KafkaError._PARTITION_EOF:
                self.lanes.end(at, message.offset(), now)
                return
            if error.code() == KafkaError._AUTO_OFFSET_RESET and self.lanes.get(at) is not None:
                self._halt([at], f"{error.str()}: deleted before it was routed, or the topic was made anew")
                return
            if error.code() in UNREADABLE:
                stuck.add(at)
                return
        if error.code() == KafkaError._FATAL:
            self._expelled(error)
        self.trouble = error.str()
        log.warning("the router: %s", error.str())

    def _step(self, at: At) -> None:
        """Try it again, then one offset further."""
        lane = self.lanes.get(at)
        offset = None if lane is None else lane.reading.stumble(lane.kind)
        if offset is not None:
            self._client.seek(self.place(*at, offset))

    # -- the group ----------------------------------------------------------------------

    def _on_assign(self, client: Consumer, tps: list[TopicPartition]) -> None:
        client.assign([])  # until it is known where to go on
        self.trouble = None
        # Now, not with each commit: a client that the group has given up forgets who it was, and the
        # broker lets pass what nobody in particular commits.
        self.membership = client.consumer_group_metadata()
        self.newcomers = {(self._kinds[tp.topic], tp.partition) for tp in tps}
        log.info("the router: assigned %s", self._named(tps))

    def _on_revoke(self, client: Consumer, tps: list[TopicPartition]) -> None:
        # No transaction is open while the group is served: what is not written yet, others will write.
        self.membership, self.newcomers, self._paused = None, set(), frozenset()
        self.lanes.clear()
        client.unassign()
        log.info("the router: gave up %s", self._named(tps))

    @staticmethod
    def _named(tps: list[TopicPartition]) -> str:
        return ", ".join(sorted(f"{tp.topic}/{tp.partition}" for tp in tps)) or "nothing"
