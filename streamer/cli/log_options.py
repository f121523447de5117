"""What commands that read a log of predictions and labels have in common: which files, which columns."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from streamer import terminal
from streamer.cli.options import interruptible
from streamer.domain.objectives import Objectives
from streamer.replay import Plan

Predictions = Annotated[Path, typer.Argument(help="Predictions: .csv, .csv.gz or .parquet.")]
Model = Annotated[str, typer.Option(help="The model's name.")]
Labels = Annotated[
    Path | None, typer.Option(help="Labels, by the predictions' ids; rows that match none are counted.")
]
Version = Annotated[str | None, typer.Option("--version", help="The model's version.")]
Mapping = Annotated[
    list[str] | None, typer.Option("--map", help="FIELD=COLUMN of predictions; may be repeated.")
]
LabelMapping = Annotated[
    list[str] | None, typer.Option("--label-map", help="FIELD=COLUMN of labels; may be repeated.")
]
Features = Annotated[
    str | None, typer.Option(help="Columns that are features: a,b,c or none. [default: all that are left]")
]
PredictionsOption = Annotated[
    Path, typer.Option("--predictions", help="Predictions: .csv, .csv.gz or .parquet.")
]
OnlyModel = Annotated[
    str | None, typer.Option("--model", help="The model's name. [default: the only one in the files]")
]
LabelDelay = Annotated[
    str, typer.Option(help="From a prediction to a label without a timestamp (or an empty one), as in 10m.")
]
Interval = Annotated[str, typer.Option(help="Between the timestamps made up for predictions without one.")]
Limit = Annotated[int | None, typer.Option(help="Stop after so many predictions.", min=1)]


class Work:
    """Reading a log: how far it is, and whether somebody wants it to end."""

    def __init__(self, bar: Progress, stopped: threading.Event, what: str) -> None:
        self._bar, self._stopped = bar, stopped
        self._task = bar.add_task(what, total=None)

    def progress(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def going(self) -> bool:
        return not self._stopped.is_set()

    def begin(self, what: str) -> None:
        """The next part of it."""
        self._bar.reset(self._task, description=what, total=None)


@contextmanager
def at_work(what: str) -> Iterator[Work]:
    """A bar on the terminal while a log is read; Ctrl-C ends it at the next row."""
    with interruptible() as stopped, terminal.progress_bar(terminal.console(stderr=True)) as bar:
        yield Work(bar, stopped, what)


def plan_of(
    model: str,
    predictions: Path,
    labels: Path | None,
    version: str | None,
    mapping: list[str] | None,
    label_mapping: list[str] | None,
    features: str | None,
    limit: int | None,
    **more: Any,
) -> Plan:
    """What the options say. Raises typer.BadParameter."""
    return Plan(
        model=model,
        predictions=predictions,
        labels=labels,
        version=version,
        fields=pairs_of(mapping, "--map"),
        label_fields=pairs_of(label_mapping, "--label-map"),
        features=None if features is None else _columns(features),
        limit=limit,
        **more,
    )


def only_model(files: Iterable[Objectives]) -> str:
    """The model that a log must be of, where nobody says so. Raises typer.BadParameter."""
    names = sorted({name for each in files for name in each.models})
    if len(names) == 1:
        return names[0]
    told = f"there are {', '.join(names)}" if names else "the files name none"
    raise typer.BadParameter(f"which model is the log of? ({told})", param_hint="--model")


def pairs_of(given: list[str] | None, option: str) -> dict[str, str]:
    """``FIELD=COLUMN`` of each. Raises typer.BadParameter."""
    found = {}
    for text in given or ():
        name, equals, column = text.partition("=")
        if not (name and equals and column):
            raise typer.BadParameter(f"{text!r} is not FIELD=COLUMN", param_hint=option)
        found[name] = column
    return found


def _columns(text: str) -> tuple[str, ...]:
    """``a, b`` → two columns; ``none`` alone → none."""
    return () if text.strip() == "none" else tuple(name for each in text.split(",") if (name := each.strip()))
