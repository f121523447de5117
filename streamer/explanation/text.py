"""How an alert that is explained looks in a terminal: words first, then small plots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamer.explanation.reading import ABOUT_VERSIONS, ColumnPart, Explanation, Scale
from streamer.explanation.values import Pair, percent, shown, signed, strip_of
from streamer.terminal import COLOURS, SEVERE

WIDEST = 120
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_BEFORE, _AFTER = "blue", "yellow"
DETECTIONS_SHOWN = 8


def explanation_parts(found: Explanation, width: int) -> Iterator[RenderableType]:
    """From what happened to the fine print. ``width``: columns of the terminal."""
    width = min(width, WIDEST)
    yield from _head(found, width)
    yield from _columns(found, width)
    yield from _segments(found, width)
    yield from _versions(found)
    yield from _detections(found, width)
    if found.recent:
        yield _title("Recent values")
        yield _inset(Text(_spark(found.recent, width - 4)), Text(", ".join(map(shown, found.recent))))
    if found.labels or found.warnings:
        yield _title("Labels")
        yield _inset(_pairs(found.labels), *(Text(f"! {each}", "yellow") for each in found.warnings))
    if found.examples:
        yield _title("Examples", "predictions that were wrong, the newest last")
        yield _inset(*(Text(each) for each in found.examples))
    if found.rest:
        yield _title("Also in the alert")
        yield _inset(_pairs(found.rest))
    yield Text("")
    identity = _filled((f"{name} {value}" for name, value in found.identity), width - 2)
    yield _inset(*(Text(line, "dim") for line in identity))


def bar(share: float, width: int) -> str:
    """A bar of so many columns, to an eighth of one; anything at all shows."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8) or (1 if share > 0 else 0)
    whole, part = divmod(eighths, 8)
    return (_EIGHTHS[8] * whole + (_EIGHTHS[part] if part else "")).ljust(width)


def _filled(parts: Iterable[str], width: int) -> list[str]:
    """Parts beside each other, as many to a line as fit."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}   {part}" if lines[-1] else part
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _title(text: str, more: str | None = None) -> Padding:
    title = Text.assemble((text, "bold"), ("" if more is None else f"  {more}", "dim"))
    title.no_wrap, title.overflow = True, "ellipsis"
    return Padding(title, (1, 0, 0, 0))


def _inset(*parts: RenderableType) -> Padding:
    return Padding(Group(*parts), (0, 0, 0, 2))


def _pairs(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True, max_width=24)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def _head(found: Explanation, width: int) -> Iterator[RenderableType]:
    # Text of the alert never begins a line: it cannot pass for one of another program.
    about = [found.severity, found.who, found.rule]
    styles = [SEVERE.get(found.severity, ""), "bold", "cyan"]
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(found.status.upper(), COLOURS.get(found.status, "bold")),
        Text("  ").join(Text(word, style) for word, style in zip(about, styles, strict=True)),
    )
    yield head
    yield _inset(Text(found.headline, "bold"))
    yield Text("")
    facts = _pairs(found.facts)
    for place, each in enumerate(found.look_first, start=1):
        facts.add_row(Text("look first" if place == 1 else ""), Text(f"{place}. {each}"))
    if found.runbook is not None:
        facts.add_row(Text("runbook"), Text(found.runbook))
    yield _inset(facts)
    if found.scale is not None:
        yield Text("")
        yield _inset(*_scale(found, found.scale, min(width - 4, 76)))


def _scale(found: Explanation, scale: Scale, width: int) -> Iterator[Text]:
    """``──├──●──┤───┃──``: the figure with its bounds, and the objective."""

    def at(value: float) -> int:
        return round((value - scale.low) / (scale.high - scale.low) * (width - 1))

    line = ["·"] * width
    limit, value = at(scale.threshold), at(scale.value)
    for place in range(limit) if scale.bad_below else range(limit + 1, width):
        line[place] = "─"
    low = value if scale.lower is None else at(scale.lower)
    high = value if scale.upper is None else at(scale.upper)
    for place in range(low, high + 1):
        line[place] = "━"
    line[low], line[high] = ("├", "┤") if low < high else (line[low], line[high])
    line[limit] = "┃"
    line[value] = "●"
    plot = Text("".join(line), "dim")
    plot.stylize("bold", low, high + 1)
    plot.stylize("bold green", limit, limit + 1)
    plot.stylize("bold red", value, value + 1)
    yield plot
    names = sorted(
        [
            (value, f"● {found.figures(scale.value)}"),
            (limit, f"┃ {found.limit} {found.figures(scale.threshold)}"),
        ]
    )
    labels = " " * max(0, min(names[0][0], width - sum(len(each) + 2 for _, each in names))) + names[0][1]
    labels += " " * max(2, min(names[1][0], width - len(names[1][1])) - len(labels)) + names[1][1]
    yield Text(labels, "dim")


def _columns(found: Explanation, width: int) -> Iterator[RenderableType]:
    if not found.columns:
        return
    against = "" if found.made_of is None else f", against {found.made_of}"
    yield _title("Columns", f"the most changed first{against}")
    for place, column in enumerate(found.columns, start=1):
        yield _inset(*_column(column, place, width - 4, found.calm(column)))


def _column(column: ColumnPart, place: int, width: int, calm: bool) -> Iterator[RenderableType]:
    distance = "" if column.distance is None else f"  distance {shown(column.distance)}"
    yield Text.assemble(f"{place}  ", (column.name, "bold"), (distance, "cyan"))
    for line in _filled(column.facts, width - 3):
        yield Text(f"   {line}", "dim")
    for finding in column.findings:
        yield Text(f"   ! {finding}", "yellow")
    for name, value in column.more:
        yield Text(f"   {name}: {value}", "dim")
    if not column.cells:
        return
    if calm:
        sides = ([each.before for each in column.cells], [each.after for each in column.cells])
        before, after = (_spark([0.0, *side], width)[1:] for side in sides)
        yield Text.assemble("   ", (before, _BEFORE), " → ", (after, _AFTER))
        return
    # Name, then a bar and its share for each side.
    longest = max(cell_len(each.name) for each in column.cells)
    room = max(6, min(26, (width - 3 - longest - 2 * 11) // 2))
    most = max(max(each.before, each.after) for each in column.cells) or 1.0
    head = Text(" " * (3 + longest + 2))
    head.append(f"{'before':<{room + 9}}", _BEFORE)
    head.append("after", _AFTER)
    yield head
    for each in column.cells:
        row = Text(f"   {set_cell_size(each.name, longest)}  ")
        row.append(bar(each.before / most, room), _BEFORE)
        row.append(f" {percent(each.before):>7} ")
        row.append(bar(each.after / most, room), _AFTER)
        row.append(f" {percent(each.after):>7}")
        yield row


def _segments(found: Explanation, width: int) -> Iterator[RenderableType]:
    if not found.segments:
        return
    yield _title("Segments", "the biggest part of the change first")
    shares = [abs(each.share) for each in found.segments if each.share is not None]
    most = max(shares, default=0.0) or 1.0
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("segment", overflow="fold", max_width=max(12, width - 60))
    table.add_column("share", justify="right", no_wrap=True)
    if shares:
        table.add_column("", no_wrap=True)
    for name in ("rows", "value", "mix", "rate"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.segments:
        row: list[RenderableType] = [Text(each.name), Text(percent(each.share))]
        if shares:
            share = each.share or 0.0
            row.append(Text(bar(abs(share) / most, 8), "red" if share > 0 else "green"))
        parts = (Text(signed(x)) for x in (each.mix, each.rate))
        row += [_change(each.rows), _change(each.value, found), *parts]
        table.add_row(*row)
    yield _inset(table)
    if any(each.mix is not None for each in found.segments):
        yield _inset(
            Text("mix: because of how many rows it has; rate: because of how the model does on them", "dim")
        )


def _change(pair: Pair, found: Explanation | None = None) -> Text:
    figures = shown if found is None else found.figures
    return Text(f"{figures(pair[0])} → {figures(pair[1])}")


def _versions(found: Explanation) -> Iterator[RenderableType]:
    if not found.versions:
        return
    yield _title("Versions", ABOUT_VERSIONS)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("version", overflow="fold")
    for name in ("value", "rows", "difference", "between", "pairs", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.versions:
        between = "–"
        if each.lower is not None and each.upper is not None:
            between = f"{signed(each.lower)} to {signed(each.upper)}"
        figures = (found.figures(each.value), shown(each.rows), signed(each.difference, 4))
        verdict = Text(each.verdict, {"better": "bold green", "worse": "bold red"}.get(each.verdict, "dim"))
        table.add_row(Text(each.name), *figures, between, shown(each.pairs), verdict)
    yield _inset(table)


def _detections(found: Explanation, width: int) -> Iterator[RenderableType]:
    if not found.detections:
        return
    last = found.detections[-DETECTIONS_SHOWN:]
    hidden = found.detections_total - len(last)
    yield _title("Alarms", f"the last {len(last)} of {shown(found.detections_total)}" if hidden > 0 else None)
    if len(found.detections) > 1:
        levels = [found.detections[0].before, *(each.after for each in found.detections)]
        ends = f"{found.figures(levels[0])} {{}} {found.figures(levels[-1])}  level after each alarm"
        yield _inset(Text(ends.format(_spark(levels, width - len(ends) - 4))))
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("at value", "detector", "before", "after", ""):
        rows.add_column(name, justify="right" if name not in ("detector", "") else "left", no_wrap=True)
    most = max(max(abs(each.before), abs(each.after)) for each in last) or 1.0
    for each in last:
        both = Text(bar(abs(each.before) / most, 10), _BEFORE)
        both.append(" ").append(bar(abs(each.after) / most, 10), _AFTER)
        figures = (found.figures(each.before), found.figures(each.after))
        rows.add_row(shown(each.position), Text(each.detector), *figures, both)
    yield _inset(rows)


def _spark(values: Sequence[float], width: int) -> str:
    """``▁▂▅█``: the last values, each a column."""
    return "".join(_LEVELS[math.floor(x * 7.999)] for x in strip_of(values, max(4, width)))
