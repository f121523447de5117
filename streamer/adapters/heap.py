"""The process's memory: few heaps, and fewer looks for cycles."""

from __future__ import annotations

import ctypes
import gc

GC_THRESHOLDS = (50_000, 50, 100)
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h


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
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(M_ARENA_MAX, 2)
    mallopt(M_MMAP_THRESHOLD, 1 << 20)
