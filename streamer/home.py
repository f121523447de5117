"""Which partition is a model's home: the same function that its producers use."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal
from zlib import crc32

Partitioner = Literal["murmur2", "crc32"]
LIBRDKAFKA_NAMES = {"murmur2": "murmur2_random", "crc32": "consistent_random"}
_MASK = 0xFFFF_FFFF


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 of Kafka's Java clients (seed 0x9747b28c), unsigned."""
    mix = 0x5BD1E995
    value = (0x9747B28C ^ len(data)) & _MASK
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * mix & _MASK
        word = (word ^ word >> 24) * mix & _MASK
        value = (value * mix & _MASK) ^ word
    if len(data) > whole:
        value = (value ^ int.from_bytes(data[whole:], "little")) * mix & _MASK
    value = (value ^ value >> 13) * mix & _MASK
    return value ^ value >> 15


@lru_cache(maxsize=100_000)
def home(model: str, partitions: int, partitioner: Partitioner = "murmur2") -> int:
    """The home partition of a model: where a producer that keys by model puts its records.

    ``murmur2``: Kafka's Java clients, and librdkafka with
    ``partitioner=murmur2_random``. ``crc32``: librdkafka's default.
    """
    key = model.encode()
    if partitioner == "crc32":
        return crc32(key) % partitions
    return (murmur2(key) & 0x7FFF_FFFF) % partitions
