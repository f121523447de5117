"""Real data with known truth, kept beside the repository and never in it."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "data"


def data_file(name: str) -> Path:
    """The path of a file; the test is skipped where the folder is not there."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"needs {name} in ../shared/data, which is never committed")
    return path
