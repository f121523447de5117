"""Calibrations on disk: JSON that a person can read."""

from __future__ import annotations

from pathlib import Path

import orjson

from streamer.adapters.json_file import read_format, write_whole
from streamer.domain.calibration import Calibration
from streamer.errors import StreamerError

FORMAT = 1


class CalibrationFileError(StreamerError):
    """A calibration cannot be read or written; the message names the file and the cure."""


def save(calibration: Calibration, path: Path) -> None:
    """Write it whole or not at all. Raises CalibrationFileError."""
    data = orjson.dumps({"format": FORMAT, **calibration.plain()}, option=orjson.OPT_INDENT_2) + b"\n"
    write_whole(path, data, CalibrationFileError)


def load(path: Path) -> Calibration:
    """Raises CalibrationFileError."""
    make = "make one with `streamer calibrate`"
    return read_format(path, FORMAT, Calibration.of_plain, "calibration", make, CalibrationFileError)
