"""Cells and rows are read the quick way exactly as they are read the slow way."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.adapters.tables import JSON_INTEGERS, count_rows, number_or_text, scalar

NUMBERS = st.one_of(
    st.integers(-(10**25), 10**25).map(str),
    st.floats(allow_nan=True).map(repr),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.from_regex(r"\A[ +\-]?[0-9_]{0,6}[.]?[0-9e_]{0,6}[ ]?\Z"),
)


def plainly(value: str) -> Any:
    """A number where the text is one, None where it is blank or not finite, else the text."""
    text = value.strip()
    if not text:
        return None
    if "_" in text:
        return value
    try:
        if text.lstrip("+-").isdecimal() and (whole := int(text)) in JSON_INTEGERS:
            return whole
        number = float(text)
    except ValueError:
        return value
    return number if math.isfinite(number) else None


@given(
    st.one_of(NUMBERS, st.text(max_size=12), st.sampled_from(["", " ", "nan", "inf", "1_0", "٣", "²", "1.٣"]))
)
def test_a_cell_of_text_is_a_number_where_it_is_one(value: str) -> None:
    expected, found = plainly(value), number_or_text(value)
    assert (type(found), found) == (type(expected), expected)
    assert repr(scalar(value)) == repr(found)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "t.csv"


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "", '"', "b\nc", "d\re", "x y", " "]), min_size=1, max_size=3),
        max_size=6,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 6), max_size=3),
)
def test_rows_are_counted_as_a_reader_of_csv_counts_them(
    file: Path, rows: list[list[str]], end: str, blank: list[int]
) -> None:
    with file.open("w", newline="") as target:
        writer = csv.writer(target, lineterminator=end)
        for number, row in enumerate(rows):
            if number in blank:
                target.write(end)
            writer.writerow(row)
    with file.open(newline="") as source:
        expected = max(0, sum(1 for cells in csv.reader(source) if cells) - 1)
    assert count_rows(file) == expected
