"""An exported state as a file: what comes out is what went in, or a line that says why not."""

from __future__ import annotations

import hashlib
import json
import stat
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from streamer.adapters import codec
from streamer.adapters.state_file import VERSION, Frame, Header, StateFileError, read, write

HEADER = Header("churn team", "cluster", 3, "state", "2026-01-01T00:00:00.000Z", 3)
FRAMES = [
    Frame(0, {b'["model","a"]': b"\x81", b'["manifest"]': bytes(range(256)) * 50}, {b"f": b"{}"}),
    Frame(1, {}),
    Frame(2, {b"\x00\xff": b""}),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.state"
    write(path, HEADER, FRAMES)
    return path


def sealed(path: Path, body: bytes) -> Path:
    """Someone with the right checksum."""
    path.write_bytes(body + hashlib.sha256(body).digest())
    return path


def refused(path: Path) -> str:
    with pytest.raises(StateFileError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_what_is_read_is_what_was_written(file: Path) -> None:
    assert read(file) == (HEADER, FRAMES)


def test_the_first_line_says_what_it_is(file: Path) -> None:
    told = json.loads(file.read_bytes().partition(b"\n")[0])
    assert told["kind"] == "streamer state"
    assert (told["version"], told["group"], told["partitions"]) == (VERSION, "churn team", 3)


def test_it_is_for_its_owner_alone(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_not_overwritten(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(StateFileError, match="there already"):
        write(file, HEADER, FRAMES)
    assert file.read_bytes() == before


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def frames() -> Iterator[Frame]:
        yield FRAMES[0]
        raise RuntimeError("the broker is away")

    with pytest.raises(RuntimeError):
        write(tmp_path / "new.state", HEADER, frames())
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateFileError, match="No such file or directory"):
        write(tmp_path / "nowhere" / "x.state", HEADER, FRAMES)


def test_a_file_that_is_cut_off_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for size in {*range(0, len(whole), 37), len(whole) - 1, whole.index(b"\n") + 1}:
        file.write_bytes(whole[:size])
        assert "cut off or changed" in refused(file) or size <= whole.index(b"\n")


def test_a_file_with_something_behind_its_end_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\x00")
    assert "cut off or changed" in refused(file)


def test_a_single_flipped_bit_anywhere_behind_the_first_line_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for at in range(whole.index(b"\n"), len(whole), 11):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        refused(file)


def test_a_changed_first_line_is_noticed(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"churn team", b"other team"))
    assert "cut off or changed" in refused(file)


def test_a_version_of_the_future_is_refused_by_name(file: Path, tmp_path: Path) -> None:
    future = tmp_path / "future.state"
    write(future, replace(HEADER, version=VERSION + 1, streamer="9.1"), FRAMES)
    message = refused(future)
    assert f"has version {VERSION + 1} (of streamer 9.1), this program reads {VERSION}" in message


@pytest.mark.parametrize("data", [b"", b"hello\n", b'{"kind": "else"}\n', b"[1]\n", b"\xff" * 100_000])
def test_what_is_no_such_file_is_told_so(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    assert "no file of `streamer state export`" in refused(path)


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "absent.state")


@pytest.mark.parametrize(
    "frame",
    [b"not compressed", zlib.compress(b"\xc1"), zlib.compress(codec.encode_cell([1, 2])), zlib.compress(b"")],
)
def test_a_frame_that_is_none_is_refused_whatever_its_checksum(frame: bytes, tmp_path: Path) -> None:
    line = codec.encode_json(asdict(replace(HEADER, frames=1)))
    body = line + b"\n" + len(frame).to_bytes(8, "big") + frame
    assert "cannot be unpacked" in refused(sealed(tmp_path / "x", body))


def test_a_first_line_without_what_it_needs_is_refused(tmp_path: Path) -> None:
    line = codec.encode_json({"kind": "streamer state", "version": VERSION}) + b"\n"
    assert "its first line is not ours" in refused(sealed(tmp_path / "x", line))
