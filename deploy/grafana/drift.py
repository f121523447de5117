"""Drift and features: what the detectors found, and how each feature moves."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, Row

from deploy.grafana import panels as p

FEATURE = f'{p.VERSION},feature=~"$feature"'
ANNOTATIONS: list[dict[str, Any]] = [p.incidents(f"{p.MODEL},{p.DRIFT}"), p.detections(p.MODEL)]


def _feature() -> QueryVariable:
    query = f"label_values(model_feature_median{{{p.VERSION}}}, feature)"
    return p.choice("feature", query, "Feature", several=True, all_of_them=True)


def drift() -> Dashboard:
    return (
        p.frame(
            "drift",
            "Drift and features",
            "What the detectors found, and how each feature moves.",
            [p.job(), p.model(), p.version(), _feature()],
        )
        .with_row(Row("Drift"))
        .with_panel(
            p.timeline(
                "Drift incidents",
                p.firing(f"{p.VERSION},{p.DRIFT}"),
                "{{rule}} {{version}}",
                about="From the first alarm until the quiet stretch of the objectives is over.",
            )
        )
        .with_panel(
            p.lines(
                "Alarms of the detectors",
                [
                    (
                        "sum by (version, signal, detector) "
                        f"(increase(model_drift_detected_total{{{p.VERSION}}}{p.RATE}))",
                        "{{signal}} {{detector}} {{version}}",
                    )
                ],
                bars=True,
                about="One bar is one moment in which a signal's mean has changed, up or down.",
            )
        )
        .with_panel(
            p.rows(
                "Alarms in the range shown",
                [
                    (
                        "alarms",
                        "sum by (version, signal, detector) "
                        f"(increase(model_drift_detected_total{{{p.VERSION}}}[$__range]))",
                    )
                ],
                {},
                units={"alarms": "none"},
                width=12,
            )
        )
        .with_panel(
            p.lines(
                "Values kept from the detectors",
                [
                    (
                        "sum by (version, signal) "
                        f"(increase(model_drift_values_refused_total{{{p.VERSION}}}{p.RATE}))",
                        "{{signal}} {{version}}",
                    )
                ],
                bars=True,
                about="Not finite, or giant: a service that logs such values has a fault of its own.",
                width=p.WIDTH,
            )
        )
        .with_row(Row("Data against its reference"))
        .with_panel(
            p.lines(
                "Distance from the reference",
                [
                    (
                        f"max by (version, column) (model_data_distance{{{p.VERSION}}})",
                        "{{column}} {{version}}",
                    )
                ],
                about="Of each column, over the window of `drift: data`; empty without a `reference`.",
            )
        )
        .with_panel(
            p.lines(
                "What is wrong with the values",
                [
                    (
                        f"max by (version, column) ({metric}{{{p.VERSION}}})",
                        f"{{{{column}}}} {{{{version}}}} {words}",
                    )
                    for metric, words in (
                        ("model_data_missing_ratio", "missing"),
                        ("model_data_unseen_ratio", "never seen"),
                        ("model_data_out_of_range_ratio", "out of range"),
                    )
                ],
                "percentunit",
                about="Shares of the rows, or of the values, of the same window.",
            )
        )
        .with_panel(
            p.rows(
                "Rows behind the reference",
                [("rows", f"max by (version, signal) (model_reference_rows{{{p.VERSION}}})")],
                {},
                units={"rows": "none"},
                width=p.WIDTH,
            )
        )
        .with_row(Row("Before labels come"))
        .with_panel(
            p.lines(
                "Estimated figures",
                [
                    (
                        f"max by (version, score) (model_estimated_score{{{p.VERSION}}})",
                        "{{score}} {{version}}",
                    )
                ],
                about="What the scores say (CBPE, binary models with a reference); blind to concept drift.",
            )
        )
        .with_panel(
            p.lines(
                "Estimated less actual accuracy",
                [(f"max by (version) (model_estimate_error{{{p.VERSION}}})", "{{version}}")],
                about="Of the last panes whose labels have come. Far from 0: what scores mean has changed.",
            )
        )
        .with_row(Row("Features"))
        .with_panel(
            p.lines(
                "Median",
                [
                    (
                        f"max by (version, feature) (model_feature_median{{{FEATURE}}})",
                        "{{feature}} {{version}}",
                    )
                ],
                about="Over the version's lifetime, to within an eighth.",
            )
        )
        .with_panel(
            p.lines(
                "Share of nulls",
                [
                    (
                        f"sum by (version, feature) (rate(model_feature_missing_total{{{FEATURE}}}{p.RATE}))"
                        " / on (version) group_left () "
                        f"sum by (version) (rate(model_predictions_total{{{p.VERSION}}}{p.RATE}))",
                        "{{feature}} {{version}}",
                    )
                ],
                "percentunit",
                about="Of the predictions, in how many the feature was null.",
            )
        )
        .with_panel(
            p.lines(
                "Values of features beyond max_features",
                [
                    (
                        f"sum by (version) (rate(model_features_left_out_total{{{p.VERSION}}}{p.RATE}))",
                        "{{version}}",
                    )
                ],
                "ops",
                about="They are not profiled; detectors on features are not affected.",
                width=p.WIDTH,
            )
        )
    )
