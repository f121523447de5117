"""A long log, read by a process of its own: to make rows into events costs as much as to judge them.

read_ahead ─ the plan as JSON ─▶ python -m streamer.backtest.ahead ─▶ replay.play
           ◀── lines: events, a hundred or so in one; progress; in the end what was played, or what is wrong
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import orjson

from streamer.adapters.tables import TableError
from streamer.errors import StreamerError
from streamer.replay import Plan, Played, Sink, play

EVENTS, PROGRESS, PLAYED, WRONG = b"E%=!"
TOGETHER = 100
PIPE_BYTES = 1 << 20
"""Some thousand events, or the two would wait for each other."""


class ReaderLost(StreamerError):
    """The process that reads the log has ended before the log did."""


def read_ahead(
    plan: Plan,
    sink: Sink,
    progress: Callable[[int, int], None] = lambda done, total: None,
    going: Callable[[], bool] = lambda: True,
) -> Played:
    """``replay.play`` in another process, the same events in the same order to ``sink``.

    Raises:
        TableError: as ``play``.
        ReaderLost: the other process was killed.
    """
    # -P: a directory of the user's that is called streamer is not the program. A session of its own:
    # Ctrl-C is for this process to hear.
    command = [sys.executable, "-P", "-m", "streamer.backtest.ahead"]
    try:
        process = _started(command, PIPE_BYTES)
    except PermissionError:  # this user has many large pipes already
        process = _started(command, -1)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            process.stdin.write(orjson.dumps(asdict(plan), default=str))
            process.stdin.close()
            return _take(process, process.stdout, sink, progress, going)
        finally:
            process.kill()


def _started(command: list[str], pipe_bytes: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        bufsize=PIPE_BYTES,
        pipesize=pipe_bytes,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def _take(
    process: subprocess.Popen[bytes],
    lines: IO[bytes],
    sink: Sink,
    progress: Callable[[int, int], None],
    going: Callable[[], bool],
) -> Played:
    prediction, label, loads = sink.prediction, sink.label, orjson.loads
    for line in lines:
        kind = line[0]
        if kind == EVENTS:
            for event in loads(line[1:]):
                if "label" in event:
                    label(event)
                else:
                    prediction(event)
        elif kind == PROGRESS:
            progress(*loads(line[1:]))
            if not going():
                process.send_signal(signal.SIGTERM)  # it still tells the labels of what it has told
        elif kind == PLAYED:
            return Played(**loads(line[1:]))
        else:
            raise TableError(loads(line[1:]))
    raise ReaderLost(
        f"the process that reads the log ended by itself (exit status {process.wait()}):"
        " was it killed for want of memory? Try again, with --limit if the log is giant"
    )


# -- the other process -------------------------------------------------------------------------


class _Lines:
    """A sink that writes lines. Of its events only those of labels have a label."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._events: list[Mapping[str, Any]] = []

    def prediction(self, event: Mapping[str, Any]) -> None:
        self._events.append(event)
        if len(self._events) == TOGETHER:
            self._pass_on()

    label = prediction

    def write(self, kind: int, value: Any) -> None:
        self._pass_on()
        self._line(kind, value)

    def _pass_on(self) -> None:
        events, self._events = self._events, []
        if events:
            self._line(EVENTS, events)

    def _line(self, kind: int, value: Any) -> None:
        self._out.write(b"%c%b\n" % (kind, orjson.dumps(value)))
        self._out.flush()


def _plan(plain: Mapping[str, Any]) -> Plan:
    paths = {name: plain[name] and Path(plain[name]) for name in ("predictions", "labels")}
    features = plain["features"]
    return Plan(**{**plain, **paths, "features": None if features is None else tuple(features)})


def main() -> int:
    """Play the plan on standard input to standard output, until the end or SIGTERM."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told.set())
    plan = _plan(orjson.loads(sys.stdin.buffer.read()))
    out = os.fdopen(sys.stdout.fileno(), "wb")
    try:
        with out:
            lines = _Lines(out)
            try:
                played = play(
                    plan,
                    lines,
                    lambda done, total: lines.write(PROGRESS, (done, total)),
                    lambda: not told.is_set(),
                )
                lines.write(PLAYED, asdict(played))
            except TableError as error:
                lines.write(WRONG, str(error))
    except BrokenPipeError:  # nobody listens any more
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
