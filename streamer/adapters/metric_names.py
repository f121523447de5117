"""Every metric there is, once: its type, its labels, and what it means. docs/metrics.md is made of this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VERSION = ("model", "version")
WINDOW = (*VERSION, "window")
FEATURE = (*VERSION, "feature")
PAIR = (*VERSION, "champion")
COLUMN = (*VERSION, "column")
SEGMENT = (*VERSION, "segment")
PARTITION = ("partition",)


@dataclass(frozen=True, slots=True)
class Family:
    """``additive``: models beyond the bound on series are added up under ``other``."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    additive: bool = False

    def as_other(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """The labels of the sum of many models."""
        return tuple(
            "other" if name in VERSION else value for name, value in zip(self.labels, values, strict=True)
        )


def _score(text: str) -> Family:
    return Family("gauge", text + " over the window.", WINDOW)


def _by_segment(text: str) -> Family:
    return Family("gauge", text + " over the model's first window, by segment.", (*SEGMENT, "window"))


MODEL: dict[str, Family] = {
    "model_predictions_total": Family("counter", "Predictions accepted.", VERSION, True),
    "model_duplicate_predictions_total": Family(
        "counter", "Predictions whose id had been seen before.", VERSION, True
    ),
    "model_expired_predictions_total": Family(
        "counter",
        "Predictions given up without a label: label_wait, capacity or task_changed.",
        (*VERSION, "reason"),
        True,
    ),
    "model_pending_predictions": Family("gauge", "Predictions that wait for their label.", VERSION, True),
    "model_labels_total": Family(
        "counter", "Labels by what became of them: joined, unmatched, late, …", ("model", "outcome"), True
    ),
    "model_parked_labels": Family("gauge", "Labels that wait for their prediction.", ("model",), True),
    "model_label_coverage_ratio": Family("gauge", "Share of settled predictions that got a label.", VERSION),
    "model_window_labels": Family("gauge", "Labelled predictions in the window.", WINDOW),
    "model_accuracy": _score("Share of right predictions"),
    "model_precision": _score("Precision (of the positive class, or macro)"),
    "model_recall": _score("Recall (of the positive class, or macro)"),
    "model_f1": _score("F1 (of the positive class, or macro)"),
    "model_auc_roc": _score("Area under the ROC curve"),
    "model_auc_roc_error": Family("gauge", "How far binning may have moved the AUC, both ways.", WINDOW),
    "model_log_loss": _score("Log loss in nats"),
    "model_brier": _score("Brier score"),
    "model_class_precision": Family("gauge", "Precision of one class.", (*WINDOW, "class")),
    "model_class_recall": Family("gauge", "Recall of one class.", (*WINDOW, "class")),
    "model_class_f1": Family("gauge", "F1 of one class.", (*WINDOW, "class")),
    "model_mae": _score("Mean absolute error, in the label's unit,"),
    "model_rmse": _score("Root mean squared error, in the label's unit,"),
    "model_bias": _score("Mean of prediction minus label"),
    "model_r2": _score("Coefficient of determination"),
    "model_prediction_latency_seconds": Family("histogram", "Time to make a prediction.", VERSION, True),
    "model_label_lag_seconds": Family("histogram", "Time from a prediction to its label.", VERSION, True),
    "model_latency_percentile_seconds": Family(
        "gauge", "Time to make a prediction: p50, p95 or p99.", (*WINDOW, "percentile")
    ),
    "model_throughput_predictions_per_second": Family("gauge", "Predictions a second.", WINDOW),
    "model_drift_detected_total": Family(
        "counter", "Alarms of the drift detectors.", (*VERSION, "detector", "signal"), True
    ),
    "model_drift_values_refused_total": Family(
        "counter", "Values kept from the detectors: not finite, or giant.", (*VERSION, "signal"), True
    ),
    "model_alert_firing": Family(
        "gauge", "1 while the rule's incident is open, else 0.", (*VERSION, "rule", "severity", "signal")
    ),
    "model_features_left_out_total": Family(
        "counter", "Values of features beyond max_features, which are not profiled.", VERSION, True
    ),
    "model_feature_missing_total": Family("counter", "Predictions in which the feature was null.", FEATURE),
    "model_feature_median": Family("gauge", "Median of the feature, to within an eighth.", FEATURE),
    "model_version_pairs_total": Family(
        "counter", "Labels that met a prediction of both the champion and this version.", PAIR
    ),
    "model_version_loss_difference": Family(
        "gauge", "Mean loss of this version less the champion's on the same predictions.", PAIR
    ),
    "model_version_loss_difference_lower": Family(
        "gauge", "Lower end of where it can be, at 95 % and at all times at once.", PAIR
    ),
    "model_version_loss_difference_upper": Family(
        "gauge", "Upper end of where it can be, at 95 % and at all times at once.", PAIR
    ),
    "model_waiting_labels": Family(
        "gauge", "Labelled predictions that wait until their pane is label_maturity old.", VERSION, True
    ),
    "model_late_labels_total": Family(
        "counter", "Labels that came after their prediction's pane had been counted.", VERSION, True
    ),
    "model_early_labels_total": Family(
        "counter", "Labelled predictions counted before their time, to make room.", VERSION, True
    ),
    "model_pane_revisions_total": Family(
        "counter", "Panes of prediction time told anew because of late labels.", VERSION, True
    ),
    "model_estimated_score": Family(
        "gauge",
        "What the score is before labels come, by the scores' confidence, over the window of `drift: data`.",
        (*VERSION, "score"),
    ),
    "model_estimate_error": Family(
        "gauge", "Estimated less actual accuracy of the last panes whose labels have come.", VERSION
    ),
    "model_reference_rows": Family(
        "gauge",
        "Rows behind the reference: of predictions (data) and of labels (label).",
        (*VERSION, "signal"),
    ),
    "model_data_distance": Family(
        "gauge", "Distance of a column from its reference, over the window of `drift: data`.", COLUMN
    ),
    "model_data_missing_ratio": Family("gauge", "Share of its rows without a value of the feature.", COLUMN),
    "model_data_unseen_ratio": Family("gauge", "Share of values that the reference never had.", COLUMN),
    "model_data_out_of_range_ratio": Family(
        "gauge", "Share of values outside the range of the reference.", COLUMN
    ),
    "model_label_warning": Family(
        "gauge",
        "1 while labels are missing_not_at_random, or lag_differs_by_class; none where rows are too few.",
        (*VERSION, "warning"),
    ),
    "model_segment_predictions_total": Family("counter", "Predictions accepted, by segment.", SEGMENT),
    "model_segment_window_labels": _by_segment("Labelled predictions"),
    "model_segment_accuracy": _by_segment("Share of right predictions"),
    "model_segment_precision": _by_segment("Precision of the positive class"),
    "model_segment_recall": _by_segment("Recall of the positive class"),
    "model_segment_f1": _by_segment("F1 of the positive class"),
    "model_segment_auc_roc": _by_segment("Area under the ROC curve"),
    "model_segment_auc_roc_error": _by_segment("How far binning may have moved the AUC, both ways,"),
    "model_segment_mae": _by_segment("Mean absolute error, in the label's unit,"),
    "model_segment_rmse": _by_segment("Root mean squared error, in the label's unit,"),
    "model_segment_bias": _by_segment("Mean of prediction minus label"),
    "model_segment_label_coverage_ratio": Family(
        "gauge", "Share of the predictions that matured last and got a label, by segment.", SEGMENT
    ),
    "model_segment_label_lag_seconds": Family(
        "gauge", "Median time from a prediction to its label, by segment.", SEGMENT
    ),
}

PROCESSOR: dict[str, Family] = {
    "streamer_predictions_consumed_total": Family(
        "counter", "Records read from the predictions topic.", PARTITION
    ),
    "streamer_predictions_total": Family(
        "counter",
        "Predictions by where they ended; with those pending they add up to consumed.",
        (*PARTITION, "outcome"),
    ),
    "streamer_predictions_pending": Family("gauge", "Predictions that wait for their label.", PARTITION),
    "streamer_labels_consumed_total": Family("counter", "Records read from the labels topic.", PARTITION),
    "streamer_labels_total": Family(
        "counter",
        "Labels by where they ended; with those parked they add up to consumed.",
        (*PARTITION, "outcome"),
    ),
    "streamer_labels_parked": Family("gauge", "Labels that wait for their prediction.", PARTITION),
    "streamer_dead_letters_total": Family("counter", "Records set aside.", (*PARTITION, "topic", "reason")),
    "streamer_chunks_total": Family("counter", "Runs of records processed."),
    "streamer_commits_total": Family("counter", "Transactions committed."),
    "streamer_commit_seconds_total": Family("counter", "Time from the start of a commit to its end."),
    "streamer_restores_total": Family("counter", "Partitions restored."),
    "streamer_restore_seconds_total": Family("counter", "Time taken to restore partitions."),
    "streamer_fenced_total": Family("counter", "Commits refused because another worker had taken over."),
    "streamer_lost_total": Family("counter", "Partitions taken away without a chance of a last commit."),
    "streamer_busy_seconds_total": Family("counter", "Processing time.", ("partition",)),
    "streamer_lag_records": Family("gauge", "Records not processed yet.", ("topic", "partition")),
    "streamer_lag_seconds": Family("gauge", "Record time not processed yet.", ("topic", "partition")),
    "streamer_partitions_owned": Family("gauge", "Partitions whose readings are shown here."),
    "streamer_clock_offset_seconds": Family(
        "gauge", "How far the brokers' clock is ahead of this worker's.", ("partition",)
    ),
    "streamer_partitions_quarantined": Family("gauge", "Partitions whose state cannot be trusted."),
    "streamer_routed_total": Family(
        "counter", "Records of the sources brought to their model's home, with `repartition`.", ("topic",)
    ),
    "streamer_routed_without_model_total": Family(
        "counter", "Those of them that name no model and become dead letters.", ("topic",)
    ),
    "streamer_unrouted_records": Family(
        "gauge", "Records that wait in the sources, by their partitions there.", ("topic", "partition")
    ),
    "streamer_router_partitions_halted": Family(
        "gauge", "Partitions of the sources that the router cannot go on with."
    ),
    "streamer_router_fenced_total": Family(
        "counter", "Transactions of the router refused because others had its partitions."
    ),
    "streamer_series_dropped": Family("gauge", "Series folded into other, or left out, at max_series."),
}
