"""Several workers on one machine: starts them, starts again whichever dies, ends them together.

supervise ─▶ Slot (one number: port, instance id, the process that runs now) ─▶ ``streamer worker``
        ◀─ its log, marked with the number (log_lines)
"""

from __future__ import annotations

import ctypes
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from streamer.adapters.log_lines import Lines
from streamer.errors import StreamerError

log = logging.getLogger("streamer.processes")
BACKOFF_SECONDS, BACKOFF_MOST = 1.0, 60.0
WELL_SECONDS = 60.0  # after this long a process is well, and its next fall is its first again
STOP_SECONDS = 45.0  # a last commit, Faust and the router have less each
LOOK_SECONDS = 0.1
PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


class ProcessesError(StreamerError):
    """The processes cannot be started; the message names the cure."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. ``arguments``: of ``streamer worker``, but those that differ from process to process.

    ``port``: of /metrics of the first; the others have the ports that follow.
    ``name``: the instance ids are ``<name>-0``, ``<name>-1``, …
    """

    count: int
    arguments: Sequence[str]
    host: str
    port: int
    name: str
    form: Literal["text", "json"] = "text"

    def command(self, number: int) -> list[str]:
        # -P: a directory of the user's that is called streamer is not the program.
        program = [sys.executable, "-P", "-m", "streamer", "worker"]
        return [*program, "--processes=1", f"--metrics-port={self.port + number}", *self.arguments]

    def environ(self, number: int, around: Mapping[str, str]) -> dict[str, str]:
        return {**around, "STREAMER_INSTANCE_ID": f"{self.name}-{number}"}


@dataclass(slots=True)
class Slot:
    """One of the processes over all its lives. Times are monotonic, in s.

    ``served``: did any of its lives get as far as /metrics? ``falls``: in a row.
    """

    number: int
    process: subprocess.Popen[bytes] | None = None
    served: bool = False
    serves: bool = False
    falls: int = 0
    start_at: float = 0.0
    served_at: float = 0.0
    lines: Lines = field(default_factory=lambda: Lines(0, "text"))

    def after_a_fall(self, now: float) -> float:
        """How long to wait before the next life, in s."""
        if self.serves and now - self.served_at >= WELL_SECONDS:
            self.falls = 0
        self.falls += 1
        wait: float = min(BACKOFF_MOST, BACKOFF_SECONDS * 2 ** (self.falls - 1))
        self.start_at = now + wait
        return wait


class Supervisor:
    """``say`` gets the processes' log, line by line. Runs in one thread, the main one."""

    def __init__(self, plan: Plan, say: Callable[[str], None], stop_seconds: float = STOP_SECONDS) -> None:
        self._plan, self._say, self._stop_seconds = plan, say, stop_seconds
        self._slots = [Slot(number) for number in range(plan.count)]
        self._logs = selectors.DefaultSelector()

    def run(self, stop: threading.Event) -> int:
        """Until ``stop`` is set; answers the exit status.

        A process that ends is started again, later each time it ends soon. One that never got
        as far as /metrics has nothing to go back to: its exit status is that of the whole.
        The first goes ahead, so that what is wrong with the set-up is said once.

        Raises:
            ProcessesError: a port is in use; nothing was started.
        """
        for slot in self._slots:
            self._check_port(self._plan.port + slot.number)
        try:
            while not stop.is_set():
                self._read(LOOK_SECONDS)
                for slot in self._slots:
                    status = self._look_after(slot, time.monotonic())
                    if status is not None:
                        self._end(signal.SIGTERM)
                        return status
            return self._end(signal.SIGTERM)
        finally:
            self._end(signal.SIGKILL)
            self._logs.close()

    def _look_after(self, slot: Slot, now: float) -> int | None:
        """One look at one process; an exit status where the whole has to end."""
        if slot.process is None:
            if now >= slot.start_at and (slot.number == 0 or self._slots[0].served):
                self._start(slot)
            return None
        status = slot.process.poll()
        if status is None:
            if not slot.serves and self._answers(slot):
                slot.serves = slot.served = True
                slot.served_at = now
            return None
        self._drain(slot)
        how = f"was ended by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        if not slot.served:
            log.error("process %d %s before it had begun to work: all of them end", slot.number, how)
            return status if status > 0 else 1
        wait = slot.after_a_fall(now)
        slot.serves = False
        log.error("process %d %s; it starts again in %.0f s", slot.number, how, wait)
        return None

    def _start(self, slot: Slot) -> None:
        plan, number = self._plan, slot.number
        slot.lines = Lines(number, plan.form)
        slot.process = process = subprocess.Popen(
            plan.command(number),
            env=plan.environ(number, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us, and we tell them, once
            preexec_fn=_end_with(os.getpid()),
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._logs.register(process.stdout, selectors.EVENT_READ, slot)
        name = plan.environ(number, {})["STREAMER_INSTANCE_ID"]
        log.info("process %d: pid %d, port %d, instance %s", number, process.pid, plan.port + number, name)

    def _read(self, seconds: float) -> None:
        """Pass on what the processes have written, waiting at most so long for it."""
        if not self._logs.get_map():
            time.sleep(seconds)
            return
        for key, _ in self._logs.select(seconds):
            self._pass_on(key.data, key.fd)

    def _pass_on(self, slot: Slot, fd: int) -> bool:
        """Was there anything?"""
        try:
            written = os.read(fd, 65_536)
        except BlockingIOError:
            return False
        for line in slot.lines.feed(written):
            self._say(line)
        if not written:
            self._logs.unregister(fd)
        return bool(written)

    def _drain(self, slot: Slot) -> None:
        """The process is gone: what it said last, then nothing more of it."""
        process, slot.process = slot.process, None
        if process is None or process.stdout is None:
            return
        with process.stdout as pipe:
            if pipe.fileno() in self._logs.get_map():
                while self._pass_on(slot, pipe.fileno()):
                    pass
            if pipe.fileno() in self._logs.get_map():  # a child of its own still holds it open
                self._logs.unregister(pipe.fileno())

    def _end(self, number: signal.Signals) -> int:
        """Tell all that run, and wait; whoever is not done in time is killed. 0 where all ended well."""
        running = [slot for slot in self._slots if slot.process is not None]
        for slot in running:
            if slot.process is not None:
                slot.process.send_signal(number)
        worst, end = 0, time.monotonic() + self._stop_seconds
        while running:
            self._read(LOOK_SECONDS)
            late = time.monotonic() > end
            for slot in list(running):
                process = slot.process
                if process is not None and late:
                    log.error("process %d is not done after %.0f s: killed", slot.number, self._stop_seconds)
                    process.kill()
                    process.wait()
                if process is None or process.poll() is not None:
                    worst = worst or int(process is not None and not _ended_well(slot, process.returncode))
                    running.remove(slot)
                    self._drain(slot)
        return worst

    def _check_port(self, port: int) -> None:
        family = socket.AF_INET6 if ":" in self._plan.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._plan.host, port))
            except OSError as error:
                last = self._plan.port + self._plan.count - 1
                raise ProcessesError(
                    f"cannot serve metrics on {self._plan.host}:{port} ({error.strerror}):"
                    f" {self._plan.count} processes take the ports {self._plan.port} to {last};"
                    " choose others with --metrics-port"
                ) from error

    def _answers(self, slot: Slot) -> bool:
        """Is there somebody at its port? It was free before."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
        host = anywhere.get(self._plan.host, self._plan.host)
        try:
            socket.create_connection((host, self._plan.port + slot.number), 0.2).close()
            return True
        except OSError:
            return False


def _end_with(parent: int) -> Callable[[], None] | None:
    """Should we be killed, they end as if told: nobody would look after them. Linux only."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, TypeError, AttributeError):
        return None

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)

    return tie


def _ended_well(slot: Slot, status: int) -> bool:
    """One that had not begun yet did not listen either: the signal itself ended it."""
    return status == 0 or (status == -signal.SIGTERM and not slot.serves)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
