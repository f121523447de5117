"""What is wrong with an objectives file, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where (a dotted key path), what, and the cure in the same sentence."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ObjectivesError(ValueError):
    """The file cannot be used. ``problems`` holds every mistake in it, once; the text has one a line."""

    def __init__(self, problems: Iterable[Problem], name: str) -> None:
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(f"{name}: {problem}" for problem in self.problems))


def meant(word: str, known: Iterable[str]) -> str:
    """``did you mean …?`` where one of the known words is close, else all of them."""
    choices = list(known)
    close = difflib.get_close_matches(word, choices, 1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(choices)}"
