"""Real Prometheus and Alertmanager as users start them: processes of their own, on free ports."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any, Self

import orjson
import pytest

from streamer.adapters.scrape import fetch
from streamer.local import free_ports
from tests.deadline import wait_until


def program(*names: str, package: str = "prometheus prometheus-alertmanager") -> str:
    """The first of these programs that is installed; none: the test is skipped, but fails in CI.

    ``package``: what brings it on Debian.
    """
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and "CI" not in os.environ:
        pytest.skip(f"{names[0]} is not installed; on Debian: apt-get install {package}")
    assert found, f"CI installs {names[0]}: see .ci/run"
    return found


class Part:
    """One process that serves HTTP. Ends with its ``with`` block.

    ``ready``: the path that answers 200 once it is.
    """

    def __init__(self, command: list[str], port: int, scratch: Path, ready: str = "/-/ready") -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._ready_at = self.url + ready
        self.log = scratch / f"{Path(command[0]).name}.log"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)

    def __enter__(self) -> Self:
        try:
            wait_until(self._ready, 60, f"{self.log.stem} is ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _ready(self) -> bool:
        said = self.log.read_text(errors="replace")[-3000:]
        assert self.process.poll() is None, f"{self.log.stem} ended:\n{said}"
        return fetch(self._ready_at) is not None

    def ask(self, path: str, **parameters: str) -> Any:
        """The JSON that a GET answers; it has to answer."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        body = fetch(url)
        assert body is not None, f"no answer to {url}"
        return orjson.loads(body)


class Prometheus(Part):
    """``config``: its configuration file. Data is kept in ``scratch``."""

    def __init__(self, config: Path, scratch: Path) -> None:
        [port] = free_ports(1)
        super().__init__(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={scratch / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            port,
            scratch,
        )

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The samples of an instant query: labels and value."""
        answer = self.ask("/api/v1/query", query=expression)
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]


class Alertmanager(Part):
    """``config``: its configuration file. ``port``: one that was free; the default looks for one."""

    def __init__(self, config: Path, scratch: Path, port: int | None = None) -> None:
        port = port or free_ports(1)[0]
        super().__init__(
            [
                program("alertmanager", "prometheus-alertmanager"),
                f"--config.file={config}",
                f"--storage.path={scratch / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            port,
            scratch,
        )

    def alerts(self) -> list[dict[str, str]]:
        """The labels of all alerts that are active, and not inhibited."""
        return [each["labels"] for each in self.ask("/api/v2/alerts", inhibited="false")]
