"""Processes that are looked after: real ones, of a few lines each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from streamer.adapters.log_lines import LONGEST_BYTES, Lines
from streamer.adapters.processes import BACKOFF_MOST, Plan, ProcessesError, Slot, Supervisor
from tests.deadline import wait_until
from tests.ports import adjacent_ports

SERVES = """
import os, signal, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("instance", os.environ["STREAMER_INSTANCE_ID"], flush=True)
"""
WAITS = "while True: signal.pause()"
POLITE = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))" + SERVES + WAITS
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVES + WAITS
FAILS = "import sys; print('streamer: the topic labels is missing', file=sys.stderr); sys.exit(2)"


@dataclass(frozen=True, slots=True)
class ScriptPlan(Plan):
    """Runs a script, with its port as argument, where a worker would be."""

    script: str = POLITE

    def command(self, number: int) -> list[str]:
        return [sys.executable, "-c", self.script, str(self.port + number)]


class Watched:
    """A supervisor in a thread; what it said, and its exit status once it has one."""

    def __init__(self, script: str, count: int = 2, stop_seconds: float = 20.0) -> None:
        self.plan = ScriptPlan(count, [], "127.0.0.1", adjacent_ports(count), "box", script=script)
        self.said: list[str] = []
        self.status: int | None = None
        self.stop = threading.Event()
        self._supervisor = Supervisor(self.plan, self.said.append, stop_seconds)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.status = self._supervisor.run(self.stop)

    def pids(self) -> list[int]:
        """Of the processes that serve now, by number."""
        return [each.process.pid for each in self._supervisor._slots if each.process and each.serves]

    def await_serving(self) -> list[int]:
        return wait_until(lambda: self.pids() if len(self.pids()) == self.plan.count else [], 60, "all serve")

    def end(self) -> int | None:
        self.stop.set()
        return self.wait()

    def wait(self) -> int | None:
        self._thread.join(60)
        return self.status


@pytest.fixture
def watched() -> Iterator[list[Watched]]:
    made: list[Watched] = []
    yield made
    for each in made:
        each.end()


def gone(pid: int) -> bool:
    """An entry that its parent has not read yet is no process any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_each_process_has_a_port_and_an_instance_id_of_its_own_and_all_end_when_told(
    watched: list[Watched],
) -> None:
    pair = Watched(POLITE)
    watched.append(pair)
    pids = pair.await_serving()
    assert pair.end() == 0
    assert sorted(pair.said) == ["[0] instance box-0", "[1] instance box-1"]
    assert all(map(gone, pids))


def test_one_that_is_killed_comes_back_under_its_name_and_the_other_is_left_alone(
    watched: list[Watched], caplog: pytest.LogCaptureFixture
) -> None:
    pair = Watched(POLITE)
    watched.append(pair)
    first, second = pair.await_serving()
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: second not in pair.pids() and len(pair.pids()) == 2, 60, "it is back")
    assert pair.pids()[0] == first
    assert pair.end() == 0
    assert sorted(pair.said) == ["[0] instance box-0", "[1] instance box-1", "[1] instance box-1"]
    assert "process 1 was ended by SIGKILL; it starts again in 1 s" in caplog.text


def test_one_that_cannot_begin_ends_the_whole_with_its_status_and_its_message_once(
    watched: list[Watched],
) -> None:
    pair = Watched(FAILS)
    watched.append(pair)
    assert pair.wait() == 2
    assert pair.said == ["[0] streamer: the topic labels is missing"]


def test_one_that_does_not_end_in_time_is_killed_and_the_exit_status_says_so(watched: list[Watched]) -> None:
    pair = Watched(STUBBORN, stop_seconds=0.5)
    watched.append(pair)
    pids = pair.await_serving()
    assert pair.end() == 1
    assert all(map(gone, pids))


def test_a_port_that_another_program_has_is_said_before_anything_starts() -> None:
    port = adjacent_ports(2)
    plan = ScriptPlan(2, [], "127.0.0.1", port, "box")
    with socket.create_server(("127.0.0.1", port + 1)), pytest.raises(ProcessesError, match="--metrics-port"):
        Supervisor(plan, print).run(threading.Event())


def test_processes_end_when_whoever_looks_after_them_is_killed(tmp_path: Path) -> None:
    program = f"""
import threading, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.adapters.test_processes import POLITE, ScriptPlan, Supervisor
script = "import os; print(os.getpid(), flush=True);" + POLITE
plan = ScriptPlan(1, [], "127.0.0.1", {adjacent_ports(1)}, "box", script=script)
Supervisor(plan, lambda line: print(line, flush=True)).run(threading.Event())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[1])
        assert b"instance box-0" in parent.stdout.readline()
        parent.kill()
    try:
        wait_until(lambda: gone(pid), 30, "the process is gone")
    finally:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


def test_the_wait_doubles_with_each_fall_and_begins_anew_once_it_has_been_well() -> None:
    slot = Slot(0)
    assert [slot.after_a_fall(100.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, BACKOFF_MOST, BACKOFF_MOST]
    assert slot.start_at == 100.0 + BACKOFF_MOST
    slot.serves, slot.served_at = True, 200.0
    assert slot.after_a_fall(259.0) == BACKOFF_MOST
    assert slot.after_a_fall(261.0) == 1


def test_lines_are_put_together_and_marked() -> None:
    lines = Lines(3, "text")
    assert lines.feed(b"12:00:01 INFO one\n12:0") == ["[3] 12:00:01 INFO one"]
    assert lines.feed(b"0:02 INFO two\n\nFatal \x1b[31m") == ["[3] 12:00:02 INFO two"]
    assert lines.feed(b"") == ["[3] Fatal �[31m"]
    assert len(lines.feed(b"x" * (LONGEST_BYTES + 1))) == 1, "a line without an end takes no memory for ever"


def test_json_lines_get_a_field_and_what_is_no_json_becomes_a_message() -> None:
    said = Lines(1, "json").feed(b'{"at":1.5,"level":"info","message":"m"}\nSegmentation fault\n[1]\n')
    assert list(map(orjson.loads, said)) == [
        {"at": 1.5, "level": "info", "message": "m", "process": 1},
        {"level": "error", "logger": "streamer", "message": "Segmentation fault", "process": 1},
        {"level": "error", "logger": "streamer", "message": "[1]", "process": 1},
    ]
