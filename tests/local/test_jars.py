"""Jars, the broker's for one: held to their digests, and found again without a network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from streamer import jars as module
from streamer.jars import KAFKA, Jars, LocalKafkaError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.jar", tmp_path / "two.jar"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def locked(files: list[Path], scratch: Path) -> Jars:
    """These files, as they are now."""
    lock = scratch / "some-jars.sha256"
    lines = [f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}\n" for each in files]
    lock.write_text("".join(lines))
    return Jars("Some", "org.example:some:1", 3, lock)


def test_the_lock_names_the_broker_and_nothing_without_a_digest() -> None:
    digests = KAFKA.digests()
    assert "kafka_2.13-4.1.1.jar" in digests
    assert all(len(digest) == 64 for digest in digests.values())


def test_jars_as_locked_pass(files: list[Path], tmp_path: Path) -> None:
    locked(files, tmp_path).verify(files)


def test_an_altered_jar_is_named_with_the_cure(files: list[Path], tmp_path: Path) -> None:
    some = locked(files, tmp_path)
    files[1].write_bytes(b"altered")
    with pytest.raises(LocalKafkaError, match=f"rm {files[1]}"):
        some.verify(files)


def test_a_jar_that_nobody_locked_is_refused(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(LocalKafkaError, match=r"two\.jar is not among the locked jars"):
        locked(files[:1], tmp_path).verify(files)


def test_a_jar_that_is_missing_is_named(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(LocalKafkaError, match=r"came without two\.jar"):
        locked(files, tmp_path).verify(files[:1])


def test_verified_jars_are_found_again_without_a_network(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    some = locked(files, tmp_path)
    monkeypatch.setattr(module, "resolve", lambda _: files)
    assert some.fetch(said.append, tmp_path / "cache") == files
    assert said == ["fetching Some (3 MB, once)"]

    def no_network(_: str) -> list[Path]:
        raise LocalKafkaError("no network")

    monkeypatch.setattr(module, "resolve", no_network)
    assert some.fetch(said.append, tmp_path / "cache") == files
    assert len(said) == 1
    files[0].unlink()
    with pytest.raises(LocalKafkaError, match="no network"):
        some.fetch(said.append, tmp_path / "cache")
