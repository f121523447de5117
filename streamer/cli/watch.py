"""``streamer alerts`` and ``streamer status``: what came out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from streamer import terminal
from streamer.adapters.alert_log import AlertLog, still_firing
from streamer.cli.options import FAILED, Bootstrap, Config, Group, Prefix, interruptible, settings_of


def alerts(
    context: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones; Ctrl-C ends it.")
    ] = False,
    firing: Annotated[bool, typer.Option("--firing", help="Only what is firing now.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    bootstrap: Bootstrap = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Print alerts: each transition once, as a read_committed subscriber sees it.

    Oldest first. With `--json` each is one object a line, as it is on the topic:
    docs/events.md names the fields.

        streamer alerts --follow
        streamer alerts --firing --json | jq .summary
        streamer alerts test --severity page
    """
    if context.invoked_subcommand is not None:
        return
    if follow and firing:
        raise typer.BadParameter("--firing is a look at now: it does not go with --follow")
    settings = settings_of(config, bootstrap=bootstrap, topic_prefix=topic_prefix)
    log = AlertLog(settings.client_config(), settings.topics.alerts)
    out = terminal.console()

    def show(alert: dict[str, Any]) -> None:
        if model is not None and alert.get("model") != model:
            return
        if as_json:
            print(terminal.json_line(alert), flush=True)
        else:
            out.print(terminal.alert_line(alert))

    with interruptible() as stopped:
        try:
            found = log.so_far()
            for alert in still_firing(found) if firing else found:
                show(alert)
            if follow:
                for alert in log.follow(lambda: not stopped.is_set()):
                    show(alert)
        finally:
            log.close()
    if not (found or follow or as_json):
        terminal.console(stderr=True).print("There have been no alerts.", style="dim")


def status(
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Show partitions, lag, models, pending predictions and what is firing, as of the last commits.

    Exit status 1 if a partition's state cannot be trusted.
    """
    settings = settings_of(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix)
    from streamer.adapters.status import read_status

    found = read_status(settings.client_config(), settings.group, settings.topics)
    out = terminal.console()
    for part in terminal.status_tables(found):
        out.print(part)
    if any(each.problem for each in found.partitions):
        raise typer.Exit(FAILED)
