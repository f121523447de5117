"""Commands, options, settings and snippets in the pages are those of the program."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import streamer
from streamer.cli import app
from streamer.config import Settings, TopicNames
from streamer.config.settings import BLOCKS, OURS
from tests.docs.pages import PAGES, ROOT, page, quoted, table

PAGE = page("cli.md")
COMMON = {
    "--bootstrap": {"worker", "replay", "alerts", "status", "topics create", "topics describe"},
    "--group": {"worker", "status"},
    "--log-level": {"worker"},
}
STATE = {"state show", "state reset", "state export", "state import"}
COMMON["--bootstrap"] |= STATE
COMMON["--group"] |= STATE
DEAD_LETTERS = {"dead-letters list", "dead-letters show", "dead-letters redrive"}
COMMON["--bootstrap"] |= DEAD_LETTERS
COMMON["--group"] |= {"dead-letters redrive"}
COMMON |= {"--topic-prefix": COMMON["--bootstrap"], "--config": COMMON["--bootstrap"]}
COMMON |= {"--log-format": COMMON["--log-level"]}
EVERYWHERE = {"--help", "-h"}
COMMON["--bootstrap"] |= {"topics acls"}
COMMON["--group"] |= {"topics acls"}
COMMON["--bootstrap"] |= {"relay", "reference take", "versions", "explain", "report"}
COMMON["--group"] |= {"relay", "reference take", "versions"}
COMMON["--log-level"] |= {"relay"}
GROUPS = {"", *(each.name for each in app.registered_groups)} - {"alerts"}  # which also is a command itself


@cache
def commands() -> dict[str, set[str]]:
    """Command → its options, as the program has them; the empty name is the program's own."""
    return dict(_walk(typer.main.get_command(app), ""))


def _walk(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    options = {word for each in command.params for word in each.opts if word.startswith("-")}
    yield name, options
    for inner, each in getattr(command, "commands", {}).items():
        yield from _walk(each, f"{name} {inner}".strip())


def runnable() -> dict[str, set[str]]:
    return {name: options for name, options in commands().items() if name not in GROUPS}


def command_of(words: list[str]) -> str:
    """The longest command that these words begin with."""
    names = (" ".join(words[:count]) for count in (2, 1))
    return next((name for name in names if name in commands()), "")


def test_the_page_names_every_command_with_all_its_options() -> None:
    found = {}
    for row in table(PAGE, "command"):
        [line] = quoted(row[0])
        found[command_of(line.split()[1:])] = set(quoted(row[1]))
    short = {"-f"}
    shared = {name: {option for option in COMMON if name in COMMON[option]} for name in runnable()}
    assert {name: own | shared[name] for name, own in found.items()} == {
        name: options - short for name, options in runnable().items()
    }


def test_the_page_says_which_options_are_common() -> None:
    rows = table(PAGE, "common option")
    assert {option for row in rows for option in quoted(row[0])} == set(COMMON)
    without = {name for row in rows if row[1].startswith("all but") for name in quoted(row[1])}
    assert set(runnable()) - COMMON["--bootstrap"] == without


def lines_with_commands(file: Path) -> Iterator[list[str]]:
    """Every `streamer …` in a page: lines of code blocks, and code within a sentence."""
    text = file.read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    for code in [*lines, *quoted(re.sub(r"```.*?```", "", text, flags=re.S))]:
        code = re.sub(r"^(\.venv/bin/|\$ )", "", code.strip()).replace("\\|", "")
        if code.startswith("streamer "):
            yield shlex.split(code.partition(" #")[0])[1:]


@pytest.mark.parametrize(
    "file", [*PAGES, ROOT / "docs" / "examples" / "objectives.yml"], ids=lambda file: file.name
)
def test_every_command_that_a_page_shows_exists_with_its_options(file: Path) -> None:
    for words in lines_with_commands(file):
        name = command_of(words)
        known = commands()[name] | EVERYWHERE
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert name or words[0] in ("COMMAND", *known), words
        assert options <= known, words


def test_the_readme_shows_commands() -> None:
    assert len(list(lines_with_commands(ROOT / "README.md"))) >= 4


def test_the_settings_page_has_every_setting_with_its_variable_and_default() -> None:
    rows = {quoted(row[0])[0]: row for row in table(PAGE, "file key")}
    assert set(rows) == set(Settings.model_fields)
    for name, row in rows.items():
        variable = quoted(row[1])[0]
        assert variable.partition("__")[0] == f"STREAMER_{name.upper()}"
        assert ("__" in variable) == (name in BLOCKS)
        given = getattr(Settings(), name)
        if name not in BLOCKS:
            shown = "–" if given in (None, "") else str(given).lower() if given is False else str(given)
            assert row[2] == shown or float(row[2]) == float(shown), name
    assert set(TopicNames.model_fields) <= set(quoted(rows["topic_names"][3]))


def test_the_settings_of_ours_that_the_page_names_are_refused() -> None:
    sentence = PAGE.partition("is refused in `kafka`")[2]
    named = [name for name in quoted(sentence) if "." in name]
    assert len(named) > 3
    assert set(named) <= set(OURS)


# -- Python in the pages ------------------------------------------------------------------------


SNIPPETS = [
    pytest.param(code, id=f"{file.name}-{number}")
    for file in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", file.read_text(), re.S))
]


class _Snippet(ast.NodeVisitor):
    """Follows names from their import to where they are called; what it cannot follow it leaves alone."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.checked = 0

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and node.module.partition(".")[0] == "streamer":
            module = __import__(node.module, fromlist=["x"])
            self.known |= {each.asname or each.name: getattr(module, each.name) for each in node.names}

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        made = self._class_of(node.value)
        if made is not None and isinstance(node.targets[0], ast.Name):
            self.known[node.targets[0].id] = made

    def visit_withitem(self, node: ast.withitem) -> None:
        self.generic_visit(node)
        made = self._class_of(node.context_expr)
        if made is not None and isinstance(node.optional_vars, ast.Name):
            self.known[node.optional_vars.id] = made

    def _class_of(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            made = self.known.get(node.func.id)
            return made if inspect.isclass(made) else None
        return None

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        given = [object() for _ in node.args]
        named = {each.arg: object() for each in node.keywords if each.arg}
        if isinstance(node.func, ast.Name) and node.func.id in self.known:
            inspect.signature(self.known[node.func.id]).bind(*given, **named)
            self.checked += 1
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            owner = self.known.get(node.func.value.id)
            if owner is not None:
                inspect.signature(getattr(owner, node.func.attr)).bind(object(), *given, **named)
                self.checked += 1


@pytest.mark.parametrize("code", SNIPPETS)
def test_python_in_a_page_calls_what_exists_as_it_wants_to_be_called(code: str) -> None:
    snippet = _Snippet()
    snippet.visit(ast.parse(code))
    assert snippet.checked or "streamer" not in code


def test_the_readme_shows_the_logger() -> None:
    snippet = _Snippet()
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        snippet.visit(ast.parse(code))
    assert snippet.known["PredictionLogger"] is streamer.PredictionLogger
    assert snippet.checked == 3
