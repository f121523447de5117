"""``streamer versions``: a model's versions side by side, on the same predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from streamer import terminal
from streamer.cli.options import Bootstrap, Config, Group, Prefix, settings_of

# What counts is imported where it is used: a command that counts nothing starts without NumPy.
if TYPE_CHECKING:
    from streamer.domain.model import ModelMonitor
    from streamer.domain.version import VersionMonitor
    from streamer.domain.versus import Pair


def versions(
    model: Annotated[str, typer.Argument(help="The model.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Hold a model's versions against its champion, on the predictions that both have made.

    It reads what the workers have counted and changes nothing. The interval holds at all times at once:
    look as often as you like, and stop when you like. How to run two versions: docs/versions.md.

        streamer versions churn
    """
    from streamer.adapters.deployment import look_at
    from streamer.adapters.reference_state import found_in

    settings = settings_of(config, bootstrap=bootstrap, group=group, topic_prefix=topic_prefix)
    at = look_at(settings.client_config(), settings.group, settings.topics, settings.partitioner)
    monitor = found_in(at, model).models[model]
    if json:
        print(terminal.json_line(_plain(monitor)))
        return
    out = terminal.console()
    for each in lines(monitor):
        out.print(each)


def _plain(monitor: ModelMonitor) -> dict[str, Any]:
    rows = []
    for version in monitor.every_version:
        pair = monitor.versus.pairs.get(version.version)
        rows.append(
            {
                "version": version.version,
                "predictions": version.accepted,
                "labels": version.joined,
                _MAIN[monitor.task]: _main(version),
                **({} if pair is None else _pair(pair)),
            }
        )
    return {"model": monitor.spec.model, "task": monitor.task, "versions": rows}


_MAIN: Mapping[str | None, str] = {"binary": "accuracy", "multiclass": "accuracy", "regression": "mae"}


def _main(version: VersionMonitor) -> float | None:
    """The accuracy, or the mean absolute error, of all labelled rows of a version."""
    from streamer.domain.objectives import LIFETIME, ThresholdSpec

    version.flush()
    found = version.estimate(ThresholdSpec("", _MAIN[version.task], LIFETIME, minimum=0), None)
    return None if found is None else found.value


def _pair(pair: Pair) -> dict[str, Any]:
    low, high = pair.interval
    known = math.isfinite(low)
    return {
        "champion": pair.champion,
        "pairs": pair.rows,
        "difference": pair.difference,
        "lower": low if known else None,
        "upper": high if known else None,
        "verdict": pair.verdict,
    }


def lines(monitor: ModelMonitor) -> Iterable[Table | Text]:
    """A row for each version, and a sentence for each that is held against the champion."""
    score = _MAIN.get(monitor.task, "score")
    table = Table(
        "version", "predictions", "labels", score, "same predictions", "loss", "champion's", "difference"
    )
    pairs = monitor.versus.pairs
    champions = {pair.champion for pair in pairs.values()}
    for version in monitor.every_version:
        name, pair = version.version or "(none)", pairs.get(version.version)
        main = _main(version)
        counts = (f"{version.accepted:,}", f"{version.joined:,}", "–" if main is None else f"{main:.4g}")
        if pair is None:
            mark = "champion" if version.version in champions else "–"
            table.add_row(terminal.cell(name), *counts, mark, "–", "–", "–")
            continue
        losses = (pair.challengers_loss / pair.rows, pair.champions_loss / pair.rows)
        table.add_row(
            terminal.cell(name),
            *counts,
            f"{pair.rows:,}",
            *(f"{loss:.4g}" for loss in losses),
            f"{pair.difference:+.4g} ({_range(pair)})",
        )
    yield table
    for pair in pairs.values():
        yield Text.assemble(*_sentence(pair, monitor.task == "regression"))
    if not pairs:
        yield Text(
            "Nothing to compare yet: no label has met a prediction of the champion and one of another"
            " version. docs/versions.md tells how to run the two."
        )


def _range(pair: Pair) -> str:
    low, high = pair.interval
    return f"{low:+.4g} to {high:+.4g}" if math.isfinite(low) else "too few yet"


def _sentence(pair: Pair, regression: bool) -> Iterable[tuple[str, str]]:
    what = "mean absolute error" if regression else "error rate"
    low, high = pair.interval
    who = f"{pair.challenger or '(none)'} against {pair.champion or '(none)'}: "
    yield who, "bold"
    match pair.verdict:
        case "better":
            yield f"better; its {what} is lower by {-high:.4g} to {-low:.4g}", "green"
        case "worse":
            yield f"worse; its {what} is higher by {low:.4g} to {high:.4g}", "red"
        case _:
            yield "not decided yet", "dim"
    yield f" (95 %, however often you look; {pair.rows:,} predictions of both)", "dim"
