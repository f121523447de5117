"""What one worker did, as its log tells it."""

from __future__ import annotations

import re
from pathlib import Path

_NUMBERS = re.compile(r"(assigned|giving up|lost) partitions \[([\d, ]*)\]")
_RESTORED = re.compile(r"partition (\d+): at commit (\d+), offsets \(\d+, \d+\), after ([\d.]+) s")
_REFUSED = re.compile(r"partition \d+: (replaced \(|a commit of an earlier ownership was refused)")
_UNSAVED = re.compile(r"commit \d+ was not saved")
_QUARANTINED = re.compile(r"quarantined: (.*)")


class Diary:
    """Read on with ``read``; partitions by number.

    ``owned``: assigned and not given up. ``held``: the same, or those it had last.
    ``restoring``: those of them that are not restored yet. ``seconds``: what each restore took.
    ``giving_up``: a rebalance is under way. ``refused``: how many of its commits came too late.
    ``moves``: how often the group gave it partitions or took them.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.owned: set[int] = set()
        self.held: set[int] = set()
        self.restoring: set[int] = set()
        self.restored: list[int] = []
        self.seconds: list[float] = []
        self.giving_up = False
        self.refused = self.unsaved = self.moves = 0
        self.quarantined: list[str] = []
        self._kept: set[int] = set()
        self._at = 0

    def read(self) -> Diary:
        """Take in what was written since."""
        with self.log.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self._take(line)
        return self

    def _take(self, line: str) -> None:
        if found := _NUMBERS.search(line):
            self._moved(found[1], {int(each) for each in found[2].split(",") if each.strip()})
        elif found := _RESTORED.search(line):
            self.restoring.discard(int(found[1]))
            self.restored.append(int(found[1]))
            self.seconds.append(float(found[3]))
        elif _REFUSED.search(line):
            self.refused += 1
            self._kept = set()
        elif _UNSAVED.search(line):
            self.unsaved += 1
        elif found := _QUARANTINED.search(line):
            self.quarantined.append(found[1])

    def _moved(self, what: str, numbers: set[int]) -> None:
        self.moves += 1
        if what == "assigned":
            self.owned, self.held = set(numbers), set(numbers)
            # What comes straight back is not restored: its memory was kept.
            self.restoring = numbers - self._kept
            self.giving_up = False
            return
        self._kept = numbers if what == "giving up" else set()
        self.owned, self.restoring = set(), set()
        self.giving_up = what == "giving up"
