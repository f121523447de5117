"""What Prometheus sees: the last committed readings, and how the processor itself is doing.

Nothing is global: the registry belongs to the ``Exposition``. A scrape reads
references that the event loop swaps; it holds no lock that the loop waits for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from streamer.adapters.http_server import Answer, Certificate, HttpServer, Page
from streamer.adapters.metric_names import MODEL, PROCESSOR, Family
from streamer.domain.readings import Histogram, PartitionReadings, Readings, Sample

OTHER = "other"
STANDS_IN = "�"
SERIES_OF_OTHER = 100
_TERMINAL = {
    "predictions": ("joined", "expired", "duplicate", "dead_letter"),
    "labels": ("joined", "unmatched", "late", "duplicate", "conflicting", "dead_letter"),
}
_WAITING = {"predictions": "pending", "labels": "parked"}
Check = Callable[[], tuple[bool, str]]


@dataclass(slots=True)
class ProcessorStats:
    """What the worker counts about itself; plain numbers that the loop writes and a scrape reads."""

    chunks: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    restores: int = 0
    restore_seconds: float = 0.0
    fenced: int = 0
    lost: int = 0
    busy_seconds: dict[int, float] = field(default_factory=dict)
    lag_records: dict[tuple[str, int], int] = field(default_factory=dict)
    lag_seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    clock_ahead: dict[int, float] = field(default_factory=dict)
    router: RouterStats | None = None


@dataclass(slots=True)
class RouterStats:
    """What the router counts since the process began. ``left``: records that wait in its source partitions.

    ``halted``: source partitions that it cannot go on with, and why.
    """

    routed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TERMINAL, 0))
    homeless: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TERMINAL, 0))
    left: dict[tuple[str, int], int] = field(default_factory=dict)
    halted: dict[tuple[str, int], str] = field(default_factory=dict)
    fenced: int = 0


class Exposition:
    """Holds the committed readings of the partitions that are ours."""

    def __init__(self, stats: ProcessorStats, max_series: int = 10_000) -> None:
        self.stats, self.max_series = stats, max_series
        self.registry = CollectorRegistry(auto_describe=False)
        self._partitions: dict[int, PartitionReadings] = {}
        self.registry.register(_Committed(self))

    def publish(self, partition: int, readings: PartitionReadings) -> None:
        """These are committed: show them."""
        self._partitions = {**self._partitions, partition: readings}

    def withdraw(self, partition: int) -> None:
        """The partition is no longer ours."""
        self._partitions = {number: each for number, each in self._partitions.items() if number != partition}

    @property
    def partitions(self) -> dict[int, PartitionReadings]:
        return self._partitions


class _Committed(Collector):
    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition

    def collect(self) -> Iterable[Metric]:
        partitions, most = self._exposition.partitions, self._exposition.max_series
        processor = _processor(partitions, self._exposition.stats)
        own = 1 + sum(len(rows) for rows in processor.values())
        samples, histograms, dropped = _fold(partitions, max(0, most - own))
        processor["streamer_series_dropped"] = [((), dropped)]
        yield from _families(samples, histograms)
        for name, rows in processor.items():
            metric = _metric(name, PROCESSOR[name])
            for labels, value in rows:
                metric.add_metric(labels, value)
            yield metric


def _fold(
    partitions: dict[int, PartitionReadings], max_series: int
) -> tuple[list[Sample], list[Histogram], int]:
    """All series while they fit; the models beyond that are added up as ``other`` where that makes sense."""
    samples: list[Sample] = []
    histograms: list[Histogram] = []
    sums: dict[tuple[str, tuple[str, ...]], float] = {}
    piles: dict[str, Histogram] = {}
    parts = [item for number in sorted(partitions) for item in partitions[number].parts.items()]
    room = max_series
    if sum(_series(part) for _, part in parts) > room:
        room = max(0, room - SERIES_OF_OTHER)
    else:
        return [s for _, p in parts for s in p.samples], [h for _, p in parts for h in p.histograms], 0
    dropped = 0
    for (model, _), part in parts:
        size = _series(part)
        # A model that is really called so would be there twice.
        if size <= room and model != OTHER:
            room -= size
            samples += part.samples
            histograms += part.histograms
        else:
            dropped += size
            _add_up(part, sums, piles)
    samples += [Sample(name, labels, value) for (name, labels), value in sums.items()]
    return samples, histograms + list(piles.values()), dropped


def _series(part: Readings) -> int:
    return len(part.samples) + sum(len(histogram.counts) + 2 for histogram in part.histograms)


def _add_up(
    part: Readings, sums: dict[tuple[str, tuple[str, ...]], float], piles: dict[str, Histogram]
) -> None:
    for sample in part.samples:
        family = MODEL[sample.name]
        if family.additive:
            key = (sample.name, family.as_other(sample.labels))
            sums[key] = sums.get(key, 0.0) + sample.value
    for histogram in part.histograms:
        pile = piles.get(histogram.name)
        counts = (
            histogram.counts
            if pile is None
            else tuple(map(sum, zip(pile.counts, histogram.counts, strict=True)))
        )
        total = histogram.total + (pile.total if pile is not None else 0.0)
        piles[histogram.name] = Histogram(histogram.name, (OTHER, OTHER), histogram.bounds, counts, total)


def _families(samples: list[Sample], histograms: list[Histogram]) -> Iterator[Metric]:
    found: dict[str, Any] = {}
    for sample in samples:
        metric = found.get(sample.name)
        if metric is None:
            metric = found[sample.name] = _metric(sample.name, MODEL[sample.name])
        metric.add_metric(_printable(sample.labels), sample.value)
    for histogram in histograms:
        metric = found.get(histogram.name)
        if metric is None:
            family = MODEL[histogram.name]
            metric = HistogramMetricFamily(histogram.name, family.help, labels=family.labels)
            found[histogram.name] = metric
        bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        metric.add_metric(_printable(histogram.labels), buckets, histogram.total)
    yield from found.values()


def _printable(labels: tuple[str, ...]) -> tuple[str, ...]:
    """What an event wrote, fit for a terminal too: ESC → ``�1b;``, and no two become the same."""
    if all(each.isprintable() and STANDS_IN not in each for each in labels):
        return labels
    return tuple("".join(map(_visible, each)) for each in labels)


def _visible(each: str) -> str:
    return each if each.isprintable() and each != STANDS_IN else f"{STANDS_IN}{ord(each):x};"


def _metric(name: str, family: Family) -> Any:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return kind(
        name.removesuffix("_total") if family.kind == "counter" else name, family.help, labels=family.labels
    )


Rows = list[tuple[tuple[str, ...], float]]


def _processor(partitions: dict[int, PartitionReadings], stats: ProcessorStats) -> dict[str, Rows]:
    """The worker's own series by name.

    What belongs to a partition says so: a sum over those at hand would jump at a rebalance.
    """
    rows: dict[str, Rows] = {name: [] for name in PROCESSOR}
    for number, readings in sorted(partitions.items()):
        at = str(number)
        for topic, outcomes in _TERMINAL.items():
            terms, waiting = readings.identity[topic], _WAITING[topic]
            rows[f"streamer_{topic}_consumed_total"].append(((at,), terms["consumed"]))
            rows[f"streamer_{topic}_{waiting}"].append(((at,), terms[waiting]))
            rows[f"streamer_{topic}_total"] += [((at, outcome), terms[outcome]) for outcome in outcomes]
        letters = [((at, topic, reason), n) for (topic, reason), n in sorted(readings.dead.items())]
        rows["streamer_dead_letters_total"] += letters
    rows["streamer_chunks_total"].append(((), stats.chunks))
    rows["streamer_commits_total"].append(((), stats.commits))
    rows["streamer_commit_seconds_total"].append(((), stats.commit_seconds))
    rows["streamer_restores_total"].append(((), stats.restores))
    rows["streamer_restore_seconds_total"].append(((), stats.restore_seconds))
    rows["streamer_fenced_total"].append(((), stats.fenced))
    rows["streamer_lost_total"].append(((), stats.lost))
    rows["streamer_busy_seconds_total"] += [((str(p),), s) for p, s in list(stats.busy_seconds.items())]
    rows["streamer_lag_records"] += [((t, str(p)), n) for (t, p), n in list(stats.lag_records.items())]
    rows["streamer_lag_seconds"] += [((t, str(p)), s) for (t, p), s in list(stats.lag_seconds.items())]
    rows["streamer_clock_offset_seconds"] += [((str(p),), s) for p, s in list(stats.clock_ahead.items())]
    rows["streamer_partitions_owned"].append(((), len(partitions)))
    if stats.router is not None:
        _router(rows, stats.router)
    rows["streamer_partitions_quarantined"].append(((), len(stats.quarantined)))
    return rows


def _router(rows: dict[str, Rows], stats: RouterStats) -> None:
    rows["streamer_routed_total"] += [((topic,), n) for topic, n in stats.routed.items()]
    rows["streamer_routed_without_model_total"] += [((topic,), n) for topic, n in stats.homeless.items()]
    rows["streamer_unrouted_records"] += [((t, str(p)), n) for (t, p), n in list(stats.left.items())]
    rows["streamer_router_partitions_halted"].append(((), len(stats.halted)))
    rows["streamer_router_fenced_total"].append(((), stats.fenced))


class _Text:
    """/metrics as text. However many ask, making it costs at most a fifth of a core."""

    _REST = 4  # times as long as it took to make, it stays as it is

    def __init__(
        self, generate: Callable[[Collector], bytes], kind: str, registry: CollectorRegistry
    ) -> None:
        self._generate, self._kind, self._registry = generate, kind, registry
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        self._stale_at = 0.0

    def answer(self) -> Answer:
        with self._lock:
            began = time.monotonic()
            if self._answer is None or began >= self._stale_at:
                self._answer = Answer(HTTPStatus.OK, self._generate(self._registry), self._kind)
                ended = time.monotonic()
                self._stale_at = ended + self._REST * (ended - began)
            return self._answer


def serve(
    exposition: Exposition,
    host: str,
    port: int,
    health: Check,
    ready: Check,
    certificate: Certificate | None = None,
) -> HttpServer:
    """Serve /metrics, /healthz and /readyz. Raises CannotServe, which names the cure."""
    plain = _Text(generate_latest, CONTENT_TYPE_PLAIN_0_0_4, exposition.registry)
    open_metrics = _Text(openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST, exposition.registry)

    def metrics(accept: str) -> Answer:
        return (open_metrics if "application/openmetrics-text" in accept else plain).answer()

    pages: dict[str, Page] = {
        "/metrics": metrics,
        "/healthz": partial(_check, health),
        "/readyz": partial(_check, ready),
    }
    return HttpServer(host, port, pages, certificate)


def _check(check: Check, _: str) -> Answer:
    fine, why = check()
    return Answer(HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n".encode())
