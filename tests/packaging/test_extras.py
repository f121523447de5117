"""What each file imports is in the extra that brings it: read from the source, no installation needed.

``pip install streamer`` has to be enough to log from a service, and an extra
enough for the commands that it is for.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = sorted((ROOT / "streamer").rglob("*.py"))

# What a service that logs its predictions imports, and so must all that these import.
SDK = {"streamer", "streamer.sdk", "streamer.home", "streamer.errors"}
# Imported only where it is used, so that the worker does without: module → extra.
ON_DEMAND = {"streamer.jars": "local", "streamer.adapters.tables": "parquet"}
# The import's name → what pip calls it, where that is not the same.
DISTRIBUTIONS = {
    "faust": "faust-streaming",
    "mode": "faust-streaming",  # Faust's own base: its version comes with the one of Faust that is pinned
    "yaml": "pyyaml",
}


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imports(node: ast.AST, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """What is imported under a node, and whether not before a function runs; without what only mypy sees."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from ((alias.name, lazy) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module, lazy
        yield from ((f"{node.module}.{alias.name}", lazy) for alias in node.names)
    inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for child in ast.iter_child_nodes(node):
        yield from imports(child, inside)


def imported(module: str) -> set[tuple[str, bool]]:
    return set(imports(ast.parse(MODULES[module].read_text())))


def outside(module: str, lazy: bool) -> set[str]:
    """The distributions that a module imports, when it is loaded or on demand."""
    tops = {name.partition(".")[0] for name, late in imported(module) if late == lazy}
    others = tops - sys.stdlib_module_names - {"streamer"}
    return {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in others}


def declared(extra: str | None = None) -> set[str]:
    """The distributions that `pip install streamer[extra]` is told of; an extra may name others of ours."""
    found = set()
    listed = PROJECT["optional-dependencies"][extra] if extra else []
    for requirement in PROJECT["dependencies"] + listed:
        own = re.match(r"streamer\[([\w,-]+)\]", requirement)
        if own:
            found |= set().union(*map(declared, own[1].split(",")))
        else:
            found.add(re.match(r"[\w.-]+", requirement)[0].lower())
    return found


@pytest.mark.parametrize("module", MODULES)
def test_what_a_file_imports_when_it_is_loaded_comes_with_the_worker(module: str) -> None:
    assert outside(module, lazy=False) <= declared("worker")


@pytest.mark.parametrize("module", MODULES)
def test_what_a_file_imports_on_demand_comes_with_its_extra(module: str) -> None:
    extra = ON_DEMAND.get(module, "worker")
    assert outside(module, lazy=True) <= declared(extra)


@pytest.mark.parametrize("extra", ["local", "parquet"])
def test_an_extra_that_is_used_by_a_command_brings_the_command_line(extra: str) -> None:
    assert declared("worker") <= declared(extra)


def test_a_service_that_logs_needs_only_the_base_dependencies() -> None:
    seen, ahead = set(), set(SDK)
    while ahead:
        module = ahead.pop()
        seen.add(module)
        assert outside(module, lazy=False) | outside(module, lazy=True) <= declared(), module
        ahead |= {name for name, _ in imported(module)} & set(MODULES) - seen
    assert seen == SDK, "the SDK has grown: it should stay small"


def test_each_extra_is_needed_by_somebody() -> None:
    used = {name for module in MODULES for lazy in (False, True) for name in outside(module, lazy)}
    extras = set().union(*map(declared, ("worker", "local", "parquet")))
    assert used == extras


def test_the_lock_has_every_declared_dependency_with_hashes_and_names_no_host() -> None:
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    entries = re.findall(
        r"^([\w.-]+)==.*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", lock, re.MULTILINE
    )
    locked = {name for name, _ in entries}
    assert set().union(*map(declared, ("worker", "local", "parquet", "dev"))) <= {*locked}
    assert len(entries) == len(re.findall(r"^\w", lock, re.MULTILINE)), "an entry without a hash"
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", lock)
