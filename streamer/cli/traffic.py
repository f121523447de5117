"""``streamer replay``: a log of predictions and labels becomes traffic."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from streamer import terminal
from streamer.adapters.event_sink import EventSink
from streamer.adapters.topics import required_topics
from streamer.cli.log_options import (
    Features,
    Interval,
    LabelDelay,
    LabelMapping,
    Labels,
    Limit,
    Mapping,
    Model,
    Predictions,
    Version,
    at_work,
    plan_of,
)
from streamer.cli.options import (
    INTERRUPTED,
    Bootstrap,
    Config,
    Prefix,
    duration_ms,
    settings_of,
)
from streamer.replay import play


def replay(
    predictions: Predictions,
    model: Model,
    labels: Labels = None,
    model_version: Version = None,
    mapping: Mapping = None,
    label_mapping: LabelMapping = None,
    features: Features = None,
    rate: Annotated[
        float | None, typer.Option(help="Predictions a second. [default: as fast as possible]", min=0.001)
    ] = None,
    label_delay: LabelDelay = "1m",
    interval: Interval = "10ms",
    start: Annotated[
        datetime | None,
        typer.Option(help="First of the made-up timestamps (UTC). [default: so that the last is now]"),
    ] = None,
    limit: Limit = None,
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
    plan = plan_of(
        model, predictions, labels, model_version, mapping, label_mapping, features, limit,
        rate=rate,
        interval_ms=duration_ms(interval, "--interval"),
        start_ms=None if start is None else int(start.replace(tzinfo=UTC).timestamp() * 1000),
        delay_ms=duration_ms(label_delay, "--label-delay"),
    )  # fmt: skip
    names = settings.topics
    required_topics(settings.client_config(), (names.predictions, names.labels))
    sink = EventSink(settings.client_config(), names.predictions, names.labels, settings.partitioner)
    with at_work("predictions") as work:
        try:
            played = play(plan, sink, work.progress, work.going)
        finally:
            sink.flush()  # a row in mid-file that is wrong takes none of those before it along
    terminal.console(stderr=True).print(played.summary(terminal.clean(model)), markup=False)
    if not work.going():
        raise typer.Exit(INTERRUPTED)
