"""What is free goes back to the system also where something in use lies above it."""

from __future__ import annotations

import asyncio
import ctypes
from pathlib import Path

import pytest

from streamer.adapters.heap import give_back

BLOCK, BLOCKS = 100_000, 500  # small enough to lie in the heap


def resident() -> int:
    """Bytes of this process that are in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_hole_below_what_is_in_use_is_given_back() -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this system's malloc is not glibc's")
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    full = resident()
    for block in blocks[:-1]:
        libc.free(block)
    assert resident() > full - BLOCK * BLOCKS // 10, "glibc alone keeps it"

    async def some_time() -> None:
        task = asyncio.ensure_future(give_back(0.01))
        async with asyncio.timeout(20):
            while resident() > full - BLOCK * BLOCKS * 9 // 10:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(some_time())
    libc.free(blocks[-1])
