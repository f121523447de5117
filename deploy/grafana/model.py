"""One model: its scores over a window, its latencies and labels, version beside version."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from deploy.grafana import panels as p

ANNOTATIONS: list[dict[str, Any]] = [p.incidents(p.MODEL), p.detections(p.MODEL)]


def of_window(metric: str) -> str:
    """A gauge of the chosen window; one line per version, whichever worker tells it."""
    return f"max by (version) ({metric}{{{p.WINDOW}}})"


def of_class(metric: str) -> str:
    return f"max by (version, class) ({metric}{{{p.WINDOW}}})"


def of_segment(metric: str) -> str:
    return f"max by (version, segment) ({metric}{{{p.SEGMENT}}})"


def model() -> Dashboard:
    made = p.frame(
        "model",
        "Model",
        "One model: its scores over a window, its latencies and labels, version beside version.",
        [p.job(), p.model(), p.version(), p.window(), p.segment()],
    )
    for add in (_now, _scores, _versions, _latency, _labels, _segments, _classes, _regression):
        made = add(made)
    return made


def _now(made: Dashboard) -> Dashboard:
    return (
        made.with_row(Row("Now"))
        .with_panel(
            p.number(
                "Open incidents",
                f"sum({p.firing(p.VERSION)})",
                colours=p.BAD_ABOVE_ZERO,
            )
        )
        .with_panel(
            p.number(
                "Predictions a second", f"sum(rate(model_predictions_total{{{p.VERSION}}}{p.RATE}))", "pps"
            )
        )
        .with_panel(
            p.number(
                "Labels a second",
                f'sum(rate(model_labels_total{{{p.MODEL},outcome="joined"}}{p.RATE}))',
                "ops",
            )
        )
        .with_panel(
            p.number(
                "Labels in the window",
                f"sum({of_window('model_window_labels')})",
                about="What the scores below stand on.",
            )
        )
        .with_panel(
            p.number(
                "Label coverage",
                f"min(model_label_coverage_ratio{{{p.VERSION}}})",
                "percentunit",
                about="Share of the settled predictions that got a label, of the version with the least.",
            )
        )
        .with_panel(
            p.number(
                "Waiting for a label",
                f"sum(model_pending_predictions{{{p.VERSION}}})",
                about="Predictions whose truth is not known yet.",
            )
        )
        .with_panel(p.timeline("Rules", p.firing(p.VERSION), "{{rule}} {{version}}"))
    )


def _scores(made: Dashboard) -> Dashboard:
    return (
        made.with_row(Row("Scores over $window (classification)"))
        .with_panel(
            p.lines(
                "Accuracy, precision, recall, F1",
                [
                    (of_window("model_accuracy"), "accuracy {{version}}"),
                    (of_window("model_precision"), "precision {{version}}"),
                    (of_window("model_recall"), "recall {{version}}"),
                    (of_window("model_f1"), "F1 {{version}}"),
                ],
                "percentunit",
                share=True,
                about="Of the positive class; macro averages of a model with more than two classes.",
            )
        )
        .with_panel(
            p.lines(
                "Area under the ROC curve",
                [
                    (of_window("model_auc_roc"), "AUC {{version}}"),
                    (
                        f"{of_window('model_auc_roc')} - {of_window('model_auc_roc_error')}",
                        "at least {{version}}",
                    ),
                ],
                "percentunit",
                share=True,
                about="Scores are binned; the second line is the least that the area can be.",
            )
        )
        .with_panel(
            p.lines(
                "Calibration: log loss and Brier score",
                [
                    (of_window("model_log_loss"), "log loss {{version}}"),
                    (of_window("model_brier"), "Brier {{version}}"),
                ],
                about="Less is better. They rise when scores are no longer probabilities, accuracy or not.",
            )
        )
        .with_panel(
            p.lines(
                "Labels in the window",
                [(of_window("model_window_labels"), "{{version}}")],
                about="Few labels: wide bounds, and rules that wait for min_samples.",
            )
        )
    )


def _versions(made: Dashboard) -> Dashboard:
    difference = "model_version_loss_difference"
    return (
        made.with_row(Row("Versions on the same predictions"))
        .with_panel(
            p.lines(
                "Loss less the champion's",
                [
                    (
                        f"max by (version, champion) ({difference}{end}{{{p.VERSION}}})",
                        f"{{{{version}}}} against {{{{champion}}}}{words}",
                    )
                    for end, words in (("", ""), ("_lower", ", at least"), ("_upper", ", at most"))
                ],
                about="Below 0 the version is better. The ends hold at all times at once, at 95 %.",
            )
        )
        .with_panel(
            p.rows(
                "Predictions of both",
                [("rows", f"max by (version, champion) (model_version_pairs_total{{{p.VERSION}}})")],
                {},
                units={"rows": "none"},
                width=12,
            )
        )
    )


def _latency(made: Dashboard) -> Dashboard:
    return (
        made.with_row(Row("Latency and traffic"))
        .with_panel(
            p.lines(
                "Latency percentiles over $window",
                [
                    (
                        f"max by (version, percentile) (model_latency_percentile_seconds{{{p.WINDOW}}})",
                        "{{percentile}} {{version}}",
                    )
                ],
                "s",
            )
        )
        .with_panel(
            p.heat(
                "Latency",
                f"sum by (le) (increase(model_prediction_latency_seconds_bucket{{{p.VERSION}}}{p.RATE}))",
                "s",
                about="How many predictions took how long.",
            )
        )
        .with_panel(
            p.lines(
                "Predictions a second by version",
                [
                    (
                        f"sum by (version) (rate(model_predictions_total{{{p.VERSION}}}{p.RATE}))",
                        "{{version}}",
                    )
                ],
                "pps",
            )
        )
        .with_panel(
            p.lines(
                "Throughput over $window",
                [(of_window("model_throughput_predictions_per_second"), "{{version}}")],
                "pps",
                about="As the objectives see it: by the predictions' own time.",
            )
        )
    )


def _labels(made: Dashboard) -> Dashboard:
    return (
        made.with_row(Row("Labels"))
        .with_panel(
            p.lines(
                "Labels by what became of them",
                [
                    (
                        f"sum by (outcome) (rate(model_labels_total{{{p.MODEL}}}{p.RATE}))",
                        "{{outcome}}",
                    )
                ],
                "ops",
            )
        )
        .with_panel(
            p.lines(
                "From a prediction to its label",
                [
                    (
                        f"histogram_quantile({share}, sum by (le) "
                        f"(rate(model_label_lag_seconds_bucket{{{p.VERSION}}}{p.RATE})))",
                        name,
                    )
                    for share, name in ((0.5, "half of them within"), (0.95, "95 % within"))
                ],
                "s",
            )
        )
        .with_panel(
            p.lines(
                "Predictions given up without a label",
                [
                    (
                        "sum by (version, reason) "
                        f"(rate(model_expired_predictions_total{{{p.VERSION}}}{p.RATE}))",
                        "{{reason}} {{version}}",
                    )
                ],
                "pps",
                about="label_wait ran out, or a limit was reached.",
            )
        )
        .with_panel(
            p.lines(
                "Waiting",
                [
                    (
                        f"sum by (version) (model_pending_predictions{{{p.VERSION}}})",
                        "predictions {{version}}",
                    ),
                    (f"sum(model_parked_labels{{{p.MODEL}}})", "labels that came first"),
                    (
                        f"sum by (version) (model_waiting_labels{{{p.VERSION}}})",
                        "labels that are not counted yet {{version}}",
                    ),
                    (
                        f"sum(rate(model_duplicate_predictions_total{{{p.VERSION}}}{p.RATE}))",
                        "duplicates a second",
                    ),
                ],
            )
        )
        .with_panel(
            p.lines(
                "Labels out of time (order: prediction)",
                [
                    (f"sum by (version) (rate({name}{{{p.VERSION}}}{p.RATE}))", f"{words} {{{{version}}}}")
                    for name, words in (
                        ("model_late_labels_total", "late labels"),
                        ("model_early_labels_total", "counted early"),
                        ("model_pane_revisions_total", "panes told anew"),
                    )
                ],
                "cps",
                about="Many late labels: label_maturity is too short. Counted early: max_pending.",
                width=p.WIDTH,
            )
        )
        .with_panel(
            p.timeline(
                "Can the labels speak for all?",
                f"max by (version, warning) (model_label_warning{{{p.VERSION}}})",
                "{{warning}} {{version}}",
                about="While one of them fires the scores tell more of some predictions than of others.",
            ).height(5)
        )
    )


def _segments(made: Dashboard) -> Dashboard:
    return made.with_row(
        Row("Segments over the model's first window (fields that the objectives declare)")
        .collapsed(True)
        .with_panel(
            p.lines(
                "Accuracy by segment",
                [(of_segment("model_segment_accuracy"), "{{segment}} {{version}}")],
                "percentunit",
                share=True,
            )
        )
        .with_panel(
            p.lines(
                "Size of the error by segment (regression)",
                [
                    (of_segment("model_segment_mae"), "mean absolute {{segment}} {{version}}"),
                    (of_segment("model_segment_rmse"), "root mean squared {{segment}} {{version}}"),
                    (of_segment("model_segment_bias"), "bias {{segment}} {{version}}"),
                ],
            )
        )
        .with_panel(
            p.lines(
                "Precision, recall, F1 by segment (binary)",
                [
                    (of_segment("model_segment_precision"), "precision {{segment}} {{version}}"),
                    (of_segment("model_segment_recall"), "recall {{segment}} {{version}}"),
                    (of_segment("model_segment_f1"), "F1 {{segment}} {{version}}"),
                ],
                "percentunit",
                share=True,
            )
        )
        .with_panel(
            p.lines(
                "Area under the ROC curve by segment",
                [
                    (of_segment("model_segment_auc_roc"), "AUC {{segment}} {{version}}"),
                    (
                        f"{of_segment('model_segment_auc_roc')}"
                        f" - {of_segment('model_segment_auc_roc_error')}",
                        "at least {{segment}} {{version}}",
                    ),
                ],
                "percentunit",
                share=True,
            )
        )
        .with_panel(
            p.lines(
                "Labels in the window by segment",
                [(of_segment("model_segment_window_labels"), "{{segment}} {{version}}")],
            )
        )
        .with_panel(
            p.lines(
                "Predictions a second by segment",
                [
                    (
                        "sum by (version, segment) "
                        f"(rate(model_segment_predictions_total{{{p.SEGMENT}}}{p.RATE}))",
                        "{{segment}} {{version}}",
                    )
                ],
                "pps",
            )
        )
        .with_panel(
            p.lines(
                "Label coverage by segment",
                [(of_segment("model_segment_label_coverage_ratio"), "{{segment}} {{version}}")],
                "percentunit",
                share=True,
                about="Of the predictions that matured last: those that waited as long as label_wait allows.",
            )
        )
        .with_panel(
            p.lines(
                "From a prediction to its label, by segment",
                [(of_segment("model_segment_label_lag_seconds"), "{{segment}} {{version}}")],
                "s",
                about="Medians of the version's last 10,000 to 20,000 labels.",
            )
        )
    )


def _classes(made: Dashboard) -> Dashboard:
    return made.with_row(
        Row("Classes over $window (multiclass)")
        .collapsed(True)
        .with_panel(
            p.lines(
                "Recall by class",
                [(of_class("model_class_recall"), "{{class}} {{version}}")],
                "percentunit",
                share=True,
                width=8,
            )
        )
        .with_panel(
            p.lines(
                "Precision by class",
                [(of_class("model_class_precision"), "{{class}} {{version}}")],
                "percentunit",
                share=True,
                width=8,
            )
        )
        .with_panel(
            p.lines(
                "F1 by class",
                [(of_class("model_class_f1"), "{{class}} {{version}}")],
                "percentunit",
                share=True,
                width=8,
            )
        )
    )


def _regression(made: Dashboard) -> Dashboard:
    return made.with_row(
        Row("Errors over $window (regression)")
        .collapsed(True)
        .with_panel(
            p.lines(
                "Size of the error",
                [
                    (of_window("model_mae"), "mean absolute {{version}}"),
                    (of_window("model_rmse"), "root mean squared {{version}}"),
                ],
                about="In the label's unit.",
                width=8,
            )
        )
        .with_panel(
            p.lines(
                "Bias",
                [(of_window("model_bias"), "{{version}}")],
                about="Mean of prediction minus label: above zero the model says too much.",
                width=8,
            )
        )
        .with_panel(p.lines("R²", [(of_window("model_r2"), "{{version}}")], width=8))
    )
