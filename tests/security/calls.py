"""``streamer …`` called within this process, for tests of many commands: starting each takes too long."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO
from unittest import mock

from streamer.cli import main


def called(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a process with these variables and arguments would have said, and its exit status."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with ExitStack() as meanwhile:
            meanwhile.enter_context(mock.patch.dict(os.environ, environ, clear=True))
            meanwhile.enter_context(mock.patch.object(sys, "argv", ["streamer", *arguments]))
            for name, number, file in (("stdout", 1, out), ("stderr", 2, err)):
                text = meanwhile.enter_context(_descriptor_into(file, number))
                meanwhile.enter_context(mock.patch.object(sys, name, text))
            meanwhile.enter_context(log_left_as_it_was())
            try:
                main()
            except SystemExit as ended:
                status = ended.code
        assert isinstance(status, int)
        said = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    return subprocess.CompletedProcess([*arguments], status, *said)


@contextmanager
def _descriptor_into(file: IO[bytes], number: int) -> Iterator[io.TextIOWrapper]:
    """What is written to a descriptor goes into a file, by C libraries too; yields the way for Python."""
    before = os.dup(number)
    os.dup2(file.fileno(), number)
    text = io.TextIOWrapper(io.FileIO(number, "wb", closefd=False), "utf-8", write_through=True)
    try:
        yield text
    finally:
        text.detach()
        os.dup2(before, number)
        os.close(before)


@contextmanager
def log_left_as_it_was() -> Iterator[None]:
    """For whoever configures the log of the whole process meanwhile."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    root.handlers = []  # those of pytest are not to be closed
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers = handlers
        root.setLevel(level)
        sys.excepthook, threading.excepthook = hooks
