"""What was measured and what held: one entry for each scene, the last time that it was played."""

from __future__ import annotations

from pathlib import Path

import orjson

from tests.chaos.results import Entry, counted, failed, revision
from tests.limits.stage import Outcome

LATEST = Path(__file__).parent / "results" / "latest.json"


def entry_of(outcome: Outcome, code: str) -> Entry:
    """One scene's. ``code``: the revision that was tried."""
    verdict = outcome.verdict
    return {
        "revision": code,
        "failed": failed(verdict),
        **counted(verdict),
        "commits": verdict.commits,
        "figures": outcome.figures,
        "seconds": outcome.seconds,
    }


class Results:
    """The file: scene → entry."""

    def __init__(self, path: Path = LATEST) -> None:
        self.path = path
        self.entries: dict[str, Entry] = orjson.loads(path.read_bytes()) if path.exists() else {}

    def add(self, scene: str, entry: Entry) -> None:
        """Take it for what was there, and write the file in one go."""
        self.entries[scene] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(self.entries, option=orjson.OPT_INDENT_2) + b"\n")
        fresh.replace(self.path)


__all__ = ["LATEST", "Entry", "Results", "entry_of", "revision"]
