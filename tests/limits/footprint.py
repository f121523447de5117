"""The memory of another process, and a hard limit to it."""

from __future__ import annotations

import re
import resource
import threading
from pathlib import Path

from tests.limits.stage import MB

WATCH_SECONDS = 0.05


def cannot_limit() -> str | None:
    """Why no process can be limited here; None: it can."""
    return None if hasattr(resource, "prlimit") else "only Linux limits a running process (prlimit)"


def data_bytes(pid: int) -> int:
    """What RLIMIT_DATA counts: private writable memory, stacks of threads included; 0 of one that is gone."""
    return _field(pid, "VmData")


def resident_bytes(pid: int) -> int:
    """What is in RAM; 0 of one that is gone."""
    return _field(pid, "VmRSS")


def limit_data(pid: int, size: int) -> None:
    """From now on the process gets no more memory than this."""
    resource.prlimit(pid, resource.RLIMIT_DATA, (size, size))


def _field(pid: int, name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


class Watch:
    """Notes the most that a process ever had, until it is told to ``end``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.data = self.resident = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="footprint", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(WATCH_SECONDS):
            self.data = max(self.data, data_bytes(self.pid))
            self.resident = max(self.resident, resident_bytes(self.pid))

    def end(self) -> Watch:
        self._over.set()
        self._thread.join()
        return self

    @property
    def data_mb(self) -> float:
        return round(self.data / MB, 1)

    @property
    def resident_mb(self) -> float:
        return round(self.resident / MB, 1)
