"""The scenes by name, each with its full and its short form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.limits import disk, hot, memory, models
from tests.limits.stage import Outcome, Say


@dataclass(frozen=True, slots=True)
class Scenario:
    """``play(bootstrap, scratch, size, say)``, with one of two sizes."""

    name: str
    about: str
    play: Callable[[str, Path, Any, Say], Outcome]
    full: Any
    short: Any


SCENES = {
    scene.name: scene
    for scene in (
        Scenario(
            "memory", "a worker under a hard limit of memory: kept by `limits:`, and one that is too small",
            memory.play, memory.FULL, memory.SHORT,
        ),
        Scenario(
            "models", "ten thousand models, against the same records over 64",
            models.play, models.FULL, models.SHORT,
        ),
        Scenario(
            "hot", "one model with a hundred times the traffic of the others, and a backlog of it at once",
            hot.play, hot.FULL, hot.SHORT,
        ),
        Scenario("disk", "the brokers' disk is full", disk.play, disk.FULL, disk.SHORT),
    )
}  # fmt: skip
