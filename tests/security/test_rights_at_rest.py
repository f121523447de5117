"""The commands that change state, which no worker may have in its hands meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.commands import AT_REST, COMMANDS, arguments_of
from tests.security.secured import Secured


@pytest.mark.skipif(AT_REST - set(COMMANDS) != set(), reason="there are no such commands yet")
def test_a_state_is_taken_out_forgotten_and_put_back_with_the_least_rights(
    secured: Secured, tmp_path: Path
) -> None:
    for command in ("state export", "state reset", "state import"):
        done = secured.call(COMMANDS[command][0], *arguments_of(command, tmp_path))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "uthoriz" not in done.stdout + done.stderr
