"""Every command pays for what the program loads before it knows which one it is."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("river", "numpy", "faust", "pandas", "jgo")


def test_the_command_line_loads_what_a_worker_needs_only_for_a_worker() -> None:
    program = f"import sys, streamer.cli; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
