"""/metrics and /healthz of a relay."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from streamer.adapters.attempts import Attempts, Counts
from streamer.adapters.http_server import PLAIN, Answer, Certificate, HttpServer, Page
from streamer.adapters.metric_names import Family

TARGET = ("target",)
RELAY: dict[str, Family] = {
    "streamer_relay_taken_total": Family(
        "counter", "Alerts that the target took: transitions, or alerts posted to an Alertmanager.", TARGET
    ),
    "streamer_relay_failed_total": Family("counter", "Tries in vain; they are made again.", TARGET),
    "streamer_relay_refused_total": Family(
        "counter", "Given up: the target finds fault with the body.", TARGET
    ),
    "streamer_relay_waiting_seconds": Family(
        "gauge", "How long the oldest news has waited; 0 if none.", TARGET
    ),
    "streamer_relay_firing": Family("gauge", "Alerts that fire, in the table for an Alertmanager.", TARGET),
}


class _Collector(Collector):
    def __init__(self, attempts: Mapping[str, Attempts]) -> None:
        self._attempts = attempts

    def collect(self) -> Iterable[Metric]:
        for name, family in RELAY.items():
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(name.removesuffix("_total"), family.help, labels=family.labels)
            for target, each in self._attempts.items():
                for value in _values(name, each.counts):
                    metric.add_metric([target], value)
            yield metric


def _values(name: str, counts: Counts) -> Iterator[float]:
    """One value, or none."""
    since = counts.waiting_since
    values = {
        "streamer_relay_taken_total": counts.taken,
        "streamer_relay_failed_total": counts.failed,
        "streamer_relay_refused_total": counts.refused,
        "streamer_relay_waiting_seconds": 0.0 if since is None else max(0.0, time.time() - since),
        "streamer_relay_firing": counts.firing,
    }
    value = values[name]
    if value is not None:
        yield float(value)


def serve(
    attempts: Mapping[str, Attempts], host: str, port: int, certificate: Certificate | None = None
) -> HttpServer:
    """Raises CannotServe, which names the cure."""
    registry = CollectorRegistry()
    registry.register(_Collector(attempts))
    pages: dict[str, Page] = {"/metrics": partial(_metrics, registry), "/healthz": _healthy}
    return HttpServer(host, port, pages, certificate)


def _metrics(registry: CollectorRegistry, _: str) -> Answer:
    return Answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)


def _healthy(_: str) -> Answer:
    """A relay ends where one of its feeds does: whoever answers is well."""
    return Answer(HTTPStatus.OK, b"ok\n", PLAIN)
