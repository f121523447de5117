"""What a soak found, as one file: figures, bounds, samples thinned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from tests.chaos.results import LONGEST_PROBLEM, ROOT
from tests.soak.evidence import Evidence, Sample
from tests.soak.judge import JUDGED_MINUTES, LIVE, MEMORY, RESTORE, SERIES, STATE, slope_mb_h, thirds
from tests.soak.traffic import TOPICS

LATEST = Path(__file__).parent / "results" / "latest.json"
# Runs that are no whole one, or were not finished: the file of the last that was is left alone.
TRIAL = ROOT / "build" / "soak.json"
UNFINISHED = ROOT / "build" / "soak-unfinished.json"
WHOLE_MINUTES, WHOLE_RATE = 60.0, 20_000
MOST_ROWS = 120

Entry = dict[str, Any]


def entry_of(evidence: Evidence, problems: Sequence[str], code: str) -> Entry:
    """All figures. ``problems``: what the judge says. ``code``: the revision that was tried."""
    samples, probes = evidence.samples, evidence.probes
    middle, last = thirds(samples, evidence)
    sent, end = evidence.sent, evidence.end
    missing = _missing(evidence)
    return {
        "revision": code,
        "finished": evidence.finished,
        "failed": [problem.splitlines()[0][:LONGEST_PROBLEM] for problem in problems if problem],
        "minutes": evidence.minutes,
        "rate": evidence.rate,
        "events": sent.events or end.events,
        "achieved_events_per_s": round(evidence.achieved),
        "sender_behind_s": (sent if sent.events else end).behind,
        "sender_cores": round(end.cpu / end.seconds, 3) if end.seconds else 0.0,
        "worker_busy_cores": _busy(samples),
        "lost": None if missing is None else sum(max(0, n) for n in missing),
        "twice": None if missing is None else sum(max(0, -n) for n in missing),
        "outcomes": {topic: dict(terms) for topic, terms in evidence.counters.items()},
        "dead_letters": evidence.dead,
        "garbage_sent": dict(sent.garbage),
        "alerts_fired": evidence.fired,
        "alerts_resolved": evidence.resolved,
        "rss_mb": _three(samples, "rss_mb"),
        "rss_mb_median": {"middle_third": _median(middle, "rss_mb"), "last_third": _median(last, "rss_mb")},
        "rss_slope_mb_h": round(slope_mb_h(middle + last), 2),
        "series": _three(samples, "series"),
        "series_folded": _three(samples, "folded"),
        "pending": _three(samples, "pending"),
        "lag_s_median": _median(samples, "lag_s"),
        "state_disk_mb": _three(samples, "state_mb")
        | {"most": max((each.state_mb for each in samples), default=None)},
        "state_live_records": _three(probes, "live"),
        "state_live_mb": _three(probes, "live_mb"),
        "restore_s": _three(probes, "restore_s"),
        "restarted_s": list(evidence.restarted_s),
        "at_head_s": evidence.at_head_s,
        "oldest_offsets_kept": list(evidence.kept_from),
        "growth_judged": evidence.minutes >= JUDGED_MINUTES,
        "bounds": {"memory": MEMORY, "series": SERIES, "live": LIVE, "state": STATE, "restore": RESTORE},
        "probes": [asdict(probe) for probe in probes],
        "columns": [each.name for each in fields(Sample)],
        "samples": [list(asdict(sample).values()) for sample in thinned(samples)],
    }


def _missing(evidence: Evidence) -> list[int] | None:
    """Of each topic, what was sent but not consumed; None: it did not come to the counting."""
    if not evidence.counters:
        return None
    pairs = zip(TOPICS, evidence.sent.sent, strict=True)
    return [there - evidence.counters[topic]["consumed"] for topic, there in pairs]


def _busy(samples: Sequence[Sample]) -> float | None:
    """The share of a core that went into processing; it counts waiting for a core too."""
    if len(samples) < 2:
        return None
    first, last = samples[0], samples[-1]
    return round((last.busy_s - first.busy_s) / (last.at - first.at), 3)


def _three(each: Sequence[Any], name: str) -> dict[str, float | None]:
    """At the start, in the middle and in the end."""
    values = [getattr(one, name) for one in each] or [None]
    return {"start": values[0], "middle": values[len(values) // 2], "end": values[-1]}


def _median(each: Sequence[Any], name: str) -> float | None:
    return round(median(getattr(one, name) for one in each), 2) if each else None


def thinned(samples: Sequence[Sample], most: int = MOST_ROWS) -> list[Sample]:
    """At most so many of them, evenly."""
    return list(samples[:: -(-len(samples) // most) or 1])


def file_for(entry: Entry, wanted: Path | None, interrupted: bool) -> Path:
    """Where a run is kept: only a whole one, that nobody ended, takes the last one's place."""
    if interrupted:
        return UNFINISHED if wanted is None else wanted.with_suffix(".unfinished.json")
    whole = entry["minutes"] >= WHOLE_MINUTES and entry["rate"] >= WHOLE_RATE
    return wanted or (LATEST if whole else TRIAL)


def save(entry: Entry, path: Path) -> None:
    """Write the file in one go, one line for each probe and each sample."""
    rows = {name: entry[name] for name in ("probes", "samples")}
    rest = {name: value for name, value in entry.items() if name not in rows}
    text = orjson.dumps(rest, option=orjson.OPT_INDENT_2).decode().rstrip("}\n")
    for name, each in rows.items():
        lines = ",\n".join(f"    {orjson.dumps(row).decode()}" for row in each)
        text += f',\n  "{name}": [\n{lines}\n  ]'
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(text + "\n}\n")
    fresh.replace(path)
