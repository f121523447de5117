"""Many processes' logs as one: each whole line says whose it is."""

from __future__ import annotations

from typing import Literal

import orjson

from streamer.adapters.logs import one_line

LONGEST_BYTES = 65_536


class Lines:
    """What one process writes, put together into lines.

    ``form``: of the process's log. ``text`` gives ``[2] 12:00:01 INFO …``, ``json``
    the same object with ``"process": 2``; what is no JSON, such as a last word of
    the interpreter, becomes the message of one.
    """

    def __init__(self, process: int, form: Literal["text", "json"]) -> None:
        self._process, self._form = process, form
        self._rest = b""

    def feed(self, written: bytes) -> list[str]:
        """The lines that are whole now, without their ends. Nothing written: it has closed its log."""
        *whole, self._rest = (self._rest + written).split(b"\n")
        if not written or len(self._rest) > LONGEST_BYTES:
            whole.append(self._rest)
            self._rest = b""
        return [self._marked(line) for line in whole if line.strip()]

    def _marked(self, line: bytes) -> str:
        if self._form == "text":
            return f"[{self._process}] {one_line(line.decode(errors='replace'))}"
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            text = one_line(line.decode(errors="replace"))
            found = {"level": "error", "logger": "streamer", "message": text}
        return orjson.dumps({**found, "process": self._process}).decode()
