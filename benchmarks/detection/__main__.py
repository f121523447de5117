"""``make detection``: the streams through ``backtest``, and what a budget of false alarms is kept to.

Writes docs/detection.json and, of that, docs/detection.md. It takes ../shared/data.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console

from benchmarks.detection.page import PAGE, page_of
from benchmarks.detection.streams import FOLDER, STREAMS, Stream, write_employment, write_log
from streamer.backtest.bootstrap import Event, History
from streamer.backtest.calibrate import START, calibrate, count, read, warm_up
from streamer.backtest.run import Asked, Report, backtest
from streamer.domain.calibration import calibrated
from streamer.domain.objectives import (
    DetectorSpec,
    DriftSpec,
    ModelSpec,
    Objectives,
    ReferenceSpec,
    ThresholdSpec,
    WindowSpec,
)
from streamer.pipeline import LABELS, PREDICTIONS
from streamer.replay import Plan

RESULTS = PAGE.with_suffix(".json")
MODEL = "frozen"
INTERVAL_MS = 10.0
BUDGET_ROWS = 20_000
"""One false incident in so many predictions, of the calibrated trial."""

STABLE_ROWS = 10_000
STABLE_ALARMS = 200
CALIBRATION_ROWS = 400_000
WATCHED = ("score", "feature:AGEP", "feature:SCHL", "feature:RELP")
"""Of the employment log, beside the error and the distance of every column."""

HISTORY = 10_000
"""Where no change is known, so many rows at the beginning are the history."""

out = Console(highlight=False)
ADWIN, PAGE_HINKLEY = DetectorSpec("adwin"), DetectorSpec("page_hinkley")


def error_drift(*detectors: DetectorSpec, quiet: int = 2000) -> tuple[DriftSpec, ...]:
    return (DriftSpec("error", detectors, quiet_rows=quiet),)


def spec_of(drift: tuple[DriftSpec, ...], task: str = "multiclass") -> ModelSpec:
    return ModelSpec(MODEL, task=task, drift=drift, windows=(WindowSpec("last", 1000),))  # type: ignore[arg-type]


# -- known changes ---------------------------------------------------------------------------------


def detections(folder: Path) -> Iterator[dict[str, Any]]:
    """Each stream under River's detectors alone, the defaults, and the defaults calibrated."""
    for stream in STREAMS:
        log = folder / "log.csv"
        write_log(stream, log)
        yield _tried(stream, Plan(MODEL, log, interval_ms=INTERVAL_MS, start_ms=START), "multiclass")
    log = folder / "log.csv"
    write_employment(log)
    plan = Plan(MODEL, log, interval_ms=INTERVAL_MS, start_ms=START)
    yield _tried(Stream("employment 2016-2018", "employment_analysis.csv.gz", 0), plan, "binary")


def _tried(stream: Stream, plan: Plan, task: str) -> dict[str, Any]:
    out.print(f"  {stream.name}", style="dim")
    usual = spec_of(error_drift(ADWIN, PAGE_HINKLEY), task)
    stable = stream.changes[0] - stream.learn if stream.changes else HISTORY
    history = read(replace(plan, limit=stable), _silent, _on)
    strict = calibrated(usual, calibrate(usual, history, BUDGET_ROWS).settings)
    specs = {
        "ADWIN": spec_of(error_drift(ADWIN), task),
        "Page-Hinkley": spec_of(error_drift(PAGE_HINKLEY), task),
        "both": usual,
        "calibrated": strict,
    }
    trials = tuple((name, Objectives(models={MODEL: spec})) for name, spec in specs.items())
    changes = tuple(row - stream.learn for row in stream.changes)
    report = backtest(Asked(plan, trials, changes, stream.within))
    return {
        "stream": stream.name,
        "file": stream.file,
        "rows": report.played.predictions,
        "changes": list(stream.changes),
        "within": stream.within,
        "trials": {each.name: _row(report, at) for at, each in enumerate(report.outcomes)},
        "calibrated": [_parameters(each) for each in strict.drift[0].detectors],
    }


def _row(report: Report, at: int) -> dict[str, Any]:
    outcome = report.outcomes[at]
    verdict = outcome.verdict
    incidents = sum(outcome.pages.values())
    if verdict is None:
        return {"delays": [], "false": None, "incidents": incidents, "f1": None}
    delays = [each.delay for each in verdict.changes]
    return {"delays": delays, "false": verdict.false, "incidents": incidents, "f1": verdict.f1}


def _parameters(detector: DetectorSpec) -> dict[str, Any]:
    return {"kind": detector.kind, **dict(detector.parameters)}


# -- streams in which nothing changes ----------------------------------------------------------------


def budgets(folder: Path) -> Iterator[dict[str, Any]]:
    """What is told where nothing changes, under rules that were calibrated."""
    error = replace(spec_of(error_drift(ADWIN, PAGE_HINKLEY, quiet=500)), task="binary")
    low = ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 1000), minimum=0.9)
    yield _kept("independent errors, 10 %", replace(error, thresholds=(low,)), _coins(0.1, 0.1))
    yield _kept("errors in clumps, 10 %", error, _coins(0.1, 0.6))
    log = folder / "log.csv"
    for stream in (STREAMS[7], STREAMS[10]):
        write_log(stream, log)
        plan = Plan(MODEL, log, interval_ms=INTERVAL_MS, start_ms=START)
        plan = replace(plan, limit=stream.changes[0] - stream.learn if stream.changes else None)
        history = read(plan, _silent, _on)
        spec = replace(error, task="multiclass")
        yield _kept(f"{stream.name}, blocks", spec, _drawn(history), history)
    write_employment(log)
    history = read(Plan(MODEL, log, interval_ms=INTERVAL_MS, start_ms=START, limit=50_000), _silent, _on)
    whole = replace(
        error,
        drift=(*error.drift, *(DriftSpec(signal, (ADWIN,), quiet_rows=500) for signal in WATCHED)),
        reference=ReferenceSpec("first", 10_000),
    )
    yield _kept("employment and its features, blocks", whole, _drawn(history), history)


Source = Callable[[int, np.random.Generator], Iterator[Event]]


def _kept(name: str, spec: ModelSpec, source: Source, history: History | None = None) -> dict[str, Any]:
    out.print(f"  {name}", style="dim")
    if history is None:
        history = History()
        for kind, event in source(20_000, np.random.default_rng(3)):
            (history.prediction if kind == PREDICTIONS else history.label)(event)
    found = calibrate(spec, history, STABLE_ROWS, rows=CALIBRATION_ROWS)
    final, ignored = calibrated(spec, found.settings), warm_up(spec)
    rows = STABLE_ROWS * STABLE_ALARMS
    [before], [after] = (
        count([each], source(rows + ignored, np.random.default_rng(11)), ignored) for each in (spec, final)
    )
    return {
        "stream": name,
        "rows": rows,
        "block": found.block,
        "budget": STABLE_ALARMS,
        "before": sum(before.values()),
        "after": sum(after.values()),
        "by_rule": dict(sorted(after.items())),
    }


def _coins(rate: float, again: float) -> Source:
    """Errors at a rate; after an error the next one is wrong with probability ``again``."""
    onset = rate * (1 - again) / (1 - rate)

    def events(rows: int, chance: np.random.Generator) -> Iterator[Event]:
        wrong = False
        for number, toss in enumerate(chance.random(rows).tolist()):
            wrong = toss < (again if wrong else onset)
            common = {"prediction_id": str(number), "model": MODEL, "timestamp": START + 10 * number}
            yield PREDICTIONS, {**common, "prediction": number % 2}
            yield LABELS, {**common, "label": number % 2 ^ wrong}

    return events


def _drawn(history: History) -> Source:
    block = history.block_length()
    return lambda rows, chance: history.resampled(rows, block, chance, START)


def _silent(done: int, total: int) -> None: ...


def _on() -> bool:
    return True


def main() -> int:
    if not FOLDER.exists():
        out.print("the streams are in ../shared/data, which is not there", style="red")
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        out.print("known changes")
        known = list(detections(folder))
        out.print("streams in which nothing changes")
        kept = list(budgets(folder))
    results = {
        "budget_rows": BUDGET_ROWS,
        "history_rows": HISTORY,
        "stable_rows": STABLE_ROWS,
        "detections": known,
        "budgets": kept,
    }
    RESULTS.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    PAGE.write_text(page_of(results))
    out.print(f"wrote {RESULTS.name} and {PAGE.name}")
    broken = [each["stream"] for each in kept if each["after"] > 1.2 * each["budget"]]
    if broken:
        out.print(f"more than the budget and a fifth: {', '.join(broken)}", style="red")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
