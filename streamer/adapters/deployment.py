"""One group's deployment seen from outside: its topics, what its state has to belong to, who is at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from streamer.adapters.kafka import (
    ASK_SECONDS,
    ClientConfig,
    admin_of,
    ask,
    error_of,
    log_offsets,
)
from streamer.adapters.restore import commit_seen_by_group
from streamer.adapters.sources import identity_of, topic_ids
from streamer.adapters.topics import Topics, cluster_of, unequal_partitions, why_missing
from streamer.adapters.transactions import Unreachable, read_state
from streamer.errors import StreamerError

Pair = tuple[int, int]
Answer = TypeVar("Answer")
PATIENCE_SECONDS = 15.0
PAUSE_SECONDS = 0.2


class StateRefused(StreamerError):
    """The state cannot be shown, changed or moved as asked; the message names the cure."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """``identity``: what the state has to belong to, as a worker would say.

    ``begins``, ``ends``: partition → the oldest offset there, and the next one, of predictions and labels.
    """

    base: ClientConfig
    group: str
    topics: Topics
    partitioner: str
    identity: Mapping[str, Any]
    begins: Mapping[int, Pair]
    ends: Mapping[int, Pair]

    @property
    def partitions(self) -> int:
        return len(self.ends)

    @property
    def sources(self) -> tuple[str, str]:
        return self.topics.inputs


def look_at(base: ClientConfig, group: str, topics: Topics, partitioner: str) -> Deployment:
    """The deployment as it stands.

    Raises:
        TopicsError, SourcesError, StateRefused: no broker, or topics that no worker would take;
            the message names the cure.
    """
    listed = cluster_of(base)
    names = topics.by_role().values()
    missing = [name for name in names if name not in listed.topics]
    if missing:
        raise StateRefused(why_missing(base, missing))
    counts = {name: len(listed.topics[name].partitions) for name in names}
    unequal = unequal_partitions(topics, counts)
    if unequal:
        raise StateRefused("\n".join(f"topic {name} {problem}" for name, problem in unequal.items()))
    sources = topics.inputs
    partitions = counts[sources[0]]
    ids = topic_ids(admin_of(base), sources)
    identity = identity_of(group, str(listed.cluster_id), sources, ids)
    return Deployment(
        base,
        group,
        topics,
        partitioner,
        identity | {"partitions": partitions, "partitioner": partitioner},
        _offsets(base, sources, partitions, OffsetSpec.earliest()),
        _offsets(base, sources, partitions, OffsetSpec.latest()),
    )


def commit_seen(base: ClientConfig, group: str, topic: str, number: int) -> int | None:
    """The commit number that the group's offsets of this partition carry. Raises StateRefused."""
    about = f"partition {number}: the offsets of group {group}"
    return _patiently(about, lambda: commit_seen_by_group(base, group, topic, number))


def read_raw(base: ClientConfig, group: str, topic: str, number: int) -> dict[bytes, bytes]:
    """The live records of one partition of a compacted topic of ours. Raises StateRefused."""
    try:
        return read_state(base, group, topic, number)
    except (KafkaException, Unreachable) as error:
        raise StateRefused(f"{topic}/{number} cannot be read: {why(error)}") from error


def refuse_while_at_work(base: ClientConfig, *groups: str) -> None:
    """A worker's memory is ahead of its state: nobody may change that under its hands.

    Raises:
        StateRefused: one of these groups has members; the message says how they end.
    """
    for group in dict.fromkeys(groups):
        members = _members(base, group)
        if members:
            hosts = ", ".join(sorted({member.host.lstrip("/") for member in members}))
            fixed = any(member.group_instance_id for member in members)
            more = (
                " One with an instance_id stays a member until its session_timeout is over, also when it has"
                " ended."
            )
            raise StateRefused(
                f"group {group} has {len(members)} workers at work (on {hosts}): stop each `streamer worker`"
                f" with Ctrl-C or SIGTERM, then try again.{more if fixed else ''}"
            )


def await_visible(at: Deployment, numbers: Sequence[int]) -> None:
    """Until whoever reads these partitions meets what was committed to them.

    The coordinator answers once a commit is certain; the brokers mark it in each topic a little later.

    Raises:
        StateRefused: they take too long; it is committed all the same.
    """
    topics = (at.topics.state, at.topics.alerts, at.topics.reports)
    asked = {TopicPartition(topic, number): OffsetSpec.latest() for topic in topics for number in numbers}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        everything, stable = (_ask_offsets(at.base, asked, isolation) for isolation in IsolationLevel)
        if everything == stable:
            return
        if time.monotonic() > deadline:
            raise StateRefused(
                f"all is committed, but after {PATIENCE_SECONDS:.0f} s not yet to be read: is a broker down?"
                " `streamer state show` tells"
            )
        time.sleep(PAUSE_SECONDS)


def tell_group(at: Deployment, positions: Mapping[int, Pair], commits: Mapping[int, int]) -> None:
    """Step 6 of a commit, for whoever wrote one from outside. Raises StateRefused."""
    offsets = [
        TopicPartition(topic, number, pair[kind], str(commits[number]))
        for number, pair in positions.items()
        for kind, topic in enumerate(at.sources)
    ]
    admin = admin_of(at.base)
    asked = [ConsumerGroupTopicPartitions(at.group, offsets)]

    def tell() -> None:
        [told] = ask(admin.alter_consumer_group_offsets(asked, request_timeout=ASK_SECONDS).values())
        for each in told.topic_partitions:
            if each.error is not None:
                raise KafkaException(each.error)

    _patiently(
        f"the state is written, but group {at.group} could not be told (lag tools show it once a worker has"
        " committed)",
        tell,
    )


def _members(base: ClientConfig, group: str) -> Sequence[Any]:
    """Who is in a group."""
    admin = admin_of(base)

    def look() -> Sequence[Any]:
        try:
            [found] = ask(admin.describe_consumer_groups([group], request_timeout=ASK_SECONDS).values())
        except KafkaException as error:
            if error_of(error).code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            raise
        members: Sequence[Any] = found.members
        return members

    return _patiently(f"the members of group {group}", look)


def _patiently(about: str, look: Callable[[], Answer]) -> Answer:
    """What a coordinator or leader answers; asked again while there is none yet. Raises StateRefused."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return look()
        except (KafkaException, TimeoutError) as error:
            cause = error_of(error) if isinstance(error, KafkaException) else None
            passing = cause is None or cause.retriable() or cause.code() in _NOT_YET
            if not passing or time.monotonic() > deadline:
                raise StateRefused(f"{about}: {why(error)}") from error
            time.sleep(PAUSE_SECONDS)


_NOT_YET = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)


def _ask_offsets(
    base: ClientConfig, asked: Mapping[TopicPartition, OffsetSpec], isolation: IsolationLevel
) -> dict[tuple[str, int], int]:
    """(topic, partition) → the offset asked for. Raises StateRefused."""
    admin = admin_of(base)

    def look() -> dict[tuple[str, int], int]:
        return log_offsets(admin, asked, isolation, ASK_SECONDS)

    return _patiently(f"offsets of {', '.join(sorted({at.topic for at in asked}))}", look)


def _offsets(
    base: ClientConfig, sources: Sequence[str], partitions: int, which: OffsetSpec
) -> dict[int, Pair]:
    asked = {TopicPartition(name, number): which for name in sources for number in range(partitions)}
    # Committed ones only: what an open transaction has written is still to be read.
    found = _ask_offsets(base, asked, IsolationLevel.READ_COMMITTED)
    first, second = sources
    return {number: (found[first, number], found[second, number]) for number in range(partitions)}


def why(error: BaseException) -> str:
    """What a client says is wrong, in its own words."""
    if isinstance(error, KafkaException):
        return error_of(error).str()
    return str(error) or "no answer in time"
