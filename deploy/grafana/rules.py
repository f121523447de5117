"""Grafana's alert rules, made of Prometheus' own, so that nothing is written twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[1] / "prometheus" / "rules"
GROUPS = ("models.yml", "workers.yml")
SOURCE_UID = "streamer-prometheus"
EXPRESSION = "__expr__"
# What an alert's name begins with → the dashboard and the panel on which its state is shown.
SHOWN_ON = {"Model": ("streamer-incident", "Rules"), "Streamer": ("streamer-workers", "Behind")}
# A rule of Prometheus fires for every series that is there, whatever its value, 0 too.
IS_THERE = "is_number($query) || is_nan($query) || is_inf($query)"


def provisioning(boards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The file that Grafana reads at its start; each rule is shown on a panel of ``boards``."""
    shown_on = {prefix: _panel(boards, *where) for prefix, where in SHOWN_ON.items()}
    groups = []
    for name in GROUPS:
        for group in yaml.safe_load((RULES / name).read_text())["groups"]:
            groups.append(
                {
                    "orgId": 1,
                    "name": group["name"],
                    "folder": "Streamer",
                    "interval": "1m",
                    "rules": list(_rules(group["rules"], shown_on)),
                }
            )
    return {"apiVersion": 1, "groups": groups}


def _panel(boards: Iterable[dict[str, Any]], uid: str, title: str) -> dict[str, str]:
    """The annotations that tie a rule to a panel: Grafana wants both or none."""
    [number] = [
        panel["id"]
        for board in boards
        if board["uid"] == uid
        for panel in board["panels"]
        if panel["title"] == title
    ]
    return {"__dashboardUid__": uid, "__panelId__": str(number)}


def _rules(rules: list[dict[str, Any]], shown_on: dict[str, dict[str, str]]) -> Iterator[dict[str, Any]]:
    for rule in rules:
        if "alert" not in rule:
            continue
        [panel] = [panel for prefix, panel in shown_on.items() if rule["alert"].startswith(prefix)]
        yield {
            "uid": re.sub(r"(?<=.)(?=[A-Z])", "-", rule["alert"]).lower(),
            "title": rule["alert"],
            "condition": "threshold",
            "for": rule.get("for", "0s"),
            "data": [
                _step(
                    "query",
                    SOURCE_UID,
                    {"expr": " ".join(rule["expr"].split()), "instant": True, "range": False},
                ),
                _step("is_there", EXPRESSION, {"type": "math", "expression": IS_THERE}),
                _step("threshold", EXPRESSION, _above_zero("is_there")),
            ],
            # No series: nothing fires. A query that fails is told, or silence would look like health.
            "noDataState": "OK",
            "execErrState": "Error",
            "labels": {name: _template(text) for name, text in rule.get("labels", {}).items()},
            "annotations": {
                **{name: _template(text) for name, text in rule["annotations"].items()},
                **panel,
            },
        }


def _step(ref: str, source: str, model: dict[str, Any]) -> dict[str, Any]:
    return {
        "refId": ref,
        "datasourceUid": source,
        "relativeTimeRange": {"from": 600, "to": 0},
        "model": {"refId": ref, **model},
    }


def _above_zero(ref: str) -> dict[str, Any]:
    return {
        "type": "threshold",
        "expression": ref,
        "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
    }


def _template(text: str) -> str:
    """Prometheus' ``$value`` is a number; Grafana's is a sentence, the number has a longer name."""
    return text.replace("$value", "$values.query.Value")
