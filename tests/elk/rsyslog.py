"""rsyslog as deploy/elk/rsyslog.conf has it, on a test's broker and node."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from streamer.local import free_ports
from tests.deploy.parts import program

CONFIG = Path(__file__).parents[2] / "deploy" / "elk" / "rsyslog.conf"
PACKAGES = "rsyslog rsyslog-kafka rsyslog-elasticsearch"


class Rsyslog:
    """A process that can be killed and started again. Ends with its ``with`` block."""

    def __init__(self, scratch: Path, bootstrap: str, topic: str, elasticsearch: str) -> None:
        self._program = program("rsyslogd", "/usr/sbin/rsyslogd", package=PACKAGES)
        self._scratch = scratch
        self._rejected = scratch / "rejected.jsonl"
        spool = scratch / "spool"
        spool.mkdir()
        there = {
            'topic="alerts"': f'topic="{topic}"',
            '"127.0.0.1:9092"': f'"{bootstrap}"',
            'serverport="9200"': f'serverport="{urlsplit(elasticsearch).port}"',
            "/var/spool/rsyslog": str(spool),
            "/var/log/streamer-rejected.jsonl": str(self._rejected),
            '"streamer.relay.rsyslog"': f'"{topic}.rsyslog"',
        }
        text = CONFIG.read_text()
        for shipped, ours in there.items():
            assert text.count(shipped) == 1, shipped
            text = text.replace(shipped, ours)
        self.config = scratch / "rsyslog.conf"
        self.config.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Rsyslog:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def check(self) -> str:
        """What rsyslog itself says of the configuration; raises where it finds fault."""
        command = [self._program, "-N1", "-f", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    def start(self) -> None:
        pid = self._scratch / f"rsyslog-{free_ports(1)[0]}.pid"
        log = (self._scratch / "rsyslog.log").open("ab")
        with log:
            command = [self._program, "-n", "-f", str(self.config), "-i", str(pid)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def rejected(self) -> list[dict[str, str]]:
        """What it set aside: ``reason`` (empty where it is no alert), ``document``, ``original``."""
        if not self._rejected.exists():
            return []
        return [orjson.loads(line) for line in self._rejected.read_bytes().splitlines()]
