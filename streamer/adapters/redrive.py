"""Sends dead letters back to the topics they came from, each once, and looks what becomes of them.

1. ``plan``: read the topic; choose the letters that were asked for, can be
   sent and were not.
2. ``Redriver``: fence any other redriver, by a transactional id that is the
   topic's; from here on nobody else marks anything.
3. Read what has come since the plan: what is marked now is not sent.
4. Send in batches, each one transaction: the original bytes, and a mark for
   each that says which letter it was and which record it has become. So a
   letter is either sent and marked, or neither, whenever we are killed.
5. ``outcomes``: wait until the group has passed the records, then read
   whether any of them is a dead letter again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from streamer.adapters.dead_letters import (
    MARK,
    Address,
    Letter,
    LetterLog,
    LettersError,
    Mark,
    Place,
    Wanted,
    written,
)
from streamer.adapters.kafka import (
    LASTING,
    ClientConfig,
    Verdict,
    error_of,
    offsets_of,
    producer_config,
    verdict_of,
)
from streamer.domain.events import Reason
from streamer.home import Partitioner, home

BATCH_LETTERS = 500
BATCH_BYTES = 4_000_000
CALL_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.2
# What becomes of records because of what became of another one.
_FOLLOWED = frozenset(
    {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._FATAL, KafkaError._STATE}
)


class RedriveError(LettersError):
    """Not all was sent; the message says how it stands and names the cure."""


# -- what to send ------------------------------------------------------------------------------


@dataclass(slots=True)
class Plan:
    """``chosen``: to be sent. ``ends``: how far the topic was read. The rest says why others are not.

    ``again``: they came of a redrive themselves. ``hopeless``: by what is in the way.
    """

    chosen: set[Address]
    ends: dict[int, int]
    redriven: int = 0
    again: int = 0
    hopeless: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def plan(log: LetterLog, wanted: Wanted, again: bool = False) -> Plan:
    """Choose letters. Those that came of a redrive only when ``again``, or when they are named.

    A cure that did not work would else send the same bytes around for ever.

    Raises:
        LettersError: the topic cannot be read, or a letter that is named is not there.
    """
    found = Plan(set(), log.ends())
    of: dict[Address, str] = {}
    sources: dict[Place, Address] = {}
    marked: set[Address] = set()
    came: set[Place] = set()
    for each in log.read(ends=found.ends):
        if isinstance(each, Mark):
            marked.add(each.letter)
            came.add(each.to)
        elif wanted.has(each):
            obstacle = log.obstacle(each)
            if obstacle is None and each.source is not None:
                of[each.address] = each.reason
                sources[each.source] = each.address
            else:
                found.hopeless[obstacle or ""] += 1
                of[each.address] = ""
    missing = wanted.addresses - of.keys()
    if missing:
        names = ", ".join(written(each) for each in sorted(missing))
        raise LettersError(
            f"there is no dead letter {names}: `streamer dead-letters list` has those that are"
        )
    sendable = {address for address, reason in of.items() if reason}
    returned = {address for place, address in sources.items() if place in came}
    found.redriven = len(sendable & marked)
    found.chosen = sendable - marked
    if not (again or wanted.addresses):
        found.again = len(found.chosen & returned)
        found.chosen -= returned
    found.reasons.update(of[address] for address in found.chosen)
    return found


# -- send --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """A letter on its way: the record that it has become."""

    letter: Address
    reason: str
    to: Place


class Redriver:
    """The one producer that may send letters back: whoever opens it last is the only one that can."""

    def __init__(self, base: ClientConfig, log: LetterLog, partitioner: Partitioner = "murmur2") -> None:
        self.log, self.partitioner = log, partitioner
        self._producer = Producer(producer_config(base, f"{log.topic}-redrive"))
        self._places: list[Place | None] = []
        self._failure: KafkaError | None = None

    def open(self, found: Plan) -> None:
        """Fence every other redriver, then drop from the plan what one of them sent meanwhile.

        Raises:
            RedriveError, LettersError: nothing was sent.
        """
        self._until_answered(self._producer.init_transactions, "Nothing was sent")
        for each in self.log.read(found.ends):
            if isinstance(each, Mark) and each.letter in found.chosen:
                found.chosen.discard(each.letter)
                found.redriven += 1

    def send(self, found: Plan, going: Callable[[], bool] = lambda: True) -> Iterator[list[Sent]]:
        """Send what was chosen, a batch at a time, while ``going()``; each is written for good.

        Raises:
            RedriveError: not all was sent; the message says how it stands.
        """
        done = 0
        for batch in _batches(self._chosen(found)):
            if not going():
                return
            sent = self._write(batch, f"{done} letters were sent, the others were not")
            done += len(sent)
            yield sent

    def _chosen(self, found: Plan) -> Iterator[Letter]:
        begins: dict[int, int] = {}
        ends: dict[int, int] = {}
        for number, offset in found.chosen:
            begins[number] = min(offset, begins.get(number, offset))
            ends[number] = max(offset + 1, ends.get(number, 0))
        for each in self.log.read(begins, ends):
            if isinstance(each, Letter) and each.address in found.chosen:
                yield each

    def _write(self, batch: Sequence[Letter], so_far: str) -> list[Sent]:
        """One transaction; sent again as a whole where it was aborted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._producer.begin_transaction()
                places = self._send_back(batch)
                self._mark(batch, places)
            except KafkaException as error:
                self._abort(error_of(error), so_far, deadline)
                continue
            try:
                self._until_answered(self._producer.commit_transaction, so_far)
            except KafkaException as error:
                self._abort(error_of(error), so_far, deadline)
                continue
            return [
                Sent(letter.address, letter.reason, place)
                for letter, place in zip(batch, places, strict=True)
            ]

    def _send_back(self, batch: Sequence[Letter]) -> list[Place]:
        """The original bytes, under the original key; answers where they lie. Raises KafkaException."""
        self._places, self._failure = [None] * len(batch), None
        for number, letter in enumerate(batch):
            topic, partition_ = self._target(letter)
            self._producer.produce(
                topic, letter.value, letter.key or None, partition_, on_delivery=partial(self._noted, number)
            )
        self._flush()
        return [place for place in self._places if place is not None]

    def _mark(self, batch: Sequence[Letter], places: Iterable[Place]) -> None:
        for letter, place in zip(batch, places, strict=True):
            headers: list[tuple[str, str | bytes | None]] = [
                (MARK, written(letter.address).encode()),
                ("to-topic", place.topic.encode()),
                ("to-partition", str(place.partition).encode()),
                ("to-offset", str(place.offset).encode()),
            ]
            self._producer.produce(
                self.log.topic, b"", letter.key or None, letter.address[0], headers=headers,
                on_delivery=partial(self._noted, None),
            )  # fmt: skip
        self._flush()

    def _target(self, letter: Letter) -> tuple[str, int]:
        """Where it came from; where its model is at home now if that was wrong, or was the router's to find.

        Past the router: it is the record that the router would have made, and its place tells it from that.
        """
        source = letter.source
        assert source is not None
        topic = self.log.back[source.topic]
        partitions = self.log.sources[topic]
        routed = topic != source.topic
        if (routed or letter.reason == Reason.MISPLACED) and letter.model is not None:
            return topic, home(letter.model, partitions, self.partitioner)
        return topic, source.partition % partitions if routed else source.partition

    def _noted(self, number: int | None, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            if self._failure is None or self._failure.code() in _FOLLOWED:
                self._failure = error
        elif number is not None:
            self._places[number] = Place(message.topic(), message.partition(), message.offset())

    def _flush(self) -> None:
        try:
            left = self._producer.flush(PATIENCE_SECONDS)
        except SystemError as error:  # how the client says that it came to a fatal error on the way
            raise KafkaException(self._failure or KafkaError(KafkaError._FATAL)) from error
        if self._failure is not None:
            if self._failure.code() in _FOLLOWED:
                self._producer.commit_transaction(CALL_SECONDS)  # it cannot any more, and says why
            raise KafkaException(self._failure)
        if left:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def _until_answered(self, call: Callable[[float], None], so_far: str) -> None:
        """A call of the transaction, again while nobody answers. Raises KafkaException to be aborted for."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                call(CALL_SECONDS)
                return
            except KafkaException as error:
                cause = error_of(error)
                if verdict_of(cause) is not Verdict.RETRY:
                    if verdict_of(cause) is Verdict.ABORT:
                        raise
                    raise self._stopped(cause, so_far) from error
                if time.monotonic() > deadline:
                    raise RedriveError(
                        f"the Kafka does not answer ({cause.str()}). {so_far}, or it is not known of the"
                        " last ones. Run the same command again: none is sent twice"
                    ) from error
                time.sleep(PAUSE_SECONDS)

    def _abort(self, cause: KafkaError, so_far: str, deadline: float) -> None:
        """Take the transaction back. Raises RedriveError where sending it again cannot help."""
        verdict = verdict_of(cause)
        if verdict is Verdict.FENCED:
            raise self._stopped(cause, so_far)
        try:
            self._until_answered(self._producer.abort_transaction, so_far)
        except (KafkaException, RedriveError) as error:
            # What is refused a topic cannot be aborted either: that it was refused is what to tell.
            if cause.code() in LASTING:
                raise self._stopped(cause, so_far) from error
            if isinstance(error, RedriveError):
                raise
            raise self._stopped(error_of(error), so_far) from error
        if verdict is Verdict.UNWRITABLE or cause.code() in LASTING or time.monotonic() > deadline:
            raise self._stopped(cause, so_far)
        time.sleep(PAUSE_SECONDS)

    def _stopped(self, cause: KafkaError, so_far: str) -> RedriveError:
        if verdict_of(cause) is Verdict.FENCED:
            return RedriveError(
                f"another redrive of {self.log.topic} has begun, or this one took too long. {so_far}. Run the"
                " same command again when the other is done: none is sent twice"
            )
        return RedriveError(
            f"the letters cannot be sent ({cause.str()}). {so_far}. It takes the right to write to the"
            f" sources, to {self.log.topic} and to transactional id {self.log.topic}-redrive"
        )

    def close(self) -> None:
        """Let go of the client; a transaction that is still open is aborted by the next one."""
        self._producer.purge()


def _batches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    size = 0
    for letter in letters:
        if batch and (len(batch) >= BATCH_LETTERS or size + len(letter.value) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += len(letter.value)
    if batch:
        yield batch


# -- what became of them -----------------------------------------------------------------------


@dataclass(slots=True)
class Outcomes:
    """``dead``: with the new letter and its reason. ``waiting``: no worker has come so far yet."""

    taken: list[Sent]
    dead: list[tuple[Sent, Letter]]
    waiting: list[Sent]


def outcomes(
    base: ClientConfig,
    group: str,
    log: LetterLog,
    sent: Sequence[Sent],
    begins: dict[int, int],
    seconds: float,
    going: Callable[[], bool] = lambda: True,
) -> Outcomes:
    """Wait until ``group`` has committed past every record, then look for letters that name one.

    ``begins``: where the topic ended before anything was sent.

    Raises:
        LettersError: no answer.
    """
    deadline = time.monotonic() + seconds
    places = sorted({(each.to.topic, each.to.partition) for each in sent})
    with offsets_of(base, group) as offsets:
        while True:
            try:
                found_at = offsets([TopicPartition(*place) for place in places])
            except KafkaException as error:
                raise LettersError(
                    f"how far group {group} has come: {error_of(error).str()}. The letters were sent"
                ) from error
            passed = {(each.topic, each.partition): each.offset for each in found_at}
            waiting = [each for each in sent if each.to.offset >= passed[each.to.topic, each.to.partition]]
            if not waiting or time.monotonic() > deadline or not going():
                break
            time.sleep(PAUSE_SECONDS)
    known = {each.to: each for each in sent}
    dead = {}
    # The letters of a commit are written before it, so what the group has passed is told by now.
    for found in log.read(begins):
        if isinstance(found, Letter) and found.source in known:
            dead[found.source] = found
    late = set(waiting)
    return Outcomes(
        [each for each in sent if each.to not in dead and each not in late],
        [(known[place], letter) for place, letter in dead.items()],
        [each for each in waiting if each.to not in dead],
    )
