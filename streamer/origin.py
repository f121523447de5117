"""Where a record that a router wrote came from, in its headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# ``predictions:3:17:1790000000000``: topic, partition and offset of the source, and the time it had there.
ORIGIN = "origin"
FIRST = "origin-first-offset"  # of a stretch of the source that no client can read
VALUE_HASH, KEY_HASH = "origin-sha256", "origin-key-sha256"  # of what had to be cut


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a routed record came from. ``first``: of an unreadable stretch that ends at ``offset``.

    ``value_hash``, ``key_hash``: SHA-256 in hexadecimal of what was too long to be brought over whole.
    """

    topic: str
    partition: int
    offset: int
    time_ms: int
    first: int | None = None
    value_hash: bytes | None = None
    key_hash: bytes | None = None


def origin_of(record: Any) -> Origin | None:
    """Where the router found this record; None: it did not, as for one that was redriven.

    Nobody else should write there, and what makes no sense is as good as nothing.
    """
    headers = dict(record.headers() or ())
    try:
        topic, *numbers = headers.get(ORIGIN, b"").decode().split(":")
        partition, offset, time_ms = map(int, numbers)
        first = int(headers[FIRST]) if FIRST in headers else None
    except (ValueError, TypeError, AttributeError):
        return None
    return Origin(topic, partition, offset, time_ms, first, headers.get(VALUE_HASH), headers.get(KEY_HASH))


def router_group(group: str) -> str:
    """The consumer group of the routers that belong to a group of workers."""
    return f"{group}-router"
