"""A look from outside at how far the work has come: committed state, lag, models. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamer.adapters import codec
from streamer.adapters.alert_log import Alert, AlertLog, still_firing
from streamer.adapters.kafka import ClientConfig, admin_of
from streamer.adapters.topics import Topics, TopicsError, existing_topics
from streamer.adapters.transactions import read_state
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
        TopicsError: no broker, or topics are missing; the message names the cure.
    """
    admin = admin_of(base)
    listed = existing_topics(base)
    wanted = (topics.predictions, topics.labels, topics.state, topics.alerts)
    missing = [name for name in wanted if name not in listed]
    if missing:
        raise TopicsError(f"topics {', '.join(missing)} are missing: make them with `streamer topics create`")
    numbers = sorted(listed[topics.predictions].partitions)
    begins = _offsets(admin, topics, numbers, OffsetSpec.earliest())
    ends = _offsets(admin, topics, numbers, OffsetSpec.latest())
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        looks = [
            pool.submit(_look, base, group, topics.state, number, begins[number], ends[number])
            for number in numbers
        ]
        partitions = tuple(look.result() for look in looks)
    log = AlertLog(base, topics.alerts)
    try:
        return Status(partitions, tuple(still_firing(log.so_far())))
    finally:
        log.close()


def _offsets(
    admin: AdminClient, topics: Topics, numbers: list[int], which: OffsetSpec
) -> dict[int, tuple[int, int]]:
    names = (topics.predictions, topics.labels)
    asked = {TopicPartition(name, number): which for name in names for number in numbers}
    found = {}
    for at, future in admin.list_offsets(asked, request_timeout=ANSWER_SECONDS).items():
        found[at.topic, at.partition] = int(future.result(ANSWER_SECONDS).offset)
    return {number: (found[names[0], number], found[names[1], number]) for number in numbers}


def _look(
    base: ClientConfig, group: str, topic: str, number: int, begin: tuple[int, int], end: tuple[int, int]
) -> PartitionStatus:
    try:
        found = Checkpoint(codec, {}).read(read_state(base, f"{group}.status", topic, number), number)
    except UntrustedState as error:
        return PartitionStatus(number, problem=str(error))
    if found is None:
        return PartitionStatus(number, next_offsets=begin, lag=_lag(begin, end))
    manifest, cells = found
    at = (int(manifest["positions"][0]), int(manifest["positions"][1]))
    models = tuple(_models(cells))
    return PartitionStatus(number, int(manifest["commit"]), at, _lag(at, end), None, models)


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
