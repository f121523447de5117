"""A number of payloads from one seed, over partitions of several kinds, and the figures that come of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from streamer.domain.objectives import FieldMap, Limits, ModelSpec, Objectives
from streamer.pipeline import KINDS
from tests.domain.traffic import MODEL, objectives
from tests.fuzz.trial import ROUND, Tally, Trial

MOST_FINDINGS = 20
ROUNDS_BETWEEN_FLOODS = 60
PLAIN = Limits(5_000, 500, 5_000, max_models=120, max_versions=6, max_features=40)
ROOMY = Limits(50_000, 5_000, 50_000, max_models=1_000, max_versions=12, max_features=60)
# Every field elsewhere than where it belongs, on paths through what may be anything.
ELSEWHERE = FieldMap(
    prediction=(
        ("prediction_id", ("meta", "id")),
        ("score", ("scores", "1")),
        ("features", ("segments",)),
        ("version", ("features", "age")),
        ("latency_ms", ("features", "income")),
    ),
    label=(("prediction_id", ("inferenceId",)), ("label", ("label", "a"))),
)


def mapped() -> Objectives:
    """One second is all that anything waits, and what nobody answered counts as negative."""
    spec = replace(MODEL, model="", task=None, fields=ELSEWHERE, on_expiry="negative", evaluate_every=1)
    return Objectives(1, replace(spec, label_wait_ms=1_000, park_ms=1_000, dedupe_ms=1_000), limits=PLAIN)


# Nobody declared anything; touchy rules at every bound; foreign logs; touchy rules and room for a flood.
LANES: dict[str, Callable[[], Objectives]] = {
    "plain": lambda: Objectives(limits=PLAIN, default=ModelSpec("", alert_feature_values=True)),
    "crowded": objectives,
    "mapped": mapped,
    "roomy": lambda: objectives(ROOMY),
}
SHARES = (35, 35, 20, 10)


class Campaign:
    """``payloads`` in all, the same for the same ``seed``. ``watch``: called after each round."""

    def __init__(self, payloads: int, seed: int) -> None:
        self.payloads, self.seed = payloads, seed
        self.tally = Tally()
        self.chance = random.Random(f"streamer {seed}")
        self.trials = {
            lane: Trial(lane, make(), random.Random(f"{lane} {seed}"), self.tally)
            for lane, make in LANES.items()
        }

    def run(self, watch: Callable[[Tally], None] = lambda tally: None) -> Tally:
        rounds = floods = 0
        while self.tally.payloads < self.payloads and len(self.tally.findings) < MOST_FINDINGS:
            [lane] = self.chance.choices(list(self.trials), SHARES)
            if rounds % ROUNDS_BETWEEN_FLOODS == 3:
                # In turn, so that every one is as full as it gets before memory is judged.
                self.trials[list(self.trials)[floods % len(self.trials)]].flood()
                floods += 1
            else:
                self.trials[lane].round(min(ROUND, self.payloads - self.tally.payloads))
            rounds += 1
            watch(self.tally)
        return self.tally

    def identities(self) -> dict[str, dict[str, int]]:
        """The terms of both identities at the end, of all partitions together."""
        found: dict[str, Counter[str]] = {topic: Counter() for topic in KINDS}
        for trial in self.trials.values():
            for topic, terms in trial.live.partition.identity().items():
                found[topic].update(terms)
        return {topic: dict(terms) for topic, terms in found.items()}
