"""``streamer topics``: make the topics, or look at them."""

from __future__ import annotations

from typing import Annotated

import typer

from streamer import terminal
from streamer.adapters.topics import create, describe
from streamer.cli.options import FAILED, Bootstrap, Config, Prefix, Trace, settings_of


def topics_create(
    partitions: Annotated[
        int | None,
        typer.Option(
            help="Partitions of each topic: the most workers at work."
            " [default: as many as the state topic where there is one, else 12]",
            min=1,
            show_default=False,
        ),
    ] = None,
    replication: Annotated[int, typer.Option(help="Copies of each partition; 3 in production.", min=1)] = 1,
    trace: Trace = None,
    bootstrap: Bootstrap = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Make the topics that are missing; those that exist are compared, never changed.

    With `--trace` the topic of the trace is one of them. Exit status 1 if one that
    exists differs from what it should be.

        streamer topics create --partitions 12 --replication 3
    """
    settings = settings_of(config, bootstrap=bootstrap, topic_prefix=topic_prefix, trace=trace)
    results = create(settings.client_config(), settings.topics, partitions, replication)
    for line in terminal.topic_results(results):
        terminal.console().print(line)
    if any(result.outcome == "differs" for result in results):
        raise typer.Exit(FAILED)


def topics_describe(
    trace: Trace = None, bootstrap: Bootstrap = None, topic_prefix: Prefix = None, config: Config = None
) -> None:
    """Show the topics, and what would keep a worker from its promises (exit status 1 if anything)."""
    settings = settings_of(config, bootstrap=bootstrap, topic_prefix=topic_prefix, trace=trace)
    rows = describe(settings.client_config(), settings.topics)
    for table in terminal.topic_table(rows):
        terminal.console().print(table)
    if any(row.problems for row in rows):
        raise typer.Exit(FAILED)
