"""A reference of a log: what ``replay`` would send to Kafka is counted instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamer.adapters.tables import TableError
from streamer.domain.bins import binary_code
from streamer.domain.classes import canonical
from streamer.domain.objectives import Quota
from streamer.domain.profile import Profile
from streamer.domain.reference import Column, Reference
from streamer.replay import Plan, play

MAX_FEATURES = 1000


class Collector:
    """Where events go. ``where``: feature → the text of its value, of the rows that count.

    ``positive``: the class that scores are about, of a binary model. Predictions wait here for their
    labels, so it holds every id of the log.
    """

    def __init__(
        self, reference: Reference, where: Mapping[str, str], regression: bool, positive: str
    ) -> None:
        self.reference, self.where, self.regression, self.positive = reference, where, regression, positive
        self.profile = Profile(MAX_FEATURES, Quota(MAX_FEATURES), related=True)
        self._predicted: dict[str, tuple[Any, int]] = {}

    def prediction(self, event: Mapping[str, Any]) -> None:
        features = dict(event.get("features", {}))
        if any(_text(features.pop(name, None)) != wanted for name, wanted in self.where.items()):
            return
        found = self.reference
        found.rows += 1
        self.profile.take(features)
        score = event.get("score")
        if score is not None and not 0 <= score <= 1:
            raise TableError(f"the score {score} is no probability: name its column with --map score=…")
        predicted = self._count(found.predictions, event["prediction"])
        at = found.take_answer(score, predicted == self.positive)
        self._predicted[event["prediction_id"]] = predicted, at

    def label(self, event: Mapping[str, Any]) -> None:
        """Of a prediction that counts; the first one wins, as in a worker."""
        if event["prediction_id"] not in self._predicted:
            return
        predicted, at = self._predicted.pop(event["prediction_id"])
        found = self.reference
        actual = self._count(found.labels, event["label"])
        if not self.regression:
            found.judged += 1
            found.wrong += predicted != actual
            found.truths[binary_code(at, int(predicted == self.positive), int(actual == self.positive))] += 1

    def finish(self) -> Reference:
        self.reference.take_features(self.profile)
        return self.reference

    def _count(self, column: Column, value: Any) -> Any:
        """A class as its name, the number of a regression as it is."""
        if self.regression:
            if isinstance(value, str):
                raise TableError(f"{value!r} is no number, and this is a regression")
        else:
            value = canonical(value) or "other"
        column.take(value)
        return value


def build(
    plan: Plan,
    where: Mapping[str, str],
    regression: bool = False,
    positive: str = "1",
    progress: Callable[[int, int], None] = lambda done, total: None,
    going: Callable[[], bool] = lambda: True,
) -> Reference:
    """Read the log. ``progress``: predictions done, and in all; ``going``: False ends it early.

    Raises:
        TableError: as ``replay.play``, or no row is left by ``where``.
    """
    said = "".join(f", {name}={value}" for name, value in where.items())
    reference = Reference(plan.model, plan.version, f"{plan.predictions.name}{said}")
    collector = Collector(reference, where, regression, positive)
    play(plan, collector, progress, going)
    if not reference.rows:
        wanted = " and ".join(f"{name}={value}" for name, value in where.items())
        raise TableError(f"{plan.predictions}: no row has {wanted}; a column of --where has to be a feature")
    return collector.finish()


def _text(value: Any) -> str | None:
    """As a person writes it on a command line: 2018, not 2018.0."""
    return value if isinstance(value, str) or value is None else canonical(value)
