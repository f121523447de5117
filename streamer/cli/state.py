"""``streamer state``: what workers restart from; look at it, forget some of it, take it elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamer import terminal
from streamer.cli.options import FAILED, Bootstrap, Config, Group, Prefix, agreed, settings_of
from streamer.config import Settings

if TYPE_CHECKING:
    from streamer.adapters.deployment import Deployment
    from streamer.adapters.state_changes import Step

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class AnewFrom(StrEnum):
    """Where a partition that is begun anew reads on."""

    EARLIEST = "earliest"
    LATEST = "latest"
    STATE = "state"


def state_show(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    partition: Annotated[int | None, typer.Option(help="Only this partition.", min=0)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, one of each partition.")
    ] = False,
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Show what the state topic holds, and whether a worker would trust it (exit status 1 if not).

    Of each partition: commit, format, next offsets, cells and bytes by kind, what it belongs to; of each
    model: versions, counts, what waits, what fires. It changes nothing, and workers may be at work.

        streamer state show
        streamer state show --model churn --json | jq .models
    """
    at = _deployment(settings_of(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix))
    from streamer.adapters.state_view import view
    from streamer.cli.state_tables import partition_lines

    out, problems, shown = terminal.console(), 0, 0
    for number in _numbers(at, partition):
        found = view(at, number, model)
        problems += found.problem is not None
        if model is not None and not found.models and found.problem is None:
            continue
        shown += 1
        if as_json:
            print(terminal.json_line(asdict(found)))
        else:
            for part in partition_lines(found):
                out.print(part)
    if not shown:
        terminal.console(stderr=True).print(
            f"No partition knows a model {terminal.clean(model)}.", markup=False
        )
    if problems or not shown:
        raise typer.Exit(FAILED)


def state_reset(
    model: Annotated[str | None, typer.Option(help="Forget this model.")] = None,
    partition: Annotated[
        int | None, typer.Option(help="Forget this partition; with --model, only the model there.", min=0)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Forget every partition.")] = False,
    start: Annotated[
        AnewFrom,
        typer.Option(
            "--from",
            help="Where a partition reads on: at the oldest records there, behind the newest, or where its"
            " state left off.",
        ),
    ] = AnewFrom.EARLIEST,
    yes: Yes = False,
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Forget a model, or begin partitions anew; asks first, and only while no worker of the group runs.

    A model goes with its versions, windows, detectors, incidents and all that waits; its open alerts
    end. Its records leave the counters of what was consumed, so that those go on adding up; they are not
    read again. A partition begins anew with no memory at all, whatever its state looked like.

        streamer state reset --model churn
        streamer state reset --partition 3
        streamer state reset --all --from latest --yes
    """
    if model is None and partition is None and not every:
        raise typer.BadParameter("say what to forget: --model NAME, --partition N, or --all")
    if every and (model is not None or partition is not None):
        raise typer.BadParameter("--all is everything: it goes with neither --model nor --partition")
    at = _deployment(settings_of(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix))
    from streamer.adapters.state_changes import plan_anew, plan_forget

    if model is not None:
        steps = plan_forget(at, model, partition)
    else:
        steps = plan_anew(at, partition, start.value)
    _carry_out(at, steps, yes)


def state_export(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not be there yet.")],
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Write everything that the state topic holds into one file: a backup, or to be moved elsewhere.

    Workers may be at work; to move a deployment, stop them first. The file begins with a line of
    JSON that says what it is and ends with a checksum; it holds ids of predictions, like the topic.

        streamer state export monitor.state
    """
    settings = settings_of(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix)
    from streamer.adapters.state_move import export

    header, size = export(settings.client_config(), settings.group, settings.topics, file)
    terminal.console(stderr=True).print(
        f"{file}: {header.partitions} partitions of {header.state_topic}, {size:,} bytes", markup=False
    )


def state_import(
    file: Annotated[Path, typer.Argument(help="A file of `streamer state export`.")],
    partitions: Annotated[
        int | None,
        typer.Option(
            help="How many partitions the topics have: a check. [default: as they are]",
            min=1,
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        AnewFrom,
        typer.Option(
            "--from",
            help="Where to read on: what the state has not seen (state), the same but past records that are"
            " gone (earliest), or behind the newest records (latest).",
        ),
    ] = AnewFrom.STATE,
    replaces: Annotated[
        bool, typer.Option("--replace", help="Give up the state that is there for that of the file.")
    ] = False,
    yes: Yes = False,
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Put an exported state in, under as many partitions as there are now; asks first.

    Each model goes to its new home with windows, detectors, incidents and all that waits. In the topics
    that the state is of, reading goes on where it left off; new topics are read from their beginning. So
    nothing is counted twice and nothing is left out.

        streamer topics create --topic-prefix v2. --partitions 24
        streamer state import monitor.state --topic-prefix v2. --partitions 24
        streamer state import monitor.state --replace --from earliest
    """
    at = _deployment(settings_of(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix))
    from streamer.adapters.deployment import StateRefused
    from streamer.adapters.state_move import plan_import

    if partitions not in (None, at.partitions):
        raise StateRefused(
            f"the topics have {at.partitions} partitions, not {partitions}: make a set that has, with"
            f" `streamer topics create --partitions {partitions} --topic-prefix NEW`, and name it here too"
        )
    _carry_out(at, plan_import(at, file, start.value, replaces), yes)


def _deployment(settings: Settings) -> Deployment:
    from streamer.adapters.deployment import look_at

    return look_at(settings.client_config(), settings.group, settings.topics, settings.partitioner)


def _numbers(at: Deployment, partition: int | None) -> Sequence[int]:
    from streamer.adapters.state_changes import numbers_of

    return numbers_of(at, partition)


def _carry_out(at: Deployment, steps: Sequence[Step], yes: bool) -> None:
    """Say what is going to happen, ask, do it."""
    from streamer.adapters.state_changes import carry_out

    out = terminal.console(stderr=True)
    for step in steps:
        out.print(terminal.clean(step.summary), markup=False)
    if not yes and not agreed(f"Write this to {at.topics.state}? There is no way back but an export"):
        out.print("Nothing was changed.")
        raise typer.Exit(FAILED)
    carry_out(at, steps, lambda step: out.print(f"partition {step.partition}: written", style="dim"))
