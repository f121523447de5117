"""What may stand in an alert, read with care, and how figures look.

Whoever may write to the topic may have written the document: a reader answers with a value of the right
type, else None, and all text is safe to print and cut.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from streamer.terminal import clean, json_line

LONGEST_NAME = 60
LONGEST_TEXT = 300
LONGEST_PLAIN = 600

Pair = tuple[float | None, float | None]
Figures = Callable[[float | None], str]

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def number(value: Any) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def name_of(value: Any, otherwise: str = "–") -> str:
    """A name, safe to print and cut."""
    if value is None or value == "":
        return otherwise
    return cut(clean(value), LONGEST_NAME)


def text_of(value: Any) -> str:
    """A sentence, safe to print and cut."""
    return cut(clean(value), LONGEST_TEXT)


def plain(value: Any) -> str:
    """Whatever it is, as JSON in one line."""
    return cut(value if isinstance(value, str) and value.isprintable() else json_line(value), LONGEST_PLAIN)


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def pair_of(value: Any) -> Pair:
    if isinstance(value, list) and len(value) == 2:
        return number(value[0]), number(value[1])
    return None, None


def moment(value: Any) -> datetime | None:
    """A date as RFC 3339 writes it."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# -- how figures look --------------------------------------------------------------------------------


def shown(value: float | None) -> str:
    """Four digits, and thousands apart."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.4g}"


def signed(value: float | None, digits: int = 3) -> str:
    """With its sign, where it has one."""
    return "–" if value is None else f"{value:+.{digits}g}" if value else "0"


def percent(share: float | None) -> str:
    """``0.123`` → ``12.3 %``."""
    if share is None:
        return "–"
    return f"{share:.0%}".replace("%", " %") if share in (0, 1) else f"{share * 100:.3g} %"


def span(seconds: float) -> str:
    """``5_400`` → ``1 h 30 min``: the two largest units."""
    left, parts = round(seconds), []
    for unit, size in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


def date(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def figures_of(signal: str) -> Callable[[float | None], str]:
    """How the figures of a signal are written."""
    if signal == "silence":
        return lambda value: "–" if value is None else span(value / 1000)
    if signal.startswith("latency"):
        return lambda value: "–" if value is None else f"{shown(value)} ms"
    return shown


def is_link(text: str) -> bool:
    """May it be followed? A page of ours is a path, and a hostile one may be anything."""
    return re.fullmatch(r"https?://[^\s<>\"'`\\]+", text) is not None


def strip_of(values: Sequence[float], width: int) -> list[float]:
    """The last ``width`` values on a scale from 0 to 1."""
    last = [*values[-width:]]
    low, high = min(last), max(last)
    apart = high - low
    return [0.5 if not apart or not math.isfinite(apart) else (x - low) / apart for x in last]
