"""``streamer topics``: make the topics, look at them, or say who has to be allowed what on them."""

from __future__ import annotations

from typing import Annotated

import typer

from streamer import terminal
from streamer.adapters.rights import Role, commands, rights_of
from streamer.adapters.topics import create, describe
from streamer.cli.options import FAILED, Bootstrap, Config, Group, Prefix, Trace, settings_of


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


Principals = list[str] | None


def topics_acls(
    producer: Annotated[
        Principals, typer.Option(help="Who writes predictions and labels: services, `streamer replay`.")
    ] = None,
    worker: Annotated[Principals, typer.Option(help="Who runs `streamer worker`.")] = None,
    viewer: Annotated[
        Principals, typer.Option(help="Who looks: `streamer alerts`, `status`, `dead-letters list`, ….")
    ] = None,
    operator: Annotated[
        Principals,
        typer.Option(help="Who mends: `streamer topics create`, `state reset`, …."),
    ] = None,
    relay: Annotated[Principals, typer.Option(help="Who runs `streamer relay`.")] = None,
    command_config: Annotated[
        str, typer.Option(help="The client settings of the one who will run the commands.")
    ] = "admin.properties",
    trace: Trace = None,
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Print the commands that allow each principal the least that it needs; it asks no broker.

    The lines are for Kafka's own kafka-acls.sh, for a cluster with an authorizer. Each option
    may be repeated; without any, the principals are examples.

        streamer topics acls --worker User:monitor --producer User:shop --producer User:bank
        streamer topics acls --bootstrap kafka:9093 | sh
    """
    settings = settings_of(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix, trace=trace)
    given = {
        Role.PRODUCER: producer, Role.WORKER: worker, Role.VIEWER: viewer, Role.OPERATOR: operator,
        Role.RELAY: relay,
    }  # fmt: skip
    if not any(given.values()):
        given = {role: [f"User:streamer-{role}"] for role in Role}
    for role, principals in given.items():
        for principal in principals or ():
            if not principal.partition(":")[2]:
                raise typer.BadParameter(f"{principal!r} is not TYPE:NAME, as in User:{principal}")
            rights = rights_of(role, settings.topics, settings.group)
            for line in commands(rights, principal, settings.bootstrap, command_config):
                print(line)
