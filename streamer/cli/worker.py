"""``streamer worker``, and ``streamer check``, which reads the same objectives without a broker."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from streamer import terminal
from streamer.adapters.processes import Plan, Supervisor
from streamer.cli.options import (
    FAILED,
    OBJECTIVES_VARIABLE,
    Bootstrap,
    Config,
    Group,
    LogFormat,
    LogLevel,
    MetricsHost,
    Prefix,
    interruptible,
    settings_of,
)
from streamer.config import ObjectivesError, Settings, load_objectives, objectives_schema


def worker(
    objectives: Annotated[
        Path | None,
        typer.Argument(
            help="The objectives file. [variable: STREAMER_OBJECTIVES] [default: every model, with defaults]"
        ),
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics. [default: 8000]")] = None,
    metrics_host: MetricsHost = None,
    trace: Annotated[
        bool | None,
        typer.Option(
            "--trace",
            help="Also record the order each commit took its input in, in the topic `trace`.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            help="How many processes; one uses one core. Their ports follow that of /metrics. [default: 1]"
        ),
    ] = None,
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Watch models: join, measure, detect, alert. Start as many as there are partitions to share.

    Ends with Ctrl-C or SIGTERM after a last commit. Serves /metrics, /healthz and /readyz.
    Settings that have no flag here are variables, or lines of the file of `--config`.

    With `--processes` it looks after so many workers on this machine, with /metrics on ports
    that follow: one that dies is started again, with the same partitions.

        streamer worker objectives.yml --bootstrap kafka:9092 --metrics-port 8000
        streamer worker objectives.yml --processes 4
    """
    settings = settings_of(
        config,
        objectives=objectives,
        bootstrap=bootstrap,
        group=group,
        topic_prefix=topic_prefix,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        trace=trace,
        processes=processes,
        log_level=log_level,
        log_format=log_format,
    )
    wanted = settings.keyed(load_objectives(settings.objectives))
    if settings.processes > 1:
        raise typer.Exit(_supervise(settings, config))
    from streamer.app import run_worker  # Faust and River take a second or more: only who needs them waits

    raise typer.Exit(run_worker(settings, wanted))


def _supervise(settings: Settings, config: Path | None) -> int:
    """Run the workers; each reads the same file and the same variables as we did, and our flags."""
    plan = Plan(
        count=settings.processes,
        arguments=_arguments(settings, config),
        host=settings.metrics_host,
        port=settings.metrics_port,
        name=settings.instance_id or f"{socket.gethostname()}-{settings.metrics_port}",
        form=settings.log_format,
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with interruptible() as stop:
        return Supervisor(plan, say).run(stop)


def _arguments(settings: Settings, config: Path | None) -> list[str]:
    """What may have come from flags, as flags; everything else they find where we found it."""
    given = ["bootstrap", "group", "topic_prefix", "metrics_host", "log_level", "log_format"]
    words = [f"--{name.replace('_', '-')}={getattr(settings, name)}" for name in given]
    words += ["--trace"] if settings.trace else []
    words += [f"--config={config}"] if config else []
    return [*words, *(["--", str(settings.objectives)] if settings.objectives else [])]


def check(
    objectives: Annotated[
        Path | None, typer.Argument(help="The objectives file.", envvar=OBJECTIVES_VARIABLE)
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema, for editors.")] = False,
) -> None:
    """Check an objectives file without a broker: every mistake at once, each with its key path.

    Exit status 1 if there are any. Without a file it takes the one that
    STREAMER_OBJECTIVES names.

        streamer check objectives.yml
        streamer check --schema > objectives.schema.json
    """
    if schema:
        print(orjson.dumps(objectives_schema(), option=orjson.OPT_INDENT_2).decode())
        return
    if objectives is None:
        raise typer.BadParameter(f"name the file, here or in {OBJECTIVES_VARIABLE}, or ask for --schema")
    try:
        found = load_objectives(objectives)
    except ObjectivesError as error:
        terminal.console(stderr=True).print(str(error), markup=False)
        raise typer.Exit(FAILED) from None
    rules = sum(len(spec.thresholds) for spec in found.models.values())
    print(f"{objectives}: revision {found.revision}, {len(found.models)} models, {rules} objectives: fine")
