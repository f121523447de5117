"""The event contract, as checks on decoded values; ``docs/events.md`` is its text.

A check answers with the value or raises ``Refused`` with the reason of the
dead letter, which ``partition`` turns into an answer: a bad record is ordinary.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

MAX_ID = 256
MAX_NAME = 200
MAX_VERSION = 100
SECONDS_LIMIT = 10**11
LATEST_MS = 253_402_300_800_000
FUTURE_MS = 5 * 60_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Reason(StrEnum):
    """Why a record became a dead letter. The enum bounds the label's cardinality."""

    UNDECODABLE = "undecodable"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    TIMESTAMP_SECONDS = "timestamp_seconds"
    TIMESTAMP_FUTURE = "timestamp_future"
    MISPLACED = "misplaced"
    OVERSIZED = "oversized"
    TOMBSTONE = "tombstone"
    UNKNOWN_CLASS = "unknown_class"
    CAPACITY = "capacity"
    INTERNAL_ERROR = "internal_error"
    UNREADABLE = "unreadable"


class Refused(Exception):
    """A record that cannot be used; raising keeps the path of good records free of checks."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


CURES: Mapping[Reason, str] = {
    Reason.UNDECODABLE: "the value is not JSON in UTF-8",
    Reason.NOT_AN_OBJECT: "the value is JSON, but not an object",
    Reason.MISSING_FIELD: "a required field is missing; map other names with `fields:` in the objectives",
    Reason.INVALID_FIELD: "a field has the wrong type or is out of range; see docs/events.md",
    Reason.TIMESTAMP_SECONDS: "the timestamp looks like seconds: send epoch milliseconds or RFC 3339",
    Reason.TIMESTAMP_FUTURE: "the timestamp is over 5 min after the broker's own; set the producer's clock",
    Reason.MISPLACED: "the model's home is another partition: key by model, partitioner murmur2_random",
    Reason.OVERSIZED: "the value is larger than the limit",
    Reason.TOMBSTONE: "the record has no value",
    Reason.UNKNOWN_CLASS: "the class is not known: name it in the objectives, or set `task: multiclass`",
    Reason.CAPACITY: "the partition watches as many models, or versions of them, as `limits` allow",
    Reason.INTERNAL_ERROR: "our own code failed on this record; please report it",
    Reason.UNREADABLE: "the client cannot decompress or frame this stretch of the log",
}


def read_timestamp(value: Any, latest_ms: int) -> int:
    """Epoch ms of an RFC 3339 text or a bare number; ``latest_ms`` bounds the future.

    Raises:
        Refused: not a time, seconds, or too far in the future.
    """
    if type(value) is int or type(value) is float:
        if value < SECONDS_LIMIT:
            raise Refused(Reason.TIMESTAMP_SECONDS if value >= 0 else Reason.INVALID_FIELD)
        if not value < LATEST_MS:
            raise Refused(Reason.INVALID_FIELD)
        time = int(value)
    elif type(value) is str and 10 < len(value) <= 40:
        try:
            moment = datetime.fromisoformat(value if value[-1] != "z" else value[:-1] + "Z")
            time = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
        except (ValueError, OverflowError):
            raise Refused(Reason.INVALID_FIELD) from None
        if time < 0:
            raise Refused(Reason.INVALID_FIELD)
    else:
        raise Refused(Reason.INVALID_FIELD)
    if time > latest_ms:
        raise Refused(Reason.TIMESTAMP_FUTURE)
    return time


def read_id(value: Any) -> str:
    """A prediction's id as text; whole numbers are taken too. Raises Refused."""
    if type(value) is int and -(10**18) < value < 10**18:
        value = str(value)
    if type(value) is str and 0 < len(value) <= MAX_ID:
        return value
    raise Refused(Reason.INVALID_FIELD)


def read_name(value: Any, limit: int = MAX_NAME) -> str:
    """The name of a model or version: text without control characters, or a number. Raises Refused."""
    if type(value) is int and -(10**18) < value < 10**18:
        value = str(value)
    if type(value) is str and 0 < len(value) <= limit and value.isprintable():
        return value
    raise Refused(Reason.INVALID_FIELD)


def remap(event: Mapping[str, Any], paths: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, Any]:
    """A foreign record under our own names; what is not mapped stays where it is."""
    mapped = dict(event)
    for name, path in paths:
        value: Any = event
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            mapped[name] = value
    return mapped


def rfc3339(time_ms: int) -> str:
    """``1700000000000`` → ``2023-11-14T22:13:20.000Z``."""
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
