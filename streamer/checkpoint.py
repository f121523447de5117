"""The commit: one Kafka transaction per partition, in this order and no other.

1. Take the effects and the changed cells of the pipeline and serialise them,
   on the event loop: nothing is processed in between.
2. Begin the partition's transaction; write changed cells, tombstones for
   cells that are gone, and last the manifest, which says what the rest must
   add up to and the next offset of both topics.
3. Write alerts, reports and dead letters to the same transaction.
4. Commit it. From here on a restart begins behind these records. A failure
   before leaves nothing: a ``read_committed`` reader never sees any of it.
5. Publish the readings that belong to this commit.
6. Tell the group's offsets, for lag tools and to notice stale state; a
   restart does not trust them.

``Ledger`` is what lets a restart know that it has read everything: the
manifest carries the number of live cells and a sum of their hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from shlex import quote
from typing import Any, Protocol

from streamer.domain.events import CURES
from streamer.domain.partition import Cells, Key, Partition
from streamer.origin import Origin, origin_of
from streamer.pipeline import KINDS, DeadLetter, Effects, Pipeline, Unreadable

FORMAT = 1
MANIFEST_KEY: Key = ("manifest",)
MAX_DEAD_LETTER_KEY = 4096
_MOD = 1 << 64


class UntrustedState(Exception):
    """The state of a partition cannot be used; the message says what is wrong and the cure."""


class Codec(Protocol):
    """How cells, keys and alerts become bytes."""

    def encode_cell(self, value: Any) -> bytes: ...
    def decode_cell(self, data: bytes) -> Any: ...
    def encode_key(self, key: Key) -> bytes: ...
    def decode_key(self, data: bytes) -> Key: ...
    def encode_json(self, value: Any) -> bytes: ...


@dataclass(frozen=True, slots=True)
class OutRecord:
    """One record of a transaction. ``room``: which topic, by its role."""

    room: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, serialised: what a retry sends again, byte for byte."""

    number: int
    records: list[OutRecord]
    positions: tuple[int, int]
    alerts: int
    bytes: int


@dataclass(slots=True)
class Ledger:
    """The hash of every live cell, and their sum."""

    hashes: dict[bytes, int] = field(default_factory=dict)
    total: int = 0

    def note(self, key: bytes, value: bytes | None) -> bool:
        """Record a write; False: a tombstone for a cell that never was, not worth writing."""
        old = self.hashes.pop(key, None)
        if old is not None:
            self.total = (self.total - old) % _MOD
        if value is None:
            return old is not None
        fresh = _hash(key, value)
        self.hashes[key] = fresh
        self.total = (self.total + fresh) % _MOD
        return True


def _hash(key: bytes, value: bytes) -> int:
    return int.from_bytes(blake2b(value, digest_size=8, key=key[:64]).digest(), "little") ^ hash_key(key)


def hash_key(key: bytes) -> int:
    """Keys over 64 bytes do not fit blake2b's own key: they enter here as well."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little") if len(key) > 64 else 0


class Checkpoint:
    """Step 1 for one partition, and the way back from bytes to state.

    ``identity``: what the state belongs to (group, partition count, cluster, topics);
    a manifest with another one is not trusted. Empty for someone who only looks.
    """

    def __init__(self, codec: Codec, identity: Mapping[str, Any], max_dead_letter: int = 1_000_000) -> None:
        self.codec = codec
        self.identity: dict[str, Any] = codec.decode_cell(codec.encode_cell(dict(identity)))
        self.max_dead_letter = max_dead_letter
        self.ledger = Ledger()
        self.number = 0

    def prepare(self, pipeline: Pipeline, trace: bool = False) -> Commit:
        """Serialise everything that the next transaction writes."""
        manifest, cells = pipeline.partition.snapshot()
        effects = pipeline.take_effects()
        self.number += 1
        records = list(self._state(cells))
        revision, last = pipeline.partition.objectives.revision, pipeline._last
        records.append(self._manifest(manifest, revision, pipeline.positions, last))
        records += self._effects(effects, pipeline)
        if trace:
            order = {
                "commit": self.number,
                "positions": pipeline.positions,
                "order": effects.order,
                "unreadable": effects.unreadable,
            }
            records.append(OutRecord("trace", str(pipeline.number).encode(), self.codec.encode_json(order)))
        size = sum(len(record.value or b"") for record in records)
        first, second = pipeline.positions
        return Commit(self.number, records, (first, second), len(effects.alerts), size)

    def _state(self, cells: Cells) -> Iterable[OutRecord]:
        for key, cell in cells.items():
            raw_key = self.codec.encode_key(key)
            value = None if cell is None else self.codec.encode_cell(cell)
            if self.ledger.note(raw_key, value):
                yield OutRecord("state", raw_key, value)

    def rewrite(
        self,
        raw: Mapping[bytes, bytes],
        manifest: Mapping[str, Any],
        cells: Mapping[Key, Any],
        revision: int,
        positions: tuple[int, int],
        last: tuple[int, int],
    ) -> Commit:
        """The commit after ``number`` that makes exactly these cells of the live records ``raw``.

        For who changes a state from outside: ``manifest`` is the domain's part; nothing is published.
        """
        self.ledger, self.number = Ledger(), self.number + 1
        manifest_key = self.codec.encode_key(MANIFEST_KEY)
        fresh = {self.codec.encode_key(key): self.codec.encode_cell(cell) for key, cell in cells.items()}
        records = [OutRecord("state", key, None) for key in raw if key not in fresh and key != manifest_key]
        for key, value in fresh.items():
            self.ledger.note(key, value)
            if raw.get(key) != value:
                records.append(OutRecord("state", key, value))
        records.append(self._manifest(manifest, revision, positions, last))
        return Commit(self.number, records, positions, 0, sum(len(each.value or b"") for each in records))

    def _manifest(
        self, manifest: Mapping[str, Any], revision: int, positions: Sequence[int], last: tuple[int, int]
    ) -> OutRecord:
        body = self.codec.encode_cell(
            {
                "format": FORMAT,
                "commit": self.number,
                "identity": self.identity,
                "revision": revision,
                "positions": list(positions),
                "last": list(last),
                "cells": len(self.ledger.hashes),
                "total": self.ledger.total,
                "partition": manifest,
            }
        )
        check = blake2b(body, digest_size=16).digest()
        return OutRecord("state", self.codec.encode_key(MANIFEST_KEY), check + body)

    def _effects(self, effects: Effects, pipeline: Pipeline) -> Iterable[OutRecord]:
        for alert in effects.alerts:
            report = self.codec.encode_json({"type": "alert", **alert})
            yield OutRecord("alerts", alert["fingerprint"].encode(), self.codec.encode_json(alert))
            yield OutRecord("reports", alert["model"].encode(), report)
        for each in effects.reports:
            yield OutRecord("reports", each["model"].encode(), self.codec.encode_json(each))
        for letter in effects.dead_letters:
            yield self._dead_letter(letter, pipeline)

    def _dead_letter(self, letter: DeadLetter, pipeline: Pipeline) -> OutRecord:
        """The original bytes are the value; what we say about them are headers."""
        record = letter.record
        key, value = record.key() or b"", record.value() or b""
        gap = isinstance(record, Unreadable)
        found = origin_of(record) if pipeline.routed and not gap else None
        origin = found or Origin(
            pipeline.topics[letter.kind], pipeline.number, record.offset(), record.timestamp()[1],
            record.first if gap else None,
        )  # fmt: skip
        headers = [
            ("reason", letter.reason.value.encode()),
            ("cure", CURES[letter.reason].encode()),
            ("topic", origin.topic.encode()),
            ("kind", KINDS[letter.kind].encode()),
            ("partition", str(origin.partition).encode()),
            ("offset", str(origin.offset).encode()),
            ("timestamp", str(origin.time_ms).encode()),
        ]
        if origin.first is not None:
            value = b""
            headers.append(("first-offset", str(origin.first).encode()))
        # Cut, so that the letter fits into a record of its topic whatever the sources take.
        if len(value) > self.max_dead_letter:
            headers.append(("truncated-sha256", origin.value_hash or sha256(value).hexdigest().encode()))
            value = value[: self.max_dead_letter]
        if len(key) > MAX_DEAD_LETTER_KEY:
            headers.append(("truncated-key-sha256", origin.key_hash or sha256(key).hexdigest().encode()))
            key = key[:MAX_DEAD_LETTER_KEY]
        return OutRecord("dead_letters", key, value, tuple(headers))

    def read(
        self, raw: Mapping[bytes, bytes], number: int, expected: int | None = None
    ) -> tuple[dict[str, Any], dict[Key, Any]] | None:
        """The manifest and the cells of a state partition, checked; None where nothing was ever written.

        Arguments and errors as ``restore``.
        """
        self.ledger, self.number = Ledger(), 0
        manifest_key = self.codec.encode_key(MANIFEST_KEY)
        if manifest_key not in raw:
            if raw or expected:
                raise UntrustedState(
                    f"partition {number} has {len(raw)} state records but no manifest"
                    f" (the group's offsets speak of commit {expected or 0}); was the state topic"
                    " deleted or truncated? Restore it from a backup (`streamer state import FILE --replace`)"
                    f"{self._or_anew(number)}"
                )
            return None
        manifest = self._read_manifest(raw[manifest_key], number)
        if expected is not None and manifest["commit"] < expected:
            raise UntrustedState(
                f"partition {number}: the state is of commit {manifest['commit']},"
                f" the group has seen commit {expected}; the state topic was cut back or restored from an"
                " older copy. Bring back the newer one, or put in a backup (`streamer state import FILE"
                f" --replace`){self._or_anew(number)}"
            )
        return manifest, self._read_cells(raw, manifest_key, manifest, number)

    def restore(
        self, raw: Mapping[bytes, bytes], build: Callable[[], Pipeline], expected: int | None
    ) -> Pipeline:
        """A pipeline as of the last commit, from the live records of the state partition.

        Args:
            raw: the records, by key, tombstones already applied.
            build: makes an empty pipeline.
            expected: the commit number that the group's offsets carry, if any.

        Raises:
            UntrustedState: nothing was overwritten; the message names the cure.
        """
        pipeline = build()
        found = self.read(raw, pipeline.number, expected)
        if found is None:
            return pipeline
        manifest, cells = found
        revision = pipeline.partition.objectives.revision
        if manifest["revision"] > revision:
            raise UntrustedState(
                f"partition {pipeline.number}: the state was written under revision {manifest['revision']} of"
                f" the objectives, this worker has revision {revision}: an older file, or none. Start it with"
                f" the newer file, or set `revision: {manifest['revision'] + 1}` in this one if it is meant"
            )
        self.revive(pipeline.partition, manifest, cells, pipeline.number)
        pipeline.positions = list(manifest["positions"])
        kind, offset = manifest["last"]
        pipeline._last = (kind, offset)
        pipeline.stamp()
        self.number = manifest["commit"]
        return pipeline

    def revive(
        self, partition: Partition, manifest: Mapping[str, Any], cells: Mapping[Key, Any], number: int
    ) -> None:
        """Bring what ``read`` has found to life. Raises UntrustedState where it does not fit together."""
        try:
            partition.restore(manifest["partition"], cells)
        except Exception as error:
            raise UntrustedState(
                f"partition {number}: the state does not fit together ({error!r}); {self._good_copy(number)}"
            ) from error

    def _or_anew(self, number: int) -> str:
        """The last resort, as a command."""
        group = self.identity.get("group")
        whose = "" if group is None else f" --group {quote(str(group))}"
        return f", or begin anew with `streamer state reset --partition {number}{whose}`"

    def _good_copy(self, number: int) -> str:
        return (
            "bring back a good copy of the state topic (`streamer state import FILE --replace`)"
            f"{self._or_anew(number)}"
        )

    def _read_manifest(self, data: bytes, number: int) -> dict[str, Any]:
        check, body = data[:16], data[16:]
        if blake2b(body, digest_size=16).digest() != check:
            raise UntrustedState(
                f"partition {number}: the manifest's checksum does not fit its bytes;"
                f" {self._good_copy(number)}"
            )
        manifest: dict[str, Any] = self.codec.decode_cell(body)
        if manifest["format"] != FORMAT:
            raise UntrustedState(
                f"partition {number}: the state has format {manifest['format']}, this program reads"
                f" {FORMAT}; run the version of streamer that wrote it{self._or_anew(number)}"
            )
        self._check_identity(manifest["identity"], number)
        return manifest

    def _check_identity(self, found: Mapping[str, Any], number: int) -> None:
        """Only what our own identity names is compared."""
        differs = {name: value for name, value in self.identity.items() if found.get(name) != value}
        if not differs:
            return
        theirs = {name: found.get(name) for name in differs}
        raise UntrustedState(
            f"partition {number}: the state belongs to {theirs}, this worker to {differs};"
            f" {self._cure_of(differs.keys(), found, number)}"
        )

    def _cure_of(self, differs: Collection[str], found: Mapping[str, Any], number: int) -> str:
        """What to do about state that belongs elsewhere: to keep what is known, it is moved."""
        into = "`streamer state import FILE --replace`"
        if "group" in differs:
            group = quote(str(found.get("group")))
            return (
                "give each group a state topic of its own (STREAMER_TOPIC_NAMES__STATE, or another"
                " --topic-prefix). If this group is to take that one's place: `streamer state export FILE"
                f" --group {group}`, then {into}"
            )
        if "topics" in differs:
            return (
                "this worker reads other topics than the one that wrote it: `repartition`, `topic_names` or"
                " the prefix has changed. Put that back, or give the workers a set of topics of their own"
                f" (--topic-prefix) and another --group{self._or_anew(number)}"
            )
        why = "the partitions of the topics have changed, so models have other homes: keep what is known with"
        if not {"partitions", "partitioner"} & set(differs):
            why = (
                "a source topic was deleted and made anew, so the offsets in the state mean other records:"
                " keep what is known with"
            )
        return f"{why} `streamer state export FILE`, then {into}{self._or_anew(number)}"

    def _read_cells(
        self, raw: Mapping[bytes, bytes], manifest_key: bytes, manifest: Mapping[str, Any], number: int
    ) -> dict[Key, Any]:
        ledger = Ledger()
        for key, value in raw.items():
            if key != manifest_key:
                ledger.note(key, value)
        if (len(ledger.hashes), ledger.total) != (manifest["cells"], manifest["total"]):
            raise UntrustedState(
                f"partition {number}: {len(ledger.hashes)} state records do not add up to the"
                f" {manifest['cells']} of commit {manifest['commit']}: some are missing or changed;"
                f" {self._good_copy(number)}"
            )
        self.ledger = ledger
        decode, decode_key = self.codec.decode_cell, self.codec.decode_key
        return {decode_key(key): decode(value) for key, value in raw.items() if key != manifest_key}
