"""Dead letters in a real topic, as a worker writes them: through its own pipeline and commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import Producer

from streamer.adapters import codec
from streamer.adapters.topics import Topics
from streamer.checkpoint import Checkpoint
from streamer.domain.objectives import Objectives
from streamer.domain.partition import Partition
from streamer.home import home
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline, Unreadable
from tests.domain.feed import START_MS, Record

FIRST = 1_000

__all__ = ["FIRST", "LABELS", "PREDICTIONS", "Unreadable", "bad", "post", "prediction"]


def prediction(pid: Any, model: str = "m", **more: Any) -> bytes:
    event = {"prediction_id": pid, "timestamp": START_MS, "model": model, "prediction": 1, **more}
    return codec.encode_json(event)


def bad(number: int, value: bytes | None = b"{", key: bytes | None = b"m", at: int = START_MS) -> Record:
    """A record that no pipeline takes, unless ``value`` says otherwise; beyond all that a test sends back."""
    return Record(at, FIRST + number, value, key)


def post(
    bootstrap: str,
    names: Topics,
    partition: int,
    records: Sequence[Any],
    kind: int = PREDICTIONS,
    partitions: int = 2,
    max_dead_letter: int = 1_000_000,
) -> int:
    """Run records of one topic through a worker's core; answers how many letters it wrote for them."""
    pipeline = Pipeline(
        Partition(Objectives(), lambda model: home(model, partitions) == partition),
        partition,
        (names.predictions, names.labels),
        codec.decode_event,
    )
    pipeline.run(kind, records)
    commit = Checkpoint(codec, {}, max_dead_letter).prepare(pipeline)
    letters = [each for each in commit.records if each.room == "dead_letters"]
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for each in letters:
        producer.produce(names.dead_letters, each.value, each.key, partition, headers=list(each.headers))
    assert producer.flush(30) == 0
    return len(letters)
