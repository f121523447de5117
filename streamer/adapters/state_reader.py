"""A look at committed state from outside, for ``streamer status``: it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamer.adapters import codec
from streamer.adapters.kafka import ClientConfig
from streamer.adapters.transactions import read_state
from streamer.checkpoint import MANIFEST_KEY


def read_manifest(base: ClientConfig, group: str, topic: str, partition: int) -> dict[str, Any] | None:
    """The last committed manifest of one partition, None where nothing was ever committed."""
    cells = read_state(base, group, topic, partition)
    return manifest_of(cells)


def manifest_of(cells: Mapping[bytes, bytes]) -> dict[str, Any] | None:
    """The manifest among the live records of a state partition."""
    raw = cells.get(codec.encode_key(MANIFEST_KEY))
    if raw is None:
        return None
    manifest: dict[str, Any] = codec.decode_cell(raw[16:])
    return manifest
