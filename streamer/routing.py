"""What the router makes of one record: where it goes, and what it carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from streamer.checkpoint import MAX_DEAD_LETTER_KEY, OutRecord
from streamer.domain.events import Refused, read_name
from streamer.origin import FIRST, KEY_HASH, ORIGIN, VALUE_HASH
from streamer.pipeline import KINDS, Unreadable

_ROOMS = tuple(f"routed_{kind}" for kind in KINDS)


def model_of(key: bytes | None, value: bytes, decode: Callable[[Any], Any]) -> str | None:
    """The model as ``pipeline`` looks for it: in the value, else the key. None where neither says."""
    try:
        event = decode(value)
    except ValueError:
        return None
    if type(event) is not dict:
        return None
    try:
        if "model" in event:
            return read_name(event["model"])
        return read_name(key.decode("utf-8", "replace")) if key else None
    except Refused:
        return None


@dataclass(frozen=True, slots=True)
class Routed(OutRecord):
    """A record on its way. ``partition``: of the topic that workers read. ``homeless``: it names no model."""

    partition: int = 0
    homeless: bool = False


@dataclass(frozen=True, slots=True)
class Routes:
    """Which way each record goes. ``topics``: the sources. ``home``: model → partition.

    ``max_value``: the longest value in bytes that a pipeline takes; of a longer one, what makes a
    dead letter is enough.
    """

    topics: tuple[str, str]
    partitions: int
    home: Callable[[str], int]
    decode: Callable[[Any], Any]
    max_value: int = 1_000_000

    def routed(self, kind: int, partition: int, record: Any) -> Routed:
        """Key and value as they are; where nobody can tell the model, the pipeline says what is wrong."""
        place = f"{self.topics[kind]}:{partition}:{record.offset()}:{record.timestamp()[1]}"
        headers = [(ORIGIN, place.encode())]
        key, value, model = record.key(), record.value(), None
        if isinstance(record, Unreadable):
            value = None
            headers.append((FIRST, str(record.first).encode()))
        elif value is not None and len(value) <= self.max_value:
            model = model_of(key, value, self.decode)
        elif value is not None:
            headers.append((VALUE_HASH, sha256(value).hexdigest().encode()))
            value = value[: self.max_value + 1]
        if key is not None and len(key) > MAX_DEAD_LETTER_KEY:
            headers.append((KEY_HASH, sha256(key).hexdigest().encode()))
            key = key[: MAX_DEAD_LETTER_KEY + 1]
        target = partition % self.partitions if model is None else self.home(model)
        return Routed(_ROOMS[kind], key or b"", value, tuple(headers), target, model is None)
