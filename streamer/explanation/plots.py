"""Small drawings for the page, as SVG in it.

They are as wide as there is room: places across are in per cent, so text in them is never distorted.
What they show stands beside them as text too.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from streamer.explanation.reading import Explanation, Scale
from streamer.explanation.values import strip_of
from streamer.html import drawing, node


def _rect(x: float, width: float, y: float, height: float, class_: str) -> Element:
    """``x`` and ``width`` in per cent of the room, ``y`` and ``height`` in pixels."""
    across = {"x": f"{x:.2f}%", "width": f"{max(0.0, width):.2f}%"}
    return node("rect", class_=class_, **across, y=f"{y:g}", height=f"{height:g}")


def bar(share: float, class_: str) -> Element:
    """A bar of this share of the room; anything at all shows."""
    return drawing(_rect(0, _across(share), 0, 12, class_), class_="bar")


def bars(before: float, after: float) -> Element:
    """Two bars, one above the other."""
    parts = (_rect(0, _across(before), 1, 6, "before"), _rect(0, _across(after), 8, 6, "after"))
    return drawing(*parts, class_="bars")


def _across(share: float) -> float:
    return max(max(0.0, min(1.0, share)) * 100, 0.6 if share > 0 else 0.0)


def scale_of(found: Explanation, scale: Scale) -> Element:
    """The figure with its bounds and the limit on one axis."""

    def at(value: float) -> float:
        return (value - scale.low) / (scale.high - scale.low) * 100

    limit, value = at(scale.threshold), at(scale.value)
    bad = (0.0, limit) if scale.bad_below else (limit, 100 - limit)
    good = (limit, 100 - limit) if scale.bad_below else (0.0, limit)
    parts = [_rect(*good, 27, 6, "good faint"), _rect(*bad, 27, 6, "bad faint")]
    if scale.lower is not None and scale.upper is not None:
        low, high = at(scale.lower), at(scale.upper)
        parts.append(_rect(low, high - low, 24, 12, "bad half"))
    parts.append(_rect(limit - 0.15, 0.3, 18, 24, "good"))
    parts.append(node("circle", class_="dot", cx=f"{value:.2f}%", cy="30", r="6"))
    parts.append(_label(value, 13, found.figures(scale.value), "value"))
    parts.append(_label(limit, 56, f"{found.limit} {found.figures(scale.threshold)}", "limit"))
    return drawing(*parts, class_="scale")


def _label(x: float, y: float, text: str, class_: str) -> Element:
    """Text over or under a place, and inside the drawing."""
    anchor = "start" if x < 15 else "end" if x > 85 else "middle"
    return node("text", text, class_=class_, x=f"{x:.2f}%", y=f"{y:g}", **{"text-anchor": anchor})


def steps_of(values: Sequence[float], places: Sequence[float] | None = None) -> Element:
    """A line of steps, each value from its place on; without places they are as wide as each other."""
    heights = strip_of(values, len(values))
    xs = [at / len(values) * 100 for at in range(len(values))]
    if places is not None and len(places) == len(values) > 2 and places[-1] > places[1]:
        # The level before the first place has no beginning: it is drawn a tenth wide, as is the last one.
        first, last = places[1], places[-1]
        xs = [0.0, *(10 + (each - first) / (last - first) * 80 for each in places[1:])]
    points = []
    for x, end, height in zip(xs, [*xs[1:], 100.0], heights, strict=True):
        y = 94 - height * 88
        points += [f"{x:.2f},{y:.2f}", f"{end:.2f},{y:.2f}"]
    line = node(
        "polyline", class_="steps", points=" ".join(points), **{"vector-effect": "non-scaling-stroke"}
    )
    return drawing(line, class_="levels", viewBox="0 0 100 100", preserveAspectRatio="none")
