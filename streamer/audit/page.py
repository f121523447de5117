"""The record as one page of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from streamer.explanation.values import figures_of, name_of, percent, shown, text_of
from streamer.html import heading, node, page, pairs, table

Row = Mapping[str, Any]


def page_of(record: Row) -> str:
    """The whole page."""
    title = f"{name_of(record['model'])}: record of monitoring"
    return page(title, *_sections(record, title), class_="backtest")


def _sections(record: Row, title: str) -> Iterator[Element]:
    span = f"{record['from'] or 'the first report'} to {record['to'] or 'the last report'}"
    yield node("header", node("h1", title), node("p", span, class_="note"))
    yield node("section", heading("Volumes"), *_volumes(record))
    yield node("section", heading("Objectives", "in force, and when they changed"), *_objectives(record))
    yield node("section", heading("Kept", "the day's own figure against each limit"), *_kept(record))
    yield node("section", heading("Incidents", shown(len(record["incidents"]))), *_incidents(record))
    yield node("section", heading("Days"), _days(record))
    source = record["source"]
    told = [
        ("topic", name_of(source["topic"])),
        ("records", f"{shown(source['records'])}, and {shown(source['left_out'])} that say nothing here"),
        ("first, last", f"{source['first']}, {source['last']} (partition, offset)"),
        ("SHA-256", source["sha256"]),
    ]
    yield node("section", heading("Source", "the same records make the same page"), pairs(told))


def _volumes(record: Row) -> Iterator[Element]:
    names = ["version", "days", "predictions", "repeats", "labels", "expired", "coverage"]
    counts = ("days", "predictions", "duplicates", "labels", "expired")
    rows = [
        [name_of(each["version"]), *(shown(each[name]) for name in counts), percent(each["coverage"])]
        for each in record["volumes"]
    ]
    yield table(names, rows)
    for gap in record["gaps"]:
        yield node("p", f"no event from {gap['from']} to {gap['to']}", class_="warn")


def _objectives(record: Row) -> Iterator[Element]:
    if not record["objectives"]:
        yield node("p", "No report says what was asked of it.", class_="note")
    for each in record["objectives"]:
        limits = [
            [
                name_of(limit["rule"]), name_of(limit["window"]), _limit(limit), name_of(limit["for"]),
                shown(limit["confidence"]), name_of(limit["severity"]),
            ]
            for limit in each["objectives"]
        ]  # fmt: skip
        about = f"revision {each['objectives_revision']}, from {each['told_at']}"
        yield node("h3", about)
        drift = "; ".join(
            f"{name_of(rule['rule'])}: {', '.join(name_of(d['kind']) for d in rule['detectors'])}"
            for rule in each["drift"]
        )
        rest = [("drift", drift or "–"), ("reference", name_of(each["reference"]))]
        rest += [("false alarms", name_of(each["false_alarms"])), ("label wait", name_of(each["label_wait"]))]
        if limits:
            yield table(["objective", "window", "limit", "for", "confidence", "severity"], limits)
        yield pairs(rest)


def _limit(limit: Row) -> str:
    told = figures_of(str(limit["signal"]))
    return f"min {told(limit['min'])}" if limit["min"] is not None else f"max {told(limit['max'])}"


def _kept(record: Row) -> Iterator[Element]:
    rows = []
    for each in record["kept"]:
        told = figures_of(str(each["signal"]))
        kept = f"{each['kept']:,} of {each['days']:,} days"
        worst = f"{told(each['worst'])} on {each['worst_day'][:10]}"
        rows.append([name_of(each["version"]), name_of(each["rule"]), _limit(each), kept, worst])
    if rows:
        yield table(["version", "objective", "limit", "kept", "worst"], rows)
    else:
        yield node("p", "There is no limit on a figure that days have.", class_="note")


def _incidents(record: Row) -> Iterator[Element]:
    if not record["incidents"]:
        yield node("p", "Nothing was told.", class_="note")
    for each in record["incidents"]:
        who = f"{name_of(each['rule'])} of version {name_of(each['version'])}, {name_of(each['severity'])}"
        ended = (
            f"to {each['resolved_at']} ({name_of(each['reason'])})" if each["resolved_at"] else "still open"
        )
        steps = [
            node("li", f"{step['updated_at']} {name_of(step['status'])}: {text_of(step['summary'])}")
            for step in each["steps"]
        ]
        yield node(
            "details",
            node("summary", f"{each['started_at']} {ended}: {who}"),
            node("ul", *steps, class_="ids"),
        )


def _days(record: Row) -> Element:
    days = record["days"]
    scores = list(dict.fromkeys(name for day in days for name in day["figures"]))
    names = ["day", "version", "predictions", "labels", "coverage", *scores, "alarms", "firing"]
    rows = []
    for day in days:
        figures = [figures_of(name)(day["figures"].get(name)) for name in scores]
        counts = [shown(day["predictions"]), shown(day["labels"]), percent(day["coverage"])]
        alarms = shown(sum(day["detections"].values()))
        firing = ", ".join(map(name_of, day["firing"])) or "–"
        rows.append([day["start"][:10], name_of(day["version"]), *counts, *figures, alarms, firing])
    return table(names, rows)
