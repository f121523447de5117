"""``10m`` ↔ milliseconds."""

from __future__ import annotations

import re

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
LONGEST_MS = 36_500 * 86_400_000


def parse_duration(text: object) -> int:
    """Whole milliseconds of ``250ms``, ``10m``, ``7d``. Raises ValueError with the form expected."""
    match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration: a number and ms, s, m, h or d, as in 10m")
    milliseconds = float(match[1]) * _UNITS[match[2]]
    if milliseconds > LONGEST_MS:
        raise ValueError(f"{text!r} is longer than 100 years")
    if round(milliseconds) < 1:
        raise ValueError(f"{text!r} is shorter than a millisecond")
    return round(milliseconds)
