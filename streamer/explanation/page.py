"""An alert that is explained, as one page of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element

from streamer.explanation.plots import bar, bars, scale_of, steps_of
from streamer.explanation.reading import ABOUT_VERSIONS, Cell, ColumnPart, Explanation
from streamer.explanation.values import is_link, percent, shown, signed
from streamer.html import heading, node, page, pairs

_KNOWN = ("firing", "updated", "resolved", "page", "ticket")


def page_of(found: Explanation) -> str:
    """The whole page."""
    return page(f"{found.who}: {found.headline}", *_sections(found), class_=_word(found.status))


def _word(text: str) -> str:
    """Only a word that is known becomes a class."""
    return text if text in _KNOWN else "other"


def _sections(found: Explanation) -> Iterator[Element]:
    yield _head(found)
    yield node("section", *_facts(found))
    if found.columns:
        against = "the most changed first" + ("" if found.made_of is None else f", against {found.made_of}")
        columns = (_column(each, found.calm(each)) for each in found.columns)
        yield node("section", heading("Columns", against), _key(), *columns)
    if found.segments:
        yield node("section", heading("Segments", "the biggest part of the change first"), *_segments(found))
    if found.versions:
        yield node("section", heading("Versions", ABOUT_VERSIONS), _versions(found))
    if found.detections:
        yield node("section", *_detections(found))
    if found.recent:
        values = node("p", ", ".join(map(shown, found.recent)), class_="note")
        yield node("section", heading("Recent values"), steps_of(found.recent), values)
    if found.labels or found.warnings:
        yield node("section", heading("Labels"), pairs(found.labels), *map(_warning, found.warnings))
    if found.examples:
        about = "predictions that were wrong, the newest last"
        ids = node("ul", *(node("li", each) for each in found.examples), class_="ids")
        yield node("section", heading("Examples", about), ids)
    if found.rest:
        yield node("section", heading("Also in the alert"), pairs(found.rest))
    yield node("footer", *(node("span", f"{name} ", node("code", text)) for name, text in found.identity))


def _head(found: Explanation) -> Element:
    top = node(
        "div",
        node("span", found.status, class_=f"pill {_word(found.status)}"),
        node("span", found.severity, class_=f"pill {_word(found.severity)}"),
        node("b", found.who),
        node("span", found.rule),
        class_="top",
    )
    return node("header", top, node("h1", found.headline))


def _facts(found: Explanation) -> Iterator[Element]:
    facts = pairs(found.facts)
    if found.runbook is not None:
        link = found.runbook
        facts.append(node("dt", "runbook"))
        told = node("a", link, href=link, rel="noreferrer") if is_link(link) else node("code", link)
        facts.append(node("dd", told))
    if found.scale is not None:
        yield scale_of(found, found.scale)
    yield facts
    if found.look_first:
        steps = node("ol", *(node("li", each) for each in found.look_first))
        yield node("div", node("h3", "Look first at"), steps, class_="first")


def _warning(text: str) -> Element:
    return node("p", text, class_="warn")


def _key() -> Element:
    return node("p", node("i", class_="kb"), "before", node("i", class_="ka"), "after", class_="note key")


# -- columns ---------------------------------------------------------------------------------------


def _column(column: ColumnPart, calm: bool) -> Element:
    distance = None if column.distance is None else node("small", f"distance {shown(column.distance)}")
    part = node("div", node("h3", column.name, distance), class_="column")
    if column.facts:
        part.append(node("p", " · ".join(column.facts), class_="note"))
    part.extend(map(_warning, column.findings))
    if column.more:
        part.append(pairs(column.more))
    if column.cells:
        most = max(max(each.before, each.after) for each in column.cells) or 1.0
        cells = node("table", *(_cell(each, most) for each in column.cells), class_="cells")
        # What has hardly changed is there for whoever asks.
        part.append(node("details", node("summary", "its distribution"), cells) if calm else cells)
    return part


def _cell(cell: Cell, most: float) -> Element:
    return node(
        "tr",
        node("td", cell.name, class_="name"),
        node("td", bars(cell.before / most, cell.after / most), class_="plot"),
        node("td", percent(cell.before), class_="n soft"),
        node("td", percent(cell.after), class_="n"),
    )


# -- tables ------------------------------------------------------------------------------------------


def _table(names: Sequence[str], rows: Iterable[Sequence[Element | str]]) -> Element:
    """The first column holds names, an element that is a drawing stands as it is, the rest are figures."""

    def line(tag: str, cells: Sequence[Element | str]) -> Element:
        kinds = ["name", *("plot" if _is_plot(each) else "n" for each in cells[1:])]
        return node("tr", *(node(tag, each, class_=kind) for each, kind in zip(cells, kinds, strict=True)))

    return node("div", node("table", line("th", names), *(line("td", each) for each in rows)), class_="wide")


def _is_plot(cell: Element | str) -> bool:
    return isinstance(cell, Element) and cell.tag == "svg"


def _segments(found: Explanation) -> Iterator[Element]:
    most = max((abs(each.share) for each in found.segments if each.share is not None), default=0.0)
    rows = []
    for each in found.segments:
        share = each.share or 0.0
        row: list[Element | str] = [each.name, percent(each.share)]
        if most:
            row.append(bar(abs(share) / most, "bad" if share > 0 else "good"))
        row.append(f"{found.figures(each.value[0])} → {found.figures(each.value[1])}")
        row.append(f"{shown(each.rows[0])} → {shown(each.rows[1])}")
        rows.append([*row, signed(each.mix), signed(each.rate)])
    yield _table(["segment", "share", *([""] if most else []), "value", "rows", "mix", "rate"], rows)
    if any(each.mix is not None for each in found.segments):
        about = "mix: because of how many rows it has; rate: because of how the model does on them"
        yield node("p", about, class_="note")


def _versions(found: Explanation) -> Element:
    rows = []
    for each in found.versions:
        between = "–"
        if each.lower is not None and each.upper is not None:
            between = f"{signed(each.lower)} to {signed(each.upper)}"
        verdict = node("b", each.verdict) if each.verdict in ("better", "worse") else each.verdict
        figures = (found.figures(each.value), shown(each.rows), signed(each.difference, 4))
        rows.append([each.name, *figures, between, shown(each.pairs), verdict])
    return _table(["version", "value", "rows", "difference", "between", "pairs", ""], rows)


def _detections(found: Explanation) -> Iterator[Element]:
    hidden = found.detections_total - len(found.detections)
    told = f"the last {len(found.detections)} of {shown(found.detections_total)}" if hidden > 0 else None
    yield heading("Alarms", told)
    if len(found.detections) > 1:
        levels = [found.detections[0].before, *(each.after for each in found.detections)]
        yield steps_of(levels, [0.0, *(each.position for each in found.detections)])
        text = f"level after each alarm, from {found.figures(levels[0])} to {found.figures(levels[-1])}"
        yield node("p", text, class_="note")
    yield _table(
        ["detector", "at value", "cut", "before", "after"],
        [
            [
                each.detector,
                shown(each.position),
                shown(each.cut),
                found.figures(each.before),
                found.figures(each.after),
            ]
            for each in found.detections
        ],
    )
