"""Who has to be allowed what by Kafka's authorizer: the least for each role, and what of it is missing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from confluent_kafka import KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from streamer.adapters.kafka import (
    ASK_SECONDS,
    NOT_ALLOWED,
    ClientConfig,
    admin_of,
    ask,
    error_of,
    producer_config,
)
from streamer.adapters.topics import Topics
from streamer.origin import router_group

Resource = Literal["topic", "group", "transactional-id"]


class Role(StrEnum):
    """What a principal is there for."""

    PRODUCER = "producer"
    WORKER = "worker"
    VIEWER = "viewer"
    OPERATOR = "operator"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class Right:
    """``operations`` on the resources of these names; ``prefixed``: on all whose names begin so."""

    resource: Resource
    names: tuple[str, ...]
    operations: tuple[str, ...]
    prefixed: bool = False


def rights_of(role: Role, topics: Topics, group: str) -> tuple[Right, ...]:
    """The least that a role needs. Kafka adds Describe to whoever may read or write.

    A reader that is assigned by hand joins no group, yet asks who coordinates the one it names: ours.
    """
    sources, inputs, every = topics.sources, topics.inputs, tuple(topics.by_role().values())
    traced = (topics.trace,) if topics.trace else ()
    transactions = Right("transactional-id", (f"{group}-",), ("Write",), prefixed=True)
    kept = (topics.state, topics.alerts, topics.dead_letters)
    looked_at = tuple(name for name in every if name not in (*inputs, *kept, topics.reports))
    match role:
        case Role.PRODUCER:
            return (Right("topic", sources, ("Write",)),)
        case Role.WORKER:
            return (
                *_routing(topics, group),
                Right("topic", inputs, ("Read", "DescribeConfigs")),
                Right("topic", (topics.state,), ("Read", "Write", "DescribeConfigs")),
                Right("topic", (topics.alerts, topics.reports, topics.dead_letters, *traced), ("Write",)),
                Right("group", (group,), ("Read",)),
                transactions,
            )
        case Role.VIEWER:
            return (
                Right("topic", (*dict.fromkeys((*sources, *inputs)), *traced), ("Describe",)),
                Right("topic", (*kept, topics.reports), ("Read",)),
                Right("group", (group,), ("Describe",)),
            )
        case Role.OPERATOR:
            return (
                Right("topic", every, ("Create", "DescribeConfigs")),
                *([Right("topic", looked_at, ("Describe",))] if looked_at else []),
                Right("topic", (*inputs, *kept), ("Read", "Write")),
                Right("topic", (topics.reports,), ("Write",)),
                Right("group", (group,), ("Read",)),
                transactions,
                Right("transactional-id", (f"{topics.dead_letters}-redrive",), ("Write",)),
            )
        case Role.RELAY:
            return (
                Right("topic", (topics.alerts,), ("Read",)),
                Right("group", (f"{group}.relay.",), ("Read",), prefixed=True),
            )


def _routing(topics: Topics, group: str) -> tuple[Right, ...]:
    """What a worker's router needs besides: to read the sources, and to write what workers read."""
    if not topics.routed:
        return ()
    return (
        Right("topic", topics.sources, ("Read",)),
        Right("topic", topics.inputs, ("Write",)),
        Right("group", (router_group(group),), ("Read",)),
    )


def commands(rights: Iterable[Right], principal: str, bootstrap: str, client_file: str) -> Iterator[str]:
    """Lines for a shell that allow it with Kafka's own tool. ``client_file``: of the one who runs them."""
    for right in rights:
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--command-config", client_file]
        words += ["--add", "--allow-principal", principal]
        words += [word for each in right.operations for word in ("--operation", each)]
        words += [word for each in right.names for word in (f"--{right.resource}", each)]
        yield shlex.join([*words, *(("--resource-pattern-type", "prefixed") if right.prefixed else ())])


def missing_rights(base: ClientConfig, rights: Sequence[Right]) -> list[str]:
    """What the authorizer does not allow this client, as in "Write on topic state, alerts".

    Without an authorizer everything is allowed, and then nothing more is asked. What gets no
    answer counts as allowed: who then tries is told.
    """
    admin = admin_of(base)
    found = _allowed_topics(admin, sorted({name for each in _of("topic", rights) for name in each.names}))
    missing = _lacking(_of("topic", rights), found)
    if not missing and all("DELETE" in operations for operations in found.values()):
        return []  # a worker needs no Delete: whoever has it has everything
    groups = _allowed_groups(admin, sorted({name for each in _of("group", rights) for name in each.names}))
    missing += _lacking(_of("group", rights), groups)
    missing += [
        f"Write on transactional-id {prefix}*"
        for right in _of("transactional-id", rights)
        for prefix in right.names
        if not _may_begin(base, f"{prefix}rights")
    ]
    return missing


def _of(resource: Resource, rights: Iterable[Right]) -> list[Right]:
    return [right for right in rights if right.resource == resource]


def _lacking(rights: Iterable[Right], allowed: dict[str, frozenset[str]]) -> list[str]:
    found: dict[str, list[str]] = {}
    for right in rights:
        for operation in right.operations:
            for name in right.names:
                if name in allowed and _constant(operation) not in allowed[name]:
                    found.setdefault(f"{operation} on {right.resource}", []).append(name)
    return [f"{what} {', '.join(names)}" for what, names in found.items()]


def _constant(operation: str) -> str:
    """``DescribeConfigs`` → ``DESCRIBE_CONFIGS``, as the client's enumeration has it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()


def _allowed_topics(admin: AdminClient, names: list[str]) -> dict[str, frozenset[str]]:
    asked = admin.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=ASK_SECONDS
    )
    return _answers(asked)


def _allowed_groups(admin: AdminClient, names: list[str]) -> dict[str, frozenset[str]]:
    asked = admin.describe_consumer_groups(
        names, include_authorized_operations=True, request_timeout=ASK_SECONDS
    )
    return _answers(asked)


def _answers(asked: dict[str, Any]) -> dict[str, frozenset[str]]:
    """Name → the operations that are allowed; without those that nobody answered about."""
    found = {}
    for name, future in asked.items():
        try:
            [answer] = ask([future])
        except KafkaException as error:
            if error_of(error).code() in NOT_ALLOWED:
                found[name] = frozenset[str]()
        except TimeoutError:
            continue
        else:
            if answer.authorized_operations:  # a broker may be one that does not tell
                found[name] = frozenset(each.name for each in answer.authorized_operations)
    return found


def _may_begin(base: ClientConfig, transactional_id: str) -> bool:
    """No request asks for this right alone: it is tried, under an id that no partition has."""
    producer = Producer({**producer_config(base, transactional_id), "log_level": 0})
    try:
        producer.init_transactions(ASK_SECONDS)
    except KafkaException as error:
        return error_of(error).code() not in NOT_ALLOWED
    return True
