"""A worker as users run it: a process of its own, that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from streamer.adapters.scrape import Scrape, fetch
from streamer.local import free_ports
from tests.deadline import wait_until

PROGRAM = ("-m", "streamer")


class WorkerProcess:
    """``streamer worker`` on topics with a prefix. ``settings`` become STREAMER_* variables.

    ``program``: what Python runs, should it be something around streamer.
    """

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        scratch: Path,
        objectives: Path | None = None,
        program: Sequence[str] = PROGRAM,
        **settings: str,
    ) -> None:
        self.port = free_ports(1)[0]
        self.log = scratch / f"worker-{self.port}.log"
        command = [sys.executable, *program, "worker", *([str(objectives)] if objectives else [])]
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
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of dozens would compile Faust and River anew
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(command, env=environ, stdout=file, stderr=file)
        self.ended = False  # by the test, not by itself

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

    def readiness(self) -> tuple[int, str]:
        """The status and the words of /readyz; 0 where nobody answers."""
        self.check()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def await_commits(self, more: int, seconds: float = 60.0) -> None:
        """Until it has committed this many times more: it is at work."""
        goal = self.total("streamer_commits_total") + more
        try:
            wait_until(lambda: self.total("streamer_commits_total") >= goal, seconds, f"{goal} commits")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.said()}") from None

    def await_ready(self, seconds: float = 60.0) -> WorkerProcess:
        wait_until(self.ready, seconds, "the worker is ready")
        return self

    def check(self) -> None:
        status = self.process.poll()
        assert status is None, f"the worker ended with {status}:\n{self.said()}"

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-6000:]

    def kill(self) -> None:
        """As the kernel does when memory is out."""
        self.ended = True
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self, seconds: float = 30.0) -> int:
        """Politely, a frozen one too; answers the exit status."""
        self.ask_to_stop()
        return self.process.wait(seconds)

    def ask_to_stop(self) -> None:
        """SIGTERM, once: a second one could meet it when it is done and listens no more."""
        if not self.ended and self.process.poll() is None:
            self.thaw()
            self.process.terminate()
        self.ended = True
