"""A worker as users run it: a process of its own, that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from streamer.adapters.scrape import Scrape, fetch
from streamer.local import free_ports
from tests.deadline import wait_until


class WorkerProcess:
    """``streamer worker`` on topics with a prefix. ``settings`` become STREAMER_* variables."""

    def __init__(
        self, bootstrap: str, prefix: str, scratch: Path, objectives: Path | None = None, **settings: str
    ) -> None:
        self.port = free_ports(1)[0]
        self.log = scratch / f"worker-{self.port}.log"
        command = [sys.executable, "-m", "streamer", "worker", *([str(objectives)] if objectives else [])]
        variables = {
            "bootstrap": bootstrap,
            "topic_prefix": prefix,
            "group": f"{prefix}group",
            "metrics_port": str(self.port),
            "session_timeout": "6",
            "trace": "true",
            **settings,
        }
        environ = {**os.environ, **{f"STREAMER_{key.upper()}": value for key, value in variables.items()}}
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(command, env=environ, stdout=file, stderr=file)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def scrape(self) -> Scrape | None:
        self.check()
        return Scrape.of(f"{self.url}/metrics")

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric, 0 while nobody answers."""
        scrape = self.scrape()
        return 0.0 if scrape is None else scrape.total(name, **labels)

    def ready(self) -> bool:
        self.check()
        return fetch(f"{self.url}/readyz") is not None

    def await_ready(self, seconds: float = 60.0) -> WorkerProcess:
        wait_until(self.ready, seconds, "the worker is ready")
        return self

    def check(self) -> None:
        status = self.process.poll()
        assert status is None, f"the worker ended with {status}:\n{self.said()}"

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def kill(self) -> None:
        """As the kernel does when memory is out."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self, seconds: float = 30.0) -> int:
        """Politely; answers the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(seconds)
