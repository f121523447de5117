"""``streamer backtest``: what objectives would have told on a log, before they page anybody."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from streamer import terminal
from streamer.cli.log_options import (
    Features,
    Interval,
    LabelDelay,
    LabelMapping,
    Labels,
    Limit,
    Mapping,
    OnlyModel,
    PredictionsOption,
    Version,
    at_work,
    only_model,
    plan_of,
)
from streamer.cli.options import INTERRUPTED, duration_ms, write_page
from streamer.config import load_objectives
from streamer.domain.objectives import Objectives

MADE_UP_FROM = datetime(2000, 1, 1, tzinfo=UTC)
"""Where timestamps that have to be made up begin: at no time of today, so that two runs say the same."""


def backtest(
    objectives: Annotated[list[Path], typer.Argument(help="Objectives files, side by side.")],
    predictions: PredictionsOption,
    labels: Labels = None,
    model: OnlyModel = None,
    model_version: Version = None,
    mapping: Mapping = None,
    label_mapping: LabelMapping = None,
    features: Features = None,
    label_delay: LabelDelay = "0s",
    interval: Interval = "1s",
    start: Annotated[
        datetime | None, typer.Option(help="First of the made-up timestamps (UTC). [default: 2000-01-01]")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            help="Where something is known to have changed: a row (so many predictions came before),"
            " or a time (UTC); may be repeated."
        ),
    ] = None,
    within: Annotated[
        int, typer.Option(help="So many predictions after a change an alarm counts as found.", min=1)
    ] = 1000,
    limit: Limit = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page of HTML with every figure.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """Try objectives on a log: what they would have told, when, and how often for nothing.

    The log goes through the same core as in a worker, on the clock of its own timestamps. Fields are
    named as for `streamer replay`; what the file says under `fields` is about Kafka and does not count here.
    With known changes it says how soon each was found, what was missed and what was false, beside an
    alarm that always fires and one that never does.

        streamer backtest objectives.yml --predictions log.csv --model churn --map label=y_true
        streamer backtest now.yml tried.yml --predictions p.csv.gz --labels truth.csv.gz --label-delay 1d
        streamer backtest objectives.yml --predictions log.csv --change 20000 --html page.html
    """
    from streamer.backtest.document import document_of
    from streamer.backtest.page import page_of
    from streamer.backtest.run import Asked
    from streamer.backtest.run import backtest as run
    from streamer.backtest.text import text_of

    files = [load_objectives(each) for each in objectives]
    plan = plan_of(
        model or only_model(files), predictions, labels, model_version, mapping, label_mapping, features,
        limit,
        interval_ms=duration_ms(interval, "--interval"),
        start_ms=int((start.replace(tzinfo=UTC) if start else MADE_UP_FROM).timestamp() * 1000),
        delay_ms=duration_ms(label_delay, "--label-delay"),
    )  # fmt: skip
    asked = Asked(plan, _named(objectives, files), tuple(map(_change, change or ())), within)
    with at_work("predictions") as work:
        found = run(asked, work.progress, work.going)
    if html is not None:
        write_page(html, page_of(found))
    if json:
        print(terminal.json_line(document_of(found)))
    else:
        out = terminal.console()
        for each in text_of(found):
            out.print(each)
    if not work.going():
        raise typer.Exit(INTERRUPTED)


def _named(paths: list[Path], files: list[Objectives]) -> tuple[tuple[str, Objectives], ...]:
    """By their file names, or by whole paths where those are the same."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return tuple(zip(names, files, strict=True))


def _change(text: str) -> int | datetime:
    try:
        return int(text) if text.isdecimal() else datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a row nor a time (ISO 8601)", param_hint="--change"
        ) from None
