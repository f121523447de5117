"""A backtest in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from streamer.backtest.run import Report
from streamer.backtest.words import (
    SCORES,
    Line,
    about_scores,
    change_rows,
    headline,
    incident_lines,
    notes,
    score_rows,
    title_of,
)
from streamer.explanation.values import name_of
from streamer.terminal import SEVERE, cell

MOST_INCIDENTS = 30


def text_of(report: Report) -> Iterator[Table | Text]:
    """What it says, then what each file would have told."""
    yield Text(headline(report), "bold")
    yield from (Text(note, "yellow") for note in notes(report))
    if report.changes:
        names = [name_of(each.name) for each in report.outcomes]
        yield _table("Known changes", ["row", "time", *names], change_rows(report))
    yield _table("What it comes to", [*SCORES], score_rows(report))
    if report.changes:
        yield Text(about_scores(report), "dim")
    for outcome in report.outcomes:
        lines = incident_lines(report, outcome)
        if not lines:
            yield Text(f"{title_of(outcome)} would have told nobody anything.", "green")
            continue
        yield Text(f"\nIncidents under {title_of(outcome)}", "italic")
        yield from map(_incident, lines[:MOST_INCIDENTS])
        if len(lines) > MOST_INCIDENTS:
            yield Text(f"{len(lines) - MOST_INCIDENTS:,} more: --json, or --html FILE", "dim")


def _incident(line: Line) -> Text:
    """Two lines: when, which, how long, what it finds; and the sentence for a person."""
    told = Text()
    told.append(f"{line.row:>11}  ", "bold")
    told.append(f"{line.time}  ", "dim")
    told.append(f"{line.rule}  ", "cyan")
    told.append(f"{line.severity}  ", SEVERE.get(line.severity, ""))
    told.append(f"{line.lasted}  ")
    told.append(line.about, "yellow" if line.about == "false" else "green")
    told.append(f"\n{'':11}  {line.summary}")
    return told


def _table(title: str, names: list[str], rows: list[list[str]]) -> Table:
    table = Table(*names, title=title, title_justify="left")
    for row in rows:
        colour = {"missed": "red", "false": "yellow"}
        table.add_row(*(Text(each, colour[each]) if each in colour else cell(each) for each in row))
    return table
