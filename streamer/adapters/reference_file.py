"""References on disk: JSON that a person can read and a later version still can."""

from __future__ import annotations

from pathlib import Path

import orjson

from streamer.adapters.json_file import read_format, write_whole
from streamer.domain.reference import Reference
from streamer.errors import StreamerError

FORMAT = 1


class ReferenceFileError(StreamerError):
    """A reference cannot be read or written; the message names the file and the cure."""


def save(reference: Reference, path: Path) -> int:
    """Write it whole or not at all; answers how many bytes it has."""
    data = orjson.dumps({"format": FORMAT, **reference.plain()}) + b"\n"
    write_whole(path, data, ReferenceFileError)
    return len(data)


def load(path: Path) -> Reference:
    """Raises ReferenceFileError."""
    make = "make one with `streamer reference build`"
    return read_format(path, FORMAT, Reference.of_plain, "reference", make, ReferenceFileError)
