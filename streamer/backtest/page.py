"""A backtest as one page of HTML: what it comes to, every incident, every figure over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from streamer.backtest.curves import Curve
from streamer.backtest.plots import Plot, Span, strip, trace
from streamer.backtest.run import Outcome, Report
from streamer.backtest.words import (
    SCORES,
    about_scores,
    change_rows,
    headline,
    incident_lines,
    incident_table,
    moment_of,
    notes,
    score_rows,
    title_of,
)
from streamer.explanation.values import date, figures_of, name_of, shown
from streamer.html import heading, node, page, table

MOST_INCIDENTS = 200
_SIGNAL_OF_ERROR = ("accuracy", "mae")
"""Where incidents of the detectors of the error are drawn."""

_LOOKS = {"missed": "lost", "false": "doubt"}


def page_of(report: Report) -> str:
    """The whole page."""
    title = f"Backtest of {name_of(report.asked.plan.model)}"
    return page(title, *_sections(report), class_="backtest")


def _sections(report: Report) -> Iterator[Element]:
    said = node("p", headline(report), class_="note")
    yield node("header", node("h1", f"Backtest of {name_of(report.asked.plan.model)}"), said)
    parts = [table(SCORES, score_rows(report))]
    if report.changes:
        parts.append(node("p", about_scores(report), class_="note"))
    parts += [node("p", each, class_="warn") for each in notes(report)]
    yield node("section", heading("What it comes to"), *parts)
    if report.changes:
        names = ["row", "time", *(name_of(each.name) for each in report.outcomes)]
        yield node("section", heading("Known changes"), table(names, change_rows(report), _LOOKS))
    for outcome in report.outcomes:
        spans = _spans(report, outcome)
        yield node("section", heading("Incidents", title_of(outcome)), *_incidents(report, outcome, spans))
        yield node("section", heading("Figures", title_of(outcome)), *_figures(report, outcome, spans))


def _incidents(report: Report, outcome: Outcome, spans: Sequence[Span]) -> Iterator[Element]:
    lines = incident_lines(report, outcome)
    if not lines:
        yield node("p", "Nobody would have been told anything.", class_="note")
        return
    rules = sorted({each.rule for each in spans})
    rows = [
        node(
            "tr",
            node("td", name_of(rule), class_="name"),
            node("td", strip([each for each in spans if each.rule == rule], report), class_="plot"),
        )
        for rule in rules
    ]
    yield node("table", *rows, class_="strips")
    names, told = incident_table(report, lines[:MOST_INCIDENTS])
    listed = table(names, told, _LOOKS)
    yield node("details", node("summary", f"all {len(lines):,}"), listed) if len(lines) > 12 else listed
    if len(lines) > MOST_INCIDENTS:
        yield node("p", f"{len(lines) - MOST_INCIDENTS:,} more: --json", class_="note")


def _spans(report: Report, outcome: Outcome) -> list[Span]:
    found = []
    for opened, closed in outcome.incidents():
        end = report.played.predictions if closed is None else closed.row
        alert = opened.alert
        found.append(Span(alert["version"], str(alert["rule"]), str(alert["signal"]), opened.row, end))
    return found


def _figures(report: Report, outcome: Outcome, spans: Sequence[Span]) -> Iterator[Element]:
    versions = {each.version for each in outcome.curves}
    for plot in _plots(outcome):
        mine = [
            each
            for each in spans
            if each.version in (plot.version, None)
            and (each.signal == plot.signal or (each.signal == "error" and plot.signal in _SIGNAL_OF_ERROR))
        ]
        who = f"version {name_of(plot.version)}" if len(versions) > 1 else None
        told = figures_of(plot.signal)
        keys = [
            part
            for at, curve in enumerate(plot.curves)
            for part in (node("i", class_=f"k{at % 8}"), f"{name_of(curve.name, plot.signal)} ")
        ]
        low, high = plot.bounds
        yield node(
            "div",
            node("h3", plot.signal, None if who is None else node("small", who)),
            trace(plot, mine, report),
            node("p", *keys, f"· from {told(low)} to {told(high)}{_limits(plot)}", class_="note key"),
            class_="figure",
        )
    yield node("p", *_key(report), class_="note")


def _plots(outcome: Outcome) -> Iterator[Plot]:
    grouped: dict[tuple[str, str], list[Curve]] = {}
    for curve in outcome.curves:
        grouped.setdefault((curve.version, curve.signal), []).append(curve)
    for (version, signal), curves in grouped.items():
        limits = [each.limit for each in outcome.spec.thresholds if each.signal == signal]
        if signal == "data":
            limits.append(outcome.spec.data_drift.limit)
        yield Plot(version, signal, tuple(curves), tuple(limits))


def _limits(plot: Plot) -> str:
    told = figures_of(plot.signal)
    return f", limit {', '.join(told(each) for each in plot.limits)}" if plot.limits else ""


def _key(report: Report) -> list[str]:
    first, last = (date(moment_of(report.moments[at][1])) for at in (0, -1))
    known = "; dashed upright: a known change" if report.changes else ""
    rows = f"{shown(report.played.predictions)} predictions from left to right, {first} to {last}"
    return [f"{rows}; shaded: an incident is open; dashed across: a limit{known}"]
