"""A batch that no client can decompress stops nobody: it is set aside as a whole, and what follows counts."""

from __future__ import annotations

import orjson
import pytest
from confluent_kafka import Producer

from streamer.home import home
from tests.e2e.conftest import SceneFactory
from tests.e2e.oracle import committed, write
from tests.e2e.scene import Scene
from tests.e2e.traffic import START_MS

PARTITIONS = 2
ROWS = 500
BOMB_RECORDS = 11
MODELS = ("m0", "m1")


def feed(plant: Scene, first: int) -> None:
    steps = []
    for row in range(first, first + ROWS):
        for model in MODELS:
            event = {"prediction_id": str(row), "model": model, "timestamp": START_MS + row}
            for topic, answer in (
                (plant.names.predictions, {"prediction": 1}),
                (plant.names.labels, {"label": row % 2}),
            ):
                value = orjson.dumps(event | answer)
                steps.append((topic, home(model, PARTITIONS), model.encode(), value))
    write(plant.bootstrap, steps)


def bomb(plant: Scene, topic: str, partition: int) -> None:
    """A few kB in the log, more than a client may unpack: it answers with an error, again and again."""
    settings = {"compression.type": "zstd", "linger.ms": 60_000, "batch.size": 200_000_000}
    limits = {"message.max.bytes": 200_000_000, "queue.buffering.max.kbytes": 400_000}
    producer = Producer({**plant.base, **settings, **limits})
    for _ in range(BOMB_RECORDS):
        producer.produce(topic, bytes(10_000_000), b"bomb", partition)
    assert producer.flush(60) == 0  # all of it at once, in one batch


@pytest.mark.timeout(120)
def test_a_batch_that_cannot_be_decompressed_is_set_aside_and_the_rest_counts(scene: SceneFactory) -> None:
    assert sorted(home(model, PARTITIONS) for model in MODELS) == [0, 1]
    plant = scene(PARTITIONS)
    plant.start()
    feed(plant, 0)
    bomb(plant, plant.names.predictions, 0)
    feed(plant, ROWS)
    bomb(plant, plant.names.labels, 1)  # nothing comes after this one
    plant.await_consumed(2 * len(MODELS) * 2 * ROWS + 2)  # each bomb counts as one
    plant.stop()
    for oracle in plant.judge():
        dead = committed(plant.bootstrap, plant.names.dead_letters, oracle.partition)
        (headers,) = (dict(letter.headers()) for letter in dead)
        assert headers["reason"] == b"unreadable"
        assert int(headers["offset"]) - int(headers["first-offset"]) == BOMB_RECORDS - 1
