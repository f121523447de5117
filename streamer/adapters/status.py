"""A look from outside at how far the work has come: committed state, lag, models. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamer.adapters import codec
from streamer.adapters.alert_log import Alert, AlertLog, still_firing
from streamer.adapters.kafka import (
    ClientConfig,
    admin_of,
    log_offsets,
)
from streamer.adapters.restore import commit_seen_by_group
from streamer.adapters.sources import identity_of, topic_ids
from streamer.adapters.topics import Topics, TopicsError, required_topics
from streamer.adapters.transactions import Unreachable, read_state
from streamer.checkpoint import Checkpoint, UntrustedState

SIDE_BY_SIDE = 4
ANSWER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One version of one model, as of the last commit. ``version`` None: predictions name none."""

    model: str
    version: str | None
    task: str
    predictions: int
    joined: int
    pending: int


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """``commit`` 0: nothing was ever committed. ``problem``: why a worker would quarantine it."""

    number: int
    commit: int = 0
    next_offsets: tuple[int, int] = (0, 0)
    lag: tuple[int, int] = (0, 0)
    problem: str | None = None
    models: tuple[ModelStatus, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Status:
    partitions: tuple[PartitionStatus, ...]
    firing: tuple[Alert, ...]


def read_status(base: ClientConfig, group: str, topics: Topics) -> Status:
    """Everything that a person asks first.

    Raises:
        TopicsError, SourcesError: no broker, or topics are missing; the message names the cure.
    """
    admin = admin_of(base)
    wanted = (*topics.inputs, topics.state, topics.alerts)
    listed = required_topics(base, wanted)
    numbers = sorted(listed[topics.inputs[0]].partitions)
    try:
        begins = _offsets(admin, topics, numbers, OffsetSpec.earliest())
        ends = _offsets(admin, topics, numbers, OffsetSpec.latest())
        cluster = str(admin.list_topics(timeout=ANSWER_SECONDS).cluster_id)
    except (KafkaException, TimeoutError) as error:
        raise TopicsError(f"the Kafka does not answer: {error or 'no answer in time'}") from error
    sources = topics.inputs
    identity = identity_of(group, cluster, sources, topic_ids(admin, sources)) | {"partitions": len(numbers)}
    look = partial(_look, base, group, topics, identity)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        partitions = tuple(
            pool.map(look, numbers, (begins[each] for each in numbers), (ends[each] for each in numbers))
        )
    log = AlertLog(base, topics.alerts)
    try:
        return Status(partitions, tuple(still_firing(log.so_far())))
    finally:
        log.close()


def _offsets(
    admin: AdminClient, topics: Topics, numbers: list[int], which: OffsetSpec
) -> dict[int, tuple[int, int]]:
    names = topics.inputs
    asked = {TopicPartition(name, number): which for name in names for number in numbers}
    found = log_offsets(admin, asked, seconds=ANSWER_SECONDS)
    return {number: (found[names[0], number], found[names[1], number]) for number in numbers}


def _look(
    base: ClientConfig,
    group: str,
    topics: Topics,
    identity: Mapping[str, Any],
    number: int,
    begin: tuple[int, int],
    end: tuple[int, int],
) -> PartitionStatus:
    """One partition, trusted as little as a worker would trust it."""
    try:
        # Asked for first: what is committed meanwhile makes the state newer, never older.
        expected = commit_seen_by_group(base, group, topics.inputs[0], number)
        raw = read_state(base, group, topics.state, number)
        found = Checkpoint(codec, identity).read(raw, number, expected)
    except UntrustedState as error:
        return PartitionStatus(number, problem=str(error))
    except (KafkaException, TimeoutError, Unreachable) as error:
        return PartitionStatus(number, problem=f"partition {number}: {error or 'no answer in time'}")
    if found is None:
        return PartitionStatus(number, next_offsets=begin, lag=_lag(begin, end))
    manifest, cells = found
    at = (int(manifest["positions"][0]), int(manifest["positions"][1]))
    problem = _gone(topics, number, at, begin)
    return PartitionStatus(number, int(manifest["commit"]), at, _lag(at, end), problem, tuple(_models(cells)))


def _gone(topics: Topics, number: int, at: tuple[int, int], begin: tuple[int, int]) -> str | None:
    for name, position, oldest in zip(topics.inputs, at, begin, strict=True):
        if position < oldest:
            return (
                f"partition {number}: offset {position} of {name} comes next, the oldest there is {oldest}:"
                " retention has eaten records that were never read. Keep what is known and go on with what"
                " there is: `streamer state export FILE`, then"
                " `streamer state import FILE --replace --from earliest`. Or begin anew with"
                f" `streamer state reset --partition {number}`"
            )
    return None


def _lag(at: tuple[int, int], end: tuple[int, int]) -> tuple[int, int]:
    return max(0, end[0] - at[0]), max(0, end[1] - at[1])


def _models(cells: Mapping[Any, Any]) -> list[ModelStatus]:
    found = []
    for key, cell in sorted(cells.items(), key=str):
        if key[0] != "version":
            continue
        accepted, joined, _ = cell["counts"]
        pending = accepted - joined - sum(cell["expired"].values())
        task = cells["model", key[1]]["task"] or "not known yet"
        found.append(ModelStatus(key[1], key[2], task, accepted, joined, pending))
    return found
