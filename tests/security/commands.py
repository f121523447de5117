"""Every command that talks to a broker: who runs it, and with what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from streamer.adapters.rights import Role
from streamer.cli import app
from streamer.home import home
from tests.security.secured import PARTITIONS

MODEL = "churn"
AWAY = 1 - home(MODEL, PARTITIONS)
LETTER = f"{AWAY}:0"  # the first that a worker wrote there
LOG = "prediction,label\n1,0\n0,0\n"

# LOG: a file with predictions; NEW: one that is not there yet.
TABLE: dict[str, tuple[Role, list[str]]] = {
    "topics create": (Role.OPERATOR, ["--trace", "--partitions", str(PARTITIONS)]),
    "topics describe": (Role.OPERATOR, ["--trace"]),
    "replay": (Role.PRODUCER, ["LOG", "--model", MODEL]),
    "alerts": (Role.VIEWER, []),
    "explain": (Role.VIEWER, ["latest"]),
    "status": (Role.VIEWER, []),
    "state show": (Role.VIEWER, []),
    "reference take": (Role.VIEWER, ["NEW", "--model", MODEL]),
    "versions": (Role.VIEWER, [MODEL]),
    "report": (Role.VIEWER, ["--model", MODEL]),
    "state export": (Role.VIEWER, ["NEW"]),
    "state reset": (Role.OPERATOR, ["--model", MODEL, "--yes"]),
    "state import": (Role.OPERATOR, ["NEW", "--replace", "--yes"]),
    "dead-letters list": (Role.VIEWER, []),
    "dead-letters show": (Role.VIEWER, [LETTER]),
    "dead-letters redrive": (Role.OPERATOR, [LETTER, "--yes"]),
}
AT_REST = {"state reset", "state import"}  # only while no worker of the group runs
ALONE = {"worker", "relay", "topics acls"}  # has tests of its own; asks no broker


def commands() -> Iterator[tuple[str, set[str]]]:
    """Every command with its options."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
        inner = getattr(command, "commands", {})
        if not inner or command.invoke_without_command:
            yield name, {word for each in command.params for word in each.opts}
        for part, each in inner.items():
            yield from walk(each, f"{name} {part}".strip())

    yield from walk(typer.main.get_command(app), "")


PRESENT = dict(commands())
COMMANDS = {name: row for name, row in TABLE.items() if name in PRESENT}


def arguments_of(command: str, scratch: Path) -> list[str]:
    """The command line; its files are made."""
    files = {"LOG": scratch / "log.csv", "NEW": scratch / "new.file"}
    files["LOG"].write_text(LOG)
    return [*command.split(), *(str(files.get(word, word)) for word in COMMANDS[command][1])]
