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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any, Protocol

from streamer.domain.events import CURES
from streamer.domain.partition import Cells, Key
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
        records.append(self._manifest(manifest, pipeline))
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

    def _manifest(self, manifest: Mapping[str, Any], pipeline: Pipeline) -> OutRecord:
        body = self.codec.encode_cell(
            {
                "format": FORMAT,
                "commit": self.number,
                "identity": self.identity,
                "revision": pipeline.partition.objectives.revision,
                "positions": pipeline.positions,
                "last": list(pipeline._last),
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
        for letter in effects.dead_letters:
            yield self._dead_letter(letter, pipeline)

    def _dead_letter(self, letter: DeadLetter, pipeline: Pipeline) -> OutRecord:
        """The original bytes are the value; what we say about them are headers."""
        record = letter.record
        key, value = record.key() or b"", record.value() or b""
        headers = [
            ("reason", letter.reason.value.encode()),
            ("cure", CURES[letter.reason].encode()),
            ("topic", pipeline.topics[letter.kind].encode()),
            ("kind", KINDS[letter.kind].encode()),
            ("partition", str(pipeline.number).encode()),
            ("offset", str(record.offset()).encode()),
            ("timestamp", str(record.timestamp()[1]).encode()),
        ]
        if isinstance(record, Unreadable):
            value = b""
            headers.append(("first-offset", str(record.first).encode()))
        # Cut, so that the letter fits into a record of its topic whatever the sources take.
        if len(value) > self.max_dead_letter:
            headers.append(("truncated-sha256", sha256(value).hexdigest().encode()))
            value = value[: self.max_dead_letter]
        if len(key) > MAX_DEAD_LETTER_KEY:
            headers.append(("truncated-key-sha256", sha256(key).hexdigest().encode()))
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
                    " deleted or truncated? Restore it from a backup, or begin anew under another --group"
                )
            return None
        manifest = self._read_manifest(raw[manifest_key], number)
        if expected is not None and manifest["commit"] < expected:
            raise UntrustedState(
                f"partition {number}: the state is of commit {manifest['commit']},"
                f" the group has seen commit {expected}; the state topic was cut back or restored from an"
                " older copy. Bring back the newer one, or begin anew under another --group"
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
        try:
            pipeline.partition.restore(manifest["partition"], cells)
        except Exception as error:
            raise UntrustedState(
                f"partition {pipeline.number}: the state does not fit together ({error!r}); bring back"
                " a good copy of the state topic, or begin anew under another --group"
            ) from error
        pipeline.positions = list(manifest["positions"])
        kind, offset = manifest["last"]
        pipeline._last = (kind, offset)
        pipeline.stamp()
        self.number = manifest["commit"]
        return pipeline

    def _read_manifest(self, data: bytes, number: int) -> dict[str, Any]:
        check, body = data[:16], data[16:]
        if blake2b(body, digest_size=16).digest() != check:
            raise UntrustedState(
                f"partition {number}: the manifest's checksum does not fit its bytes; bring back"
                " a good copy of the state topic, or begin anew under another --group"
            )
        manifest: dict[str, Any] = self.codec.decode_cell(body)
        if manifest["format"] != FORMAT:
            raise UntrustedState(
                f"partition {number}: the state has format {manifest['format']}, this program reads"
                f" {FORMAT}; run the version of streamer that wrote it"
            )
        self._check_identity(manifest["identity"], number)
        return manifest

    def _check_identity(self, found: Mapping[str, Any], number: int) -> None:
        """Only what our own identity names is compared."""
        differs = {name: value for name, value in self.identity.items() if found.get(name) != value}
        if not differs:
            return
        theirs = {name: found.get(name) for name in differs}
        cure = "give each group a state topic of its own"
        if differs.keys() == {"topic_ids"}:
            cure = (
                "a source topic was deleted and made anew, so the offsets in the state mean other records:"
                " begin anew with another --group and a state topic of its own"
            )
        raise UntrustedState(
            f"partition {number}: the state belongs to {theirs}, this worker to {differs}; {cure}"
        )

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
                f" {manifest['cells']} of commit {manifest['commit']}: some are missing or changed. Bring"
                " back a good copy of the state topic, or begin anew under another --group"
            )
        self.ledger = ledger
        decode, decode_key = self.codec.decode_cell, self.codec.decode_key
        return {decode_key(key): decode(value) for key, value in raw.items() if key != manifest_key}
