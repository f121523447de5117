"""Counts each rule's incidents on every rung of its ladder, in streams in which nothing changes.

The rules are those of a worker at work in the worker's own core, so what is counted is what would have
been told: incidents, with their hold, their margin and their quiet stretch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from streamer.adapters.tables import TableError
from streamer.backtest.bootstrap import Event, History
from streamer.domain.calibration import (
    MARGIN,
    RUNGS,
    Calibration,
    at_rung,
    calibrated,
    choose,
    knobs_of,
    lean,
    shares,
)
from streamer.domain.objectives import FieldMap, ModelSpec, Objectives
from streamer.domain.partition import Partition
from streamer.pipeline import PREDICTIONS
from streamer.replay import Plan, play

LEAST_HISTORY = 1000
START = 1_000_000_000_000
Progress = Callable[[int, int], None]


def read(plan: Plan, progress: Progress, going: Callable[[], bool]) -> History:
    """The history of a log. Raises TableError, as ``replay.play``, or where there is too little of it."""
    history = History(plan.predictions.name)
    play(plan, history, progress, going)
    if len(history.rows) < LEAST_HISTORY:
        raise TableError(
            f"{plan.predictions}: {len(history.rows):,} predictions are too few to say what is usual:"
            f" at least {LEAST_HISTORY:,}"
        )
    return history


def calibrate(
    spec: ModelSpec,
    history: History,
    run_length: float,
    rows: int = 200_000,
    seed: int = 1,
    progress: Progress = lambda done, total: None,
    going: Callable[[], bool] = lambda: True,
) -> Calibration:
    """Find the place of every knob.

    Args:
        spec: the model as its file asks for it.
        history: rows in which nothing changes, as far as anybody knows.
        run_length: so many predictions there may be to one false incident of any rule.
        rows: so many predictions are drawn to count incidents; twice, the second time to see what came of it.
        seed: of what is drawn.
        progress: predictions done, and in all.
        going: False ends it early; what is found then means nothing.
    """
    spec = replace(spec, fields=FieldMap())
    block = history.block_length()
    knobs = list(knobs_of(spec))
    parts = range(1 + max((knob.part for knob in knobs), default=0))
    variants = [(rung, part) for part in parts for rung in range(RUNGS)]
    ignored = warm_up(spec)
    specs = [at_rung(spec, rung, part) for rung, part in variants]
    total = 2 * (rows + ignored)

    def stream(done: int, chance: np.random.Generator) -> Iterable[Event]:
        events = history.resampled(rows + ignored, block, chance, START)
        return _watched(events, done, total, progress, going)

    counts = count(specs, stream(0, np.random.default_rng([seed, 1])), ignored)
    found = dict(zip(variants, counts, strict=True))
    settings = []
    for knob, share in shares(knobs).items():
        ladder = [sum(found[rung, knob.part][rule] for rule in knob.rules) for rung in range(RUNGS)]
        settings.append(choose(knob, ladder, rows / run_length, MARGIN * share))
    final = lean(calibrated(spec, settings))
    [incidents] = count([final], stream(rows + ignored, np.random.default_rng([seed, 2])), ignored)
    return Calibration(
        model=spec.model,
        budget="" if spec.false_alarms is None else str(spec.false_alarms),
        made_of=history.made_of,
        rows=len(history.rows),
        block=block,
        run_length=run_length,
        settings=tuple(settings),
        tried_rows=rows,
        tried=dict(sorted(incidents.items())),
    )


def warm_up(spec: ModelSpec) -> int:
    """So many predictions pass before incidents count: references and windows have to fill first."""
    sizes = [each.window.size for each in spec.thresholds if each.window.kind == "last"]
    sizes += [detector.warm_up for drift in spec.drift for detector in drift.detectors]
    if spec.reference is not None:
        first = spec.reference.size if spec.reference.kind == "first" else 0
        sizes.append(first + spec.data_drift.rows)
    return max(sizes, default=0)


def count(specs: list[ModelSpec], events: Iterable[Event], ignored: int) -> list[Counter[str]]:
    """How many incidents each of them opens, by rule, after the first ``ignored`` predictions."""
    partitions = [Partition(Objectives(models={spec.model: spec}), lambda model: True) for spec in specs]
    counts: list[Counter[str]] = [Counter() for _ in specs]
    seen = 0
    for kind, event in events:
        seen += kind == PREDICTIONS
        for partition, found in zip(partitions, counts, strict=True):
            partition.advance(event["timestamp"])
            if kind == PREDICTIONS:
                partition.predict(event)
            else:
                partition.label(event)
            if partition.told:
                if seen > ignored:
                    found.update(each.rule.rule for each in partition.told if each.status == "firing")
                partition.told.clear()
    return counts


def _watched(
    events: Iterable[Event], done: int, total: int, progress: Progress, going: Callable[[], bool]
) -> Iterable[Event]:
    """The same events; says how far it has come."""
    for kind, event in events:
        done += kind == PREDICTIONS
        if kind == PREDICTIONS and not done % 500:
            progress(done, total)
            if not going():
                return
        yield kind, event
