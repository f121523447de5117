"""Reading our own pages: their tables, and the names in backticks."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second rank that begins like this."""
    return text.partition(f"\n## {heading}")[2].partition("\n## ")[0]


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the tables whose first column has this heading, as cells."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        # A bar within a cell is written \|.
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] if line.startswith("|") else []
        if inside and cells and not set("".join(cells)) <= {"-"}:
            rows.append(cells)
        inside = bool(cells) and (inside or cells[0] == first)
    return rows


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def keys(text: str, first: str) -> list[str]:
    """The names in the first column of a table; a row may be about more than one."""
    return [name for row in table(text, first) for name in quoted(row[0])]


def defaults(text: str, first: str) -> dict[str, str]:
    """Name → the text of its default, of a table with one name a row."""
    return {name: row[1] for row in table(text, first) for name in quoted(row[0])}
