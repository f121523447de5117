"""The soak's part of docs/reliability.md, made of its results."""

from __future__ import annotations

from pathlib import Path

import orjson

from tests.soak.results import LATEST, Entry

HEADING = "## An hour at 20,000 events a second"
NONE = "No soak was run yet: `make soak MINUTES=60`."


def section(path: Path = LATEST) -> list[str]:
    """Markdown, line by line."""
    if not path.exists():
        return [HEADING, NONE]
    entry = orjson.loads(path.read_bytes())
    failed = [f"**It failed**: {'; '.join(entry['failed'])}.", ""] if entry["failed"] else []
    return [
        HEADING,
        f"`make soak MINUTES={entry['minutes']:.0f}`, on revision `{entry['revision']}`: a broker, a worker"
        " and a sender on one machine, topics that keep a few minutes, predictions that expire, versions and"
        " models that come and go beyond the limits; in the end the worker is killed under load, and every"
        " record is accounted for. Growth is judged over the last two thirds, against the bounds in"
        " [tests/soak/judge.py](../tests/soak/judge.py).",
        "",
        *failed,
        "| | at the start | in the middle | in the end |",
        "|---|---|---|---|",
        *(_row(what, entry[name], form) for what, name, form in _ROWS),
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {value} |" for what, value in _facts(entry)),
    ]


_ROWS = (
    ("worker's memory, MB", "rss_mb", "{:,.0f}"),
    ("series on /metrics", "series", "{:,.0f}"),
    ("series folded at `max_series`", "series_folded", "{:,.0f}"),
    ("predictions that wait", "pending", "{:,.0f}"),
    ("state topic on the broker's disk, MB", "state_disk_mb", "{:,.1f}"),
    ("live records of state", "state_live_records", "{:,.0f}"),
    ("seconds to read and revive all of it", "restore_s", "{:.2f}"),
)


def _row(what: str, three: dict[str, float | None], form: str) -> str:
    values = (three["start"], three["middle"], three["end"])
    return f"| {what} | {' | '.join('–' if value is None else form.format(value) for value in values)} |"


def _facts(entry: Entry) -> list[tuple[str, str]]:
    lost, restarted = entry["lost"], max(entry["restarted_s"], default=0.0)
    return [
        ("events", f"{entry['events']:,}, {entry['achieved_events_per_s']:,} a second"),
        ("lost; counted twice", "not counted" if lost is None else f"{lost:,}; {entry['twice']:,}"),
        ("slope of the memory", f"{entry['rss_slope_mb_h']:+.1f} MB an hour"),
        ("state topic on disk, at most", f"{entry['state_disk_mb']['most'] or 0:,.1f} MB"),
        ("alerts fired; resolved", f"{entry['alerts_fired']:,}; {entry['alerts_resolved']:,}"),
        ("kill -9 in the end: longest restore", f"{restarted:.1f} s"),
        ("… from the kill until the head", f"{entry['at_head_s']:.1f} s, 6 s of session time-out among them"),
    ]
