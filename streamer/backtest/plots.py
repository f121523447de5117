"""Drawings of a backtest: figures over predictions, and when incidents were open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from streamer.backtest.curves import Curve
from streamer.backtest.run import Report
from streamer.html import drawing, node


@dataclass(frozen=True, slots=True)
class Span:
    """An incident, from the row at which it opened to that of its end. ``version`` None: the model's."""

    version: str | None
    rule: str
    signal: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plot:
    """All windows of one signal of one version."""

    version: str
    signal: str
    curves: tuple[Curve, ...]
    limits: tuple[float, ...]

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most of it, limits included."""
        values = [value for curve in self.curves for value in curve.values]
        return min((*values, *self.limits)), max((*values, *self.limits))


def strip(spans: Sequence[Span], report: Report) -> Element:
    """When incidents of one rule were open."""
    parts = [_open(each, report, "bad") for each in spans]
    return drawing(*parts, *_known(report), class_="strip")


def trace(plot: Plot, spans: Sequence[Span], report: Report) -> Element:
    """The curves, over what was open then."""
    low, high = plot.bounds

    def height(value: float) -> float:
        return 50.0 if high == low else 96 - (value - low) / (high - low) * 92

    lines = []
    for at, curve in enumerate(plot.curves):
        points = " ".join(
            f"{_across(row, report):.2f},{height(value):.2f}"
            for row, value in zip(curve.rows, curve.values, strict=True)
        )
        look = {"vector-effect": "non-scaling-stroke"}
        lines.append(node("polyline", class_=f"line c{at % 8}", points=points, **look))
    stretched = {"viewBox": "0 0 100 100", "preserveAspectRatio": "none", "width": "100%", "height": "100%"}
    limits = [
        node("line", class_="limit", x1="0", x2="100%", y1=f"{height(each):.2f}%", y2=f"{height(each):.2f}%")
        for each in plot.limits
    ]
    shades = [_open(each, report, "bad faint") for each in spans]
    return drawing(*shades, *limits, *_known(report), node("svg", *lines, **stretched), class_="trace")


def _across(row: int, report: Report) -> float:
    return row / max(1, report.played.predictions) * 100


def _open(span: Span, report: Report, look: str) -> Element:
    first, last = _across(span.first, report), _across(span.last, report)
    width = f"{max(0.25, last - first):.2f}%"
    return node("rect", class_=look, x=f"{first:.2f}%", width=width, y="0", height="100%")


def _known(report: Report) -> Iterator[Element]:
    for row in report.changes:
        at = f"{_across(row, report):.2f}%"
        yield node("line", class_="known", x1=at, x2=at, y1="0", y2="100%")
