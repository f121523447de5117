"""The relay and Alertmanager as users run them: processes that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from streamer.adapters.http_post import Address
from streamer.adapters.scrape import Scrape
from streamer.local import free_ports
from tests.deploy.parts import Alertmanager

# Notifications go to a server of the test, at once.
CONFIG = """
route:
  receiver: people
  group_by: [fingerprint]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
  routes:
    - matchers: [severity = "page"]
      receiver: pager
receivers:
  - name: people
  - name: pager
    webhook_configs:
      - url: {url}
        send_resolved: true
"""


class AlertmanagerProcess:
    """Its receiver `pager` is told at the address ``notify``. It can be started again on its data."""

    def __init__(self, scratch: Path, notify: str) -> None:
        self._scratch = scratch
        self._config = scratch / "alertmanager.yml"
        self._config.write_text(CONFIG.format(url=notify))
        self._port = free_ports(1)[0]
        self._process: Alertmanager | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> AlertmanagerProcess:
        self._process = Alertmanager(self._config, self._scratch, self._port).__enter__()
        return self

    def stop(self) -> None:
        """It keeps alerts in memory and knows none after this; whom it has told it writes down as it ends."""
        if self._process is not None:
            self._process.__exit__()
            self._process = None

    def alerts(self) -> list[dict[str, Any]]:
        """What it knows to be firing."""
        assert self._process is not None
        found: list[dict[str, Any]] = self._process.ask("/api/v2/alerts")
        return found

    def firing(self) -> set[str]:
        return {each["labels"]["fingerprint"] for each in self.alerts()}

    def silence(self, name: str, value: str) -> None:
        body = {
            "matchers": [{"name": name, "value": value, "isRegex": False}],
            "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "2126-01-01T00:00:00Z",
            "createdBy": "test",
            "comment": "test",
        }
        assert Address(f"{self.url}/api/v2/silences").post(orjson.dumps(body)).taken


class RelayProcess:
    """``streamer relay`` on topics with a prefix. ``settings`` become STREAMER_* variables."""

    def __init__(self, bootstrap: str, prefix: str, scratch: Path, **settings: str) -> None:
        self._scratch = scratch
        self.port = free_ports(1)[0]
        variables = {
            "bootstrap": bootstrap,
            "topic_prefix": prefix,
            "group": f"{prefix}group",
            "instance_id": "relay",  # one that was killed is replaced at once, not after the session's time
            **settings,
        }
        ours = {key: value for key, value in os.environ.items() if not key.startswith("STREAMER_")}
        self._environ = ours | {f"STREAMER_{key.upper()}": value for key, value in variables.items()}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> RelayProcess:
        command = [sys.executable, "-m", "streamer", "relay", "--metrics-port", str(self.port)]
        with (self._scratch / "relay.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environ, stdout=log, stderr=log)
        return self

    def kill(self) -> None:
        """As the kernel does when memory is out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(60)
        self._process = None
        return status

    def total(self, name: str, **labels: str) -> float:
        scrape = Scrape.of(f"http://127.0.0.1:{self.port}/metrics")
        return 0.0 if scrape is None else scrape.total(name, **labels)

    def said(self) -> str:
        return (self._scratch / "relay.log").read_text()
