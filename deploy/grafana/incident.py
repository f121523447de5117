"""One incident: what fired, what else moved around it, and whether the monitor itself was well."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, Row

from deploy.grafana import panels as p
from deploy.grafana.model import of_window

RULE = f'{p.VERSION},rule=~"$rule"'
ANNOTATIONS: list[dict[str, Any]] = [p.incidents(RULE), p.detections(p.MODEL)]

READING = """
`streamer alerts --firing --model "$model"` shows the alert itself: the figure, its limit, the evidence.
`streamer alerts --json --model "$model"` has every transition since the incident began.

1. **Is the monitor well?** If *Behind* is not near zero, or a partition is quarantined, see *Workers* first.
2. **What changed first?** Traffic, latency, labels, features, then scores: read the panels in this order.
3. **Is it one version?** If so, a rollback is the quick cure.

The pages under `docs/runbooks` say for each kind of alert what to check and what to do.
"""


def _rule() -> QueryVariable:
    query = f"label_values(model_alert_firing{{{p.VERSION}}}, rule)"
    return p.choice("rule", query, "Rule", several=True, all_of_them=True)


def incident() -> Dashboard:
    made = p.frame(
        "incident",
        "Incident",
        "What fired, what else moved around it, and whether the monitor itself was well.",
        [p.job(), p.model(), p.version(), p.window(), _rule()],
    )
    return _around(
        made.with_row(Row("What fired"))
        .with_panel(p.words("How to read this page", READING, width=12, height=8))
        .with_panel(p.timeline("Rules", p.firing(RULE), "{{rule}} {{version}} ({{severity}})", width=12))
    )


def _around(made: Dashboard) -> Dashboard:
    return (
        made.with_row(Row("What moved around it"))
        .with_panel(
            p.lines(
                "Predictions and labels a second",
                [
                    (f"sum(rate(model_predictions_total{{{p.VERSION}}}{p.RATE}))", "predictions"),
                    (f'sum(rate(model_labels_total{{{p.MODEL},outcome="joined"}}{p.RATE}))', "labels joined"),
                ],
                "ops",
            )
        )
        .with_panel(
            p.lines(
                "Latency",
                [
                    (
                        f"histogram_quantile({share}, sum by (version, le) "
                        f"(rate(model_prediction_latency_seconds_bucket{{{p.VERSION}}}{p.RATE})))",
                        name,
                    )
                    for share, name in ((0.5, "median {{version}}"), (0.95, "95 % {{version}}"))
                ],
                "s",
            )
        )
        .with_panel(
            p.lines(
                "Scores over $window",
                [
                    (of_window(f"model_{name}"), f"{said} {{{{version}}}}")
                    for name, said in (
                        ("accuracy", "accuracy"),
                        ("f1", "F1"),
                        ("auc_roc", "AUC"),
                        ("mae", "MAE"),
                    )
                ],
            )
        )
        .with_panel(
            p.lines(
                "Alarms of the drift detectors",
                [
                    (
                        f"sum by (signal) (increase(model_drift_detected_total{{{p.VERSION}}}{p.RATE}))",
                        "{{signal}}",
                    )
                ],
                bars=True,
            )
        )
        .with_panel(
            p.lines(
                "Label coverage",
                [(f"min by (version) (model_label_coverage_ratio{{{p.VERSION}}})", "{{version}}")],
                "percentunit",
                share=True,
            )
        )
        .with_panel(
            p.lines(
                "Medians of features",
                [(f"max by (feature) (model_feature_median{{{p.VERSION}}})", "{{feature}}")],
            )
        )
        .with_row(Row("Was the monitor well?"))
        .with_panel(
            p.lines(
                "Behind",
                [(f"max by (topic) (streamer_lag_seconds{{{p.JOB}}})", "{{topic}}")],
                "s",
                width=8,
            )
        )
        .with_panel(
            p.lines(
                "Partitions quarantined",
                [(f"sum(streamer_partitions_quarantined{{{p.JOB}}})", "quarantined")],
                width=8,
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
                width=8,
            )
        )
    )
