"""Writes the dashboards and the alert rules: python -m deploy.grafana.build.

One file of this folder is one dashboard; what is written is committed, since Grafana reads it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import drift, fleet, incident, model, rules, workers

HERE = Path(__file__).parent
BOARDS: dict[str, tuple[Callable[[], Dashboard], list[dict[str, Any]]]] = {
    "fleet": (fleet.fleet, fleet.ANNOTATIONS),
    "model": (model.model, model.ANNOTATIONS),
    "drift": (drift.drift, drift.ANNOTATIONS),
    "incident": (incident.incident, incident.ANNOTATIONS),
    "workers": (workers.workers, workers.ANNOTATIONS),
}
NOTE = """\
# Made by deploy/grafana/build.py of deploy/prometheus/rules: change it there.
# They mark what fires in Grafana. Nobody is told by them until Grafana is given a contact point; do that only
# where Prometheus and `streamer relay` do not tell Alertmanager as well.
"""


def files() -> dict[Path, str]:
    """What belongs on the disk."""
    boards = {name: _dashboard(*parts) for name, parts in BOARDS.items()}
    made = {
        HERE / "dashboards" / f"{name}.json": json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False)
        + "\n"
        for name, board in boards.items()
    }
    alerting = rules.provisioning(list(boards.values()))
    text = yaml.safe_dump(alerting, sort_keys=False, width=110, allow_unicode=True)
    made[HERE / "provisioning" / "alerting" / "rules.yml"] = NOTE + text
    return made


def _dashboard(make: Callable[[], Dashboard], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True, indent=2).encode(make().build()))
    made["annotations"] = {"list": annotations}
    for number, panel in enumerate(_panels(made["panels"]), 1):
        panel["id"] = number  # what a link to one panel is made of: stable from one build to the next
    return made


def _panels(panels: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All of them, those inside collapsed rows too."""
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", ()))


def main() -> None:
    for file, text in files().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    main()
