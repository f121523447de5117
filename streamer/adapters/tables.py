"""Rows of CSV and Parquet files, and what their cells mean: text, numbers, ids, moments."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any
from uuid import UUID

from streamer.errors import StreamerError

Row = Mapping[str, Any]

SECONDS_LIMIT = 10**11
LATEST_MS = 253_402_300_800_000  # the year 10000
JSON_INTEGERS = range(-(2**63), 2**64)
PARQUET_BATCH = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
_BLANK = ("\n", "\r\n", "\r")


class TableError(StreamerError):
    """A file cannot be used; the message names the file, the row where there is one, and the cure.

    The row is the line of a CSV file; the rows of a Parquet file count from 1.
    """


# -- files -----------------------------------------------------------------------------------


def rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a CSV (``.csv``, ``.csv.gz``) or Parquet (``.parquet``) file, numbered, as dicts."""
    if _is_parquet(path):
        with _parquet(path) as file:
            batches = (_microseconds(batch).to_pylist() for batch in file.iter_batches(PARQUET_BATCH))
            yield from enumerate((row for batch in batches for row in batch), start=1)
        return
    with _text(path) as file:
        reader = csv.reader(file)
        names = next(reader, [])
        for cells in reader:
            if len(cells) == len(names):
                yield reader.line_num, dict(zip(names, cells, strict=True))
            elif cells:  # else a blank line
                raise TableError(
                    f"{path}, row {reader.line_num}: {len(cells)} cells,"
                    f" but the header names {len(names)} columns"
                )


def count_rows(path: Path) -> int:
    """How many rows there are, without the header."""
    if _is_parquet(path):
        with _parquet(path) as file:
            return int(file.metadata.num_rows)
    with _text(path) as file:
        lines = 0
        for line in file:
            if '"' in line or "\r" in line[:-2]:  # a line may be a part of a row, or more than one
                break
            lines += line not in _BLANK
        else:
            return max(0, lines - 1)
    with _text(path) as file:
        return max(0, sum(1 for cells in csv.reader(file) if cells) - 1)


def header(path: Path) -> list[str]:
    """The names of the columns. Raises TableError where there are none, or one comes twice."""
    if _is_parquet(path):
        with _parquet(path) as file:
            names = list(file.schema_arrow.names)
    else:
        with _text(path) as file:
            names = next(csv.reader(file), [])
    if not names:
        raise TableError(f"{path} is empty: the first line has to name the columns")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"{path} names more than one column {listed(twice)}")
    return names


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOBase]:
    try:
        opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except EOFError:
        raise TableError(f"{path}: cannot be read: the compressed file is cut off") from None
    except zlib.error as error:
        raise TableError(f"{path}: cannot be read: the compressed file is damaged ({error})") from None
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from None
    except csv.Error as error:
        raise TableError(f"{path}: not CSV: {error}") from None


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise TableError(f"{path}: Parquet needs an extra: pip install 'streamer[parquet]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except TableError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise TableError(f"{path}: cannot be read as Parquet: {reason}") from None


def _microseconds(batch: Any) -> Any:
    """Times that Python can hold: nanoseconds cut off, and UTC, since not every system knows all zones."""
    import pyarrow

    def plain(kind: Any) -> Any:
        if pyarrow.types.is_timestamp(kind):
            return pyarrow.timestamp("us")
        if pyarrow.types.is_time64(kind):
            return pyarrow.time64("us")
        return pyarrow.duration("us") if pyarrow.types.is_duration(kind) else kind

    fields = [each.with_type(plain(each.type)) for each in batch.schema]
    return batch.cast(pyarrow.schema(fields), safe=False)


def listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)


# -- cells -----------------------------------------------------------------------------------


def scalar(value: Any) -> Any:
    """A cell as JSON can say it; None where it is empty or not finite.

    Text that reads as a number becomes one, and so do decimals. Durations
    become milliseconds, dates and times ISO 8601, bytes text (hexadecimal
    where they are not UTF-8).

    Raises:
        ValueError: a list or a struct.
    """
    if isinstance(value, str):
        return number_or_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        value = int(value) if whole else float(value)
    if isinstance(value, int):
        return value if value in JSON_INTEGERS else float(value)
    if isinstance(value, Real):  # NumPy's half floats too, which Parquet files may hold
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, (date, time_of_day)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value / MILLISECOND
    if isinstance(value, UUID):
        return str(value)
    raise ValueError(f"is a {type(value).__name__}, not a number, a text or a boolean")


def number_or_text(value: str) -> Any:
    """A cell of a CSV file, as of ``scalar``."""
    # Most cells are digits, or digits with a point: they are told apart first.
    if value.isdecimal() and len(value) < 18:
        return int(value)
    if "." in value and "_" not in value:
        try:
            number = float(value)
        except ValueError:
            return value if value.strip() else None
        return number if math.isfinite(number) else None
    text = value.strip()
    if not text:
        return None
    if "_" in text:  # Python reads 1_000 as a number, nobody else does
        return value
    try:
        if text.lstrip("+-").isdecimal() and (whole := int(text)) in JSON_INTEGERS:
            return whole
        number = float(text)
    except ValueError:
        return value
    return number if math.isfinite(number) else None


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def reader_of(path: Path) -> Callable[[Any], Any]:
    """What reads a cell of this file: ``scalar``, or the part of it that text needs."""
    return scalar if _is_parquet(path) else number_or_text


def cell(row: Row, column: str, path: Path, number: int) -> Any:
    try:
        return scalar(row[column])
    except ValueError as error:
        raise TableError(f"{path}, row {number}: {column} {error}") from None


def identity(value: Any) -> str:
    """An id or a version as text, "" where there is none."""
    if isinstance(value, str):
        return value if value.strip() else ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers with gaps between them become floats in pandas
    if isinstance(value, bytes):
        return _decoded(value)
    return "" if value is None or value != value else str(value)


def is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def time_ms(value: Any, path: Path, number: int) -> int:
    """Epoch ms of a cell: a number (seconds below 1e11), a date, or ISO 8601, in UTC if it says no zone."""
    try:
        given = value if isinstance(value, date) else scalar(value)
        if isinstance(given, str):
            given = datetime.fromisoformat(given.strip())
        if isinstance(given, date):
            return _epoch_ms(given)
        if given is None:
            raise TableError(f"{path}, row {number}: the timestamp is empty")
        found = round(given * 1000) if given < SECONDS_LIMIT else int(given)
        if not isinstance(given, bool) and 0 <= found < LATEST_MS:
            return found
    except ValueError:
        pass
    raise TableError(
        f"{path}, row {number}: {value!r} is not a timestamp: ISO 8601, or epoch seconds or milliseconds"
    )


def _epoch_ms(moment: date) -> int:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND
