"""``streamer reference``: what a model's traffic looked like, and what has changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer import terminal
from streamer.adapters.reference_file import ReferenceFileError, load, save
from streamer.cli.options import INTERRUPTED, Bootstrap, Config, Group, Prefix, interruptible, settings_of
from streamer.cli.reference_tables import as_json, change_tables, summary_lines
from streamer.cli.traffic import columns_of, pairs_of
from streamer.domain.comparison import compare
from streamer.domain.reference import Reference
from streamer.reference_log import build
from streamer.replay import Plan


def reference_build(
    predictions: Annotated[Path, typer.Argument(help="Predictions: .csv, .csv.gz or .parquet.")],
    out: Annotated[Path, typer.Argument(help="The file that is written, JSON of some tens of kB.")],
    model: Annotated[str, typer.Option(help="The model's name.")],
    labels: Annotated[Path | None, typer.Option(help="Labels, by the predictions' ids.")] = None,
    model_version: Annotated[str | None, typer.Option("--version", help="The model's version.")] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN of predictions; may be repeated.")
    ] = None,
    label_mapping: Annotated[
        list[str] | None, typer.Option("--label-map", help="FIELD=COLUMN of labels; may be repeated.")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Columns that are features: a,b,c or none. [default: all that are left]"),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=VALUE of the rows that count; the column is no feature then."),
    ] = None,
    regression: Annotated[
        bool, typer.Option(help="Predictions and labels are numbers, not classes.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Stop after so many predictions.", min=1)] = None,
) -> None:
    """Make a reference of a log: counts of every feature, the scores, predictions, labels and errors.

    Fields are named as for `streamer replay`. It holds counts only, no row.

        streamer reference build log.csv 2015.json --model jobs --map score=probability --where year=2015
        streamer reference build train.parquet train.json --model fraud --features amount,country
    """
    plan = Plan(
        model=model,
        predictions=predictions,
        labels=labels,
        version=model_version,
        fields=pairs_of(mapping, "--map"),
        label_fields=pairs_of(label_mapping, "--label-map"),
        features=None if features is None else columns_of(features),
        limit=limit,
    )
    wanted = pairs_of(where, "--where")
    console = terminal.console(stderr=True)
    with interruptible() as stopped, terminal.progress_bar(console) as bar:
        task = bar.add_task("predictions", total=None)
        found = build(
            plan,
            wanted,
            regression,
            lambda done, total: bar.update(task, completed=done, total=total),
            lambda: not stopped.is_set(),
        )
    if stopped.is_set():
        raise typer.Exit(INTERRUPTED)  # half a log is no reference
    _wrote(out, found)


def reference_take(
    out: Annotated[Path, typer.Argument(help="The file that is written.")],
    model: Annotated[str, typer.Option(help="The model's name.")],
    model_version: Annotated[
        str | None, typer.Option("--version", help="The version. [default: the only one]", show_default=False)
    ] = None,
    since: Annotated[
        Path | None, typer.Option(help="An earlier one of the same version: only what came after it.")
    ] = None,
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Make a reference of what the workers have counted. It changes nothing, and they may be at work.

    Features are those of all predictions of the version, scores and errors those of the labelled ones.
    Two of them, taken at different times, make the stretch between: so a day is held against training.

        streamer reference take monday.json --model churn
        streamer reference take tuesday.json --model churn --since monday.json
    """
    from streamer.adapters.deployment import look_at
    from streamer.adapters.reference_state import taken

    settings = settings_of(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix)
    earlier = None if since is None else load(since)
    at = look_at(settings.client_config(), settings.group, settings.topics, settings.partitioner)
    found = taken(at, model, model_version)
    if earlier is not None:
        try:
            found = found.since(earlier)
        except ValueError as error:
            raise ReferenceFileError(f"{since} is no earlier state of {model}: {error}") from error
    _wrote(out, found)


def reference_show(
    file: Annotated[Path, typer.Argument(help="What `streamer reference build` wrote.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """What a reference holds.

    streamer reference show 2015.json
    """
    found = load(file)
    out = terminal.console()
    if json:
        print(terminal.json_line(found.plain()))
        return
    for each in summary_lines(found):
        out.print(each)


def reference_compare(
    reference: Annotated[Path, typer.Argument(help="A reference.")],
    current: Annotated[Path, typer.Argument(help="What is held against it: a reference of later rows.")],
    top: Annotated[int, typer.Option(help="So many columns, the most changed first.", min=1)] = 20,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """What changed between two stretches of a model's traffic, column by column.

    The columns are ranked by PSI. Beside it stands the PSI that chance alone makes of so many rows.

        streamer reference compare 2015.json 2018.json
        streamer reference compare train.json lately.json --json
    """
    before, after = load(reference), load(current)
    try:
        changes = compare(before, after)
    except ValueError as error:
        raise ReferenceFileError(f"they cannot be compared: {error}") from error
    if json:
        print(terminal.json_line(as_json(before, after, changes)))
        return
    out = terminal.console()
    for each in change_tables(before, after, changes[:top]):
        out.print(each)
    if len(changes) > top:
        out.print(f"{len(changes) - top} more columns: --top {len(changes)}", style="dim", markup=False)


def _wrote(out: Path, found: Reference) -> None:
    size = save(found, out)
    terminal.console(stderr=True).print(
        f"wrote {terminal.clean(out)}: {found.rows:,} rows, {size / 1000:,.0f} kB", markup=False
    )
