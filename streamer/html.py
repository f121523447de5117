"""Pages of HTML that need nothing else: no script, no font, no network.

Built as a tree and written by the standard library's serialiser, so no text of an event can become
markup; a policy in the page forbids a browser to load or run anything all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def node(tag: str, *inside: Element | str | None, class_: str | None = None, **attributes: str) -> Element:
    """An element; what is None is left out."""
    made = Element(tag, attributes if class_ is None else {"class": class_, **attributes})
    last: Element | None = None
    for each in inside:
        if isinstance(each, Element):
            made.append(each)
            last = each
        elif each is not None and last is None:
            made.text = (made.text or "") + each
        elif each is not None and last is not None:
            last.tail = (last.tail or "") + each
    return made


def heading(text: str, more: str | None = None) -> Element:
    return node("h2", text, None if more is None else node("small", more))


def pairs(rows: Iterable[tuple[str, str]]) -> Element:
    """Names, and what is said of each."""
    return node("dl", *(part for name, text in rows for part in (node("dt", name), node("dd", text))))


def table(
    names: Sequence[str], rows: Iterable[Sequence[str]], looks: Mapping[str, str] | None = None
) -> Element:
    """A table of texts, as wide as it has to be. ``looks``: the class of cells with this text."""
    special = looks or {}
    head = node("tr", *(node("th", each, class_="name") for each in names))
    lines = (
        node("tr", *(node("td", each, class_=f"name {special.get(each, '')}".strip()) for each in row))
        for row in rows
    )
    return node("div", node("table", head, *lines), class_="wide")


def drawing(*inside: Element, class_: str, **attributes: str) -> Element:
    """An SVG in the page. What it shows has to stand beside it as text too."""
    return node("svg", *inside, class_=class_, **{"aria-hidden": "true", **attributes})


def page(title: str, *sections: Element, class_: str) -> str:
    """The whole document."""
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", name="color-scheme", content="light dark"),
        node("title", title),
        node("style", (files("streamer") / "page.css").read_text()),
    )
    tree = node("html", head, node("body", node("main", *sections, class_=class_)), lang="en")
    return f"<!doctype html>\n{tostring(tree, encoding='unicode', method='html')}\n"
