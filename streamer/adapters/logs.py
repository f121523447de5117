"""Log lines: text for a person, or one JSON object a line for a machine; never more than one line."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import orjson

LONGEST = 8000
# Their information is about themselves, not about the work.
CHATTY = (
    "faust",
    "mode",
    "aiokafka",
    "kafka",
    "asyncio",
    # Faust logs the life of its services under the module of the class.
    "streamer.adapters.faust_app",
    "streamer.adapters.transport",
)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """``12:00:01 WARNING partition 3: …``, a traceback's lines joined by `` | ``."""
        at = self.formatTime(record, "%H:%M:%S")
        return f"{at} {record.levelname:<7} {_message(self, record)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Keys ``at`` (epoch seconds), ``level``, ``logger``, ``message``."""
        line: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(self, record),
        }
        return orjson.dumps(line).decode()


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + formatter.formatException(record.exc_info)
    return one_line(text)


def one_line(text: str) -> str:
    """Nothing in it can begin a line, move a cursor or colour a terminal; cut at ``LONGEST``."""
    joined = " | ".join(line for line in text[: 2 * LONGEST].splitlines() if line.strip())
    safe = "".join(each if each.isprintable() else "�" for each in joined)
    whole = len(safe) <= LONGEST and len(text) <= 2 * LONGEST
    return safe if whole else safe[:LONGEST] + "…"


def configure(level: str, form: str) -> None:
    """Send the process's log to standard error. ``form``: ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    if form == "json":
        # What nobody catches is to be read by the same machine.
        sys.excepthook = lambda kind, error, trace: _unforeseen("failed", error)
        threading.excepthook = lambda fall: _unforeseen("a thread failed", fall.exc_value)
    if level != "debug":
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)


def _unforeseen(what: str, error: BaseException | None) -> None:
    logging.getLogger("streamer").critical(what, exc_info=error)
