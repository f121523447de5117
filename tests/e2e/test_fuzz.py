"""Whatever is written to the topics: the worker lives, and every record is accounted for.

``tests/fuzz`` does the same to the core alone, with many more payloads.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.domain.feed import START_MS
from tests.e2e.oracle import committed, write
from tests.e2e.worker_process import WorkerProcess
from tests.fuzz.payloads import Forge

RECORDS = 100_000
FLOOD = 5_000
LARGE = 10_000_000
HALF = 1_000_000


@pytest.mark.timeout(300)
def test_a_hundred_thousand_forged_records_stop_nobody(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    chance = random.Random(99)
    names = topics(2, trace="trace")
    prefix = names.predictions.removesuffix("predictions")
    worker = WorkerProcess(bootstrap, prefix, tmp_path).await_ready()
    sources = (names.predictions, names.labels)
    forge = Forge(chance, ("m0", "m1", "m2", "m3"))
    payloads = [forge.payload(START_MS) for _ in range(RECORDS - 2 * FLOOD)]
    payloads[RECORDS // 2 : RECORDS // 2] = forge.flood(START_MS, FLOOD)
    records = [
        (sources[each.kind], chance.randrange(2), each.key, each.value)
        for each in payloads
        if len(each.value or b"") + len(each.key or b"") < HALF  # the broker itself refuses larger ones
    ]
    write(bootstrap, records)

    def finished() -> bool:
        scrape = worker.scrape()
        return scrape is not None and sum(
            scrape.total(f"streamer_{topic}_consumed_total") for topic in ("predictions", "labels")
        ) == len(records)

    wait_until(finished, 200, "all records are consumed")
    scrape = worker.scrape()
    assert scrape is not None
    for topic, waiting in (("predictions", "pending"), ("labels", "parked")):
        ended = scrape.total(f"streamer_{topic}_total") + scrape.total(f"streamer_{topic}_{waiting}")
        assert ended == scrape.total(f"streamer_{topic}_consumed_total")
    dead = [m for number in range(2) for m in committed(bootstrap, names.dead_letters, number)]
    assert len(dead) == scrape.total("streamer_dead_letters_total") > RECORDS / 10
    assert "internal_error" not in {dict(m.headers())["reason"].decode() for m in dead}
    assert scrape.total("model_labels_total", outcome="joined") > 0, "good records among them still count"
    assert worker.stop() == 0


def test_records_of_ten_megabytes_become_dead_letters_that_fit_their_topic(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    names = topics(1)
    resource = ConfigResource(ResourceType.TOPIC, names.predictions)
    resource.add_incremental_config(
        ConfigEntry("max.message.bytes", str(2 * LARGE), incremental_operation=AlterConfigOpType.SET)
    )
    admin = AdminClient({"bootstrap.servers": bootstrap})  # held: a client that is collected takes it back
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)
    good = b'{"prediction_id": "%d", "model": "m", "timestamp": 1790000000000, "prediction": 1}'
    giants = [b'{"model": "' + b"x" * LARGE, b"[" * LARGE, random.Random(1).randbytes(LARGE)]
    producer = Producer(
        {"bootstrap.servers": bootstrap, "message.max.bytes": 2 * LARGE, "compression.type": "zstd"}
    )
    for number, giant in enumerate(giants):
        for value in (good % number, giant):
            producer.produce(names.predictions, value, b"m", 0)
            assert producer.flush(30) == 0
    worker = WorkerProcess(bootstrap, names.predictions.removesuffix("predictions"), tmp_path, trace="false")
    wait_until(lambda: worker.total("streamer_predictions_consumed_total") == 6, 60, "all are consumed")
    assert worker.total("model_predictions_total", model="m") == len(giants)
    dead = committed(bootstrap, names.dead_letters, 0)
    assert [dict(letter.headers())["reason"] for letter in dead] == [b"oversized"] * len(giants)
    assert all("truncated-sha256" in dict(letter.headers()) for letter in dead)
    assert [letter.value() for letter in dead] == [giant[:1_000_000] for giant in giants]
    assert worker.stop() == 0
