"""Calibrations on disk: JSON that a person can read."""

from __future__ import annotations

from pathlib import Path

import orjson

from streamer.adapters.whole_file import write_whole
from streamer.domain.calibration import Calibration
from streamer.errors import StreamerError

FORMAT = 1
MAKE = "make one with `streamer calibrate`"


class CalibrationFileError(StreamerError):
    """A calibration cannot be read or written; the message names the file and the cure."""


def save(calibration: Calibration, path: Path) -> None:
    """Write it whole or not at all. Raises CalibrationFileError."""
    data = orjson.dumps({"format": FORMAT, **calibration.plain()}, option=orjson.OPT_INDENT_2) + b"\n"
    try:
        write_whole(path, data)
    except OSError as error:
        raise CalibrationFileError(f"{path} cannot be written: {error.strerror or error}") from error


def load(path: Path) -> Calibration:
    """Raises CalibrationFileError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CalibrationFileError(f"{path} cannot be read: {error.strerror or error}; {MAKE}") from error
    try:
        plain = orjson.loads(data)
        written = plain["format"]
        if written == FORMAT:
            return Calibration.of_plain(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationFileError(f"{path} is no calibration of streamer ({error}); {MAKE}") from error
    raise CalibrationFileError(f"{path} is of format {written}, and this version reads {FORMAT}; {MAKE}")
