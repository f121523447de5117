"""The product's own topics: their names, the settings they need, and what is wrong with those found."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from streamer.adapters.kafka import LARGEST_STATE_RECORD, NOT_ALLOWED
from streamer.errors import StreamerError

Settings = Mapping[str, Any]
Outcome = Literal["created", "existing", "differs"]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Kafka's own default for a record batch, in bytes.
SOURCE_MESSAGE_BYTES = 1_048_588
# A dead letter is the original record plus headers that say what was wrong with it.
DEAD_LETTER_EXTRA_BYTES = 65_536
DEFAULT_PARTITIONS = 12
TIMEOUT = 10.0
GRACE = 2.0  # the client's own time-out is to come first: it says what it was
# Every address refuses: one that is just starting may still come, but nobody should wait long for it.
REFUSED_SECONDS = 2.0
_STEP_SECONDS = 0.5
BY_MODEL = "-by-model"
MAKE_IT = "make it with `streamer topics create`"
LET_SEE = "let this client Describe them, as `streamer topics acls` says"
ALLOW_IT = "`streamer topics acls` prints what has to be allowed to whom"
# What a client did not get past before anybody could answer, and what helps.
_AT_THE_DOOR = {
    KafkaError._AUTHENTICATION: "does not let this client in ({}): check sasl.mechanism, sasl.username and"
    " sasl.password in the settings' block `kafka`, or STREAMER_KAFKA__SASL_PASSWORD and its like",
    KafkaError._SSL: "and this client cannot agree on TLS ({}): ssl.ca.location in the settings' block"
    " `kafka`, or STREAMER_KAFKA__SSL_CA_LOCATION, names the authority that signed the broker's certificate,"
    " which has to be made out to the name in --bootstrap",
}


class TopicsError(StreamerError):
    """Topics cannot be made or read; the message names the broker, the reason and the cure."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics' names. ``trace`` None: no record of the order in which commits took their input.

    ``routed_…`` None: workers read the sources themselves. Else a router brings what the sources
    hold there, each model to its home, and the sources may be anybody's.
    """

    predictions: str = "predictions"
    labels: str = "labels"
    state: str = "state"
    alerts: str = "alerts"
    reports: str = "reports"
    dead_letters: str = "dead-letters"
    trace: str | None = None
    routed_predictions: str | None = None
    routed_labels: str | None = None

    def repartitioned(self) -> Topics:
        """The same topics, and those that the router writes."""
        return replace(
            self,
            routed_predictions=f"{self.predictions}{BY_MODEL}",
            routed_labels=f"{self.labels}{BY_MODEL}",
        )

    @property
    def sources(self) -> tuple[str, str]:
        """Where services write predictions and labels."""
        return self.predictions, self.labels

    @property
    def inputs(self) -> tuple[str, str]:
        """Where workers read them: the sources, or what the router made of those."""
        return self.routed_predictions or self.predictions, self.routed_labels or self.labels

    @property
    def routed(self) -> bool:
        """Is there a router between the sources and the workers?"""
        return self.inputs != self.sources

    @property
    def foreign(self) -> frozenset[str]:
        """Topics that nothing is asked of but to be there."""
        return frozenset(self.sources) if self.routed else frozenset()

    def prefixed(self, prefix: str) -> Topics:
        """The same topics under names that begin with ``prefix``."""
        names = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{role: prefix + name for role, name in names.items() if name})

    def by_role(self) -> dict[str, str]:
        """Role (the field's name) → topic."""
        return {each.name: name for each in fields(self) if (name := getattr(self, each.name))}


_SOURCE = {
    # Record time is the broker's: clients' clocks skew, and a replay of old dates would be deleted at once.
    "message.timestamp.type": "LogAppendTime",
    "retention.ms": str(7 * DAY_MS),
    "max.message.bytes": str(SOURCE_MESSAGE_BYTES),
}

# As long as the sources: a partition in quarantine for days has lost nothing that they still hold. As
# large as dead letters: what the router writes is a record of a source plus where it came from.
_ROUTED = {**_SOURCE, "max.message.bytes": str(SOURCE_MESSAGE_BYTES + DEAD_LETTER_EXTRA_BYTES)}

CONFIGS: Mapping[str, Mapping[str, str]] = {
    "predictions": _SOURCE,
    "labels": _SOURCE,
    "routed_predictions": _ROUTED,
    "routed_labels": _ROUTED,
    # Compacted often, in small segments: a restart reads all of what is left.
    "state": {
        "cleanup.policy": "compact",
        # The answer to a commit tells the broker's time.
        "message.timestamp.type": "LogAppendTime",
        "segment.bytes": str(64 * 1024 * 1024),
        "segment.ms": str(10 * 60_000),
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": str(30 * 60_000),
        "delete.retention.ms": str(24 * HOUR_MS),
        "max.message.bytes": str(LARGEST_STATE_RECORD),
    },
    # A new subscriber learns what is firing; one that was away for less than a week misses no transition.
    "alerts": {"cleanup.policy": "compact", "min.compaction.lag.ms": str(7 * DAY_MS)},
    "reports": {"cleanup.policy": "delete", "retention.ms": str(400 * DAY_MS)},
    "dead_letters": {
        "cleanup.policy": "delete",
        "retention.ms": str(14 * DAY_MS),
        "max.message.bytes": str(SOURCE_MESSAGE_BYTES + DEAD_LETTER_EXTRA_BYTES),
    },
    "trace": {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS)},
}


@dataclass(frozen=True, slots=True)
class TopicResult:
    """What ``create`` did about one topic. ``differences``: sentences, for ``differs`` only."""

    name: str
    outcome: Outcome
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicRow:
    """One topic as it is. ``partitions`` 0: there is no such topic. ``problems``: sentences."""

    role: str
    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def create(
    admin_conf: Settings, topics: Topics, partitions: int | None = None, replication: int = 1
) -> list[TopicResult]:
    """Make the topics that are missing; those that exist are compared, never changed.

    ``admin_conf``: librdkafka settings, ``bootstrap.servers`` at least.
    ``partitions`` None: as many as the state topic has, which nobody but us
    makes, so that a set is completed as it was begun; without one 12.
    Returns when all new partitions have a leader.

    Raises:
        TopicsError: no broker answers, or it refuses.
    """
    admin = _Admin(admin_conf)
    roles = topics.by_role()
    existing = admin.metadata()
    if partitions is None:
        begun = existing.get(topics.state)
        partitions = len(begun.partitions) if begun else DEFAULT_PARTITIONS
    missing = {role: name for role, name in roles.items() if name not in existing}
    # One that another process made just now is looked at like any that was there before.
    created = admin.create(
        NewTopic(name, partitions, replication, config=_config(role, replication))
        for role, name in missing.items()
    )
    metadata = admin.await_leaders(roles.values())
    configs = admin.configs(name for name in roles.values() if name not in created)
    results = []
    for role, name in roles.items():
        if name in created:
            results.append(TopicResult(name, "created"))
            continue
        found = len(metadata[name].partitions)
        foreign = name in topics.foreign
        differences = () if foreign else _differences(role, configs[name])
        if found != partitions and not foreign:
            differences = (f"has {found} partitions, not {partitions}", *differences)
        results.append(TopicResult(name, "differs" if differences else "existing", differences))
    return results


def describe(admin_conf: Settings, topics: Topics) -> list[TopicRow]:
    """One row per topic, with everything that would keep a worker from its promises.

    Raises:
        TopicsError: no broker answers, or it refuses.
    """
    admin = _Admin(admin_conf)
    roles = topics.by_role()
    metadata = admin.metadata()
    configs = admin.configs(name for name in roles.values() if name in metadata)
    counts = {name: len(metadata[name].partitions) for name in roles.values() if name in metadata}
    unequal = unequal_partitions(topics, counts)
    hidden = admin.hidden([name for name in roles.values() if name not in metadata])
    rows = []
    for role, name in roles.items():
        if name not in metadata:
            why = f"may not be seen: {LET_SEE}" if name in hidden else f"does not exist: {MAKE_IT}"
            rows.append(TopicRow(role, name, 0, 0, problems=(why,)))
            continue
        found = metadata[name].partitions
        problems = () if name in topics.foreign else _differences(role, configs[name])
        if name in unequal:
            problems = (unequal[name], *problems)
        replicas = min((len(each.replicas) for each in found.values()), default=0)
        shown = {key: configs[name][key] for key in CONFIGS[role]}
        rows.append(TopicRow(role, name, len(found), replicas, shown, problems))
    return rows


def unequal_partitions(topics: Topics, counts: Mapping[str, int]) -> dict[str, str]:
    """Which topics stand out by their number of partitions, each with a sentence that names the cure.

    ``counts``: topic → partitions, of those that exist. A worker needs the same number for all: what
    comes from one partition of what it reads goes to the same partition of each of its own topics.
    """
    counts = {name: count for name, count in counts.items() if name not in topics.foreign}
    how_many = Counter(counts.values())
    source = counts.get(topics.inputs[0])
    # Most have the right one: a client that writes too early makes just one topic, of one partition.
    usual = max(how_many, key=lambda count: (how_many[count], count == source), default=0)
    return {
        name: f"has {count} partitions, the others have {usual}, and a worker needs the same for all: delete"
        f" it with what is in it (kafka-topics.sh --bootstrap-server … --delete --topic {name}) and run"
        f" `streamer topics create --partitions {usual}`, or make a new set with --topic-prefix"
        for name, count in counts.items()
        if count != usual
    }


def why_missing(conf: Settings, names: Sequence[str]) -> str:
    """Why topics are not among those listed, with the cure: nobody made them, or they are hidden from us."""
    hidden = _Admin(conf).hidden(names)
    absent = [name for name in names if name not in hidden]
    parts = [f"topics {', '.join(absent)} are missing: {MAKE_IT.replace('it', 'them')}"] if absent else []
    if hidden:
        parts.append(f"topics {', '.join(hidden)} may not be seen: {LET_SEE}")
    return "; ".join(parts)


def existing_topics(conf: Settings) -> dict[str, TopicMetadata]:
    """Every topic of the cluster, by name. Raises TopicsError where no broker answers."""
    return _Admin(conf).metadata()


def required_topics(conf: Settings, names: Sequence[str]) -> dict[str, TopicMetadata]:
    """These topics by name. Raises TopicsError where one is missing or hidden, or no broker answers."""
    listed = existing_topics(conf)
    missing = [name for name in names if name not in listed]
    if missing:
        raise TopicsError(why_missing(conf, missing))
    return {name: listed[name] for name in names}


def cluster_of(conf: Settings) -> ClusterMetadata:
    """The cluster's id, brokers and topics. Raises TopicsError where no broker answers."""
    return _Admin(conf).cluster()


def _config(role: str, replication: int) -> dict[str, str]:
    # With three copies, a record counts as written once two have it: one broker may then be lost.
    return {**CONFIGS[role], **({"min.insync.replicas": "2"} if replication >= 3 else {})}


def _differences(role: str, configs: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{key} is {configs.get(key)}, not {wanted}"
        for key, wanted in CONFIGS[role].items()
        if not _same(wanted, configs.get(key))
    )


def _same(wanted: str, found: str | None) -> bool:
    try:
        return float(wanted) == float(found or "nan")
    except ValueError:
        return wanted == found


class _Admin:
    """An admin client whose every failure is a ``TopicsError`` that helps."""

    def __init__(self, conf: Settings) -> None:
        self._bootstrap = str(conf.get("bootstrap.servers", ""))
        self._reason = ""
        self._door: str | None = None
        self._all_down = False
        settings: dict[str, Any] = {"log_level": 0, **conf, "error_cb": self._note}
        self._client = AdminClient(settings)

    def cluster(self) -> ClusterMetadata:
        """What the first broker says that answers; quick to give up where every address refuses."""
        began = time.monotonic()
        while True:
            try:
                return self._client.list_topics(timeout=min(_STEP_SECONDS, TIMEOUT))
            except KafkaException as error:
                self._client.poll(0)  # hands out what the connections had to say
                patience = REFUSED_SECONDS if self._all_down else TIMEOUT
                waited = time.monotonic() - began
                if not _may_pass(error) or self._door or waited > min(patience, TIMEOUT):
                    raise self._failure(error) from error

    def metadata(self) -> dict[str, TopicMetadata]:
        """Topics that exist, by name."""
        return {name: topic for name, topic in self.cluster().topics.items() if topic.error is None}

    def hidden(self, names: Sequence[str]) -> list[str]:
        """Which of these topics the broker does not want to speak of with this client."""
        asked = self._client.describe_topics(TopicCollection(list(names))) if names else {}
        found = []
        for name, future in asked.items():
            try:
                future.result(TIMEOUT + GRACE)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    found.append(name)
        return found

    def create(self, topics: Iterable[NewTopic]) -> set[str]:
        """The names of those that we made; the others were there when the request came."""
        wanted = list(topics)
        created = set()
        for name, future in (self._client.create_topics(wanted) if wanted else {}).items():
            try:
                future.result(TIMEOUT + GRACE)
                created.add(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._failure(error, f"topic {name}") from error
        return created

    def configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Topic → its settings."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        found = {}
        for resource, future in (self._client.describe_configs(resources) if resources else {}).items():
            try:
                entries = future.result(TIMEOUT + GRACE)
            except KafkaException as error:
                raise self._failure(error, f"settings of topic {resource.name}") from error
            found[resource.name] = {key: str(entry.value) for key, entry in entries.items()}
        return found

    def await_leaders(self, names: Iterable[str]) -> dict[str, TopicMetadata]:
        """Metadata once every partition of ``names`` has a leader: brokers learn of a new topic late."""
        wanted = list(names)
        deadline = time.monotonic() + TIMEOUT
        while True:
            metadata = self.metadata()
            if all(name in metadata and _led(metadata[name]) for name in wanted):
                return metadata
            if time.monotonic() > deadline:
                if hidden := self.hidden([name for name in wanted if name not in metadata]):
                    raise TopicsError(f"topics {', '.join(hidden)} may not be seen: {LET_SEE}")
                raise TopicsError(
                    f"the Kafka at {self._bootstrap} did not give all of {', '.join(wanted)} a leader "
                    f"within {TIMEOUT:.0f} s: is one of its brokers down?"
                )
            time.sleep(0.02)

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._all_down = True
            return
        # Without which of librdkafka's connections it was, and how long it took.
        reason = error.str().rpartition("bootstrap: ")[2].partition(" (after")[0]
        if error.code() in _AT_THE_DOOR and self._door is None:
            self._door = _AT_THE_DOOR[error.code()].format(reason)
        self._reason = self._reason or reason

    def _failure(self, error: KafkaException, about: str = "") -> TopicsError:
        cause = error.args[0]
        if self._door:
            return TopicsError(f"the Kafka at {self._bootstrap} {self._door}")
        if self._all_down and not self._reason:
            # A port where nobody listens would have been named: this one takes connections and drops them.
            return TopicsError(
                f"what listens at {self._bootstrap} closes the connection: `security.protocol` in the"
                " settings' block `kafka`, or STREAMER_KAFKA__SECURITY_PROTOCOL, has to be what that"
                " port speaks"
            )
        if _may_pass(error):
            return TopicsError(
                f"no Kafka answers at {self._bootstrap} ({self._reason or cause.str()}). Start one with"
                " `streamer broker`, or name yours with --bootstrap or STREAMER_BOOTSTRAP."
            )
        what = f" ({about})" if about else ""
        cure = f". {ALLOW_IT}" if cause.code() in NOT_ALLOWED else ""
        return TopicsError(f"the Kafka at {self._bootstrap} refused{what}: {cause.str().rstrip('.')}{cure}")


def _may_pass(error: KafkaException) -> bool:
    """Nobody answered, as opposed to an answer that says no."""
    return error.args[0].code() in (
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._ALL_BROKERS_DOWN,
    )


def _led(topic: TopicMetadata) -> bool:
    return bool(topic.partitions) and all(each.leader >= 0 for each in topic.partitions.values())
