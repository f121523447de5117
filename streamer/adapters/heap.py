"""The process's memory: few heaps, fewer looks for cycles, and what is free goes back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import Any

GC_THRESHOLDS = (50_000, 50, 100)
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
GIVE_BACK_SECONDS = 60.0


def calm_the_collector() -> None:
    """Look for cycles less often: a chunk holds thousands of young objects, and none of them is in a cycle.

    At Python's own pace the collector walks them again and again, for a third of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def keep_the_heap_small() -> None:
    """Have glibc give large blocks back, and share two heaps among all threads.

    Left alone it keeps what bursts and outgrown dicts leave behind, as much again
    as the pending predictions themselves. Other systems do without.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)
        mallopt(M_MMAP_THRESHOLD, 1 << 20)


async def give_back(seconds: float = GIVE_BACK_SECONDS) -> None:
    """Every so often, return the pages in which nothing is left; a millisecond's work for glibc.

    It does so by itself at a heap's end only, so that for hours a worker would seem to grow.
    """
    trim = _of_libc("malloc_trim")
    while trim is not None:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(trim, 0)


def _of_libc(name: str) -> Callable[..., Any] | None:
    """A function of glibc; None on other systems."""
    try:
        found: Callable[..., Any] = getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None
    return found
