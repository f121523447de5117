"""What the soak sends: models that turn bad and good again, versions and guests that come and go, garbage.

Cheap to make, since it shares two cores with what it loads: texts are made once, only ids, versions and
times are filled in. Nothing here reads a clock.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import orjson

from streamer.home import home

MODELS = 64
PARTITIONS = 4
GUESTS = 32  # fill what the objectives leave: those who come later are refused, `capacity`
STEP = 0.05  # seconds: how fine the sending is
TEMPLATES = 64  # texts of each model in each mood
NEVER = 0.05  # of the predictions get no label
ORPHANS, AGAIN, CONFLICTING = 0.02, 0.02, 0.01  # labels besides, which make up for those
TWICE = 0.005  # of the predictions come again
RIGHT, WRONG = 0.93, 0.60  # how often a model is right in good times and in bad ones
GARBAGE_A_SECOND, GUEST_A_SECOND = 4, 5
GUESTS_AT_A_TIME = 4
ALL_KNOWN_SECONDS = 2.0  # every steady model has spoken by then, before a guest can take its place
TOPICS = ("predictions", "labels")

Record = tuple[int, str, bytes]  # 0 prediction | 1 label, model, value


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate``: events a second, half of them predictions. Times in seconds.

    ``settled``: by then every version and every guest that finds room has come.
    ``period``: of a model's moods, the last quarter of it bad. Labels come after up to ``delay``.
    """

    rate: int = 20_000
    settled: float = 1080.0
    period: float = 480.0
    delay: float = 60.0
    seed: int = 11


def names(prefix: str) -> Iterator[str]:
    """Names at home in partition 0, 1, 2 … in turn: each partition has as much to do as the others."""
    candidates = (f"{prefix}-{number}" for number in count())
    waiting: dict[int, list[str]] = {number: [] for number in range(PARTITIONS)}
    for turn in count():
        found = waiting[turn % PARTITIONS]
        while not found:
            name = next(candidates)
            waiting[home(name, PARTITIONS)].append(name)
        yield found.pop(0)


class Traffic:
    """``until`` yields what is due; ``garbage`` and ``guests`` count what should end as dead letters.

    ``garbage``: topic/reason → records. ``guests``: topic → records of guests, who are refused or not.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.garbage: Counter[str] = Counter()
        self.guests: Counter[str] = Counter()
        self._chance = random.Random(plan.seed)
        steady = names("model")
        self.models = [next(steady) for _ in range(MODELS)]
        self._guest_names = names("guest")
        self._guests: list[str] = []
        self._texts = [(self._templates(name, RIGHT), self._templates(name, WRONG)) for name in self.models]
        self._labels = [_label_text(name) for name in self.models]
        self._due: list[list[tuple[int, int, int]]] = [[] for _ in range(int(plan.delay / STEP) + 2)]
        self._steps = self._made = self._bad = self._visits = 0

    def until(self, elapsed: float, now_ms: int) -> Iterator[Record]:
        """All that is due ``elapsed`` seconds after the beginning and was not taken yet."""
        while (self._steps + 1) * STEP <= elapsed:
            yield from self._predictions(now_ms)
            yield from self._due_labels(now_ms)
            yield from self._strangers(now_ms)
            self._steps += 1

    @property
    def elapsed(self) -> float:
        """Up to when everything was taken, in seconds."""
        return self._steps * STEP

    def _predictions(self, now_ms: int) -> Iterator[Record]:
        chance, due, labels_of = self._chance.random, self._due, len(self._due)
        moods = [self._mood(index) for index in range(MODELS)]
        for number in range(self._made, int(self.plan.rate / 2 * (self._steps + 1) * STEP)):
            index = number % MODELS
            version, texts = moods[index]
            text, label = texts[int(chance() * TEMPLATES)]
            value = text % (number, version, now_ms)
            yield 0, self.models[index], value
            drawn = chance()
            if drawn > NEVER:
                after = 1 + int((drawn - NEVER) / (1 - NEVER) * (labels_of - 2))
                due[(self._steps + after) % labels_of].append((index, number, label))
            if drawn < TWICE:
                yield 0, self.models[index], value
            self._made = number + 1

    def _due_labels(self, now_ms: int) -> Iterator[Record]:
        chance = self._chance.random
        at = self._steps % len(self._due)
        ready, self._due[at] = self._due[at], []
        for index, number, label in ready:
            name, text = self.models[index], self._labels[index]
            yield 1, name, text % (number, now_ms, label)
            drawn = chance() * (1 - NEVER)  # their share is of the predictions
            if drawn < ORPHANS:
                yield 1, name, text % (-1 - number, now_ms, label)
            elif drawn < ORPHANS + AGAIN:
                yield 1, name, text % (number, now_ms, label)
            elif drawn < ORPHANS + AGAIN + CONFLICTING:
                yield 1, name, text % (number, now_ms, 1 - label)

    def _mood(self, index: int) -> tuple[bytes, list[tuple[bytes, int]]]:
        """A model's version by now, and its texts: those of bad times in the last quarter of its period."""
        elapsed, plan = self.elapsed, self.plan
        # Two rollouts to each model by the time that all is settled; more of them come later.
        version = max(0, int(3 * elapsed / plan.settled - index / MODELS))
        phase = (elapsed / plan.period + index / MODELS) % 1.0
        return b"v%d" % version, self._texts[index][phase >= 0.75]

    def _strangers(self, now_ms: int) -> Iterator[Record]:
        """Garbage, and a few records of guests: models that stay for a while."""
        elapsed = self.elapsed
        if elapsed < ALL_KNOWN_SECONDS:
            return
        while self._bad < (elapsed - ALL_KNOWN_SECONDS) * GARBAGE_A_SECOND:
            kind, (reason, value) = self._bad % 2, _GARBAGE[self._bad // 2 % len(_GARBAGE)]
            self.garbage[f"{TOPICS[kind]}/{reason}"] += 1
            yield kind, self.models[self._bad % MODELS], value
            self._bad += 1
        come = 1 + int((elapsed - ALL_KNOWN_SECONDS) / self.plan.settled * GUESTS)
        self._guests += [next(self._guest_names) for _ in range(come - len(self._guests))]
        while self._visits < (elapsed - ALL_KNOWN_SECONDS) * GUEST_A_SECOND:
            staying = self._guests[-GUESTS_AT_A_TIME:]
            name = staying[self._visits % len(staying)]
            text, label = self._texts[self._visits % MODELS][0][0]
            own = text.replace(self.models[self._visits % MODELS].encode(), name.encode())
            self._visits += 1
            for kind, value in (
                (0, own % (self._visits, b"v0", now_ms)),
                (1, _label_text(name) % (self._visits, now_ms, label)),
            ):
                self.guests[TOPICS[kind]] += 1
                yield kind, name, value

    def _templates(self, model: str, right: float) -> list[tuple[bytes, int]]:
        """Predictions with room for id, version and time, each with its label."""
        chance, found = self._chance, []
        for _ in range(TEMPLATES):
            label = int(chance.random() < 0.5)
            answer = label if chance.random() < right else 1 - label
            features: dict[str, float | str] = {
                f"feature_{index}": round(chance.gauss(right == WRONG, 1), 4) for index in range(10)
            }
            rest = {
                "prediction": answer,
                "score": round(0.5 + (answer - 0.5) * chance.random(), 4),
                "latency_ms": round(chance.lognormvariate(3, 0.5), 2),
                "features": {**features, "plan": chance.choice(["free", "pro", "team"])},
            }
            head = b'{"model":%b,"prediction_id":%%d,"version":"%%b","timestamp":%%d,' % orjson.dumps(model)
            found.append((head + orjson.dumps(rest)[1:], label))
        return found


def _label_text(model: str) -> bytes:
    return b'{"model":%b,"prediction_id":%%d,"timestamp":%%d,"label":%%d}' % orjson.dumps(model)


# What is wrong with each is wrong in both topics.
_GARBAGE = (
    ("undecodable", b'{"prediction_id": 1,'),
    ("not_an_object", b"[]"),
    ("missing_field", b'{"timestamp": 1790000000000}'),
    ("timestamp_seconds", b'{"prediction_id": 1, "timestamp": 1790000000, "prediction": 1, "label": 1}'),
)
