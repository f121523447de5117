"""The home partition is where other clients' producers put the same key."""

from __future__ import annotations

import pytest

from streamer.home import home, murmur2

# Kafka's own test vectors (clients, UtilsTest.testMurmur2), as signed 32-bit integers.
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), VECTORS.items())
def test_murmur2_is_that_of_the_java_client(key: bytes, expected: int) -> None:
    signed = murmur2(key) - (1 << 32) if murmur2(key) >= 1 << 31 else murmur2(key)
    assert signed == expected


def test_a_home_is_a_partition_and_both_functions_spread_models() -> None:
    names = [f"model {number}" for number in range(2000)]
    for partitioner in ("murmur2", "crc32"):
        homes = [home(name, 12, partitioner) for name in names]  # type: ignore[arg-type]
        assert set(homes) == set(range(12))
        assert max(homes.count(number) for number in range(12)) < 2000 / 12 * 1.5
