"""Waiting for something to come true, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, why: str) -> T:
    """Call ``condition`` until what it answers is true, and answer that; fail after ``seconds``.

    ``why``: what we wait for, as in "the alert resolved".
    """
    end = time.monotonic() + seconds
    pause = 0.01  # short waits end soon; long ones do not keep busy what they wait for
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain until {why}; last answer: {answer!r}")
        time.sleep(pause)
        pause = min(pause * 1.2, 0.25)
