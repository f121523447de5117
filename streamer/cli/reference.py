"""``streamer reference``: what a model's traffic looked like, and what has changed since."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamer import terminal
from streamer.cli.log_options import (
    Features,
    LabelMapping,
    Labels,
    Limit,
    Mapping,
    Model,
    Predictions,
    Version,
    at_work,
    pairs_of,
    plan_of,
)
from streamer.cli.options import INTERRUPTED, Bootstrap, Config, Group, Prefix, settings_of

# What counts is imported where it is used: a command that counts nothing starts without NumPy.
if TYPE_CHECKING:
    from streamer.domain.reference import Reference


def reference_build(
    predictions: Predictions,
    out: Annotated[Path, typer.Argument(help="The file that is written, JSON of some tens of kB.")],
    model: Model,
    labels: Labels = None,
    model_version: Version = None,
    mapping: Mapping = None,
    label_mapping: LabelMapping = None,
    features: Features = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=VALUE of the rows that count; the column is no feature then."),
    ] = None,
    regression: Annotated[
        bool, typer.Option(help="Predictions and labels are numbers, not classes.")
    ] = False,
    positive: Annotated[str, typer.Option(help="The class that scores are about.")] = "1",
    limit: Limit = None,
) -> None:
    """Make a reference of a log: counts of every feature, the scores, predictions, labels and errors.

    Fields are named as for `streamer replay`. It holds counts only, no row; rows that are to be left
    out are those in which a column of --where has another value.

        streamer reference build log.csv 2015.json --model jobs --map score=probability --where year=2015
        streamer reference build train.parquet train.json --model fraud --features amount,country
    """
    from streamer.reference_log import build

    plan = plan_of(model, predictions, labels, model_version, mapping, label_mapping, features, limit)
    wanted = pairs_of(where, "--where")
    with at_work("predictions") as work:
        found = build(plan, wanted, regression, positive, work.progress, work.going)
    if not work.going():
        raise typer.Exit(INTERRUPTED)  # half a log is no reference
    _wrote(out, found)


def reference_take(
    out: Annotated[Path, typer.Argument(help="The file that is written.")],
    model: Model,
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
    from streamer.adapters.reference_file import ReferenceFileError, load
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

    Numbers are known to an eighth of their value, small whole numbers exactly; the rest by name,
    the commonest first.

        streamer reference show 2015.json
    """
    from streamer.adapters.reference_file import load
    from streamer.cli.reference_tables import summary_lines

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

    The columns are ranked by PSI. Beside it stands the PSI that chance alone makes of so many rows,
    and above the table what looks wrong with the data.

        streamer reference compare 2015.json 2018.json
        streamer reference compare train.json lately.json --json
    """
    from streamer.adapters.reference_file import ReferenceFileError, load
    from streamer.cli.reference_tables import as_json, change_tables
    from streamer.domain.comparison import compare

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


def reference_estimate(
    reference: Annotated[Path, typer.Argument(help="A reference whose rows have scores and labels.")],
    current: Annotated[Path, typer.Argument(help="A reference of later rows, which need no labels.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """How well a binary model does before its labels come, as far as its scores can tell (CBPE).

    It sees what changes the scores. It cannot see concept drift: where the same score has come to mean
    something else, only labels say so. Where there are labels, the actual figures stand beside it.

        streamer reference estimate 2015.json 2018.json
    """
    from streamer.adapters.reference_file import ReferenceFileError, load
    from streamer.cli.reference_tables import estimate_table
    from streamer.domain.estimate import NoCalibration, estimate

    before, after = load(reference), load(current)
    try:
        found = estimate(before, after)
    except NoCalibration as error:
        raise ReferenceFileError(f"nothing can be estimated: {error}") from error
    if json:
        print(terminal.json_line([asdict(each) for each in found]))
        return
    out = terminal.console()
    for part in estimate_table(before, after, found):
        out.print(part)


def _wrote(out: Path, found: Reference) -> None:
    from streamer.adapters.reference_file import save

    size = save(found, out)
    terminal.console(stderr=True).print(
        f"wrote {terminal.clean(out)}: {found.rows:,} rows, {size / 1000:,.0f} kB", markup=False
    )
