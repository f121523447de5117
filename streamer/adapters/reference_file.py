"""References on disk: JSON that a person can read and a later version still can."""

from __future__ import annotations

from pathlib import Path

import orjson

from streamer.adapters.whole_file import write_whole
from streamer.domain.reference import Reference
from streamer.errors import StreamerError

FORMAT = 1


class ReferenceFileError(StreamerError):
    """A reference cannot be read or written; the message names the file and the cure."""


def save(reference: Reference, path: Path) -> int:
    """Write it whole or not at all; answers how many bytes it has."""
    data = orjson.dumps({"format": FORMAT, **reference.plain()}) + b"\n"
    try:
        write_whole(path, data)
    except OSError as error:
        raise ReferenceFileError(f"{path} cannot be written: {error.strerror or error}") from error
    return len(data)


def load(path: Path) -> Reference:
    """Raises ReferenceFileError."""
    make = "make one with `streamer reference build`"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReferenceFileError(f"{path} cannot be read: {error.strerror or error}; {make}") from error
    try:
        plain = orjson.loads(data)
        written = plain["format"]
        if written == FORMAT:
            return Reference.of_plain(plain)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ReferenceFileError(f"{path} is no reference of streamer ({error}); {make}") from error
    raise ReferenceFileError(f"{path} is of format {written}, and this version reads {FORMAT}; {make}")
