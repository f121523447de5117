"""How things look in a terminal: alerts, status, topics, progress. Figures come from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from streamer.adapters.alert_log import Alert
from streamer.adapters.logs import one_line
from streamer.adapters.topics import TopicResult, TopicRow

if TYPE_CHECKING:
    from streamer.adapters.status import Status

COLOURS = {"firing": "bold red", "updated": "yellow", "resolved": "green"}
SEVERE = {"page": "bold red", "ticket": "yellow"}


def console(*, stderr: bool = False) -> Console:
    """Plain text where the output is no terminal, and without rich's guesses about numbers."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def recorder() -> Console:
    """A console that also remembers what it printed, as wide as a picture for a page should be."""
    return Console(highlight=False, record=True, width=136, force_terminal=True)


def picture_of(recorded: Console, title: str) -> str:
    """What was printed, as an SVG that fetches nothing: rich's own would load a font from a server."""
    return re.sub(r"@font-face \{.*?\}", "", recorded.export_svg(title=title), flags=re.S)


def clean(value: object) -> str:
    """Text from events, safe to print: it can neither break a line nor steer the terminal."""
    return one_line(str(value)) if value is not None else "–"


def cell(value: object) -> Text:
    """The same in a table, where plain text would be read as rich's markup."""
    return Text(clean(value))


def json_line(value: object) -> str:
    """JSON in one line that steers no terminal: what cannot be printed is escaped."""
    return re.sub(r"[^ -~]", _escaped, orjson.dumps(value).decode())


def json_lines(value: object) -> list[str]:
    """The same, laid out over lines."""
    laid_out = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return [re.sub(r"[^ -~]", _escaped, line) for line in laid_out.split("\n")]


def _escaped(found: re.Match[str]) -> str:
    """It can only stand within a text: JSON has no other place for it."""
    each = found[0]
    if each.isprintable():
        return each
    units = each.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def alert_line(alert: Alert) -> Text:
    """One transition in one line: when, what, who, and the sentence for a person."""
    status = clean(alert.get("status"))
    line = Text()
    line.append(clean(alert.get("updated_at"))[11:19] + " ", style="dim")
    line.append(f"{status.upper():<9}", style=COLOURS.get(status, ""))
    severity = clean(alert.get("severity"))
    line.append(f"{severity:<7}", style=SEVERE.get(severity, ""))
    version = f" {clean(alert['version'])}" if alert.get("version") is not None else ""
    line.append(f"{clean(alert.get('model'))}{version}  ", style="bold")
    line.append(f"{clean(alert.get('rule'))}  ", style="cyan")
    line.append(clean(alert.get("summary")))
    if status == "resolved":
        line.append(f" ({clean(alert.get('reason'))})", style="dim")
    return line


def status_tables(status: Status) -> Iterable[Table | Text]:
    """Partitions, then models, then what fires."""
    partitions = Table(
        "partition", "commit", "lag predictions", "lag labels", "models", "state", title="Partitions"
    )
    for each in status.partitions:
        state = Text("ok", "green") if each.problem is None else Text("quarantined", "bold red")
        if each.problem is None and not each.commit:
            state = Text("no worker has had it yet", "dim")
        names = len({model.model for model in each.models})
        partitions.add_row(
            str(each.number), str(each.commit), f"{each.lag[0]:,}", f"{each.lag[1]:,}", str(names), state
        )
    yield partitions
    for each in status.partitions:
        if each.problem is not None:
            yield Text(clean(each.problem), "red")
    models = Table("model", "version", "task", "predictions", "joined", "pending", "firing", title="Models")
    firing: dict[tuple[str, str | None], int] = {}
    for alert in status.firing:
        at = (str(alert.get("model")), alert.get("version") and str(alert["version"]))
        firing[at] = firing.get(at, 0) + 1
    everything = [model for each in status.partitions for model in each.models]
    for model in everything:
        count = firing.get((model.model, model.version), 0)
        models.add_row(
            cell(model.model),
            cell(model.version),
            cell(model.task),
            f"{model.predictions:,}",
            f"{model.joined:,}",
            f"{model.pending:,}",
            Text(str(count), "bold red" if count else "dim"),
        )
    yield models if everything else Text("No model has been seen yet.", "dim")
    if status.firing:
        yield Text("Firing", "bold")
        yield from (alert_line(alert) for alert in status.firing)
    else:
        yield Text("Nothing is firing.", "green")


def topic_results(results: Sequence[TopicResult]) -> Iterable[Text]:
    """What ``topics create`` did."""
    colours = {"created": "green", "existing": "dim", "differs": "yellow"}
    for result in results:
        yield Text.assemble(f"{result.name:<24}", (result.outcome, colours[result.outcome]))
        for difference in result.differences:
            yield Text(f"  {difference}", "yellow")


def topic_table(rows: Sequence[TopicRow]) -> Iterable[Table | Text]:
    """The topics as they are, and what is wrong with them."""
    table = Table("topic", "role", "partitions", "copies", "problems")
    for row in rows:
        problems = Text("\n".join(row.problems) or "none", "yellow" if row.problems else "green")
        table.add_row(row.name, row.role, str(row.partitions), str(row.replication), problems)
    yield table


def progress_bar(target: Console) -> Progress:
    """A bar with counts and the time that is left; nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=target,
        disable=not target.is_terminal,
    )


def figure(value: Any, form: str = ".3f") -> str:
    """A figure, or a dash where there is none yet: undefined is not zero."""
    return "–" if value is None else format(value, form)
