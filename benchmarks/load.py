"""Traffic for the benchmarks: predictions with ten features and their labels, interleaved in both topics."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson

from streamer.adapters.event_sink import EventSink

START_MS = 1_790_000_000_000
A_SECOND = 5_000  # predictions, by their own timestamps, as a live service would make them
LABEL_BEHIND = 200  # predictions between one and its label


def events(pairs: int, models: int, seed: int = 1, features: int = 10) -> Iterator[tuple[int, str, bytes]]:
    """(0 prediction | 1 label, model, value): ``pairs`` of each, in the order in which they are written."""
    chance = random.Random(seed)
    names = [f"model-{number}" for number in range(models)]
    due: list[tuple[str, bytes]] = []
    for number in range(pairs):
        model = names[number % models]
        score = chance.random()
        at = START_MS + number * 1000 // A_SECOND
        prediction: dict[str, Any] = {
            "prediction_id": f"prediction-{number:09}",
            "model": model,
            "version": "v1",
            "timestamp": at,
            "prediction": int(score > 0.5),
            "score": round(score, 6),
            "latency_ms": round(chance.lognormvariate(3, 0.5), 3),
            "features": {f"feature_{index}": round(chance.gauss(0, 1), 5) for index in range(features)},
        }
        label = {
            "prediction_id": prediction["prediction_id"],
            "model": model,
            "timestamp": at + 1000,
            "label": int(chance.random() < score),
        }
        yield 0, model, orjson.dumps(prediction)
        due.append((model, orjson.dumps(label)))
        if number >= LABEL_BEHIND:
            yield 1, *due[number - LABEL_BEHIND]
    for model, value in due[max(0, pairs - LABEL_BEHIND) :]:
        yield 1, model, value


def load(sink: EventSink, pairs: int, models: int) -> int:
    """Write it; answers how many events there are."""
    count = 0
    for kind, model, value in events(pairs, models):
        sink.put(kind, model, value)
        count += 1
    sink.flush()
    return count
