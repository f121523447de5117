"""The workers: are they up, do they keep up, do they commit, does every record add up?"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from deploy.grafana import panels as p

ANNOTATIONS: list[dict[str, Any]] = []


def _left_over(kind: str, waiting: str) -> str:
    """Consumed minus all outcomes, of the worst partition: what would have been dropped in silence."""
    each = f"max by (partition) (streamer_{kind}_consumed_total{{{p.JOB}}})"
    ended = f"sum by (partition) (max by (partition, outcome) (streamer_{kind}_total{{{p.JOB}}}))"
    waits = f"max by (partition) (streamer_{kind}_{waiting}{{{p.JOB}}})"
    return f"max(abs({each} - {ended} - {waits}))"


def workers() -> Dashboard:
    made = p.frame(
        "workers",
        "Workers",
        "Are they up, do they keep up, do they commit, does every record add up?",
        [p.job()],
    )
    return _commits(_work(_now(made)))


def _now(made: Dashboard) -> Dashboard:
    return (
        made.with_row(Row("Now"))
        .with_panel(p.number("Workers that answer", f"sum(up{{{p.JOB}}})"))
        .with_panel(
            p.number(
                "Partitions watched", f"count(count by (partition) (streamer_busy_seconds_total{{{p.JOB}}}))"
            )
        )
        .with_panel(
            p.number(
                "Quarantined",
                f"sum(streamer_partitions_quarantined{{{p.JOB}}})",
                colours=p.BAD_ABOVE_ZERO,
                about="/readyz of the worker says which, its log says why and what helps.",
            )
        )
        .with_panel(
            p.number(
                "Records behind",
                f"sum(max by (topic, partition) (streamer_lag_records{{{p.JOB}}}))",
            )
        )
        .with_panel(
            p.number(
                "Not accounted for",
                f"{_left_over('predictions', 'pending')} + {_left_over('labels', 'parked')}",
                colours=p.BAD_ABOVE_ZERO,
                about="Consumed minus all outcomes: always 0, but for a moment in a rebalance.",
            )
        )
        .with_panel(
            p.number(
                "Series left out",
                f"sum(streamer_series_dropped{{{p.JOB}}})",
                colours=p.BAD_ABOVE_ZERO,
                about="Beyond max_series; models there are shown as `other`.",
            )
        )
    )


def _work(made: Dashboard) -> Dashboard:
    return (
        made.with_row(Row("Work"))
        .with_panel(
            p.lines(
                "Records a second",
                [
                    (
                        f"sum by (instance) (rate(streamer_predictions_consumed_total{{{p.JOB}}}{p.RATE}))"
                        f" + sum by (instance) (rate(streamer_labels_consumed_total{{{p.JOB}}}{p.RATE}))",
                        "{{instance}}",
                    )
                ],
                "ops",
            )
        )
        .with_panel(
            p.lines(
                "Busy",
                [
                    (
                        f"sum by (instance) (rate(streamer_busy_seconds_total{{{p.JOB}}}{p.RATE}))",
                        "{{instance}}",
                    )
                ],
                "percentunit",
                about="Share of a core that goes into processing. Near 1 the worker is at its limit.",
            )
        )
        .with_panel(
            p.lines(
                "Behind",
                [(f"max by (topic, partition) (streamer_lag_seconds{{{p.JOB}}})", "{{topic}} {{partition}}")],
                "s",
                about="Record time not processed yet.",
            )
        )
        .with_panel(
            p.lines(
                "Records behind",
                [(f"max by (topic, partition) (streamer_lag_records{{{p.JOB}}})", "{{topic}} {{partition}}")],
            )
        )
        .with_panel(
            p.lines(
                "Busy by partition, the ten busiest",
                [
                    (
                        "topk(10, sum by (partition) "
                        f"(rate(streamer_busy_seconds_total{{{p.JOB}}}{p.RATE})))",
                        "{{partition}}",
                    )
                ],
                "percentunit",
                about="One far above the others holds a hot model.",
            )
        )
        .with_panel(
            p.lines(
                "Records set aside",
                [
                    (
                        f"sum by (topic, reason) (rate(streamer_dead_letters_total{{{p.JOB}}}{p.RATE}))",
                        "{{topic}} {{reason}}",
                    )
                ],
                "ops",
                about="`streamer dead-letters list --summary` says why and what helps.",
            )
        )
        .with_panel(
            p.lines(
                "What waits",
                [
                    (
                        f"sum(max by (partition) (streamer_predictions_pending{{{p.JOB}}}))",
                        "predictions without a label",
                    ),
                    (
                        f"sum(max by (partition) (streamer_labels_parked{{{p.JOB}}}))",
                        "labels without a prediction",
                    ),
                ],
            )
        )
        .with_panel(
            p.lines(
                "Clocks",
                [
                    (
                        f"max by (instance) (abs(streamer_clock_offset_seconds{{{p.JOB}}}))",
                        "{{instance}}",
                    )
                ],
                "s",
                about="How far the brokers' clock is from the worker's; beyond 60 s time stands still.",
            )
        )
    )


def _commits(made: Dashboard) -> Dashboard:
    return (
        made.with_row(Row("Commits and partitions"))
        .with_panel(
            p.lines(
                "Commits a second",
                [(f"rate(streamer_commits_total{{{p.JOB}}}{p.RATE})", "{{instance}}")],
                "ops",
            )
        )
        .with_panel(
            p.lines(
                "Time of a commit",
                [
                    (
                        f"rate(streamer_commit_seconds_total{{{p.JOB}}}{p.RATE})"
                        f" / (rate(streamer_commits_total{{{p.JOB}}}{p.RATE}) > 0)",
                        "{{instance}}",
                    )
                ],
                "s",
                about="The mean, from its start to Kafka's answer.",
            )
        )
        .with_panel(
            p.lines(
                "Records in a run",
                [
                    (
                        f"sum by (instance) (rate(streamer_predictions_consumed_total{{{p.JOB}}}{p.RATE}))"
                        f" / (sum by (instance) (rate(streamer_chunks_total{{{p.JOB}}}{p.RATE})) > 0)",
                        "{{instance}}",
                    )
                ],
                about="Predictions that are processed in one go; long runs are cheap.",
            )
        )
        .with_panel(
            p.lines(
                "Partitions by worker",
                [(f"streamer_partitions_owned{{{p.JOB}}}", "{{instance}}")],
            )
        )
        .with_panel(
            p.lines(
                "Partitions that came and went",
                [
                    (f"sum(increase(streamer_restores_total{{{p.JOB}}}{p.RATE}))", "restored"),
                    (f"sum(increase(streamer_lost_total{{{p.JOB}}}{p.RATE}))", "lost"),
                    (f"sum(increase(streamer_fenced_total{{{p.JOB}}}{p.RATE}))", "fenced"),
                ],
                bars=True,
                about="Lost: taken away without a last commit; the next owner replays from the one before.",
            )
        )
        .with_panel(
            p.lines(
                "Time of a restore",
                [
                    (
                        f"sum(streamer_restore_seconds_total{{{p.JOB}}})"
                        f" / (sum(streamer_restores_total{{{p.JOB}}}) > 0)",
                        "mean since the start",
                    )
                ],
                "s",
            )
        )
    )
