"""docs/detection.md, made of docs/detection.json, never typed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"
TRIALS = ("ADWIN", "Page-Hinkley", "both", "calibrated")

ABOUT = """
How soon what is known to have changed is found, and how often nothing was. Made by `make detection` of
[detection.json](detection.json): every stream goes through [`streamer backtest`](backtest.md), each label
right behind its prediction.
"""
KNOWN = """
A Gaussian naive Bayes learns on the first rows and is then frozen; the detectors see its 0/1 errors. A cell
has how many predictions after each known change somebody was told (– not in time), then how many incidents
no change explains. `ADWIN` and `Page-Hinkley` are River's, as River has them; `both` is what a model gets
that says nothing; `calibrated` is both under a budget of one false incident in {budget:,} predictions,
calibrated on the rows before the first change ([false alarms](false-alarms.md)). Where no change is known the
cell has only the incidents, and the first {history:,} rows were taken for usual.
"""
WITHIN = """
In time is within 1,000 predictions, on the short insects stream within 400. Rules are looked at every 100
predictions (`evaluate_every`), so delays are multiples of that. The class mix of the gradual insects stream
changes at other places too, so what counts as false there may not be.
"""
STABLE = """
Rules calibrated for one false incident in {stable:,} predictions, then a fresh stream long enough for
{alarms:,} of them. All rules of a model share the budget: with independent errors also a limit of the
accuracy, which the model just keeps; with the employment log ADWIN on the score and three features, and the
distance of all 16 features, the score, the prediction and the label. Independent and clumped errors come
from the process itself, not from the history that was calibrated on; blocks are drawn anew from the real
log, as long as its autocorrelation asks for. `make detection` fails where more is told than the budget and
a fifth.
"""


def page_of(results: Mapping[str, Any]) -> str:
    """The page."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    yield "# Detection\n"
    yield _text(ABOUT)
    yield "## Known changes"
    yield _text(KNOWN, budget=results["budget_rows"], history=results["history_rows"])
    yield f"| stream | rows | changes | {' | '.join(TRIALS)} |"
    yield f"|---|---|---|{'---|' * len(TRIALS)}"
    for each in results["detections"]:
        changes = ", ".join(f"{row:,}" for row in each["changes"]) or "not known"
        cells = " | ".join(_cell(each["trials"][name]) for name in TRIALS)
        yield f"| {each['stream']} | {each['rows']:,} | {changes} | {cells} |"
    yield ""
    yield _text(WITHIN)
    yield "## Where nothing changes"
    yield _text(STABLE, stable=results["stable_rows"], alarms=results["budgets"][0]["budget"])
    yield "| stream | predictions | block | the budget has | as they are | calibrated | of them |"
    yield "|---|---|---|---|---|---|---|"
    for each in results["budgets"]:
        rules = ", ".join(f"{name} {count:,}" for name, count in each["by_rule"].items()) or "–"
        told = f"{each['budget']:,} | {each['before']:,} | {each['after']:,}"
        yield f"| {each['stream']} | {each['rows']:,} | {each['block']:,} | {told} | {rules} |"


def _text(text: str, **values: int) -> str:
    return textwrap.fill(" ".join(text.format(**values).split()), 150) + "\n"


def _cell(row: Mapping[str, Any]) -> str:
    if row["false"] is None:
        return f"{row['incidents']:,}"
    delays = ", ".join("–" if delay is None else f"{delay:,}" for delay in row["delays"])
    return f"{delays}; {row['false']:,}"
