"""What happened to one version in each hour, each day: told once a period of event time is over.

Nothing is counted twice for it. What a period adds is the difference between the lifetime's counts when
it began and when it ended: they are additive and exact. A period ends with the first event of a later
one, of whichever clock runs ahead, that of predictions or that of labels; one without an event is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import latency
from streamer.domain.bins import LATENCY_BINS
from streamer.domain.events import rfc3339
from streamer.domain.moments import KeyedMoments, Moments, less
from streamer.domain.objectives import DAY_MS, MINUTE_MS, ModelSpec, Task, duration_text
from streamer.domain.pane_log import figures
from streamer.domain.windows import pack_counts, unpack_counts

MOST_COLUMNS = 20
_QUANTILES = (("latency_p50", 0.5), ("latency_p95", 0.95), ("latency_p99", 0.99))

Counts = NDArray[np.int64]
Tally = Counts | Moments | KeyedMoments


@dataclass(slots=True)
class Totals:
    """What a version had counted at one moment, from its first event on.

    ``counts``: predictions, labels that met one, predictions without a label in time, repeats. ``labels``:
    the tally of labelled rows; ``traffic``: that of latencies. ``segments``: by field, of their lifetime.
    """

    counts: tuple[int, int, int, int]
    detections: dict[tuple[str, str], int]
    labels: Counts | Moments
    traffic: Counts
    segments: dict[str, Counts | KeyedMoments] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As the state holds it."""
        return {
            "counts": list(self.counts),
            "detections": [[*key, count] for key, count in self.detections.items()],
            "labels": _packed(self.labels),
            "traffic": pack_counts(self.traffic),
            "segments": {name: _packed(tally) for name, tally in self.segments.items()},
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any], like: Totals) -> Totals:
        """``like``: totals of the version, whose tallies have the same sizes."""
        predictions, joined, expired, repeats = plain["counts"]
        segments = {
            name: _unpacked(plain["segments"][name], tally)
            for name, tally in like.segments.items()
            if name in plain["segments"]
        }
        return cls(
            (predictions, joined, expired, repeats),
            {(detector, signal): count for detector, signal, count in plain["detections"]},
            _unpacked(plain["labels"], like.labels),
            unpack_counts(plain["traffic"], len(like.traffic)),
            segments,
        )


@dataclass(frozen=True, slots=True)
class Aside:
    """What stands beside the counts of a period, as of its end.

    ``distances``: of columns to their reference; ``firing``: rules whose incident is open.
    ``segments``: what came to each of them since they had these tallies.
    """

    distances: Sequence[tuple[str, float]]
    firing: Sequence[str]
    segments: Callable[[Mapping[str, Any]], list[dict[str, Any]]]


@dataclass(slots=True)
class _Open:
    """A period that is not over. ``base``: plain, which is small. ``whole``: nothing of it was missed."""

    number: int
    base: Mapping[str, Any]
    whole: bool


def sizes_of(spec: ModelSpec) -> tuple[int, ...]:
    """How long periods are, in ms: a day, and each window of time from a minute on."""
    windows = (w.size for w in spec.windows if w.kind == "duration" and w.size >= MINUTE_MS)
    return tuple(sorted({DAY_MS, *windows}))


class Periods:
    """Of one version. ``turn_at``: the event time (ms) from which on one of them is over.

    ``told``: what nobody has taken yet; whoever commits empties it.
    """

    __slots__ = ("_changed", "_open", "sizes", "task", "told", "turn_at")

    def __init__(self, sizes: Sequence[int], task: Task) -> None:
        self.sizes, self.task = tuple(sizes), task
        self.turn_at = 0
        self.told: list[dict[str, Any]] = []
        self._open: dict[int, _Open] = {}
        self._changed: set[int] = set()

    def turn(self, time: int, totals: Totals, aside: Aside) -> None:
        """An event of this time comes, from ``turn_at`` on. ``totals``: without it."""
        base = totals.plain()  # one for all that begin now
        for size in self.sizes:
            number, was = time // size, self._open.get(size)
            if was is not None and was.number >= number:
                continue
            if was is not None and base["counts"] != was.base["counts"]:
                self.told.append(self._report(size, was, totals, aside))
            # What the file has asked for only now begins in the middle of one.
            whole = was is not None or not totals.counts[0]
            self._open[size] = _Open(number, base, whole)
            self._changed.add(size)
        self.turn_at = min((each.number + 1) * size for size, each in self._open.items())

    def _report(self, size: int, period: _Open, totals: Totals, aside: Aside) -> dict[str, Any]:
        base = Totals.of_plain(period.base, totals)
        predictions, joined, expired, repeats = (
            now - then for now, then in zip(totals.counts, base.counts, strict=True)
        )
        rows, scores = figures(self.task, less(totals.labels, base.labels))
        speeds: Counts = (totals.traffic - base.traffic)[:LATENCY_BINS]
        found = ((name, latency.quantile(speeds, q)) for name, q in _QUANTILES)
        detections = {
            f"{detector}/{signal}": count - base.detections.get((detector, signal), 0)
            for (detector, signal), count in totals.detections.items()
        }
        settled = joined + expired
        return {
            "period": duration_text(size),
            "start": rfc3339(period.number * size),
            "end": rfc3339((period.number + 1) * size),
            "whole": period.whole,
            "predictions": predictions,
            "labels": joined,
            "expired": expired,
            "duplicates": repeats,
            "coverage": joined / settled if settled else None,
            "rows": rows,
            "figures": scores | {name: value for name, value in found if value is not None},
            "segments": aside.segments(base.segments),
            "detections": {name: count for name, count in detections.items() if count},
            "distances": dict(sorted(aside.distances, key=lambda each: (-each[1], each[0]))[:MOST_COLUMNS]),
            "firing": list(aside.firing),
        }

    # -- state -----------------------------------------------------------------------

    def snapshot(self) -> dict[int, Any]:
        """The periods that began since the last snapshot, by their length (None: no longer asked for)."""
        changed, self._changed = self._changed, set()
        return {size: self.plain(size) for size in sorted(changed)}

    def plain(self, size: int) -> Any:
        """One that is not over, as the state holds it; None where there is none of this length."""
        found = self._open.get(size)
        return None if found is None else [found.number, found.whole, found.base]

    def restore(self, blocks: Mapping[int, Any]) -> None:
        """Become what was snapshot, as far as periods of such a length are still asked for."""
        for size, (number, whole, base) in blocks.items():
            if size in self.sizes:
                self._open[size] = _Open(number, base, whole)
        if set(self._open) == set(self.sizes):
            self.turn_at = min((each.number + 1) * size for size, each in self._open.items())


def _packed(tally: Tally) -> Any:
    return pack_counts(tally) if isinstance(tally, np.ndarray) else tally.snapshot()


def _unpacked(plain: Any, like: Any) -> Any:
    return unpack_counts(plain, len(like)) if isinstance(like, np.ndarray) else type(like).restore(plain)
