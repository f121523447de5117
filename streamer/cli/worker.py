"""``streamer worker``, and ``streamer check``, which reads the same objectives without a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from streamer import terminal
from streamer.cli.options import (
    FAILED,
    OBJECTIVES_VARIABLE,
    Bootstrap,
    Config,
    Group,
    LogFormat,
    LogLevel,
    Prefix,
    settings_of,
)
from streamer.config import ObjectivesError, load_objectives, objectives_schema


def worker(
    objectives: Annotated[
        Path | None,
        typer.Argument(
            help="The objectives file. [variable: STREAMER_OBJECTIVES] [default: every model, with defaults]"
        ),
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics. [default: 8000]")] = None,
    metrics_host: Annotated[
        str | None, typer.Option(help="Address of /metrics. [default: 127.0.0.1]")
    ] = None,
    trace: Annotated[
        bool | None,
        typer.Option(
            "--trace",
            help="Also record the order each commit took its input in, in the topic `trace`.",
            show_default=False,
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

        streamer worker objectives.yml --bootstrap kafka:9092 --metrics-port 8000
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
        log_level=log_level,
        log_format=log_format,
    )
    wanted = load_objectives(settings.objectives)
    from streamer.app import run_worker  # Faust and River take a second or more: only who needs them waits

    raise typer.Exit(run_worker(settings, wanted))


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
