"""Random traffic with everything in it that may happen to a partition, garbage included."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamer.domain.objectives import (
    DetectorSpec,
    DriftSpec,
    FieldMap,
    Limits,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)
from streamer.pipeline import LABELS, PREDICTIONS
from tests.domain.feed import Log

LAST_5, LAST_8S = WindowSpec("last", 5), WindowSpec("duration", 8_000)
TOUCHY = DetectorSpec("page_hinkley", (("min_instances", 4), ("threshold", 0.8)))
QUICK_ADWIN = DetectorSpec(
    "adwin", (("clock", 1), ("min_window_length", 2), ("grace_period", 4), ("delta", 0.9))
)


def threshold(signal: str, **more: Any) -> ThresholdSpec:
    """An objective that says something after three rows, without a confidence bound."""
    settings = {"window": LAST_5, "min_samples": 3, "confidence": None, **more}
    return ThresholdSpec(settings.pop("rule", signal), signal, **settings)


MODEL = ModelSpec(
    "binary",
    task="binary",
    windows=(LAST_5, LAST_8S, WindowSpec("lifetime")),
    thresholds=(
        threshold("accuracy", minimum=0.6, margin=0.1, hold_rows=3),
        threshold("precision", minimum=0.9, hold_ms=1_500),
        threshold("latency_p95", maximum=60.0, window=LAST_8S),
        threshold("throughput", minimum=0.9, window=LAST_8S),
        threshold("label_coverage", minimum=0.7),
        threshold("silence", maximum=4_000),
    ),
    drift=(
        DriftSpec("error", (QUICK_ADWIN, TOUCHY), quiet_rows=12),
        DriftSpec("score", (QUICK_ADWIN,), quiet_rows=6),
        DriftSpec("feature:age", (replace(TOUCHY, warm_up=4),), quiet_rows=6),
    ),
    label_wait_ms=9_000,
    park_ms=3_000,
    dedupe_ms=2_000,
    evaluate_every=4,
    segments=("country", "device"),
)
SQUARE = replace(
    MODEL,
    model="square",
    task="regression",
    thresholds=(threshold("mae", maximum=0.5), threshold("r2", minimum=0.2, window=LAST_8S)),
)
KINDS = replace(
    MODEL,
    model="kinds",
    task="multiclass",
    thresholds=(threshold("f1", minimum=0.8), threshold("recall", minimum=0.8, klass="b", rule="recall b")),
)
FOREIGN = replace(
    MODEL,
    model="foreign",
    fields=FieldMap((("prediction_id", ("meta", "id")),), (("prediction_id", ("inferenceId",)),)),
    on_expiry="negative",
    segments=(),
)
SMALL = Limits(
    max_pending=14,
    max_parked=5,
    max_recent=9,
    max_models=7,
    max_versions=2,
    max_features=3,
    max_versions_total=16,
    max_features_total=30,
    max_segments=3,
)


def objectives(limits: Limits = SMALL) -> Objectives:
    models = {spec.model: spec for spec in (MODEL, SQUARE, KINDS, FOREIGN)}
    return Objectives(3, replace(MODEL, model="", task=None), models, limits)


def traffic(chance: random.Random, count: int) -> Log:
    log = Log()
    for _ in range(count):
        if chance.random() < 0.3:
            log.wait(chance.choice([1, 90, 400, 1_100, 2_500, 2_500, 12_000]))
        chance.choices(WRITERS, WEIGHTS)[0](log, chance)
    return log


def _any_prediction(log: Log, chance: random.Random) -> None:
    model = chance.choice(["binary", "binary", "square", "kinds", "new", "newer", "foreign"])
    more: dict[str, Any] = {"version": chance.choice([None, "a", "b", "c", 7])}
    if chance.random() < 0.6:
        more["score"] = chance.choice([0.01, 0.5, chance.random(), 1])
    if chance.random() < 0.5:
        more["latency_ms"] = chance.choice([3, 20.5, 75, 400])
    if chance.random() < 0.6:
        more["features"] = _features(chance)
    # By their number: other tests stand on what chance decides here.
    more["segments"] = SEGMENTS[len(log.steps) % len(SEGMENTS)]
    pid: Any = str(chance.randrange(14))
    if model == "foreign":
        more["meta"] = {"id": pid}
        pid = "not this one"
    log.predict(pid, _answer(model, chance), model, **more)


def _features(chance: random.Random) -> dict[str, Any]:
    age = chance.choice([chance.gauss(40, 9), 17, True, None, "old"]) if chance.random() < 0.4 else 30.0
    rest = {chance.choice("xyz"): chance.choice([1, "red", False, [1]])} if chance.random() < 0.3 else {}
    return {"age": age, "income": chance.random() * 1e5, **rest}


def _any_label(log: Log, chance: random.Random) -> None:
    model = chance.choice(["binary", "binary", "square", "kinds", "new", "newer", "foreign"])
    pid = str(chance.randrange(14))
    log.label(pid, _answer(model, chance), model, **({"inferenceId": pid} if model == "foreign" else {}))


def _answer(model: str, chance: random.Random) -> Any:
    if model == "square":
        return chance.choice([chance.random(), 0.5, 3])
    if model == "kinds":
        return chance.choice(["a", "b", "c", 4, 4.0])
    return chance.choice([0, 1, 1.0, True, "yes", "0", "never heard of"])


def _garbage(log: Log, chance: random.Random) -> None:
    kind = chance.choice([PREDICTIONS, LABELS])
    good = {"prediction_id": "1", "timestamp": log.at, "model": "binary", "prediction": 1, "label": 1}
    broken: list[tuple[str, Any]] = [
        ("prediction_id", None), ("prediction_id", [1]), ("prediction_id", "x" * 300),
        ("timestamp", 1_700_000_000), ("timestamp", log.at + 10**7), ("timestamp", "yesterday"),
        ("model", {}), ("model", "away"),
        ("model", "a\nb"), ("prediction", []), ("label", {"a": 1}), ("score", 2), ("scores", {}),
        ("features", 3), ("latency_ms", -1), ("version", ["v"]), ("model", f"many {chance.randrange(9)}"),
    ]  # fmt: skip
    choice = chance.randrange(5)
    if choice == 0:
        raw = chance.choice([b"", b"{", b"\xff\xfe", b"[]", b"null", b'"text"', b"x" * 1_000_001, None])
        log.put(kind, raw, raw=True)
    elif choice == 1:
        log.put(kind, {k: v for k, v in good.items() if k != chance.choice(list(good))}, b"binary")
    else:
        name, value = chance.choice(broken)
        log.put(kind, {**good, name: value})


SEGMENTS: list[Any] = [
    {"country": "DE", "device": "phone"}, {"country": "NL"}, {"country": "DE", "device": None, "plan": "pro"},
    None, {"country": "FR", "device": 7}, {"country": "BE", "device": [1]}, {"device": "tv", "country": ""},
    {}, {"country": "other", "device": True}, {"country": "DE", "device": "tv"},
    {"country": "NL", "device": "phone"},
]  # fmt: skip

WRITERS: list[Callable[[Log, random.Random], None]] = [_any_prediction, _any_label, _garbage]
WEIGHTS = [6, 5, 1]
