"""The dead-letters topic as a person reads it: letters, and marks of those that were redriven.

A worker writes letters (``checkpoint``), ``redrive`` writes marks. A mark lies
in the partition of its letter, behind it, in the transaction that sent the
letter's bytes back: who reads a partition to its end knows what was redriven.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush
from typing import Any

import orjson
from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streamer.adapters.kafka import ClientConfig, admin_of, close_quietly, log_offsets, reader_config
from streamer.adapters.topics import Topics, required_topics
from streamer.domain.events import Reason
from streamer.errors import StreamerError

ANSWER_SECONDS = 15.0
READ_SECONDS = 60.0
BATCH = 1_000
MARK = "redriven"
Address = tuple[int, int]


class LettersError(StreamerError):
    """The topic cannot be read, or holds no such letter; the message names the cure."""


@dataclass(frozen=True, slots=True)
class Place:
    """One offset of a source topic."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}:{self.offset}"


@dataclass(frozen=True)
class Letter:
    """A record that could not be used, as the worker left it.

    ``address``: partition and offset in the dead-letters topic. ``headers``: as
    text. ``source`` None: no worker wrote this. ``time_ms``: of the record, by
    the broker's clock.
    """

    address: Address
    headers: Mapping[str, str]
    key: bytes
    value: bytes
    source: Place | None
    time_ms: int

    @property
    def reason(self) -> str:
        return self.headers.get("reason", "")

    @cached_property
    def model(self) -> str | None:
        """As the worker looks for it: in the value, else the key. None where neither says."""
        try:
            event = orjson.loads(self.value)
        except orjson.JSONDecodeError:
            event = None
        name = event.get("model") if isinstance(event, dict) else None
        if type(name) is str or type(name) is int:
            return str(name)
        return self.key.decode("utf-8", "replace") or None


@dataclass(frozen=True, slots=True)
class Mark:
    """The letter at ``letter`` was sent back, and has become the record at ``to``."""

    address: Address
    letter: Address
    to: Place


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are asked for; what is None or empty asks nothing. Times in ms, ``until_ms`` excluded."""

    reason: str | None = None
    model: str | None = None
    topic: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    addresses: frozenset[Address] = frozenset()

    def has(self, letter: Letter) -> bool:
        return (
            (not self.addresses or letter.address in self.addresses)
            and self.reason in (None, letter.reason)
            and self.topic in (None, letter.headers.get("kind"))
            and (self.since_ms is None or letter.time_ms >= self.since_ms)
            and (self.until_ms is None or letter.time_ms < self.until_ms)
            and (self.model is None or letter.model == self.model)
        )


def written(address: Address) -> str:
    """``3:17``, as people write an address."""
    return f"{address[0]}:{address[1]}"


def address_of(text: str) -> Address:
    """``3:17`` → partition 3, offset 17. Raises ValueError."""
    partition, colon, offset = text.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        raise ValueError(f"{text!r} is not PARTITION:OFFSET, as in 3:17")
    return int(partition), int(offset)


class LetterLog:
    """Reads the topic from outside of any group; what is not committed yet is waited for."""

    def __init__(self, base: ClientConfig, topics: Topics) -> None:
        self.base, self.topic = base, topics.dead_letters
        # Where letters may have come from, and where each can be sent back to: sources that are routed
        # are only read.
        self.back = {**dict(zip(topics.sources, topics.inputs, strict=True)), **{n: n for n in topics.inputs}}
        listed = required_topics(base, (*self.back, self.topic))
        self.partitions = len(listed[self.topic].partitions)
        self.sources = {name: len(listed[name].partitions) for name in self.back}

    def ends(self) -> dict[int, int]:
        """Partition → the offset after its last record, of transactions that are still open too.

        A mark may lie behind what a worker is just writing: to read to the last *stable* offset would
        miss it.

        Raises:
            LettersError: no answer.
        """
        admin = admin_of(self.base)
        asked = {TopicPartition(self.topic, number): OffsetSpec.latest() for number in range(self.partitions)}
        try:
            found = log_offsets(admin, asked, IsolationLevel.READ_UNCOMMITTED, ANSWER_SECONDS)
        except (KafkaException, TimeoutError) as error:
            raise LettersError(f"where {self.topic} ends: {error or 'no answer in time'}") from error
        return {number: offset for (_, number), offset in found.items()}

    def read(
        self, begins: Mapping[int, int] | None = None, ends: Mapping[int, int] | None = None
    ) -> Iterator[Letter | Mark]:
        """All from ``begins`` (offsets by partition; None: everything) to ``ends`` (None: as of now).

        Each partition comes in its order, different ones come mixed.

        Raises:
            LettersError: no answer, or no end in time.
        """
        ends = self.ends() if ends is None else ends
        begins = dict.fromkeys(ends, 0) if begins is None else begins
        left = {number: ends[number] for number, first in begins.items() if first < ends[number]}
        if not left:
            return
        # The offsets are ours alone; librdkafka still wants a group's name.
        config = reader_config(self.base, "streamer.dead-letters") | {"auto.offset.reset": "earliest"}
        consumer = Consumer(config)
        try:
            consumer.assign([TopicPartition(self.topic, number, begins[number]) for number in left])
            moved = time.monotonic()
            while left:
                for found in _take(consumer, left):
                    moved = time.monotonic()
                    if found is not None:
                        yield found
                if time.monotonic() - moved > READ_SECONDS:
                    raise LettersError(
                        f"{self.topic} could not be read to its end within {READ_SECONDS:.0f} s"
                        f" (partitions {', '.join(map(str, left))}): are the brokers well?"
                    )
        finally:
            close_quietly(consumer)

    def find(self, address: Address) -> tuple[Letter, Mark | None]:
        """One letter, and what became of it. Raises LettersError where there is none."""
        number, offset = address
        found: Letter | None = None
        if number < self.partitions:
            for each in self.read({number: offset}):
                if each.address == address and isinstance(each, Mark):
                    raise LettersError(
                        f"{written(address)} is no letter: it says that {written(each.letter)} was redriven"
                    )
                if each.address == address and isinstance(each, Letter):
                    found = each
                elif isinstance(each, Mark) and each.letter == address and found is not None:
                    return found, each
                elif found is None:
                    break
        if found is None:
            raise LettersError(
                f"there is no dead letter {written(address)} in {self.topic}: it was never there, or its time"
                " is over; `streamer dead-letters list` has those that are"
            )
        return found, None

    def obstacle(self, letter: Letter) -> str | None:
        """Why this letter cannot be redriven, in words that many letters share; None where it can."""
        source = letter.source
        if source is None:
            return "it does not say which record it was: no worker wrote it"
        if letter.reason == Reason.UNREADABLE:
            return "a stretch of the log that no client can read left no bytes to send"
        if letter.reason == Reason.TOMBSTONE:
            return "the record had no value: there is nothing to send"
        if {"truncated-sha256", "truncated-key-sha256"} & letter.headers.keys():
            return "it was too large to keep whole: its producer has to send it again"
        # Whoever may write here could otherwise have the operator write anywhere, state included.
        if source.topic not in self.sources:
            return "it came from a topic that is none of the sources: name yours with --topic-prefix"
        if letter.reason == Reason.MISPLACED and letter.model is None:
            return "it names no model, so it has no home"
        if source.partition >= self.sources[source.topic]:
            return "its partition is no more"
        return None


def _take(consumer: Consumer, left: dict[int, int]) -> Iterator[Letter | Mark | None]:
    """What has arrived, None for a partition that is at its end; those at their end leave ``left``."""
    # ``consume`` would wait for its whole time while there are fewer than asked for.
    first = consumer.poll(0.2)
    rest: list[Any] = consumer.consume(BATCH, 0.0) if first is not None else []
    for message in [first, *rest] if first is not None else []:
        error, number = message.error(), message.partition()
        if error is not None:
            if error.code() == error._PARTITION_EOF and message.offset() >= left.get(number, 0):
                left.pop(number, None)
                yield None
            elif error.fatal() or error.code() == error.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaException(error)
        elif number in left and message.offset() < left[number]:
            yield parse(message)
            if message.offset() + 1 >= left[number]:
                left.pop(number, None)
        else:
            left.pop(number, None)
            yield None


def parse(message: Any) -> Letter | Mark:
    """A record of the topic, whoever wrote it: what makes no sense is a letter without a source."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or ()}
    address = (message.partition(), message.offset())
    if MARK in headers:
        to = _place(headers, "to-")
        try:
            letter = address_of(headers[MARK])
        except ValueError:
            letter = None
        if to is not None and letter is not None:
            return Mark(address, letter, to)
    source = _place(headers) if "reason" in headers else None
    said = headers.get("timestamp", "")
    at = int(said) if said.isdecimal() and len(said) < 16 else message.timestamp()[1]
    return Letter(address, headers, message.key() or b"", message.value() or b"", source, at)


def _place(headers: Mapping[str, str], prefix: str = "") -> Place | None:
    topic, *numbers = (headers.get(f"{prefix}{name}", "") for name in ("topic", "partition", "offset"))
    if not topic or not all(each.isdecimal() and len(each) < 20 for each in numbers):
        return None
    return Place(topic, int(numbers[0]), int(numbers[1]))


@dataclass(frozen=True, slots=True)
class Listed:
    """A letter without its bytes. ``obstacle``: why it cannot be redriven. ``size``: of its value, bytes."""

    address: Address
    time_ms: int
    reason: str
    model: str | None
    source: Place | None
    size: int
    cure: str
    obstacle: str | None
    redriven_to: Place | None = None


@dataclass(slots=True)
class Listing:
    """``rows``: the newest letters that were asked for, oldest first. The counts, by (reason, kind), of all.

    ``open``: those that could be redriven and were not.
    """

    rows: list[Listed]
    found: Counter[tuple[str, str]]
    redriven: Counter[tuple[str, str]]
    open: Counter[tuple[str, str]]


def listing(log: LetterLog, wanted: Wanted, limit: int) -> Listing:
    """Look through the whole topic, keeping no more than ``limit`` rows and an address for each letter.

    Raises:
        LettersError: it cannot be read.
    """
    newest: list[tuple[int, Address, Listed]] = []
    what: dict[Address, tuple[str, str]] = {}
    marks: dict[Address, Place] = {}
    counts = Listing([], Counter(), Counter(), Counter())
    for each in log.read():
        if isinstance(each, Mark):
            if each.letter in what:
                marks[each.letter] = each.to
            continue
        if not wanted.has(each):
            continue
        about = (each.reason, each.headers.get("kind", ""))
        what[each.address] = about
        obstacle = log.obstacle(each)
        counts.found[about] += 1
        counts.open[about] += obstacle is None
        row = Listed(
            each.address,
            each.time_ms,
            each.reason,
            each.model,
            each.source,
            len(each.value),
            each.headers.get("cure", ""),
            obstacle,
        )
        heappush(newest, (each.time_ms, each.address, row))
        if len(newest) > limit:
            heappop(newest)
    for address in marks:
        counts.redriven[what[address]] += 1
        counts.open[what[address]] -= 1
    counts.rows = [replace(row, redriven_to=marks.get(row.address)) for *_, row in sorted(newest, key=_when)]
    return counts


def _when(entry: tuple[int, Address, Listed]) -> tuple[int, Address]:
    return entry[0], entry[1]
