"""``streamer report``: a record of a model's time in production, for auditors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from streamer import terminal
from streamer.cli.options import Bootstrap, Config, Prefix, settings_of, write_page


def report(
    model: Annotated[str, typer.Option(help="The model's name.")],
    begin: Annotated[
        datetime | None, typer.Option("--from", help="The first day (UTC). [default: the first there is]")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", help="The day after the last one (UTC). [default: now]")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page of HTML.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The whole record as one JSON document.")] = False,
    bootstrap: Bootstrap = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """What was asked of a model, what it did day by day, and every incident with its life.

    It is made of the topic `reports` alone. Whoever reads the same records gets the same bytes, and a
    SHA-256 over them says which they were.

        streamer report --model churn --from 2026-10-01 --to 2026-11-01 --html october.html
        streamer report --model churn --json > churn.json
    """
    from streamer.adapters.report_log import reports_of
    from streamer.audit.page import page_of
    from streamer.audit.record import record_of

    settings = settings_of(config, bootstrap=bootstrap, topic_prefix=topic_prefix)
    topic = settings.topics.reports
    found = reports_of(settings.client_config(), topic, model)
    if not found:
        raise typer.BadParameter(f"{topic} has nothing of {model!r}", param_hint="--model")
    record = record_of(topic, model, found, _utc(begin), _utc(end))
    if html is not None:
        write_page(html, page_of(record))
    if json:
        print(terminal.json_line(record))
        return
    out = terminal.console()
    for each in lines(record):
        out.print(each)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def lines(record: Mapping[str, Any]) -> Iterator[Table | Text]:
    """The short of it."""
    source = record["source"]
    yield Text(
        f"{terminal.clean(record['model'])}: {len(record['days']):,} days,"
        f" {len(record['incidents']):,} incidents, {len(record['objectives']):,} states of the objectives",
        "bold",
    )
    volumes = Table("version", "days", "predictions", "labels", "expired", "coverage", title="Volumes")
    for each in record["volumes"]:
        counts = [f"{each[name]:,}" for name in ("days", "predictions", "labels", "expired")]
        volumes.add_row(terminal.cell(each["version"]), *counts, terminal.figure(each["coverage"]))
    yield volumes
    for gap in record["gaps"]:
        yield Text(f"no event from {terminal.clean(gap['from'])} to {terminal.clean(gap['to'])}", "yellow")
    kept = Table("version", "objective", "limit", "days kept", "worst", title="Objectives")
    for each in record["kept"]:
        limit = f"min {each['min']:g}" if each["min"] is not None else f"max {each['max']:g}"
        names = terminal.cell(each["version"]), terminal.cell(each["rule"])
        kept.add_row(*names, limit, f"{each['kept']:,} of {each['days']:,}", f"{each['worst']:.4g}")
    yield kept
    for each in record["incidents"]:
        ended = terminal.clean(each["resolved_at"]) if each["resolved_at"] else "still open"
        line = Text(f"{terminal.clean(each['started_at'])} to {ended}  ", "dim")
        line.append(f"{terminal.clean(each['rule'])}  ", "cyan")
        line.append(terminal.clean(each["severity"]), terminal.SEVERE.get(str(each["severity"]), ""))
        yield line
    yield Text(
        f"{source['records']:,} records of {terminal.clean(source['topic'])}, SHA-256 {source['sha256']}",
        "dim",
    )
