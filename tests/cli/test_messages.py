"""Every command that a message of the program names exists, with the options that it names."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.docs.test_cli_page import EVERYWHERE, command_of, commands

FILES = sorted((ROOT / "streamer").rglob("*.py"))
HOLE = "HOLE"
GROUPS = {"", *(name.rpartition(" ")[0] for name in commands())}


def texts(file: Path) -> Iterator[str]:
    """Every text in a file, what is put in at run time as a word of its own; docstrings as well."""
    tree = ast.parse(file.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def named(text: str) -> list[list[str]]:
    """The commands in backticks, without their first word; one that goes on after a line's end too."""
    found = re.findall(r"(?<!`)`streamer ([^`]+)`(?!`)", " ".join(text.split()))
    return [shlex.split(each) for each in found]


def check(words: list[str]) -> None:
    name = command_of(words)
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    rest = words[len(name.split()) :]
    if name in GROUPS and rest:
        assert rest[0] in ("COMMAND", "…") or rest[0].startswith("-"), words
    assert options <= commands()[name] | EVERYWHERE, words


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_that_a_message_names_exists_with_its_options(file: Path) -> None:
    for text in texts(file):
        for words in named(text):
            check(words)


def test_the_messages_do_name_commands() -> None:
    told = {command_of(words) for file in FILES for text in texts(file) for words in named(text)}
    assert {"state reset", "state export", "state import", "state show", "topics create"} <= told


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for text in ("`streamer stat reset`", "`streamer state reset --modle m`", "`streamer state forget`"):
        [words] = named(text)
        with pytest.raises(AssertionError):
            check(words)
