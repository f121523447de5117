"""What Prometheus sees: the last committed readings, and how the processor itself is doing.

Nothing is global: the registry belongs to the ``Exposition``. A scrape reads
references that the event loop swaps; it holds no lock that the loop waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from streamer.adapters.metric_names import MODEL, PROCESSOR, Family
from streamer.domain.readings import Histogram, PartitionReadings, Readings, Sample
from streamer.errors import StreamerError

OTHER = "other"
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
        metric.add_metric(sample.labels, sample.value)
    for histogram in histograms:
        metric = found.get(histogram.name)
        if metric is None:
            family = MODEL[histogram.name]
            metric = HistogramMetricFamily(histogram.name, family.help, labels=family.labels)
            found[histogram.name] = metric
        bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        metric.add_metric(histogram.labels, buckets, histogram.total)
    yield from found.values()


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
    rows["streamer_partitions_owned"].append(((), len(partitions)))
    rows["streamer_partitions_quarantined"].append(((), len(stats.quarantined)))
    return rows


class PortTaken(StreamerError):
    """The port for /metrics cannot be had."""


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # a slow client gives its thread back

    def log_message(self, *arguments: object) -> None:
        """Scrapes are not news."""


class _Server(WSGIServer):
    """One daemon thread per request: a slow client holds up nobody."""

    daemon_threads = True
    request_queue_size = 32

    def process_request(self, request: Any, address: Any) -> None:
        threading.Thread(target=self._answer, args=(request, address), daemon=True).start()

    def _answer(self, request: Any, address: Any) -> None:
        try:
            self.finish_request(request, address)
        except OSError:
            pass  # the client went away
        finally:
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not our error."""


class MetricsServer:
    """The running HTTP server; ``port`` is the real one where 0 was asked for."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self.port = server.server_port
        self._thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def serve(exposition: Exposition, host: str, port: int, health: Check, ready: Check) -> MetricsServer:
    """Serve /metrics, /healthz and /readyz. Raises PortTaken, which names the cure."""
    metrics = make_wsgi_app(exposition.registry, disable_compression=True)
    checks = {"/healthz": health, "/readyz": ready}

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _answer(start_response, "405 Method Not Allowed", "only GET")
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        if path in checks:
            fine, why = checks[path]()
            return _answer(start_response, "200 OK" if fine else "503 Service Unavailable", why)
        return _answer(start_response, "404 Not Found", "there are /metrics, /healthz and /readyz")

    try:
        return MetricsServer(make_server(host, port, application, _Server, _Handler))
    except OSError as error:
        raise PortTaken(
            f"cannot serve metrics on {host}:{port} ({error.strerror}): choose another with --metrics-port"
        ) from error


def _answer(start_response: Any, status: str, text: str) -> list[bytes]:
    body = (text + "\n").encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]
