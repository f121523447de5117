"""An alert in plain words: what happened, since when, how bad, how sure, and what to look at first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from streamer.adapters.alert_log import Alert
from streamer.explanation.reading import STATUSES, Explanation, Scale, read_evidence, unread
from streamer.explanation.values import (
    cut,
    date,
    figures_of,
    moment,
    name_of,
    number,
    percent,
    shown,
    span,
    text_of,
)
from streamer.terminal import clean

_BAD_BELOW = {"below": True, "above": False}


def explain(alert: Alert) -> Explanation:
    """Read one alert document."""
    evidence = alert.get("evidence")
    given: dict[str, Any] = dict(evidence) if isinstance(evidence, dict) else {}
    signal = name_of(alert.get("signal"), "figure")
    figures = figures_of(signal)
    version = alert.get("version")
    who = name_of(alert.get("model"), "a model") + (
        f" {name_of(version)}" if version not in (None, "") else ""
    )
    status = alert.get("status")
    found = Explanation(
        status if status in STATUSES else "alert",
        name_of(alert.get("severity"), "–"),
        who,
        name_of(alert.get("rule"), "–"),
        "",
        figures,
    )
    read_evidence(found, given)
    if alert.get("kind") == "data_drift":
        found.limit = "limit"
    found.headline = _headline(alert, found, signal)
    found.scale = _scale(alert, given)
    found.facts = list(_facts(alert, given, found))
    if found.status != "resolved":
        found.look_first = _look_first(found)
    link = alert.get("runbook")
    found.runbook = text_of(link) if isinstance(link, str) and link else None
    found.identity = list(_identity(alert))
    found.rest += unread(alert, given)
    return found


def _headline(alert: Alert, found: Explanation, signal: str) -> str:
    figures, latest = found.figures, found.detections[-1] if found.detections else None
    value, threshold = number(alert.get("value")), number(alert.get("threshold"))
    kind, over = alert.get("kind"), alert.get("status") == "resolved"
    window = "" if alert.get("window") in (None, "") else f" over {name_of(alert['window'])}"
    if over:
        why = {
            "recovered": f"{signal} is back" + ("" if value is None or latest else f" at {figures(value)}"),
            "no_data": "no more data",
            "rule_removed": "the objective was removed",
            "superseded": "another version has taken over",
        }.get(str(alert.get("reason")))
        if kind in ("concept_drift", "data_drift") and alert.get("reason") == "recovered":
            why = (
                f"{signal} has shown no further change"
                if threshold is None
                else f"the {signal} is like its reference again"
            )
        return f"It is over: {why}" if why else "It is over"
    if kind == "silence" and value is not None:
        return f"No prediction for {figures(value)}"
    if latest is not None:
        return f"{_said(signal, alert.get('direction'))}: {figures(latest.before)} → {figures(latest.after)}"
    if kind == "data_drift" and found.columns:
        first = found.columns[0]
        return f"{first.name}: {first.findings[0] if first.findings else 'its distribution has moved'}"
    if value is not None and threshold is not None:
        least = {"below": "at least", "above": "at most"}.get(str(alert.get("direction")), "")
        objective = f"{least} {figures(threshold)}".strip()
        return f"{signal} is {figures(value)}{window}; the objective is {objective}"
    return text_of(alert["summary"]) if isinstance(alert.get("summary"), str) else f"{signal} is alerting"


def _said(signal: str, direction: Any) -> str:
    what = "The error" if signal == "error" else signal.removeprefix("feature:")
    what = f"feature {what}" if signal.startswith("feature:") else what
    way = {"worse": "got worse", "better": "got better", "up": "went up", "down": "went down"}
    return f"{what} {way.get(str(direction), 'changed')}"


def _facts(alert: Alert, given: Mapping[str, Any], found: Explanation) -> Iterable[tuple[str, str]]:
    started, since = moment(alert.get("started_at")), moment(given.get("since"))
    resolved = moment(alert.get("resolved_at"))
    if since is not None:
        yield "since", date(since) + (_before_alert(since, started) if started else "")
    if started is not None:
        told = f"{date(started)}"
        if resolved is not None:
            told += f", over at {date(resolved)} after {span((resolved - started).total_seconds())}"
        yield "fired", told
    yield from _how_bad(alert, found)
    yield from _how_sure(alert, given, found)
    if isinstance(alert.get("summary"), str) and alert["summary"]:
        yield "summary", text_of(alert["summary"])


def _before_alert(since: datetime, started: datetime) -> str:
    apart = started - since
    if apart <= timedelta(0):
        return ""
    return f", {span(apart.total_seconds())} before the alert"


def _how_bad(alert: Alert, found: Explanation) -> Iterable[tuple[str, str]]:
    value, threshold = number(alert.get("value")), number(alert.get("threshold"))
    figures, name = found.figures, "how bad"
    if alert.get("status") == "resolved":
        name = "it was" if found.detections else "now"
    if found.detections:
        latest = found.detections[-1]
        change = latest.after - latest.before
        by = f"by {figures(abs(change))}"
        if latest.before > 0 and latest.after > latest.before:
            by += f", {latest.after / latest.before:.3g} times what it was"
        yield name, f"from {figures(latest.before)} to {figures(latest.after)}, {by}"
    elif value is not None and threshold is not None:
        side = "below" if value < threshold else "above"
        text = f"{figures(value)} against {figures(threshold)}"
        apart = abs(value - threshold)
        yield (
            name,
            f"{text}: {figures(apart)} {side} the {found.limit}"
            if apart
            else f"{text}: at the {found.limit}",
        )


def _how_sure(alert: Alert, given: Mapping[str, Any], found: Explanation) -> Iterable[tuple[str, str]]:
    figures = found.figures
    samples, lower, upper = (number(given.get(key)) for key in ("samples", "lower", "upper"))
    parts = []
    if lower is not None and upper is not None:
        parts.append(f"between {figures(lower)} and {figures(upper)}")
    elif lower is not None or upper is not None:
        parts.append(f"at least {figures(lower)}" if lower is not None else f"at most {figures(upper)}")
    if samples is not None:
        parts.append(f"on {shown(samples)} rows")
    threshold = number(alert.get("threshold"))
    verdict = ""
    if threshold is not None:
        if alert.get("direction") == "below" and upper is not None and upper < threshold:
            verdict = "; even the upper end misses the objective"
        elif alert.get("direction") == "above" and lower is not None and lower > threshold:
            verdict = "; even the lower end misses the objective"
    if parts:
        moved = number(given.get("error"))
        binned = f" (binning may have moved it by {figures(moved)})" if moved else ""
        yield "how sure", " ".join(parts) + binned + verdict
    if found.detections:
        counts = Counter(each.detector for each in found.detections)
        alarms = ", ".join(f"{name} {count}×" for name, count in counts.most_common(5))
        total = found.detections_total
        yield (
            "how sure",
            f"{shown(total)} alarm{'s' if total != 1 else ''}: {alarms}"
            + (" of the last ones" if total > len(found.detections) else ""),
        )


def _look_first(found: Explanation) -> list[str]:
    parts = []
    if found.warnings:
        parts.append(f"the labels: {found.warnings[0]}")
    better = [each for each in found.versions if each.verdict == "better"]
    if better:
        on = "" if better[0].pairs is None else f" {shown(better[0].pairs)}"
        parts.append(f"version {better[0].name}, which does better on the same{on} predictions")
    if found.segments:
        first = found.segments[0]
        share = "" if first.share is None else f", {percent(first.share)} of the change"
        parts.append(f"segment {first.name}{share}")
    if found.columns:
        column = found.columns[0]
        why = f": {column.findings[0]}" if column.findings else " has changed most"
        parts.append(f"column {column.name}{why}")
    if not parts and found.examples:
        parts.append("the examples below")
    return parts


def _scale(alert: Alert, given: Mapping[str, Any]) -> Scale | None:
    """The figure, its bounds and its limit on one axis, with some room on both sides."""
    value, threshold = number(alert.get("value")), number(alert.get("threshold"))
    direction = alert.get("direction")
    if value is None or threshold is None or not isinstance(direction, str) or direction not in _BAD_BELOW:
        return None
    lower, upper = number(given.get("lower")), number(given.get("upper"))
    marks = [each for each in (value, threshold, lower, upper) if each is not None]
    low, high = min(marks), max(marks)
    room = (high - low) * 0.25 or abs(high) * 0.1 or 1.0
    if not math.isfinite(low - room) or not math.isfinite(high + room):
        return None
    return Scale(value, threshold, lower, upper, low - room, high + room, _BAD_BELOW[direction])


def _identity(alert: Alert) -> Iterable[tuple[str, str]]:
    for key in (
        "alert_id",
        "incident",
        "change",
        "fingerprint",
        "kind",
        "segment",
        "window",
        "updated_at",
        "reason",
    ):
        if alert.get(key) not in (None, ""):
            yield key.replace("_", " "), name_of(alert[key])
    source = alert.get("source")
    if isinstance(source, dict):
        yield (
            "record",
            cut(":".join(clean(source.get(key)) for key in ("topic", "partition", "offset")), 300),
        )
    revision = number(alert.get("objectives_revision"))
    if revision is not None:
        yield "objectives revision", shown(revision)
