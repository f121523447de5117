"""The fleet: every model on one page, and what is wrong now; leads on to a model or an incident."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from deploy.grafana import panels as p

TO_MODEL = ("/d/streamer-model?var-model=${__data.fields.model}&${__url_time_range}", "Look at this model")
TO_INCIDENT = (
    "/d/streamer-incident?var-model=${__data.fields.model}&${__url_time_range}",
    "Look into this incident",
)
ANNOTATIONS: list[dict[str, Any]] = [p.incidents(p.JOB)]


def fleet() -> Dashboard:
    return (
        p.frame("fleet", "Fleet", "Every model on one page, and what is wrong right now.", [p.job()])
        .with_row(Row("Now"))
        .with_panel(p.number("Models", f"count(count by (model) (model_predictions_total{{{p.JOB}}}))"))
        .with_panel(
            p.number(
                "Open incidents",
                f"sum({p.firing(p.JOB)})",
                colours=p.BAD_ABOVE_ZERO,
                about="Rules that are firing; the table below names them.",
            )
        )
        .with_panel(
            p.number("Predictions a second", f"sum(rate(model_predictions_total{{{p.JOB}}}{p.RATE}))", "pps")
        )
        .with_panel(
            p.number(
                "Labels a second",
                f'sum(rate(model_labels_total{{{p.JOB},outcome="joined"}}{p.RATE}))',
                "ops",
                about="Labels that met their prediction.",
            )
        )
        .with_panel(
            p.number(
                "Behind",
                f"max(streamer_lag_seconds{{{p.JOB}}})",
                "s",
                colours=((None, p.GREEN), (30.0, p.ORANGE), (60.0, p.RED)),
                about="How far the workers are behind the newest record: all that is shown here is as old.",
            )
        )
        .with_panel(
            p.number(
                "Quarantined partitions",
                f"sum(streamer_partitions_quarantined{{{p.JOB}}})",
                colours=p.BAD_ABOVE_ZERO,
                about="Their models are not watched.",
            )
        )
        .with_panel(
            p.rows(
                "Open incidents",
                [("firing", f"{p.firing(p.JOB)} == 1")],
                {"firing": "firing"},
                link=TO_INCIDENT,
                about="Empty is good. A click on a model leads to what happened around it.",
            )
        )
        .with_panel(
            p.rows(
                "Models",
                [
                    ("predictions", f"sum by (model) (rate(model_predictions_total{{{p.JOB}}}[5m]))"),
                    ("labels", f'sum by (model) (rate(model_labels_total{{{p.JOB},outcome="joined"}}[5m]))'),
                    ("coverage", f"min by (model) (model_label_coverage_ratio{{{p.JOB}}})"),
                    ("waiting", f"sum by (model) (model_pending_predictions{{{p.JOB}}})"),
                    ("open incidents", f"sum by (model) ({p.firing(p.JOB)})"),
                ],
                {},
                link=TO_MODEL,
                units={"predictions": "pps", "labels": "ops", "coverage": "percentunit"},
                about="Coverage: share of settled predictions with a label, of the version with the least.",
            )
        )
        .with_row(Row("Over time"))
        .with_panel(
            p.lines(
                "Open incidents by model",
                [(f"sum by (model) ({p.firing(p.JOB)})", "{{model}}")],
                bars=True,
            )
        )
        .with_panel(
            p.lines(
                "Predictions a second, the twenty busiest",
                [
                    (
                        f"topk(20, sum by (model) (rate(model_predictions_total{{{p.JOB}}}{p.RATE})))",
                        "{{model}}",
                    )
                ],
                "pps",
            )
        )
        .with_panel(
            p.lines(
                "95th percentile of the latency, the ten slowest",
                [
                    (
                        "topk(10, histogram_quantile(0.95, sum by (model, le) "
                        f"(rate(model_prediction_latency_seconds_bucket{{{p.JOB}}}{p.RATE}))))",
                        "{{model}}",
                    )
                ],
                "s",
            )
        )
        .with_panel(
            p.lines(
                "Label coverage, the ten lowest",
                [(f"bottomk(10, min by (model) (model_label_coverage_ratio{{{p.JOB}}}))", "{{model}}")],
                "percentunit",
                share=True,
            )
        )
    )
