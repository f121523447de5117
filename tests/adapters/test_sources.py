"""The source topics as they are at a real broker: whose clock, and what no client can read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streamer.adapters.topics import Topics
from tests.adapters.worker_thread import WorkerThread, model_of, settings_for
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.e2e.oracle import committed, write


def event(number: int, model: str, **more: Any) -> bytes:
    made = {"prediction_id": str(number), "model": model, "timestamp": 1_790_000_000_000, "prediction": 1}
    return orjson.dumps({**made, **more})


def configure(bootstrap: str, topic: str, name: str, value: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(10)


@pytest.mark.timeout(60)
def test_a_source_that_its_clients_clocks_stamp_is_refused_with_the_cure(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(1)
    configure(bootstrap, names.labels, "message.timestamp.type", "CreateTime")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    resource = ConfigResource(ResourceType.TOPIC, names.labels)
    wait_until(
        lambda: (
            admin.describe_configs([resource])[resource].result(10)["message.timestamp.type"].value
            == "CreateTime"
        ),
        10,
        "the setting is known",
    )
    with WorkerThread(settings_for(bootstrap, names)) as worker:
        wait_until(lambda: worker.error, 20, "the refusal")
    text = str(worker.error)
    assert f"topics {names.labels} have message.timestamp.type=CreateTime" in text
    assert "--add-config message.timestamp.type=LogAppendTime" in text


@pytest.mark.timeout(120)
def test_a_zstd_bomb_becomes_one_dead_letter_and_the_rest_is_read(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(1, trace="trace")
    model = model_of(0, 1)
    write(bootstrap, [(names.predictions, 0, model.encode(), event(n, model)) for n in range(10)])
    bomb(bootstrap, names)
    write(bootstrap, [(names.predictions, 0, model.encode(), event(n, model)) for n in range(10, 20)])
    # Small limits stand for large bombs.
    limits = {"fetch.max.bytes": "2000000", "receive.message.max.bytes": "3000000"}
    with WorkerThread(settings_for(bootstrap, names, kafka=limits)) as worker:
        worker.until_consumed(0, 21)
        assert worker.ownership is not None
        identity = worker.ownership.custody.exposition.partitions[0].identity["predictions"]
    assert (identity["pending"], identity["dead_letter"]) == (20, 1)
    [letter] = committed(bootstrap, names.dead_letters, 0)
    headers = dict(letter.headers())
    assert headers["reason"] == b"unreadable"
    assert (headers["first-offset"], headers["offset"]) == (b"10", b"12")
    assert names.trace
    told = [orjson.loads(m.value())["unreadable"] for m in committed(bootstrap, names.trace, 0)]
    assert [entry[:3] for entries in told for entry in entries] == [[0, 10, 12]]


def bomb(bootstrap: str, names: Topics) -> None:
    """Three records in one batch that is small on the wire and larger than the client takes."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "zstd",
            "message.max.bytes": 50_000_000,
            "linger.ms": 500,
            "batch.size": 50_000_000,
        }
    )
    for _ in range(3):
        producer.produce(names.predictions, b"\0" * 3_000_000, b"k", 0)
    assert producer.flush(30) == 0


@pytest.mark.timeout(60)
def test_a_dead_letter_with_a_huge_key_and_value_fits_into_its_topic(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(1)
    for topic in (names.predictions, names.labels):
        configure(bootstrap, topic, "max.message.bytes", "20000000")
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 20_000_000})
    producer.produce(names.predictions, b"v" * 3_000_000, b"k" * 9_000_000, 0)
    assert producer.flush(30) == 0
    with WorkerThread(settings_for(bootstrap, names)) as worker:
        worker.until_consumed(0, 1)
    [letter] = committed(bootstrap, names.dead_letters, 0)
    headers = dict(letter.headers())
    assert (len(letter.key()), len(letter.value())) == (4096, 1_000_000)
    assert headers["reason"] == b"oversized"
    assert len(headers["truncated-key-sha256"]) == len(headers["truncated-sha256"]) == 64
