"""How ``streamer dead-letters`` looks; no byte of a letter reaches the terminal as it came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from streamer.adapters.dead_letters import Letter, Listed, Listing, Mark, written
from streamer.adapters.redrive import Outcomes, Plan
from streamer.domain.events import rfc3339
from streamer.terminal import cell, clean, json_lines

LONGEST_LINE = 160
MOST_LINES = 400
HEX_BYTES = 16
DEAD_SHOWN = 20


def as_values(row: Listed) -> dict[str, Any]:
    """A row as one JSON object."""
    source, to = row.source, row.redriven_to
    return {
        "letter": written(row.address),
        "at": _moment(row.time_ms),
        "reason": row.reason,
        "model": row.model,
        "source": None if source is None else str(source),
        "bytes": row.size,
        "cure": row.cure,
        "obstacle": row.obstacle,
        "redriven_to": None if to is None else str(to),
    }


def letter_table(rows: Iterable[Listed]) -> Table:
    table = Table("letter", "at", "reason", "model", "record", "bytes", "redriven")
    for row in rows:
        became = Text(f"→ {clean(row.redriven_to)}", "green") if row.redriven_to else Text("no", "dim")
        if row.obstacle is not None:
            became = Text("cannot be", "yellow")
        table.add_row(
            written(row.address),
            _moment(row.time_ms),
            cell(row.reason),
            cell(row.model),
            cell(row.source),
            f"{row.size:,}",
            became,
        )
    return table


def counts_as_values(found: Listing) -> Iterator[dict[str, Any]]:
    for (reason, topic), count in found.found.most_common():
        about = (reason, topic)
        yield {
            "reason": reason,
            "topic": topic,
            "letters": count,
            "redriven": found.redriven[about],
            "can_be_redriven": found.open[about],
        }


def summary_table(found: Listing) -> Table:
    table = Table("reason", "topic", "letters", "redriven", "can be redriven")
    for row in counts_as_values(found):
        numbers = (f"{row[name]:,}" for name in ("letters", "redriven", "can_be_redriven"))
        table.add_row(cell(row["reason"]), cell(row["topic"]), *numbers)
    return table


def letter_lines(letter: Letter, mark: Mark | None, obstacle: str | None) -> Iterator[Text]:
    """One letter from head to foot."""
    yield Text.assemble((f"Letter {written(letter.address)}  ", "bold"), (clean(letter.reason), "bold red"))
    yield _line("cure", letter.headers.get("cure"))
    yield _line("record", letter.source)
    yield _line("at", _moment(letter.time_ms))
    yield _line("model", letter.model)
    if mark is not None:
        yield _line("redriven", f"to {mark.to}", "green")
    elif obstacle is not None:
        yield _line("redriven", f"it cannot be: {obstacle}", "yellow")
    else:
        yield _line("redriven", f"no: streamer dead-letters redrive {written(letter.address)}")
    for name, value in letter.headers.items():
        yield _line(f"header {clean(name)}", value, "dim")
    yield _line("key", " ".join(_lines(letter.key)) or "none")
    yield _line("value", f"{len(letter.value):,} bytes")
    lines = list(_lines(letter.value))
    for line in lines[:MOST_LINES]:
        yield Text(f"  {line}")
    if len(lines) > MOST_LINES:
        yield Text(f"  … {len(lines) - MOST_LINES:,} lines more", "dim")


def _line(name: str, value: object, style: str = "") -> Text:
    return Text.assemble((f"{name}: ", "cyan"), (clean(value), style))


def _lines(data: bytes) -> Iterator[str]:
    """Bytes as lines that are safe to print: JSON laid out, text escaped, anything else in hexadecimal."""
    try:
        yield from (each for line in json_lines(orjson.loads(data)) for each in _cut(line))
        return
    except orjson.JSONDecodeError:
        pass
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if sum(map(str.isprintable, text)) * 10 > len(text) * 9:
        yield from _cut("".join(each if each.isprintable() else ascii(each)[1:-1] for each in text))
        return
    for at in range(0, len(data), HEX_BYTES):
        row = data[at : at + HEX_BYTES]
        shown = "".join(chr(each) if 32 <= each < 127 else "." for each in row)
        yield f"{at:08x}  {row.hex(' '):<{3 * HEX_BYTES}} {shown}"


def _cut(line: str) -> Iterator[str]:
    yield from (line[at : at + LONGEST_LINE] for at in range(0, len(line) or 1, LONGEST_LINE))


def plan_lines(plan: Plan) -> Iterator[Text]:
    """What is going to be sent, and what is not, with the reason."""
    by = ", ".join(f"{clean(reason)} {count:,}" for reason, count in plan.reasons.most_common())
    yield Text(f"{len(plan.chosen):,} letters can be sent back{': ' if by else ''}{by}", "bold")
    if plan.redriven:
        yield Text(f"{plan.redriven:,} were redriven before: once is enough", "dim")
    if plan.again:
        yield Text(f"{plan.again:,} came of a redrive and are dead again: --again takes them too", "yellow")
    for obstacle, count in plan.hopeless.most_common():
        yield Text(f"{count:,} cannot be redriven: {clean(obstacle)}", "yellow")


def outcome_lines(found: Outcomes, group: str) -> Iterator[Text]:
    """What became of those that were sent."""
    if found.taken:
        yield Text(f"{len(found.taken):,} were taken.", "green")
    if found.dead:
        yield Text(f"{len(found.dead):,} are dead letters again:", "bold red")
    for sent, letter in found.dead[:DEAD_SHOWN]:
        yield Text(f"  {written(sent.letter)} is now {written(letter.address)}: {clean(letter.reason)}")
    if len(found.dead) > DEAD_SHOWN:
        yield Text("  …", "dim")
    if found.waiting:
        yield Text(
            f"{len(found.waiting):,} are not processed yet: is a worker of group {clean(group)} running?"
            " They are in their topic and need not be sent again.",
            "yellow",
        )


def _moment(time_ms: int) -> str:
    return rfc3339(time_ms) if 0 <= time_ms < 253_402_300_800_000 else clean(time_ms)
