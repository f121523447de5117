"""Whatever is written to the topics: the worker lives, and every record is accounted for."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.e2e.oracle import committed, write
from tests.e2e.worker_process import WorkerProcess

RECORDS = 100_000
NONSENSE: list[Any] = [
    None, True, -1, 0, 1, 2**63, -(2**64), 1e308, -1e308, 1e-320, 0.1, "", "x", "x" * 5000, "nan", "1e999",
    "\x00", "\u202e", "\ud800", [], [[]], {}, {"a": {"a": {}}}, "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00", 1_790_000_000, 1_790_000_000_000, -62_135_596_800_000,
    "2026-13-01T00:00:00Z",
]  # fmt: skip


def valid(chance: random.Random, number: int) -> dict[str, Any]:
    event = {
        "prediction_id": str(chance.randrange(5000)),
        "model": f"m{chance.randrange(4)}",
        "timestamp": 1_790_000_000_000 + number,
    }
    if chance.random() < 0.5:
        return event | {"label": chance.choice([0, 1])}
    return event | {
        "prediction": chance.choice([0, 1]),
        "version": chance.choice(["a", "b"]),
        "score": chance.random(),
        "features": {"x": chance.gauss(0, 1), "y": "z"},
        "latency_ms": 3,
    }


def mutate(chance: random.Random, event: dict[str, Any]) -> bytes | None:
    """A record that may be anything, most often nearly right."""
    kind = chance.random()
    if kind < 0.02:
        return None
    if kind < 0.3:
        event[chance.choice([*event, "scores", "segments", "features"])] = chance.choice(NONSENSE)
    elif kind < 0.4:
        del event[chance.choice(list(event))]
    elif kind < 0.45 and "features" in event:
        event["features"] = {str(chance.choice(NONSENSE))[:50]: chance.choice(NONSENSE) for _ in range(4)}
    text = json.dumps(event).encode("utf-8", "surrogatepass")
    if kind > 0.9:
        data = bytearray(text)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data)
    if 0.88 < kind <= 0.9:
        return text[: chance.randrange(len(text))]
    if 0.87 < kind <= 0.88:
        return chance.choice([b"[" * 3000, b"1", b"NaN", b'{"model":NaN}', b"\xff\xfe", b'{"a":1,"a":2}'])
    return text


@pytest.mark.timeout(300)
def test_a_hundred_thousand_mutated_records_stop_nobody(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    chance = random.Random(99)
    names = topics(2, trace="trace")
    prefix = names.predictions.removesuffix("predictions")
    worker = WorkerProcess(bootstrap, prefix, tmp_path).await_ready()
    sources = (names.predictions, names.labels)
    records = [
        (chance.choice(sources), chance.randrange(2), chance.choice([None, b"m1", b"\xff"]), value)
        for number in range(RECORDS)
        for value in [mutate(chance, valid(chance, number))]
    ]
    write(bootstrap, records)

    def finished() -> bool:
        scrape = worker.scrape()
        return (
            scrape is not None
            and sum(scrape.total(f"streamer_{topic}_consumed_total") for topic in ("predictions", "labels"))
            == RECORDS
        )

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
