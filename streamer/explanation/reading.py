"""An alert document, read into the parts that are shown, each in the shape of the contract.

What has not that shape is passed on as it is, to be shown at the end; lists are bounded. Nothing is made
up: what an alert does not carry is not said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from streamer.adapters.alert_log import Alert
from streamer.explanation.values import (
    LONGEST_NAME,
    Figures,
    Pair,
    cut,
    date,
    moment,
    name_of,
    number,
    pair_of,
    percent,
    plain,
    shown,
    span,
    text_of,
)
from streamer.terminal import clean

MOST = {"columns": 20, "cells": 40, "findings": 10, "segments": 30, "versions": 20, "examples": 20}
MOST_DETECTIONS = 50
MOST_UNREAD = 50
ABOUT_VERSIONS = "difference of the losses on the same predictions, below 0 is better"
_DISTANCES = {
    "psi": "PSI",
    "jensen_shannon": "JS",
    "total_variation": "TV",
    "wasserstein": "moved by",
}
_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Scale:
    """A figure beside its limit, for a small plot; ``low`` and ``high``: the ends of the axis."""

    value: float
    threshold: float
    lower: float | None
    upper: float | None
    low: float
    high: float
    bad_below: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a distribution: the share of the rows in it, before and after."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class ColumnPart:
    """How one column has changed. ``facts``: what else is told of it, in a few words each.

    ``changed``: the alert says so, by a finding or a date.
    """

    name: str
    distance: float | None
    changed: bool
    facts: tuple[str, ...]
    findings: tuple[str, ...]
    cells: tuple[Cell, ...]
    more: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """What one segment had to do with the change. ``share``: of the change, 1 is all of it."""

    name: str
    rows: Pair
    value: Pair
    mix: float | None
    rate: float | None
    share: float | None


@dataclass(frozen=True, slots=True)
class VersionPart:
    """How another version does. ``difference``: of losses on the same predictions, below 0 it does better."""

    name: str
    rows: float | None
    value: float | None
    pairs: float | None
    difference: float | None
    lower: float | None
    upper: float | None

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` only where that is sure."""
        if self.lower is None or self.upper is None:
            return "–"
        return "better" if self.upper < 0 else "worse" if self.lower > 0 else "undecided"


@dataclass(frozen=True, slots=True)
class DetectionPart:
    """One alarm of a detector."""

    detector: str
    position: float
    before: float
    after: float
    cut: float | None


@dataclass(slots=True)
class Explanation:
    """What there is to show, in the order in which it is shown; all text is safe to print."""

    status: str
    severity: str
    who: str
    rule: str
    headline: str
    figures: Figures
    facts: list[tuple[str, str]] = field(default_factory=list)
    limit: str = "objective"
    runbook: str | None = None
    look_first: list[str] = field(default_factory=list)
    scale: Scale | None = None
    columns: list[ColumnPart] = field(default_factory=list)
    made_of: str | None = None
    segments: list[SegmentPart] = field(default_factory=list)
    versions: list[VersionPart] = field(default_factory=list)
    detections: list[DetectionPart] = field(default_factory=list)
    detections_total: int = 0
    recent: list[float] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    identity: list[tuple[str, str]] = field(default_factory=list)
    rest: list[tuple[str, str]] = field(default_factory=list)

    def calm(self, column: ColumnPart) -> bool:
        """Is it one that has hardly changed, beside others that have?"""
        return not column.changed and any(each.changed for each in self.columns)


def read_evidence(found: Explanation, given: Mapping[str, Any]) -> None:
    found.columns = _each(found, given, "columns", _column)
    found.segments = _each(found, given, "segments", _segment)
    found.versions = _each(found, given, "versions", _version)
    found.detections = _each(found, given, "detections", _detection)
    found.examples = _each(found, given, "examples", _example)
    found.recent = _each(found, given, "recent_values", number)
    found.detections_total = max(int(number(given.get("detections_total")) or 0), len(found.detections))
    reference = given.get("reference")
    if isinstance(reference, dict):
        rows = number(reference.get("rows"))
        of_rows = "" if rows is None else f"{shown(rows)} rows"
        parts = [name_of(reference.get("made_of"), ""), of_rows]
        found.made_of = ", ".join(part for part in parts if part) or None
        found.rest += _more("reference", reference, {"made_of", "rows"})
    labels = given.get("labels")
    if isinstance(labels, dict):
        found.labels, found.warnings = _labels(labels)
        found.rest += _more("labels", labels, {"coverage", "settled", "lag_p50_s", "warnings"})


def _each(
    found: Explanation, given: Mapping[str, Any], key: str, read: Callable[[Any], _Part | None]
) -> list[_Part]:
    """The entries of a list that can be read; those that cannot are shown as they are."""
    value = given.get(key)
    if not isinstance(value, list):
        return []
    most = MOST.get(key, MOST_DETECTIONS)
    parts: list[_Part] = []
    for entry in value[:most]:
        part = read(entry)
        if part is None:
            found.rest.append((key, plain(entry)))
        else:
            parts.append(part)
    if len(value) > most:
        found.rest.append((key, f"{len(value) - most:,} more"))
    return parts


def _more(of: str, entry: Mapping[str, Any], known: set[str]) -> list[tuple[str, str]]:
    left = list(entry.items())[:MOST_UNREAD]
    return [
        (cut(f"{of} {name_of(key)}".strip(), LONGEST_NAME), plain(x)) for key, x in left if key not in known
    ]


def _column(entry: Any) -> ColumnPart | None:
    if not isinstance(entry, dict) or "column" not in entry:
        return None
    facts = []
    middle = entry.get("middle")
    if isinstance(middle, list) and len(middle) == 2:
        word = "commonest" if any(isinstance(x, str) for x in middle) else "middle"
        old, new = (shown(number(x)) if number(x) is not None else name_of(x) for x in middle)
        facts.append(f"{word} {old} → {new}" if old != new else f"{word} {new}")
    before, after = pair_of(entry.get("missing"))
    if after is not None and (before or after):
        facts.append(f"missing {percent(before)} → {percent(after)}")
    for key, word in (("unseen", "never seen before"), ("out_of_range", "out of range")):
        share = number(entry.get(key))
        if share:
            facts.append(f"{word} {percent(share)}")
    since = moment(entry.get("since"))
    if since is not None:
        facts.append(f"since {date(since)}")
    for key, word in _DISTANCES.items():
        if number(entry.get(key)) not in (None, number(entry.get("distance"))):
            facts.append(f"{word} {shown(number(entry[key]))}")
    cells = entry.get("cells")
    read = (_cell(each) for each in (cells if isinstance(cells, list) else [])[: MOST["cells"]])
    findings = entry.get("findings")
    said = (findings if isinstance(findings, list) else [])[: MOST["findings"]]
    known = {"column", "distance", "middle", "missing", "unseen", "out_of_range", "cells", "findings"}
    known |= {"since", *_DISTANCES}
    return ColumnPart(
        name_of(entry["column"]),
        number(entry.get("distance")),
        bool(said) or since is not None,
        tuple(facts),
        tuple(text_of(each) for each in said),
        tuple(each for each in read if each is not None),
        tuple(_more("", entry, known)),
    )


def _cell(entry: Any) -> Cell | None:
    if not isinstance(entry, list) or len(entry) != 3:
        return None
    before, after = number(entry[1]), number(entry[2])
    if before is None or after is None or before < 0 or after < 0:
        return None
    return Cell(cut(clean(entry[0]), 24), before, after)


def _segment(entry: Any) -> SegmentPart | None:
    if not isinstance(entry, dict) or "segment" not in entry:
        return None
    mix, rate, share = (number(entry.get(key)) for key in ("mix", "rate", "share"))
    return SegmentPart(
        name_of(entry["segment"]), pair_of(entry.get("rows")), pair_of(entry.get("value")), mix, rate, share
    )


def _version(entry: Any) -> VersionPart | None:
    if not isinstance(entry, dict) or "version" not in entry:
        return None
    keys = ("rows", "value", "pairs", "difference", "lower", "upper")
    return VersionPart(name_of(entry["version"]), *(number(entry.get(key)) for key in keys))


def _detection(entry: Any) -> DetectionPart | None:
    if not isinstance(entry, dict):
        return None
    position, before, after = (number(entry.get(key)) for key in ("position", "before", "after"))
    if position is None or before is None or after is None:
        return None
    return DetectionPart(name_of(entry.get("detector")), position, before, after, number(entry.get("cut")))


def _example(entry: Any) -> str | None:
    return text_of(entry) if isinstance(entry, str) else None


def _labels(entry: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[str]]:
    facts = []
    coverage, settled = number(entry.get("coverage")), number(entry.get("settled"))
    lag = number(entry.get("lag_p50_s"))
    if coverage is not None:
        of = "" if settled is None else f" of {shown(settled)}"
        facts.append(("coverage", f"{percent(coverage)}{of} predictions whose time is over got a label"))
    if lag is not None and lag >= 0:
        facts.append(("lag", f"half of the labels came within {span(lag) if lag >= 1 else f'{lag:.2g} s'}"))
    said = entry.get("warnings")
    return facts, [text_of(each) for each in (said if isinstance(said, list) else [])[: MOST["findings"]]]


STATUSES = ("firing", "updated", "resolved")
_KINDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("lower", "upper", "samples", "error", "detections_total"), lambda value: number(value) is not None
    ),
    **dict.fromkeys(
        ("columns", "segments", "versions", "detections", "examples", "recent_values"),
        lambda value: isinstance(value, list),
    ),
    **dict.fromkeys(("reference", "labels"), lambda value: isinstance(value, dict)),
    "since": lambda value: moment(value) is not None,
}
"""The evidence that is shown in a place of its own, and whether it is of the contract's type."""

_FIELDS = {
    "alert_id", "fingerprint", "incident", "change", "status", "reason", "kind", "model", "version",
    "segment", "rule", "severity", "summary", "signal", "direction", "detector", "value", "threshold",
    "window", "started_at", "updated_at", "resolved_at", "evidence", "source", "objectives_revision",
    "runbook",
}  # fmt: skip
_ENVELOPE = {"type"}
"""What the topic ``reports`` adds to an alert."""


def unread(alert: Alert, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What no place is made for, by name, as it is."""
    evidence = alert.get("evidence")
    if evidence is not None and not isinstance(evidence, dict):
        yield "evidence", plain(evidence)
    left = [(key, each) for key, each in given.items() if key not in _KINDS or not _KINDS[key](each)]
    left += [(key, each) for key, each in alert.items() if key not in _FIELDS | _ENVELOPE]
    if "status" in alert and alert["status"] not in STATUSES:
        left.append(("status", alert["status"]))
    for key, each in left[:MOST_UNREAD]:
        if each is not None or key not in _KINDS:
            yield name_of(key), plain(each)
    if len(left) > MOST_UNREAD:
        yield "more", f"{len(left) - MOST_UNREAD:,} other keys"
