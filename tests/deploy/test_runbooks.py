"""docs/runbooks: a page for every kind of alert, and queries that ask for what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from streamer.adapters.firing import CURES
from streamer.config import specs
from streamer.domain.objectives import DriftSpec
from streamer.domain.runbooks import NAMES, name_of, page_of
from tests.deploy.test_grafana import RULES as OF_GRAFANA
from tests.deploy.test_prometheus import exposed, kebab, names_in, rules
from tests.docs.pages import quoted, table

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
PAGES = {file.stem: file.read_text() for file in FOLDER.glob("*.md") if file.stem != "README"}
INDEX = (FOLDER / "README.md").read_text()
ALERTS = {rule["alert"]: rule for rule in rules("alert")}
KINDS = {"threshold", "silence", *get_args(get_type_hints(DriftSpec.kind.fget)["return"])}  # type: ignore[attr-defined]


def queries(text: str) -> list[str]:
    """The blocks of PromQL of a page."""
    return re.findall(r"```promql\n(.*?)\n```", text, re.S)


def test_every_alert_of_prometheus_and_of_grafana_leads_to_a_page_that_names_it() -> None:
    assert set(PAGES) == {kebab(name) for name in ALERTS}
    assert {rule["title"] for rule in OF_GRAFANA} == set(ALERTS)
    for name, rule in ALERTS.items():
        page = kebab(name)
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{page}.md"
        assert f"Alert `{name}`" in PAGES[page]


def test_every_alert_of_the_relay_leads_to_a_page_and_has_a_cure_for_its_kind() -> None:
    for name in NAMES.values():
        assert (FOLDER.parents[1] / page_of(name)).exists()
    assert set(CURES) == KINDS


def test_the_index_has_a_row_for_every_kind_and_every_signal() -> None:
    rows = table(INDEX, "kind")
    assert {kind for row in rows for kind in quoted(row[0])} == KINDS
    signals = {signal for row in rows for signal in quoted(row[1])}
    named = {signal for signal in signals if signal in specs._EVERY_SIGNAL}
    assert named == {
        signal
        for signal in specs._EVERY_SIGNAL
        if signal.startswith("latency") or signal in ("throughput", "label_coverage", "silence")
    }, "what these do not name is an objective of a score"
    assert signals - named == {"error", "score", "feature:…"}


def test_the_index_agrees_with_the_rules_and_the_pages() -> None:
    linked = {}
    for row in table(INDEX, "kind"):
        [name] = quoted(row[2])
        linked[name] = row[3]
        assert {name_of(signal) for signal in quoted(row[1])} <= {name}
    for row in table(INDEX, "alert of the workers"):
        [name] = quoted(row[0])
        assert ALERTS[name]["labels"]["severity"] == row[1]
        assert f"severity `{row[1]}`" in PAGES[kebab(name)]
        linked[name] = row[2]
    assert set(linked) == set(ALERTS)
    for name, cell in linked.items():
        assert re.search(r"\(([\w-]+)\.md", cell)[1] == kebab(name)  # type: ignore[index]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_it_means_what_to_check_and_what_to_do(name: str) -> None:
    assert re.findall(r"^## (.*)$", PAGES[name], re.M) == ["What it means", "Check", "Do"]


@pytest.mark.parametrize("name", PAGES)
def test_a_query_of_a_page_reads_what_a_worker_serves(name: str) -> None:
    for query in queries(PAGES[name]):
        assert names_in(query) <= exposed(), query


@pytest.mark.parametrize("name", [*PAGES, "README"])
def test_a_link_into_a_page_leads_to_one_of_its_headings(name: str) -> None:
    text = PAGES.get(name, INDEX)
    for target, anchor in re.findall(r"\]\(([^)#]+)#([^)]+)\)", text):
        headings = re.findall(r"^#+ (.*)$", (FOLDER / target).read_text(), re.M)
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs, (name, target, anchor)
