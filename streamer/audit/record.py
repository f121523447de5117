"""The record: objectives in force, figures against them day by day, every incident with its life.

Made of what the topic ``reports`` holds and of nothing else, so whoever reads the same records gets the
same bytes; a hash over them says which they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

from streamer.adapters.report_log import Reported
from streamer.audit.reading import Asked, Limit, Period, Report, Step, read
from streamer.domain.events import rfc3339

FORMAT = 1
DAY = "1d"
_OF_A_LIMIT = {"rule", "signal", "min", "max", "severity"}
_OF_AN_INCIDENT = {"incident", "rule", "version", "kind", "signal", "severity", "threshold", "window"}
_OF_A_STEP = {"alert_id", "status", "updated_at", "value", "summary"}


def record_of(
    topic: str, model: str, reports: Sequence[Reported], begin: datetime | None, end: datetime | None
) -> dict[str, Any]:
    """The whole record as plain values.

    Args:
        topic: where the reports are from.
        model: whose they are.
        reports: in the order of their partitions and offsets.
        begin: what happened from then on, None: from the first report on.
        end: what happened before then, None: up to the last report.
    """
    found = [(each, read(each.document)) for each in reports]
    used = [(each, told) for each, told in found if told is not None and _is_before(told, end)]
    asked = [told for _, told in used if isinstance(told, Asked)]
    days = [told for _, told in used if isinstance(told, Period) and told.period == DAY]
    days = [day for day in days if begin is None or day.start >= begin]
    days.sort(key=lambda day: (day.start, day.version))
    return {
        "format": FORMAT,
        "model": model,
        "from": None if begin is None else _text(begin),
        "to": None if end is None else _text(end),
        "objectives": [
            each.model_dump(mode="json", by_alias=True, exclude={"type"}) for each in _in_force(asked, begin)
        ],
        "kept": list(_kept(asked, days)),
        "volumes": _volumes(days),
        "gaps": list(_gaps(days)),
        "days": [day.model_dump(mode="json", exclude={"type", "period"}) for day in days],
        "incidents": list(_incidents([told for _, told in used if isinstance(told, Step)], begin)),
        "source": _source(topic, [each for each, _ in used], len(reports) - len(used)),
    }


def _is_before(told: Report, end: datetime | None) -> bool:
    """Was what it tells over by then?"""
    if end is None:
        return True
    if isinstance(told, Period):
        return told.end <= end
    return (told.told_at if isinstance(told, Asked) else told.updated_at) < end


def _source(topic: str, used: Sequence[Reported], others: int) -> dict[str, Any]:
    """Where it is from. The hash is over partition, offset, length and bytes of each record, in order."""
    found = sha256()
    for each in used:
        found.update(f"{each.partition} {each.offset} {len(each.value)}\n".encode())
        found.update(each.value)
    places = [[each.partition, each.offset] for each in used]
    return {
        "topic": topic,
        "records": len(used),
        "left_out": others,
        "first": places[0] if places else None,
        "last": places[-1] if places else None,
        "sha256": found.hexdigest(),
    }


# -- objectives ----------------------------------------------------------------------------------


def _in_force(asked: Sequence[Asked], begin: datetime | None) -> list[Asked]:
    """What was asked at the beginning, and each change after it."""
    if begin is None:
        return list(asked)
    before = [each for each in asked if each.told_at <= begin]
    return [*before[-1:], *(each for each in asked if each.told_at > begin)]


def _kept(asked: Sequence[Asked], days: Sequence[Period]) -> Iterator[dict[str, Any]]:
    """Each limit that was in force, and the days on which a version's figure kept it.

    The figure is the day's own; a rule fires by its window and its confidence, so a day may miss a limit
    without an alert, and the other way round.
    """
    found: dict[tuple[str, str, float | None, float | None], dict[str, Any]] = {}
    for day in days:
        for limit in _limits(asked, day):
            value = _figure(limit, day)
            if value is None:
                continue
            about = {
                "version": day.version,
                **limit.model_dump(include={"rule", "signal", "min", "max", "severity"}),
            }
            usual = {**about, "days": 0, "kept": 0, "worst": value, "worst_day": _text(day.start)}
            row = found.setdefault((day.version, limit.rule, limit.min, limit.max), usual)
            row["days"] += 1
            row["kept"] += limit.kept_by(value)
            if value < row["worst"] if limit.min is not None else value > row["worst"]:
                row["worst"], row["worst_day"] = value, _text(day.start)
    return iter(found.values())


def _limits(asked: Sequence[Asked], day: Period) -> list[Limit]:
    """Those that were in force when the day ended; the first ones for a day before anything was asked."""
    mine = [each for each in asked if each.told_at < day.end] or asked[:1]
    return list(mine[-1].objectives) if mine else []


def _figure(limit: Limit, day: Period) -> float | None:
    """What the day says of a limit's signal; None where it says nothing."""
    if limit.klass is not None:
        return None
    return day.coverage if limit.signal == "label_coverage" else day.figures.get(limit.signal)


# -- what happened -------------------------------------------------------------------------------


def _volumes(days: Sequence[Period]) -> list[dict[str, Any]]:
    """Of each version, over all days."""
    told = []
    for version in dict.fromkeys(day.version for day in days):
        mine = [day for day in days if day.version == version]
        labels, expired = sum(day.labels for day in mine), sum(day.expired for day in mine)
        told.append(
            {
                "version": version,
                "days": len(mine),
                "predictions": sum(day.predictions for day in mine),
                "duplicates": sum(day.duplicates for day in mine),
                "labels": labels,
                "expired": expired,
                "coverage": labels / (labels + expired) if labels + expired else None,
            }
        )
    return told


def _gaps(days: Sequence[Period]) -> Iterator[dict[str, str]]:
    """Whole days, between the first and the last, on which no version had an event."""
    for before, after in pairwise(sorted({day.start for day in days})):
        if after - before > timedelta(days=1):
            yield {"from": _text(before + timedelta(days=1)), "to": _text(after)}


def _incidents(steps: Sequence[Step], begin: datetime | None) -> Iterator[dict[str, Any]]:
    """Each that was open at some time, with all that was told of it."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.incident, []).append(step)
    for mine in sorted(found.values(), key=lambda mine: (mine[0].started_at, mine[0].incident)):
        first, last = mine[0], mine[-1]
        if begin is not None and last.resolved_at is not None and last.resolved_at < begin:
            continue
        yield {
            **first.model_dump(include=_OF_AN_INCIDENT),
            "started_at": _text(first.started_at),
            "since": None if first.evidence.since is None else _text(first.evidence.since),
            "resolved_at": None if last.resolved_at is None else _text(last.resolved_at),
            "reason": last.reason,
            "objectives_revision": first.objectives_revision,
            "steps": [step.model_dump(mode="json", include=_OF_A_STEP) for step in mine],
        }


def _text(moment: datetime) -> str:
    return rfc3339(round(moment.timestamp() * 1000))
