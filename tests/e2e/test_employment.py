"""A real prediction log through the real thing: what comes out is what pandas and scikit-learn say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn import metrics

from streamer.adapters.scrape import Scrape
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.e2e.worker_process import WorkerProcess
from tests.shared_data import data_file


@pytest.mark.timeout(300)
def test_the_employment_log_through_kafka_gives_scikit_learns_figures(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    predictions = data_file("employment_analysis.csv.gz")
    labels = data_file("employment_analysis_target.csv.gz")
    names = topics(2, trace="trace")
    prefix = names.predictions.removesuffix("predictions")
    worker = WorkerProcess(bootstrap, prefix, tmp_path).await_ready()
    # It has only years, so timestamps are made by position; each label comes an hour of them later.
    command = [
        sys.executable, "-m", "streamer", "replay", str(predictions), "--labels", str(labels),
        "--model", "jobs", "--map", "prediction_id=id", "--map", "score=predicted_probability",
        "--label-map", "prediction_id=id", "--label-map", "label=employed",
        "--label-delay", "1h", "--bootstrap", bootstrap, "--topic-prefix", prefix,
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=120, env=dict(os.environ), capture_output=True)
    table = pd.read_csv(predictions).merge(pd.read_csv(labels), on="id", validate="one_to_one")

    def finished() -> Scrape | None:
        scrape = worker.scrape()
        done = scrape is not None and scrape.total("model_labels_total", outcome="joined") >= len(table)
        return scrape if done else None

    scrape = wait_until(finished, 120, "every label has met its prediction")
    assert worker.stop() == 0
    assert scrape.total("model_predictions_total") == len(table) == 208_892
    assert scrape.total("streamer_dead_letters_total") == 0
    who = {"model": "jobs", "window": "lifetime"}
    truth, guess, score = table["employed"], table["prediction"], table["predicted_probability"]
    exact = {
        "accuracy": metrics.accuracy_score(truth, guess),
        "precision": metrics.precision_score(truth, guess),
        "recall": metrics.recall_score(truth, guess),
        "f1": metrics.f1_score(truth, guess),
    }
    assert {name: scrape.value(f"model_{name}", **who) for name in exact} == pytest.approx(exact, abs=1e-12)
    assert scrape.value("model_auc_roc", **who) == pytest.approx(
        metrics.roc_auc_score(truth, score), abs=0.001
    )
