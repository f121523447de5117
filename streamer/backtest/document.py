"""A backtest as one JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from streamer.backtest.run import Outcome, Report
from streamer.backtest.verdict import Verdict
from streamer.domain.events import rfc3339


def document_of(report: Report) -> dict[str, Any]:
    """Everything but the curves, which the page draws. Rows count predictions; times are event time."""
    asked, played = report.asked, report.played
    return {
        "model": asked.plan.model,
        "predictions": {"file": asked.plan.predictions.name, "count": played.predictions},
        "labels": {"count": played.labels, "without": played.without_label, "strangers": played.strangers},
        "from": rfc3339(report.moments[0][1]),
        "to": rfc3339(report.moments[-1][1]),
        "within": asked.within,
        "changes": list(report.changes),
        "trials": [_trial(each) for each in report.outcomes],
        "always": _verdict(report.always),
        "never": _verdict(report.never),
    }


def _trial(outcome: Outcome) -> dict[str, Any]:
    return {
        "objectives": outcome.name,
        "revision": outcome.objectives.revision,
        "verdict": _verdict(outcome.verdict),
        "pages": dict(sorted(outcome.pages.items())),
        "unusable": dict(sorted(outcome.unusable.items())),
        "alerts": [{"row": each.row, **each.alert} for each in outcome.told],
    }


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "found": verdict.found,
        "missed": verdict.missed,
        "false": verdict.false,
        "incidents": verdict.incidents,
        "delay": verdict.delay,
        "precision": verdict.precision,
        "recall": verdict.recall,
        "f1": verdict.f1,
        "changes": [asdict(each) for each in verdict.changes],
    }
