"""The soak's sender: a process of its own, which says each second what it has sent.

It ends, with everything acknowledged, once its standard input is closed: also when the soak is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import orjson

from streamer.adapters.event_sink import EventSink
from tests.soak.traffic import STEP, TOPICS, Plan, Traffic

SAY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sent:
    """``seconds``: since it began. ``sent``: predictions and labels. ``behind``: the most it ever was.

    All in seconds, also ``cpu``: of a core, that it took. The rest as ``Traffic`` says.
    """

    seconds: float = 0.0
    sent: tuple[int, int] = (0, 0)
    behind: float = 0.0
    cpu: float = 0.0
    garbage: Mapping[str, int] = field(default_factory=dict)
    guests: Mapping[str, int] = field(default_factory=dict)

    @property
    def events(self) -> int:
        return sum(self.sent)


class Sender:
    """The process as the soak sees it. ``last``: what it said last."""

    def __init__(self, bootstrap: str, prefix: str, plan: Plan) -> None:
        told = orjson.dumps({"bootstrap": bootstrap, "prefix": prefix, "plan": asdict(plan)}).decode()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.sender", told], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.last = Sent()
        self._reader = threading.Thread(target=self._read, name="sender", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            said = orjson.loads(line)
            self.last = Sent(**{**said, "sent": tuple(said["sent"])})

    def check(self) -> None:
        """Raises AssertionError where it has ended by itself."""
        status = self.process.poll()
        assert status is None, f"the sender ended with {status}"

    def finish(self, seconds: float = 120.0) -> Sent:
        """Send no more; answers what was sent, all of it acknowledged. Raises AssertionError."""
        self.check()
        assert self.process.stdin
        self.process.stdin.close()
        status = self.process.wait(seconds)
        assert status == 0, f"the sender ended with {status}: not all was acknowledged"
        self._reader.join(seconds)
        return self.last

    def close(self) -> None:
        """Gone, whatever became of the rest."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run(bootstrap: str, prefix: str, plan: Plan) -> None:
    """Send at the plan's rate until standard input ends."""
    enough = threading.Event()
    threading.Thread(target=_await_end, args=(enough,), daemon=True).start()
    predictions, labels = (prefix + topic for topic in TOPICS)
    sink = EventSink({"bootstrap.servers": bootstrap}, predictions, labels)
    traffic, sent, behind, told = Traffic(plan), [0, 0], 0.0, 0.0
    began = time.monotonic()

    def say() -> None:
        figures = Sent(
            time.monotonic() - began,
            (sent[0], sent[1]),
            round(behind, 3),
            time.process_time(),
            dict(traffic.garbage),
            dict(traffic.guests),
        )
        sys.stdout.buffer.write(orjson.dumps(asdict(figures)) + b"\n")
        sys.stdout.buffer.flush()

    while not enough.is_set():
        elapsed = time.monotonic() - began
        behind = max(behind, elapsed - traffic.elapsed - STEP)
        for kind, model, value in traffic.until(elapsed, int(time.time() * 1000)):
            sink.put(kind, model, value)
            sent[kind] += 1
        if elapsed - told >= SAY_SECONDS:
            told = elapsed
            say()
        enough.wait(max(0.0, traffic.elapsed + STEP - (time.monotonic() - began)))
    sink.flush()
    say()


def _await_end(enough: threading.Event) -> None:
    """Sets ``enough`` once standard input is closed."""
    os.read(sys.stdin.fileno(), 1)  # not through its buffer, whose lock would outlive us
    enough.set()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us as well; the soak says when to end
    told = orjson.loads(sys.argv[1])
    run(told["bootstrap"], told["prefix"], Plan(**told["plan"]))
