"""Read a worker's /metrics, as Prometheus does."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

SCRAPE_SECONDS = 5.0


def fetch(url: str, tls: ssl.SSLContext | None = None) -> str | None:
    """The body of a 200 answer, else None. ``tls``: whom to trust, by default the system's authorities."""
    try:
        with urllib.request.urlopen(url, timeout=SCRAPE_SECONDS, context=tls) as answer:
            body: bytes = answer.read()
            return body.decode()
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return None


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    @classmethod
    def of(cls, url: str, tls: ssl.SSLContext | None = None) -> Scrape | None:
        """Ask once; None where nobody answers."""
        text = fetch(url, tls)
        return None if text is None else cls(text)

    def matching(self, name: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """All samples of a name whose labels include these."""
        for found, each, value in self._samples:
            if found == name and labels.items() <= each.items():
                yield each, value

    def value(self, name: str, **labels: str) -> float | None:
        """The one sample that matches, None where there is none."""
        return next((value for _, value in self.matching(name, **labels)), None)

    def total(self, name: str, **labels: str) -> float:
        """The sum of all that match."""
        return sum(value for _, value in self.matching(name, **labels))
