"""The floors of docs/ARCHITECTURE.md, read from the imports: arrows point down only."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "streamer"
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    **dict.fromkeys(
        ("audit", "backtest", "cli", "demo", "explanation", "html", "reference_log", "replay", "terminal"), 4
    ),
    "__main__": 4,
    **dict.fromkeys(("app", "config", "jars", "local", "sdk"), 3),
    "adapters": 2,
    **dict.fromkeys(("pipeline", "merge", "checkpoint", "home", "origin", "routing", "stored", "rehome"), 1),
    "domain": 0,
    "errors": 0,
}
# What may be imported besides the standard library and lower floors; None: anything.
OUTSIDE: dict[int, set[str] | None] = {0: {"numpy", "river"}, 1: set(), 2: None, 3: None, 4: None}
# Floor 0 does no I/O, knows no clock and no encoding.
IMPURE = {"asyncio", "json", "os", "pickle", "random", "socket", "subprocess", "threading", "time"}
UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def modules(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide the floor"
            # `from streamer import x` may name a module of any floor.
            names = [alias.name for alias in node.names] if node.module == "streamer" else [""]
            yield from (f"{node.module}.{name}".rstrip(".") for name in names)


def calls(file: Path) -> Iterator[str]:
    """Every call's name as it is written: ``eval``, ``yaml.load``."""
    tree = ast.walk(ast.parse(file.read_text()))
    yield from (ast.unparse(node.func) for node in tree if isinstance(node, ast.Call))


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def inside(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.parent != PACKAGE or room(file) != "__init__"], ids=inside
)
def test_a_file_imports_from_its_own_floor_and_below(file: Path) -> None:
    assert room(file) in FLOORS, f"{room(file)} has no floor: give it one here and in docs/ARCHITECTURE.md"
    floor = FLOORS[room(file)]
    for name in modules(file):
        top, _, rest = name.partition(".")
        if top == "streamer":
            target = rest.split(".")[0]
            assert FLOORS.get(target, 0) <= floor, f"{inside(file)} (floor {floor}) imports {name}, above it"
        elif top not in sys.stdlib_module_names:
            allowed = OUTSIDE[floor]
            assert allowed is None or top in allowed, f"{inside(file)} (floor {floor}) imports {top}"
        elif floor == 0:
            assert top not in IMPURE, f"{inside(file)}: the domain imports {top}"


@pytest.mark.parametrize("file", sorted((PACKAGE / "domain").glob("*.py")), ids=inside)
def test_time_is_an_argument_in_the_domain(file: Path) -> None:
    assert not {name for name in calls(file) if name.removeprefix("datetime.") in CLOCKS or name in CLOCKS}


@pytest.mark.parametrize("file", FILES, ids=inside)
def test_no_file_loads_what_could_run_code(file: Path) -> None:
    assert not {name.split(".")[0] for name in modules(file)} & UNSAFE_MODULES
    assert not set(calls(file)) & UNSAFE_CALLS


def test_every_floor_of_this_test_is_in_the_architecture_page() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    missing = {name for name in FLOORS if f"`{name}`" not in page and f"`{name}/*`" not in page}
    assert not missing, f"docs/ARCHITECTURE.md does not name {missing}"


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=inside)
def test_every_path_that_a_page_mentions_exists(page: Path) -> None:
    mentioned = set(
        re.findall(r"(?<![\w/.-])((?:streamer|docs|deploy|tests|benchmarks)/[\w./-]*\w)", page.read_text())
    )
    missing = {
        path for path in mentioned if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()
    }
    assert not missing, f"{inside(page)} mentions {sorted(missing)}"
