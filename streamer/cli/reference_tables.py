"""How ``streamer reference show`` and ``compare`` look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from streamer.domain.comparison import Change
from streamer.domain.estimate import Estimated
from streamer.domain.reference import Column, Reference
from streamer.terminal import cell, figure

NAMES = 4


def summary_lines(reference: Reference) -> Iterable[Table | Text]:
    """What there is: a line about the whole, then a row for every column."""
    yield _head(reference)
    table = Table("column", "values", "missing", "lowest", "median", "highest", "commonest")
    for name, column in sorted(reference.columns.items()):
        table.add_row(cell(f"feature:{name}"), *_facts(column, f"{reference.missing(name):.1%}"))
    for name, column in reference.outputs():
        if column.values:
            table.add_row(name, *_facts(column, "–"))
    yield table


def change_tables(before: Reference, after: Reference, changes: Sequence[Change]) -> Iterable[Table | Text]:
    """Both stretches, what is wrong with the data, and the columns by how much they changed."""
    yield _head(before)
    yield _head(after)
    for change in changes:
        for finding in change.findings:
            yield Text.assemble(("! ", "bold red"), (f"{cell(change.column).plain}: ", "bold"), cell(finding))
    table = Table(
        "column", "PSI", "by chance", "JS", "TV", "moved by", "missing", "middle", "the cell that moved most"
    )
    for change in changes:
        moved = max(change.cells, key=lambda each: abs(each.after - each.before))
        table.add_row(
            cell(change.column),
            Text(f"{change.psi:.4f}", "bold" if change.psi > 2 * change.chance else "dim"),
            f"{change.chance:.4f}",
            f"{change.jensen_shannon:.3f}",
            f"{change.total_variation:.3f}",
            "–" if change.wasserstein is None else f"{change.wasserstein:.3f} sd",
            _arrow(*(f"{share:.1%}" for share in change.missing)),
            cell(_arrow(*map(_plain, change.middle))),
            cell(f"{moved.name}: {moved.before:.1%} → {moved.after:.1%}"),
        )
    yield table


def estimate_table(
    before: Reference, after: Reference, figures: Sequence[Estimated]
) -> Iterable[Table | Text]:
    """What was estimated, beside what labels say where there are any."""
    yield _head(before)
    yield _head(after)
    table = Table("figure", "estimated", "by chance", "actual", "off by")
    for each in figures:
        off = None if each.value is None or each.actual is None else each.value - each.actual
        table.add_row(
            each.name,
            figure(each.value, ".4f"),
            "–" if each.margin is None else f"± {each.margin:.4f}",
            figure(each.actual, ".4f"),
            figure(off, "+.4f"),
        )
    yield table


def as_json(before: Reference, after: Reference, changes: Sequence[Change]) -> dict[str, Any]:
    """What ``compare --json`` prints."""
    return {
        "before": _about(before),
        "after": _about(after),
        "columns": [asdict(change) for change in changes],
    }


def _about(reference: Reference) -> dict[str, Any]:
    return {
        "model": reference.model,
        "version": reference.version,
        "made_of": reference.made_of,
        "rows": reference.rows,
        "labels": reference.labels.values,
        "error_rate": reference.error_rate,
    }


def _head(reference: Reference) -> Text:
    who = f"{reference.model} {reference.version}" if reference.version else reference.model
    wrong = reference.error_rate
    judged = "" if wrong is None else f", {wrong:.2%} of {reference.judged:,} labelled ones wrong"
    made_of = cell(reference.made_of).plain
    return Text.assemble((cell(who).plain, "bold"), f"  {made_of}: {reference.rows:,} rows{judged}")


def _facts(column: Column, missing: str) -> tuple[str | Text, ...]:
    quantiles = (figure(column.quantile(q), ".4g") for q in (0.0, 0.5, 1.0))
    first = sorted(column.names.items(), key=lambda item: (-item[1], item[0]))[:NAMES]
    commonest = ", ".join(f"{name} {count / column.values:.1%}" for name, count in first)
    return (f"{column.values:,}", missing, *quantiles, cell(commonest))


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _plain(value: float | str | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else value
