"""What was tried and what held: one entry for each seed, added up over invocations, kept in a file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import orjson

from tests.chaos.brokers import Survival
from tests.chaos.judge import Verdict
from tests.chaos.play import Outcome
from tests.chaos.schedule import Schedule

ROOT = Path(__file__).parents[2]
LATEST = Path(__file__).parent / "results" / "latest.json"
LONGEST_PROBLEM = 300
_PATH = re.compile(r"(?<![\w:/])(?:/[\w.+-]+){2,}")

Entry = dict[str, Any]


def revision() -> str:
    """The git revision of what runs here, with ``+`` where files differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD").strip()
        return head + ("+" if _git("status", "--porcelain", "--", "streamer", "tests").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def entry_of(schedule: Schedule, outcome: Outcome, code: str) -> Entry:
    """One seed's line. ``code``: the revision that was tried."""
    verdict = outcome.verdict
    return {
        "revision": code,
        "failed": failed(verdict),
        "workers": schedule.workers,
        "static": schedule.static,
        "partitions": schedule.partitions,
        "kills": dict(sorted(outcome.kills.items())),
        "joins": outcome.joins,
        "hits": {str(moment): outcome.hits[moment] for moment in sorted(outcome.aimed)},
        "aimed": {str(moment): count for moment, count in sorted(outcome.aimed.items())},
        "zombies": outcome.zombies,
        "zombies_refused": outcome.refused,
        "expelled": outcome.expelled,
        "commits": verdict.commits,
        "commits_cut": outcome.cut,
        **({"sources": list(schedule.sources), "unrouted": outcome.unrouted} if schedule.sources else {}),
        **counted(verdict),
        "restores": outcome.restores,
        "longest_restore_s": outcome.longest_restore,
        "seconds": outcome.seconds,
    }


def siege_entry(survival: Survival, code: str) -> Entry:
    """The line of what brokers and network did to the workers."""
    verdict = survival.verdict
    return {
        "revision": code,
        "failed": failed(verdict),
        "troubles": {str(trouble): times for trouble, times in survival.troubles.items()},
        "recovered_s": {str(trouble): seconds for trouble, seconds in survival.recovered.items()},
        "commits": verdict.commits,
        **counted(verdict),
        "seconds": survival.seconds,
    }


def counted(verdict: Verdict) -> Entry:
    """What a judge counted."""
    return {
        "records": verdict.records,
        "lost": verdict.lost,
        "twice": verdict.twice,
        "alerts": verdict.alerts,
        "alert_differences": verdict.alert_differences,
        "alerts_twice": verdict.alerts_twice,
    }


def failed(verdict: Verdict) -> list[str]:
    """What broke, in short."""
    return [in_short(problem) for problem in verdict.problems]


def in_short(problem: str) -> str:
    """Its first line, without what is this machine's own."""
    return _PATH.sub("…", problem.splitlines()[0] if problem else "")[:LONGEST_PROBLEM]


class Results:
    """The file: totals, the last siege of the brokers, then a line for each seed.

    ``routed``: seeds that were tried with a router, counted by themselves.
    """

    def __init__(self, path: Path = LATEST, anew: bool = False) -> None:
        self.path = path
        self.entries: dict[int, Entry] = {}
        self.routed: dict[int, Entry] = {}
        self.brokers: Entry | None = None
        if path.exists() and not anew:
            found = orjson.loads(path.read_bytes())
            self.entries = {int(seed): entry for seed, entry in found["by_seed"].items()}
            self.routed = {int(seed): entry for seed, entry in found.get("routed_by_seed", {}).items()}
            self.brokers = found["brokers"]

    def next_seed(self, repartition: bool = False) -> int:
        """The first that was never tried."""
        return max(self.routed if repartition else self.entries, default=0) + 1

    def add(self, seed: int, entry: Entry) -> bool:
        """Each seed once, the last try; False: it is not taken.

        On the very code on which a seed failed it stays failed, however often it is tried again.
        """
        entries = self.routed if "sources" in entry else self.entries
        old = entries.get(seed)
        if old and old["failed"] and not entry["failed"]:
            unchanged = old["revision"] == entry["revision"] and not entry["revision"].endswith("+")
            if unchanged:
                return False
        entries[seed] = entry
        return True

    def totals(self, repartition: bool = False) -> Entry:
        """All seeds together."""
        each = list((self.routed if repartition else self.entries).values())

        def total(name: str) -> int:
            return sum(entry[name] for entry in each)

        def by_key(name: str) -> dict[str, int]:
            keys = sorted({key for entry in each for key in entry[name]})
            return {key: sum(entry[name].get(key, 0) for entry in each) for key in keys}

        kills = by_key("kills")
        sums = (
            "joins", "zombies", "zombies_refused", "commits", "commits_cut", "records", "lost", "twice",
            "alerts", "alert_differences", "alerts_twice", "restores",
        )  # fmt: skip
        found = {
            "schedules": len(each),
            "failed": sum(bool(entry["failed"]) for entry in each),
            "kills": sum(kills.values()),
            "kills_by_signal": kills,
            "aimed": by_key("aimed"),
            "hits": by_key("hits"),
            **{name: total(name) for name in sums},
            "longest_restore_s": max((entry["longest_restore_s"] for entry in each), default=0.0),
            "seconds": round(sum(entry["seconds"] for entry in each)),
            "revisions": sorted({entry["revision"] for entry in each}),
        }
        return found | ({"unrouted": total("unrouted")} if repartition else {})

    def save(self) -> None:
        """Write the file, one line for each seed, in one go."""
        head = orjson.dumps(self.totals(), option=orjson.OPT_INDENT_2).decode().rstrip("}\n")
        siege, routed = (orjson.dumps(each).decode() for each in (self.brokers, self.totals(True)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(
            f'{head},\n  "brokers": {siege},\n  "routed": {routed},\n  "routed_by_seed": {{'
            f'{_lines(self.routed)}}},\n  "by_seed": {{{_lines(self.entries)}}}\n}}\n'
        )
        fresh.replace(self.path)


def _lines(entries: dict[int, Entry]) -> str:
    """One for each seed."""
    each = [f'\n    "{seed}": {orjson.dumps(entry).decode()}' for seed, entry in sorted(entries.items())]
    return ",".join(each) + ("\n  " if each else "")
