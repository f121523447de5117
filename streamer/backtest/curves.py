"""What /metrics would have shown, now and then along a log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from streamer.domain.objectives import SCORES_OF_TASK
from streamer.domain.partition import Partition
from streamer.domain.readings import PartitionReadings, Sample, read_partition

POINTS = 400
"""About so many are taken."""

MOST_COLUMNS = 8
_SCORES = {f"model_{score}": score for scores in SCORES_OF_TASK.values() for score in scores}
_ESTIMATED = "estimated"
Key = tuple[str, str, str, str]
"""Model, version, signal, and what tells a curve from its neighbours."""


@dataclass(slots=True)
class Curve:
    """One figure of one version. ``name``: of its window, or what else tells it from its neighbours."""

    model: str
    version: str
    signal: str
    name: str
    rows: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


class Curves:
    """Takes readings every ``step`` predictions. ``moments``: of each, (predictions so far, clock in ms)."""

    def __init__(self) -> None:
        self.step = 1
        self.moments: list[tuple[int, int]] = []
        self._taken: list[dict[Key, float]] = []
        self._before: PartitionReadings | None = None

    def expect(self, total: int) -> None:
        """So many predictions there will be."""
        self.step = max(1, total // POINTS)

    def take(self, rows: int, clock: int, partition: Partition) -> None:
        """Read what there is. ``rows``: predictions so far."""
        self._before = read_partition(partition, self._before)
        found: dict[Key, float] = {}
        for (_, version), part in self._before.parts.items():
            if version is not None:
                found.update(entry for sample in part.samples for entry in _figures(sample))
        self.moments.append((rows, clock))
        self._taken.append(found)

    def curves(self) -> list[Curve]:
        """Every figure that ever was, in the order in which they came."""
        found: dict[Key, Curve] = {}
        for (row, _), taken in zip(self.moments, self._taken, strict=True):
            for key, value in taken.items():
                curve = found.get(key)
                if curve is None:
                    curve = found[key] = Curve(*key)
                curve.rows.append(row)
                curve.values.append(value)
        return _without_calm_columns([*found.values()])


def _figures(sample: Sample) -> Iterator[tuple[Key, float]]:
    """Our name of a figure that is drawn, and its value."""
    name, labels, value = sample.name, sample.labels, sample.value
    model, version = labels[:2]
    if name in _SCORES:
        yield (model, version, _SCORES[name], labels[2]), value
    elif name == "model_latency_percentile_seconds":
        yield (model, version, f"latency_{labels[3]}", labels[2]), value * 1000
    elif name == "model_throughput_predictions_per_second":
        yield (model, version, "throughput", labels[2]), value
    elif name == "model_label_coverage_ratio":
        yield (model, version, "label_coverage", ""), value
    elif name == "model_data_distance":
        yield (model, version, "data", labels[2]), value
    elif name == "model_estimated_score":
        yield (model, version, labels[2], _ESTIMATED), value


def _without_calm_columns(curves: list[Curve]) -> list[Curve]:
    """Of the columns of a version only those that ever were farthest away."""
    farthest: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        if curve.signal == "data":
            farthest.setdefault((curve.model, curve.version), []).append(curve)
    calm: set[int] = set()
    for columns in farthest.values():
        columns.sort(key=lambda each: (-max(each.values), each.name))
        calm.update(map(id, columns[MOST_COLUMNS:]))
    return [curve for curve in curves if id(curve) not in calm]
