"""Documents that are kept as JSON files: written whole or not at all, read with what is wrong in one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson

from streamer.errors import StreamerError

T = TypeVar("T")


def write_whole(path: Path, data: bytes, failure: type[StreamerError]) -> None:
    """Write beside it, then put it in its place. Raises ``failure``."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        raise failure(f"{path} cannot be written: {error.strerror or error}") from error


def read_format(
    path: Path,
    known: int,
    read: Callable[[Mapping[str, Any]], T],
    what: str,
    make: str,
    failure: type[StreamerError],
) -> T:
    """What a file of ours holds.

    Args:
        path: the file.
        known: the format that this version reads.
        read: makes it of the document; may raise whatever a document that does not fit raises.
        what: what the file should be, as in ``reference``.
        make: the cure: how one is made.
        failure: what is raised where it cannot be read or is of another kind or format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise failure(f"{path} cannot be read: {error.strerror or error}; {make}") from error
    try:
        plain = orjson.loads(data)
        written = plain["format"]
        if written == known:
            return read(plain)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise failure(f"{path} is no {what} of streamer ({error}); {make}") from error
    raise failure(f"{path} is of format {written}, and this version reads {known}; {make}")
