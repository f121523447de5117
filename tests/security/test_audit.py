"""What CI says of the locked dependencies is never more than it was told."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FINE = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
BAD = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("report", "arguments", "status", "said"),
    [
        ([FINE, FINE], [], 0, "2 locked packages, none with a known vulnerability"),
        ([FINE, BAD], [], 1, "c 2: CVE-1 (mended in 3)"),
        ([SKIPPED, BAD], ["--may-skip"], 1, "c 2: CVE-1"),
        ([FINE, SKIPPED], [], 3, "NOT AUDITED: 1 of 2 packages"),
        ([FINE, SKIPPED], ["--may-skip"], 0, "NOT AUDITED: 1 of 2 packages"),
        ([], [], 3, "NOT AUDITED"),
        (None, [], 3, "NOT AUDITED: no network"),
    ],
)
def test_only_what_was_looked_up_counts_as_clean(
    report: list[dict[str, Any]] | None,
    arguments: list[str],
    status: int,
    said: str,
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = "" if report is None else json.dumps({"dependencies": report})
    done = subprocess.CompletedProcess([], 1, out, "Traceback\nno network\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert audit.main(arguments) == status
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
