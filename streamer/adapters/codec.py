"""Bytes: events and alerts are JSON (orjson), state is msgpack (msgspec). Never pickle."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

decode_event = orjson.loads
StateError = msgspec.DecodeError


def encode_json(value: Any) -> bytes:
    """Compact JSON; a NaN becomes null."""
    return orjson.dumps(value)


def encode_key(key: tuple[str | int, ...]) -> bytes:
    """The key of a state record: a JSON array, so a person can read it."""
    return orjson.dumps(key)


def decode_key(data: bytes) -> tuple[str | int, ...]:
    return tuple(orjson.loads(data))


encode_cell = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder()


def decode_cell(data: bytes) -> Any:
    """A state record's value. Raises msgspec.DecodeError on bytes that are not msgpack."""
    return _decoder.decode(data)
