"""What the two source topics are: which ones exactly; and whose clock stamps records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from streamer.adapters.kafka import ASK_SECONDS, ask, error_of
from streamer.errors import StreamerError

TIMESTAMP_TYPE = "message.timestamp.type"
BROKERS_CLOCK = "LogAppendTime"


class SourcesError(StreamerError):
    """The source topics cannot be used; the message names the cure."""


def identity_of(group: str, cluster: str, sources: Sequence[str], ids: Sequence[str]) -> dict[str, Any]:
    """What a state belongs to. ``ids``: a topic that is deleted and made anew has another one."""
    return {"group": group, "cluster": cluster, "topics": list(sources), "topic_ids": list(ids)}


def topic_ids(admin: AdminClient, topics: Sequence[str]) -> list[str]:
    """The ids that the cluster gave these topics.

    Raises:
        SourcesError: no answer.
    """
    try:
        futures = admin.describe_topics(TopicCollection(list(topics)), request_timeout=ASK_SECONDS)
        ask(futures.values())
    except (KafkaException, TimeoutError) as error:
        raise SourcesError(f"no answer about topics {', '.join(topics)}: {_why(error)}") from error
    return [str(futures[topic].result().topic_id) for topic in topics]


def check_clock(admin: AdminClient, sources: Sequence[str], state: str) -> None:
    """Record time decides what is late and what has expired: it has to be the brokers' own.

    Under ``CreateTime`` one client whose clock is wrong would move everybody's, and the
    answer to a commit would not tell what time it is at the broker.

    Raises:
        SourcesError: it is not, or nobody says.
    """
    found = _clocks(admin, [*sources, state])
    wrong = {topic: clock for topic, clock in found.items() if clock != BROKERS_CLOCK}
    if wrong:
        name = next(iter(wrong))
        raise SourcesError(
            f"topics {', '.join(wrong)} have {TIMESTAMP_TYPE}={wrong[name]}: their records carry their"
            " clients' clocks, and a single one that is wrong would expire every prediction. Set it with"
            f" `kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name {name}"
            f" --add-config {TIMESTAMP_TYPE}={BROKERS_CLOCK}` (records already there keep theirs), or"
            " use new topics made by `streamer topics create`"
        )


def _clocks(admin: AdminClient, topics: Sequence[str]) -> Mapping[str, str]:
    asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    try:
        futures = admin.describe_configs(asked, request_timeout=ASK_SECONDS)
        ask(futures.values())
    except (KafkaException, TimeoutError) as error:
        raise SourcesError(
            f"the settings of topics {', '.join(topics)} cannot be read ({_why(error)}): allow this worker"
            " DescribeConfigs on them"
        ) from error
    return {each.name: str(future.result()[TIMESTAMP_TYPE].value) for each, future in futures.items()}


def _why(error: Exception) -> str:
    return error_of(error).str() if isinstance(error, KafkaException) else "no answer in time"
