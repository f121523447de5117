"""Streams in which nothing changes, made of a log: blocks of its rows, drawn at random and put end to end.

The circular block bootstrap keeps what neighbours have to do with each other, within blocks, and nothing
that changes more slowly (Politis and Romano, "A circular block-resampling procedure for stationary data",
in "Exploring the limits of bootstrap", Wiley 1992). How long blocks have to be is read off the
autocorrelation (Politis and White, "Automatic block-length selection for the dependent bootstrap",
Econometric Reviews 23, 2004; corrected by Patton, Politis and White, ibid. 28, 2009).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.pipeline import LABELS, PREDICTIONS

Event = tuple[int, dict[str, Any]]
"""Which topic, and the event."""


@dataclass(slots=True)
class Row:
    """A prediction. ``gap``: ms since the one before it. ``label``: with how many ms later it came."""

    event: Mapping[str, Any]
    gap: int
    label: tuple[Any, int] | None = None


@dataclass(slots=True)
class History:
    """The rows of a log; where ``replay`` sends events. ``made_of``: what the log is called."""

    made_of: str = ""
    rows: list[Row] = field(default_factory=list)
    _waiting: dict[str, Row] = field(default_factory=dict)
    _last: int | None = None

    def prediction(self, event: Mapping[str, Any]) -> None:
        time = event["timestamp"]
        gap = 0 if self._last is None else max(0, time - self._last)
        self._last = time
        row = Row(event, gap)
        self.rows.append(row)
        self._waiting[event["prediction_id"]] = row

    def label(self, event: Mapping[str, Any]) -> None:
        row = self._waiting.pop(event["prediction_id"], None)
        if row is not None:
            row.label = event["label"], event["timestamp"] - row.event["timestamp"]

    @property
    def gap(self) -> float:
        """Mean ms between predictions."""
        return sum(row.gap for row in self.rows) / max(1, len(self.rows) - 1)

    def block_length(self) -> int:
        """As the most dependent of its columns asks for: losses, scores, features that are numbers."""
        labelled = [(row.event["prediction"], row.label[0]) for row in self.rows if row.label]
        columns = [[float(str(predicted) != str(actual)) for predicted, actual in labelled]]
        columns.append([row.event["score"] for row in self.rows if "score" in row.event])
        for name in self.rows[0].event.get("features", {}):
            values = [row.event["features"].get(name) for row in self.rows]
            columns.append([float(x) for x in values if isinstance(x, (int, float))])
        return max(block_length(np.array(column)) for column in columns)

    def resampled(self, count: int, block: int, chance: np.random.Generator, start: int) -> Iterator[Event]:
        """So many predictions in blocks of the log, with labels as late as they were, in order of time.

        ``start``: event time in ms.
        """
        rows, now, number = self.rows, start, 0
        due: list[tuple[int, int, Any]] = []
        while number < count:
            first = int(chance.integers(len(rows)))
            for at in range(first, first + min(block, count - number)):
                row = rows[at % len(rows)]
                now += row.gap
                while due and due[0][0] <= now:
                    yield LABELS, self._label(*heapq.heappop(due))
                number += 1
                yield PREDICTIONS, {**row.event, "prediction_id": str(number), "timestamp": now}
                if row.label is not None:
                    heapq.heappush(due, (now + row.label[1], number, row.label[0]))

    def _label(self, time: int, number: int, value: Any) -> dict[str, Any]:
        model = self.rows[0].event["model"]
        return {"prediction_id": str(number), "model": model, "timestamp": time, "label": value}


def block_length(values: NDArray[np.float64]) -> int:
    """Politis' and White's block length for the circular block bootstrap of a series, at least 1."""
    n = len(values)
    if n < 20 or not values.std():
        return 1
    centred = values - values.mean()
    quiet = max(5, round(math.sqrt(math.log10(n))))
    most = min(n - 1, math.ceil(math.sqrt(n)) + quiet)
    covariances = np.array([centred[: n - lag] @ centred[lag:] / n for lag in range(most + 1)])
    small = np.abs(covariances[1:] / covariances[0]) < 2 * math.sqrt(math.log10(n) / n)
    # The lag after which so many in a row say nothing; where there is none, the last that says something.
    calm = next((lag for lag in range(most - quiet + 1) if small[lag : lag + quiet].all()), None)
    if calm is None:
        calm = int(np.flatnonzero(~small)[-1]) + 1
    lags = np.arange(1, min(2 * max(calm, 1), most) + 1)
    share = lags / (2 * max(calm, 1))
    weights = np.where(share <= 0.5, 1.0, 2 * (1 - share))
    spread = covariances[0] + 2 * (weights * covariances[lags]).sum()
    slope = 2 * (weights * lags * covariances[lags]).sum()
    if spread <= 0:
        return 1
    length: float = (2 * slope**2 / (4 / 3 * spread**2)) ** (1 / 3) * n ** (1 / 3)
    return max(1, min(math.ceil(length), math.ceil(min(3 * math.sqrt(n), n / 3))))
