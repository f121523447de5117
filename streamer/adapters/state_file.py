"""An exported state as one file: a line of JSON that says what it is, the records, a checksum.

The first line is for people and other programs (``head -1 FILE``); after it
come length-prefixed, compressed frames, one of each partition (its live
records as they lie in the topic, and the alerts that are open); the last 32
bytes are the SHA-256 of everything before them. Nothing in it is ever
executed, and nothing is decoded before the checksum was found right. That is
no defence against someone who may write the file: who can may write state.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from streamer import __version__
from streamer.adapters import codec
from streamer.errors import StreamerError

KIND = "streamer state"
VERSION = 1
LONGEST_LINE = 65_536
LENGTH_BYTES = 8
DIGEST_BYTES = 32
CHUNK_BYTES = 1 << 20
# A partition at all its limits has some hundred MB: what unpacks to more is none of ours.
LARGEST_FRAME = 1 << 32

Records = Mapping[bytes, bytes]


class StateFileError(StreamerError):
    """A file cannot be used, or not be written; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line says. ``partitions``: of the topics that it comes from."""

    group: str
    cluster: str
    partitions: int
    state_topic: str
    created_at: str
    frames: int
    kind: str = KIND
    version: int = VERSION
    streamer: str = __version__


@dataclass(frozen=True, slots=True)
class Frame:
    """One partition. ``records``: key → value of state; ``alerts``: fingerprint → the last word on it."""

    partition: int
    records: dict[bytes, bytes]
    alerts: dict[bytes, bytes] = field(default_factory=dict)


def write(path: Path, header: Header, frames: Iterable[Frame]) -> int:
    """Write all of it or nothing; answers the file's size in bytes.

    Raises:
        StateFileError: the file is there already, or cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        if path.exists():
            raise StateFileError(f"{path} is there already: name another file, or delete that one first")
        # Ids of predictions are in it: for its owner alone.
        with open(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            digest = hashlib.sha256()
            count = 0
            for piece in _pieces(header, frames):
                digest.update(piece)
                count += file.write(piece)
            count += file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError as error:
        raise StateFileError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _pieces(header: Header, frames: Iterable[Frame]) -> Iterator[bytes]:
    yield codec.encode_json(asdict(header)) + b"\n"
    for frame in frames:
        packed = zlib.compress(codec.encode_cell([frame.partition, frame.records, frame.alerts]), 1)
        yield len(packed).to_bytes(LENGTH_BYTES, "big") + packed


def read(path: Path) -> tuple[Header, list[Frame]]:
    """The whole file, checked.

    Raises:
        StateFileError: it is no such file, of a version of the future, cut off or changed.
    """
    try:
        with path.open("rb") as file:
            header = _header(path, file.readline(LONGEST_LINE))
            file.seek(0)
            _verify(path, file, os.fstat(file.fileno()).st_size)
            file.seek(0)
            file.readline(LONGEST_LINE)
            return header, [_frame(path, file) for _ in range(header.frames)]
    except OSError as error:
        raise StateFileError(f"{path}: cannot be read: {error.strerror or error}") from None


def _header(path: Path, line: bytes) -> Header:
    try:
        told = msgspec.json.decode(line)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("kind") != KIND:
        raise StateFileError(f"{path} is no file of `streamer state export`")
    if told.get("version") != VERSION:
        raise StateFileError(
            f"{path} has version {told.get('version')} (of streamer {told.get('streamer')}), this program"
            f" reads {VERSION}: use the streamer that wrote it, or a newer one than this"
        )
    try:
        return msgspec.convert(told, Header)
    except msgspec.ValidationError as error:
        raise StateFileError(f"{path}: its first line is not ours ({error}): export it again") from None


def _verify(path: Path, file: Any, size: int) -> None:
    digest, left = hashlib.sha256(), size - DIGEST_BYTES
    while left > 0:
        piece = file.read(min(CHUNK_BYTES, left))
        if not piece:
            break
        digest.update(piece)
        left -= len(piece)
    if left != 0 or file.read() != digest.digest():
        raise StateFileError(
            f"{path}: its checksum does not fit its {size} bytes: it was cut off or changed. Copy it again"
            " from where it was written, or export it again with `streamer state export FILE`"
        )


def _frame(path: Path, file: Any) -> Frame:
    length = int.from_bytes(file.read(LENGTH_BYTES), "big")
    try:
        unpacked = zlib.decompressobj().decompress(file.read(length), LARGEST_FRAME)
        partition, records, alerts = codec.decode_cell(unpacked)
        return Frame(int(partition), dict(records), dict(alerts))
    except (zlib.error, ValueError, TypeError) as error:
        raise StateFileError(f"{path}: a frame cannot be unpacked ({error}): export it again") from None
