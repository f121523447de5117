"""``streamer replay``: a log of predictions and labels becomes traffic."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from streamer import terminal
from streamer.adapters.event_sink import EventSink
from streamer.adapters.topics import required_topics
from streamer.cli.options import (
    INTERRUPTED,
    Bootstrap,
    Config,
    Prefix,
    duration_ms,
    interruptible,
    settings_of,
)
from streamer.replay import Plan, play


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
    settings = settings_of(config, bootstrap=bootstrap, topic_prefix=topic_prefix)
    plan = Plan(
        model=model,
        predictions=predictions,
        labels=labels,
        version=model_version,
        fields=pairs_of(mapping, "--map"),
        label_fields=pairs_of(label_mapping, "--label-map"),
        features=None if features is None else columns_of(features),
        rate=rate,
        interval_ms=duration_ms(interval, "--interval"),
        start_ms=None if start is None else int(start.replace(tzinfo=UTC).timestamp() * 1000),
        delay_ms=duration_ms(label_delay, "--label-delay"),
        limit=limit,
    )
    names = settings.topics
    required_topics(settings.client_config(), (names.predictions, names.labels))
    sink = EventSink(settings.client_config(), names.predictions, names.labels, settings.partitioner)
    out = terminal.console(stderr=True)
    with interruptible() as stopped, terminal.progress_bar(out) as bar:
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


def pairs_of(given: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for text in given or ():
        name, equals, column = text.partition("=")
        if not (name and equals and column):
            raise typer.BadParameter(f"{text!r} is not FIELD=COLUMN", param_hint=option)
        found[name] = column
    return found


def columns_of(text: str) -> tuple[str, ...]:
    """``a, b`` → two columns; ``none`` alone → none."""
    return () if text.strip() == "none" else tuple(name for each in text.split(",") if (name := each.strip()))
