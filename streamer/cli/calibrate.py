"""``streamer calibrate``: how strict the rules of a model have to be for its budget of false alarms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from streamer import terminal
from streamer.cli.log_options import (
    Features,
    Interval,
    LabelDelay,
    LabelMapping,
    Labels,
    Limit,
    Mapping,
    OnlyModel,
    PredictionsOption,
    Version,
    at_work,
    only_model,
    plan_of,
)
from streamer.cli.options import INTERRUPTED, duration_ms
from streamer.config import load_objectives
from streamer.domain.objectives import ModelSpec

if TYPE_CHECKING:
    from streamer.domain.calibration import Calibration, Setting


def calibrate(
    objectives: Annotated[Path, typer.Argument(help="The objectives file, with `false_alarms:`.")],
    predictions: PredictionsOption,
    out: Annotated[Path, typer.Option(help="The file that is written, for `calibration:`.")],
    labels: Labels = None,
    model: OnlyModel = None,
    model_version: Version = None,
    mapping: Mapping = None,
    label_mapping: LabelMapping = None,
    features: Features = None,
    label_delay: LabelDelay = "0s",
    interval: Interval = "1s",
    limit: Limit = None,
    rows: Annotated[
        int, typer.Option(help="So many predictions are drawn: more see rarer alarms.", min=10_000)
    ] = 200_000,
    seed: Annotated[int, typer.Option(help="Of what is drawn.", min=0)] = 1,
) -> None:
    """Make a model's rules as strict as its budget of false alarms asks for.

    From a stretch of history in which nothing went wrong it draws streams in which nothing changes, counts
    what each rule would have told at each strictness, and writes down where it has to stand. Rules only
    become stricter than the file says. Fields are named as for `streamer replay`.

        streamer calibrate objectives.yml --predictions may.csv --map label=y_true --out churn.json
        streamer calibrate o.yml --predictions p.parquet --labels t.parquet --rows 1000000 --out o.json
    """
    from streamer.adapters.calibration_file import save
    from streamer.backtest.calibrate import calibrate as run
    from streamer.backtest.calibrate import read

    file = load_objectives(objectives, calibrate=True)
    name = model or only_model([file])
    spec = file.spec_for(name)
    if spec.false_alarms is None:
        about = f"{objectives} has no budget for {name}: say `false_alarms: 1 per 30d` under it"
        raise typer.BadParameter(about, param_hint="OBJECTIVES")
    plan = plan_of(
        name, predictions, labels, model_version, mapping, label_mapping, features, limit,
        interval_ms=duration_ms(interval, "--interval"),
        start_ms=0,
        delay_ms=duration_ms(label_delay, "--label-delay"),
    )  # fmt: skip
    with at_work("history") as work:
        history = read(plan, work.progress, work.going)
        work.begin("streams without a change")
        run_length = spec.false_alarms.per_ms / spec.false_alarms.count / max(history.gap, 1e-9)
        found = run(spec, history, run_length, rows, seed, work.progress, work.going)
    if not work.going():
        raise typer.Exit(INTERRUPTED)  # half a calibration is none
    save(found, out)
    for each in text_of(spec, found, history.gap):
        terminal.console().print(each)
    terminal.console(stderr=True).print(
        f"wrote {terminal.clean(out)}: name it with `calibration:` under {terminal.clean(name)}", markup=False
    )


def text_of(spec: ModelSpec, found: Calibration, gap_ms: float) -> Iterator[Table | Text]:
    """What it was made of, where each rule has to stand, and what came of it."""
    from streamer.domain.calibration import LADDERS, own_value

    yield Text(
        f"{terminal.clean(found.model)}: {found.budget} is one false incident in {found.run_length:,.0f}"
        f" predictions ({1000 / gap_ms:,.3g} a second), over all rules",
        "bold",
    )
    yield Text(
        f"history: {found.rows:,} rows of {terminal.clean(found.made_of)}, drawn in blocks of"
        f" {found.block:,}; {found.tried_rows:,} predictions tried"
    )
    table = Table("rule", "", "in the file", "needed", "of the budget", "")
    for setting in found.settings:
        knob = setting.knob
        own = own_value(spec, knob)
        needed = "–" if setting.value is None else f"{setting.value:.4g}"
        table.add_row(
            terminal.cell(knob.rule),
            LADDERS[knob.kind].parameter,
            f"{own:.4g}",
            needed,
            f"{setting.rate:.1%}",
            _note(setting),
        )
    yield table
    if any(setting.extrapolated for setting in found.settings):
        yield Text("≈ extrapolated: too rare to be counted; --rows draws more.", "dim")
    told = sum(found.tried.values())
    verdict = f"with all of them in place: {told:,} incidents where the budget has {found.allowed:,.3g}"
    yield Text(verdict, "green" if told <= max(1.0, found.allowed) else "yellow")
    if any(setting.value is None for setting in found.settings):
        yield Text(
            "✗ nothing makes it that quiet: its limit is one that the history itself breaks.", "yellow"
        )


def _note(setting: Setting) -> Text:
    if setting.value is None:
        return Text("✗", "yellow")
    return Text("≈" if setting.extrapolated else "", "dim")
