"""An alert that is explained, as one page of HTML that needs nothing else: no script, no font, no network.

Built as a tree and written by the standard library's serialiser, so no text of an alert can become
markup; a policy in the page forbids a browser to load or run anything all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

from streamer.explanation.reading import Cell, ColumnPart, Explanation, Scale
from streamer.explanation.values import is_link, percent, shown, signed, strip_of

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page_of(found: Explanation) -> str:
    """The whole page."""
    main = _node("main", *_sections(found), class_=_word(found.status))
    head = _node(
        "head",
        _node("meta", charset="utf-8"),
        _node("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        _node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _node("meta", name="color-scheme", content="light dark"),
        _node("title", f"{found.who}: {found.headline}"),
        _node("style", (files("streamer.explanation") / "page.css").read_text()),
    )
    tree = _node("html", head, _node("body", main), lang="en")
    return f"<!doctype html>\n{tostring(tree, encoding='unicode', method='html')}\n"


def _node(tag: str, *inside: Element | str | None, class_: str | None = None, **attributes: str) -> Element:
    """An element; what is None is left out."""
    node = Element(tag, attributes if class_ is None else {"class": class_, **attributes})
    last: Element | None = None
    for each in inside:
        if isinstance(each, Element):
            node.append(each)
            last = each
        elif each is not None and last is None:
            node.text = (node.text or "") + each
        elif each is not None and last is not None:
            last.tail = (last.tail or "") + each
    return node


def _word(text: str) -> str:
    """Only a word that is known becomes a class."""
    return text if text in ("firing", "updated", "resolved", "page", "ticket") else "other"


def _sections(found: Explanation) -> Iterator[Element]:
    yield _node(
        "header",
        _node(
            "div",
            _node("span", found.status, class_=f"pill {_word(found.status)}"),
            _node("span", found.severity, class_=f"pill {_word(found.severity)}"),
            _node("b", found.who),
            _node("span", found.rule),
            class_="top",
        ),
        _node("h1", found.headline),
    )
    yield _node("section", _facts(found), *(() if found.scale is None else _scale(found, found.scale)))
    if found.columns:
        against = "the most changed first" + ("" if found.made_of is None else f", against {found.made_of}")
        yield _node("section", _heading("Columns", against), _key(), *map(_column, found.columns))
    if found.segments:
        yield _node(
            "section", _heading("Segments", "the biggest part of the change first"), *_segments(found)
        )
    if found.versions:
        about = "on the same traffic, in the same window"
        yield _node("section", _heading("Versions", about), _versions(found))
    if found.detections:
        yield _node("section", *_detections(found))
    if found.recent:
        values = ", ".join(map(shown, found.recent))
        yield _node(
            "section", _heading("Recent values"), _line_of(found.recent), _node("p", values, class_="note")
        )
    if found.labels or found.warnings:
        warnings = (_node("p", each, class_="warn") for each in found.warnings)
        yield _node("section", _heading("Labels"), _pairs(found.labels), *warnings)
    if found.examples:
        about = "predictions that were wrong, the newest last"
        ids = _node("ul", *(_node("li", each) for each in found.examples), class_="ids")
        yield _node("section", _heading("Examples", about), ids)
    if found.rest:
        yield _node("section", _heading("Also in the alert"), _pairs(found.rest))
    parts = (_node("span", f"{name} ", _node("code", value)) for name, value in found.identity)
    yield _node("footer", *parts)


def _heading(text: str, more: str | None = None) -> Element:
    return _node("h2", text, None if more is None else _node("small", more))


def _pairs(rows: Iterable[tuple[str, str]]) -> Element:
    return _node("dl", *(part for name, value in rows for part in (_node("dt", name), _node("dd", value))))


def _facts(found: Explanation) -> Element:
    facts = _node("dl")
    for name, value in found.facts:
        facts.append(_node("dt", name))
        facts.append(_node("dd", value, class_="first" if name == "look first" else None))
    if found.runbook is not None:
        link = found.runbook
        shown_as = _node("a", link, href=link, rel="noreferrer") if is_link(link) else _node("code", link)
        facts.append(_node("dt", "runbook"))
        facts.append(_node("dd", shown_as))
    return facts


def _rect(x: float, y: float, width: float, height: float, class_: str, **more: str) -> Element:
    numbers = {"x": x, "y": y, "width": max(0.0, width), "height": height}
    return _node("rect", class_=class_, **{name: f"{value:.3f}" for name, value in numbers.items()}, **more)


def _stretched(*inside: Element, class_: str) -> Element:
    """A drawing a hundred wide and ten high that fills whatever room there is."""
    return _node(
        "svg",
        *inside,
        class_=class_,
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        **{"aria-hidden": "true"},
    )


def _scale(found: Explanation, scale: Scale) -> Iterator[Element]:
    """The figure with its bounds and the objective on one axis."""

    def at(value: float) -> float:
        return (value - scale.low) / (scale.high - scale.low) * 100

    limit, value = at(scale.threshold), at(scale.value)
    bad = (0.0, limit) if scale.bad_below else (limit, 100 - limit)
    parts = [_rect(0, 4, 100, 2, "good", opacity="0.25"), _rect(bad[0], 4, bad[1], 2, "bad", opacity="0.3")]
    if scale.lower is not None and scale.upper is not None:
        low, high = at(scale.lower), at(scale.upper)
        parts.append(_rect(low, 3, high - low, 4, "bad", opacity="0.55"))
    parts += [_rect(limit - 0.2, 0, 0.4, 10, "good"), _rect(value - 0.4, 0.5, 0.8, 9, "bad")]
    yield _stretched(*parts, class_="scale")
    names = [
        (value, _node("i", f"{found.figures(scale.value)}", class_="v")),
        (limit, _node("i", f"objective {found.figures(scale.threshold)}", class_="t")),
    ]
    yield _node("div", *(node for _, node in sorted(names, key=lambda each: each[0])), class_="ends")


def _key() -> Element:
    return _node(
        "p", _node("i", class_="kb"), "before  ", _node("i", class_="ka"), "after", class_="note key"
    )


def _column(column: ColumnPart) -> Element:
    distance = (
        None
        if column.distance is None
        else _node("small", f"  distance {shown(column.distance)}", class_="note")
    )
    part = _node("div", _node("h3", column.name, distance), class_="column")
    if column.facts:
        part.append(_node("p", "  ·  ".join(column.facts), class_="note"))
    for finding in column.findings:
        part.append(_node("p", finding, class_="warn"))
    if column.more:
        part.append(_pairs(column.more))
    if column.cells:
        most = max(max(each.before, each.after) for each in column.cells) or 1.0
        part.append(_node("table", *(_row_of(each, most) for each in column.cells)))
    return part


def _row_of(cell: Cell, most: float) -> Element:
    return _node(
        "tr",
        _node("td", cell.name, class_="name"),
        _node("td", _bar(cell.before / most, "before"), class_="b"),
        _node("td", percent(cell.before), class_="n"),
        _node("td", _bar(cell.after / most, "after"), class_="b"),
        _node("td", percent(cell.after), class_="n"),
    )


def _bar(share: float, class_: str) -> Element:
    width = max(0.0, min(1.0, share)) * 100
    return _stretched(_rect(0, 0, max(width, 0.7 if share else 0.0), 10, class_), class_="bar")


def _table(names: Iterable[str], rows: Iterable[Element]) -> Element:
    head = _node(
        "tr", *(_node("th", name, class_="n" if at and name else None) for at, name in enumerate(names))
    )
    return _node("div", _node("table", head, *rows, class_="wide"), class_="scroll")


def _segments(found: Explanation) -> Iterator[Element]:
    most = max((abs(each.share) for each in found.segments if each.share is not None), default=0.0) or 1.0
    rows = []
    for each in found.segments:
        share = each.share or 0.0
        figures = (
            f"{shown(each.rows[0])} → {shown(each.rows[1])}",
            f"{found.figures(each.value[0])} → {found.figures(each.value[1])}",
            signed(each.mix),
            signed(each.rate),
        )
        rows.append(
            _node(
                "tr",
                _node("td", each.name, class_="name"),
                _node("td", percent(each.share), class_="n"),
                _node("td", _bar(abs(share) / most, "bad" if share > 0 else "good"), class_="s"),
                *(_node("td", text, class_="n") for text in figures),
            )
        )
    yield _table(("segment", "share", "", "rows", "value", "mix", "rate"), rows)
    if any(each.mix is not None for each in found.segments):
        about = "mix: because of how many rows it has; rate: because of how the model does on them"
        yield _node("p", about, class_="note")


def _versions(found: Explanation) -> Element:
    rows = []
    for each in found.versions:
        between, sure = "–", False
        if each.lower is not None and each.upper is not None:
            between = f"{signed(each.lower)} to {signed(each.upper)}"
            sure = each.lower > 0 or each.upper < 0
        difference: Element | str = signed(each.difference, 4)
        texts = (shown(each.rows), found.figures(each.value), _node("b", difference) if sure else difference)
        cells: tuple[Element | str, ...] = (*texts, between, shown(each.pairs))
        rows.append(
            _node(
                "tr",
                _node("td", each.name, class_="name"),
                *(_node("td", text, class_="n") for text in cells),
            )
        )
    return _table(("version", "rows", "value", "difference", "between", "pairs"), rows)


def _detections(found: Explanation) -> Iterator[Element]:
    hidden = found.detections_total - len(found.detections)
    told = f"the last {len(found.detections)} of {shown(found.detections_total)}" if hidden > 0 else None
    yield _heading("Alarms", told)
    if len(found.detections) > 1:
        levels = [found.detections[0].before, *(each.after for each in found.detections)]
        yield _line_of(levels, [0.0, *(each.position for each in found.detections)])
        yield _node(
            "p",
            f"level from {found.figures(levels[0])} to {found.figures(levels[-1])}, at each alarm",
            class_="note",
        )
    rows = [
        _node(
            "tr",
            _node("td", each.detector, class_="name"),
            *(
                _node("td", text, class_="n")
                for text in (
                    shown(each.position),
                    shown(each.cut),
                    found.figures(each.before),
                    found.figures(each.after),
                )
            ),
        )
        for each in found.detections
    ]
    yield _table(("detector", "at value", "cut", "before", "after"), rows)


def _line_of(values: list[float], places: list[float] | None = None) -> Element:
    """A line of steps, each value from its place on; evenly spaced without places."""
    heights = strip_of(values, len(values))
    if places is None or len(places) < 3 or not places[-1] > places[1]:
        xs = [at / len(values) * 100 for at in range(len(values))]
    else:
        first, last = places[1], places[-1]
        # The level before the first alarm and the one after the last are drawn a tenth wide.
        xs = [0.0, *(10 + (each - first) / (last - first) * 80 for each in places[1:])]
    points = []
    for x, end, height in zip(xs, [*xs[1:], 100.0], heights, strict=True):
        y = 9.2 - height * 8.4
        points += [f"{x:.2f},{y:.2f}", f"{end:.2f},{y:.2f}"]
    line = _node(
        "polyline",
        points=" ".join(points),
        fill="none",
        stroke="var(--after)",
        **{"stroke-width": "2", "vector-effect": "non-scaling-stroke"},
    )
    return _stretched(line, class_="levels")
