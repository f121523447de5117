"""How ``streamer state show`` looks."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from streamer.adapters.state_view import PartitionView
from streamer.domain.events import rfc3339
from streamer.terminal import cell, clean


def partition_lines(view: PartitionView) -> Iterable[Table | Text]:
    """One partition: whether it can be trusted, what it says, what it holds, its models."""
    head = Text(f"Partition {view.partition}  ", "bold")
    if view.problem is not None:
        head.append("cannot be trusted", "bold red")
    elif view.commit is None:
        head.append("nothing was ever committed", "dim")
    else:
        head.append("adds up", "green")
    yield head
    if view.problem is not None:
        yield Text(f"  {clean(view.problem)}", "red")
    if view.commit is not None:
        yield Text(f"  {clean(_manifest(view))}")
        yield Text(f"  {clean(_belongs(view))}", "dim")
    if view.cells:
        kinds = (f"{kind} {n:,} ({view.bytes[kind]:,} bytes)" for kind, n in sorted(view.cells.items()))
        yield Text(f"  cells: {clean(', '.join(kinds))}")
    if view.models:
        yield _models(view)


def _manifest(view: PartitionView) -> str:
    clock = rfc3339(view.clock) if view.clock else "not begun"
    offsets = "–" if view.offsets is None else f"{view.offsets[0]} and {view.offsets[1]}"
    consumed = " and ".join(f"{n:,} {topic}" for topic, n in view.consumed.items())
    dead = sum(view.dead_letters.values())
    return (
        f"commit {view.commit}, format {view.format}, objectives revision {view.revision}, clock {clock},"
        f" next offsets {offsets} (the logs end at {view.ends[0]} and {view.ends[1]}), consumed {consumed},"
        f" of which {dead:,} dead letters"
    )


def _belongs(view: PartitionView) -> str:
    return "belongs to " + ", ".join(f"{name} {value}" for name, value in view.identity.items())


def _models(view: PartitionView) -> Table:
    table = Table(
        "model", "version", "task", "predictions", "joined", "pending", "expired", "parked labels", "firing",
        "cells", "bytes",
    )  # fmt: skip
    for model in view.models:
        first = True
        for version in model.versions or (None,):
            counts = ["–"] * 4
            if version is not None:
                numbers = (version.predictions, version.joined, version.pending, version.expired)
                counts = [f"{n:,}" for n in numbers]
            table.add_row(
                cell(model.model if first else ""),
                cell(None if version is None else version.version or None),
                (model.task or "not known yet") if first else "",
                *counts,
                *(
                    (f"{n:,}" if first else "")
                    for n in (model.parked, model.firing, model.cells, model.bytes)
                ),
            )
            first = False
    return table
