"""Two versions of a model on the same predictions: the champion, and each challenger beside it.

A label that meets a prediction of both gives one pair of losses. What is told
is the mean difference, and where it can be: see ``confidence``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streamer.domain.confidence import AsymptoticSequence, BoundedSequence, ConfidenceSequence
from streamer.domain.objectives import Task


@dataclass(slots=True)
class Pair:
    """A challenger and the champion on ``rows`` predictions that both had made, by the sums of their losses.

    The loss is 1 for a wrong class, or the absolute error of a number. Sums are of the rows in their order.
    """

    champion: str
    challenger: str
    sequence: ConfidenceSequence
    rows: int = 0
    champions_loss: float = 0.0
    challengers_loss: float = 0.0

    def update(self, champions: float, challengers: float) -> None:
        self.rows += 1
        self.champions_loss += champions
        self.challengers_loss += challengers
        self.sequence.update(challengers - champions)

    @property
    def difference(self) -> float:
        """The challenger's mean loss less the champion's: below 0 the challenger is better."""
        return (self.challengers_loss - self.champions_loss) / self.rows if self.rows else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Where the difference is, at 95 % confidence at all times at once; infinite at first."""
        return self.sequence.interval()

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` once that is sure of the challenger, else ``open``."""
        low, high = self.interval
        return "better" if high < 0 else "worse" if low > 0 else "open"


@dataclass(slots=True)
class Versus:
    """All pairs of one model, by challenger."""

    pairs: dict[str, Pair] = field(default_factory=dict)

    def note(self, task: Task, champion: str, challenger: str, losses: tuple[float, float]) -> None:
        """A label has settled a prediction of both; their losses, the champion's first."""
        pair = self.pairs.get(challenger)
        if pair is None or pair.champion != champion:
            # The file has named another champion: what the former one was held against is over.
            self.pairs = {name: each for name, each in self.pairs.items() if each.champion == champion}
            pair = self.pairs[challenger] = Pair(champion, challenger, _sequence(task))
        pair.update(*losses)

    @property
    def mark(self) -> int:
        """Another one after every pair."""
        return sum(pair.rows for pair in self.pairs.values())

    def snapshot(self) -> list[Any]:
        return [
            [each.champion, each.challenger, each.rows, each.champions_loss, each.challengers_loss,
             each.sequence.snapshot()]
            for each in self.pairs.values()
        ]  # fmt: skip

    def restore(self, state: Sequence[Any], task: Task, named: str | None) -> None:
        """Become what was snapshot, without the pairs of another champion than the one that is named."""
        for champion, challenger, rows, champions, challengers, saved in state:
            if named is not None and champion != named:
                continue
            sequence = _sequence(task)
            sequence.restore(saved)
            self.pairs[challenger] = Pair(champion, challenger, sequence, rows, champions, challengers)


def _sequence(task: Task) -> ConfidenceSequence:
    return AsymptoticSequence() if task == "regression" else BoundedSequence()
