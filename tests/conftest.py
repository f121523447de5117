"""A real broker for the session, topics of its own for every test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient

from streamer.adapters.topics import Topics, create
from streamer.local import LocalKafka, LocalKafkaError

TopicsFactory = Callable[..., Topics]


@pytest.fixture(scope="session")
def kafka() -> Iterator[LocalKafka]:
    """One Kafka node on a free port; where none can be had, tests are skipped, but never in CI."""
    broker = LocalKafka()
    try:
        broker.start()
    except LocalKafkaError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs a broker: {error}")
        pytest.skip(f"no broker: {error}")
    with broker:
        yield broker


@pytest.fixture(scope="session")
def bootstrap(kafka: LocalKafka) -> str:
    """The broker's address, for ``bootstrap.servers``."""
    return kafka.bootstrap


@pytest.fixture
def topics(bootstrap: str) -> Iterator[TopicsFactory]:
    """Make a set of topics that no other test uses: ``topics(partitions=4, trace="trace")``."""
    conf = {"bootstrap.servers": bootstrap}
    made: list[str] = []

    def make(partitions: int = 4, trace: str | None = None) -> Topics:
        names = Topics(trace=trace).prefixed(f"test-{uuid.uuid4().hex[:8]}-")
        made.extend(names.by_role().values())
        create(conf, names, partitions=partitions)
        return names

    yield make
    if made:
        # Hundreds of idle partitions would slow the broker down for the tests that follow.
        admin = AdminClient({**conf, "log_level": 0})
        for future in admin.delete_topics(made).values():
            future.result(30)
