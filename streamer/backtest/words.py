"""How the figures of a backtest are put, in a terminal and on a page alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from streamer.backtest.drive import Told
from streamer.backtest.run import Outcome, Report
from streamer.backtest.verdict import Verdict
from streamer.explanation.values import date, name_of, percent, shown, span, text_of

DASH = "–"


def about_scores(report: Report) -> str:
    """What the columns and the baselines mean."""
    return (
        f"delay: the median, in predictions; found: told within {report.asked.within:,} of them; false: one"
        " that no known change explains; always: an alarm at each evaluation; never: none at all"
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One incident. ``about``: what it finds, or that it is false; empty where no change is known."""

    row: str
    time: str
    rule: str
    severity: str
    lasted: str
    about: str
    summary: str


def headline(report: Report) -> str:
    asked, played = report.asked, report.played
    first, last = (moment_of(report.moments[at][1]) for at in (0, -1))
    return (
        f"{name_of(asked.plan.model)}: {played.predictions:,} predictions and {played.labels:,} labels of"
        f" {name_of(asked.plan.predictions.name)}, {date(first)} to {date(last)}"
        f" ({span((last - first).total_seconds())})"
    )


def moment_of(time: int) -> datetime:
    """A time in ms."""
    return datetime.fromtimestamp(time / 1000, UTC)


def title_of(outcome: Outcome) -> str:
    return f"{name_of(outcome.name)} (revision {outcome.objectives.revision})"


def notes(report: Report) -> list[str]:
    """What of the log did not count."""
    found = []
    if report.played.without_label:
        found.append(f"{report.played.without_label:,} predictions have no label")
    for outcome in report.outcomes:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(outcome.unusable.items()))
        if reasons:
            found.append(f"{title_of(outcome)}: records that a worker could not have used: {reasons}")
    return found


def change_rows(report: Report) -> list[list[str]]:
    """A line for each known change: where, and what each trial made of it."""
    rows = []
    for at, row in enumerate(report.changes):
        line = [shown(row), date(moment_of(report.time_of(row)))]
        for outcome in report.outcomes:
            if outcome.verdict is None:
                continue
            found = outcome.verdict.changes[at]
            if found.delay is None:
                line.append("missed")
            else:
                line.append(f"{shown(found.delay)} later, {name_of(found.rule)}")
        rows.append(line)
    return rows


SCORES = ("", "found", "missed", "delay", "false", "precision", "recall", "F1", "told")


def score_rows(report: Report) -> list[list[str]]:
    """A line for each trial and for each baseline."""
    judged: list[tuple[str, Verdict | None, str]] = [
        (name_of(each.name), each.verdict, _by_severity(each)) for each in report.outcomes
    ]
    if report.always is not None:
        judged += [("always", report.always, shown(report.always.incidents)), ("never", report.never, "0")]
    return [[name, *_scores(verdict), incidents] for name, verdict, incidents in judged]


def _scores(verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return [DASH] * 7
    return [
        shown(verdict.found),
        shown(verdict.missed),
        shown(verdict.delay),
        shown(verdict.false),
        percent(verdict.precision),
        percent(verdict.recall),
        DASH if verdict.f1 is None else f"{verdict.f1:.2f}",
    ]


def _by_severity(outcome: Outcome) -> str:
    parts = (f"{count:,} {name_of(severity)}" for severity, count in sorted(outcome.pages.items()))
    return ", ".join(parts) or "0"


def incident_table(report: Report, lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, and a line for each incident; what it finds only where that is known."""
    names = ["row", "time", "rule", "severity", "lasted", "finds", "summary"]
    rows = [
        [each.row, each.time, each.rule, each.severity, each.lasted, each.about, each.summary]
        for each in lines
    ]
    if not report.changes:
        names.remove("finds")
        rows = [[*row[:5], row[6]] for row in rows]
    return names, rows


def incident_lines(report: Report, outcome: Outcome) -> list[Line]:
    return [_line(report, opened, closed) for opened, closed in outcome.incidents()]


def _line(report: Report, opened: Told, closed: Told | None) -> Line:
    alert = opened.alert
    began = datetime.fromisoformat(alert["started_at"])
    lasted = "still open"
    if closed is not None:
        ended = datetime.fromisoformat(closed.alert["resolved_at"])
        lasted = f"{span((ended - began).total_seconds())}, {shown(closed.row - opened.row)} rows"
    return Line(
        shown(opened.row),
        date(began),
        name_of(alert["rule"]),
        name_of(alert["severity"]),
        lasted,
        _about(opened.row, report.changes, report.asked.within),
        text_of(alert["summary"]),
    )


def _about(row: int, changes: Sequence[int], within: int) -> str:
    if not changes:
        return ""
    before = [each for each in changes if each < row]
    if before and row - before[-1] <= within:
        return f"{shown(row - before[-1])} after {shown(before[-1])}"
    return "false"
