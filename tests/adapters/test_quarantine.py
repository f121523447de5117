"""Promise 4: a partition that cannot be trusted is set aside with the cure, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streamer.adapters import codec
from streamer.adapters.seat import Standing
from streamer.adapters.status import read_status
from streamer.adapters.topics import Topics, create
from streamer.adapters.transactions import read_state
from streamer.checkpoint import MANIFEST_KEY
from tests.adapters.worker_thread import WorkerThread, model_of, settings_for
from tests.conftest import TopicsFactory
from tests.e2e.oracle import write

COUNT = 50
Raw = Mapping[bytes, bytes]


class Site:
    """Two partitions, one of which something bad will happen to."""

    def __init__(self, bootstrap: str, names: Topics) -> None:
        self.bootstrap, self.names = bootstrap, names
        self.base = {"bootstrap.servers": bootstrap}
        self.settings = settings_for(bootstrap, names)
        self.written = [0, 0]
        self.older: Raw = {}

    def feed(self, partition: int) -> None:
        model = model_of(partition, 2)
        events = [
            {"prediction_id": str(self.written[partition] + i), "model": model, "prediction": 1,
             "timestamp": 1_790_000_000_000}
            for i in range(COUNT)
        ]  # fmt: skip
        values = [codec.encode_json(event) for event in events]
        write(self.bootstrap, [(self.names.predictions, partition, model.encode(), v) for v in values])
        self.written[partition] += COUNT

    def run(self) -> None:
        """A worker takes all there is, commits it and goes."""
        with WorkerThread(self.settings) as worker:
            for partition in (0, 1):
                worker.until_consumed(partition, self.written[partition])
        assert worker.status == 0

    def state(self) -> Raw:
        return read_state(self.base, "tests", self.names.state, 0)

    def put(self, records: Mapping[bytes, bytes | None]) -> None:
        write(self.bootstrap, [(self.names.state, 0, key, value) for key, value in records.items()])


def flip_a_byte(site: Site) -> None:
    key, value = next(each for each in site.state().items() if b'"version"' in each[0])
    site.put({key: value[:10] + bytes([value[10] ^ 1]) + value[11:]})


def flip_a_byte_of_the_manifest(site: Site) -> None:
    key = codec.encode_key(MANIFEST_KEY)
    value = site.state()[key]
    site.put({key: value[:30] + bytes([value[30] ^ 1]) + value[31:]})


def lose_a_cell(site: Site) -> None:
    site.put({next(key for key in site.state() if b'"model"' in key): None})


def lose_the_manifest(site: Site) -> None:
    site.put({codec.encode_key(MANIFEST_KEY): None})


def bring_back_an_older_copy(site: Site) -> None:
    older = site.state()
    site.feed(0)
    site.run()
    site.put({**dict.fromkeys(site.state()), **older})


def belong_to_another_group(site: Site) -> None:
    key = codec.encode_key(MANIFEST_KEY)
    manifest = codec.decode_cell(site.state()[key][16:])
    manifest["identity"]["group"] = "another"
    body = codec.encode_cell(manifest)
    site.put({key: blake2b(body, digest_size=16).digest() + body})


def let_retention_eat_the_source(site: Site) -> None:
    site.feed(0)
    at = TopicPartition(site.names.predictions, 0, site.written[0] - 10)
    admin = AdminClient(site.base)  # held: a client that is collected cancels what it was asked
    admin.delete_records([at])[at].result(10)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (flip_a_byte, "do not add up"),
        (flip_a_byte_of_the_manifest, "checksum"),
        (lose_a_cell, "do not add up"),
        (lose_the_manifest, "no manifest"),
        (bring_back_an_older_copy, "older copy"),
        (belong_to_another_group, "state topic of its own"),
        (let_retention_eat_the_source, "retention has eaten"),
    ],
)
def test_a_partition_that_cannot_be_trusted_stops_no_other(
    break_it: Callable[[Site], None], why: str, bootstrap: str, topics: TopicsFactory
) -> None:
    site = Site(bootstrap, topics(2))
    for partition in (0, 1):
        site.feed(partition)
    site.run()
    break_it(site)
    before = site.state()
    with WorkerThread(site.settings) as worker:
        message = worker.until(lambda found: found.stats.quarantined.get(0), "the quarantine")
        assert why in message
        site.feed(1)
        worker.until_consumed(1, site.written[1])
        quarantined = (False, "partitions quarantined: [0]")
        worker.until(lambda found: found.ready() == quarantined, "the brokers have answered")
        assert worker.ownership is not None
        assert worker.ownership.seats[0].standing is Standing.QUARANTINED
        assert worker.ownership.crashed is None
    assert worker.status == 0
    assert site.state() == before, "nothing was overwritten"
    found = read_status(site.base, site.settings.group, site.names)
    assert why in (found.partitions[0].problem or "")
    assert found.partitions[1].problem is None


@pytest.mark.timeout(120)
def test_a_source_that_was_made_anew_is_not_taken_for_the_old_one(
    bootstrap: str, topics: TopicsFactory
) -> None:
    site = Site(bootstrap, topics(2))
    for partition in (0, 1):
        site.feed(partition)
    site.run()
    admin = AdminClient(site.base)
    admin.delete_topics([site.names.predictions])[site.names.predictions].result(30)
    create(site.base, site.names, partitions=2)
    for partition in (0, 1):
        site.feed(partition)
        site.feed(partition)  # so that the old offsets exist in the new topic
    with WorkerThread(site.settings) as worker:
        message = worker.until(lambda found: found.stats.quarantined.get(0), "the quarantine")
        assert "deleted and made anew" in message
