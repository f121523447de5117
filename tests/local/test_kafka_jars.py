"""The broker's jars: held to their digests, and found again without a network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from streamer import kafka_jars
from streamer.kafka_jars import LocalKafkaError, locked_digests, verify


@pytest.fixture
def jars(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.jar", tmp_path / "two.jar"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def digests(jars: list[Path]) -> dict[str, str]:
    return {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars}


def test_the_lock_names_the_broker_and_nothing_without_a_digest() -> None:
    locked = locked_digests()
    assert "kafka_2.13-4.1.1.jar" in locked
    assert all(len(digest) == 64 for digest in locked.values())


def test_jars_as_locked_pass(jars: list[Path]) -> None:
    verify(jars, digests(jars))


def test_an_altered_jar_is_named_with_the_cure(jars: list[Path]) -> None:
    locked = digests(jars)
    jars[1].write_bytes(b"altered")
    with pytest.raises(LocalKafkaError, match=f"rm {jars[1]}"):
        verify(jars, locked)


def test_a_jar_that_nobody_locked_is_refused(jars: list[Path]) -> None:
    with pytest.raises(LocalKafkaError, match=r"two\.jar is not among the locked jars"):
        verify(jars, digests(jars[:1]))


def test_a_jar_that_is_missing_is_named(jars: list[Path]) -> None:
    with pytest.raises(LocalKafkaError, match=r"came without two\.jar"):
        verify(jars[:1], digests(jars))


def test_verified_jars_are_found_again_without_a_network(
    jars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    locked = digests(jars)
    monkeypatch.setattr(kafka_jars, "locked_digests", lambda: locked)
    monkeypatch.setattr(kafka_jars, "_resolve", lambda: jars)
    assert kafka_jars.kafka_jars(said.append, tmp_path / "cache") == jars
    assert said == ["fetching Kafka (44 MB, once)"]

    def no_network() -> list[Path]:
        raise LocalKafkaError("no network")

    monkeypatch.setattr(kafka_jars, "_resolve", no_network)
    assert kafka_jars.kafka_jars(said.append, tmp_path / "cache") == jars
    assert len(said) == 1
    jars[0].unlink()
    with pytest.raises(LocalKafkaError, match="no network"):
        kafka_jars.kafka_jars(said.append, tmp_path / "cache")
