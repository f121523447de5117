"""deploy/grafana: what is committed is what the generator makes; it fits the schema; each query has data."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.build import files
from streamer.adapters.metric_names import MODEL, PROCESSOR
from streamer.home import home
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.deploy.parts import Prometheus, program
from tests.deploy.test_prometheus import exposed, names_in
from tests.e2e.feeder import Feeder
from tests.e2e.scene import Scene
from tests.e2e.traffic import OBJECTIVES, Written, traffic

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = {file.stem: orjson.loads(file.read_bytes()) for file in (GRAFANA / "dashboards").glob("*.json")}
DATASOURCE = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())
ALERTING = yaml.safe_load((GRAFANA / "provisioning" / "alerting" / "rules.yml").read_text())
RULES = [rule for group in ALERTING["groups"] for rule in group["rules"]]


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels that show something, those in collapsed rows too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


def queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a dashboard asks for: (where, expression)."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for each in board["annotations"]["list"]:
        yield f"annotation {each['name']}", each["expr"]


def expression_of(rule: dict[str, Any]) -> str:
    return str(rule["data"][0]["model"]["expr"])


# -- the files ----------------------------------------------------------------------------------


def test_what_is_committed_is_what_the_generator_makes() -> None:
    wrong = [file.name for file, text in files().items() if not file.exists() or file.read_text() != text]
    assert not wrong, "python -m deploy.grafana.build"
    assert set(BOARDS) == {file.stem for file in files() if file.suffix == ".json"}


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_fits_grafanas_schema(name: str) -> None:
    register_default_plugins()
    board = {**BOARDS[name], "annotations": {"list": []}}
    again = orjson.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    assert again == board, "what the schema does not know is lost on the way"


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_laid_out_without_gaps_in_its_ids_and_without_overlaps(name: str) -> None:
    board = BOARDS[name]
    ids = [panel["id"] for panel in board["panels"]] + [
        inner["id"] for panel in board["panels"] for inner in panel.get("panels", ())
    ]
    assert sorted(ids) == list(range(1, len(ids) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", BOARDS)
def test_each_query_of_a_panel_has_a_letter_of_its_own(name: str) -> None:
    for panel in panels(BOARDS[name]):
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert all(letters), panel["title"]
        assert len(set(letters)) == len(letters), panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_uses_the_variables_that_it_has(name: str) -> None:
    board = BOARDS[name]
    has = {each["name"] for each in board["templating"]["list"]}
    asked = [expr for _, expr in queries(board)] + [
        each["query"] for each in board["templating"]["list"] if each["type"] == "query"
    ]
    used = {word for text in asked for word in re.findall(r"\$(\w+)", text)}
    assert {word for word in used if not word.startswith("__")} | {"source"} == has


def test_the_variables_are_model_version_and_window_beside_the_group() -> None:
    names = {name: [each["name"] for each in board["templating"]["list"]] for name, board in BOARDS.items()}
    assert names["fleet"] == names["workers"] == ["source", "job"]
    assert names["model"] == ["source", "job", "model", "version", "window", "segment"]
    assert names["incident"] == ["source", "job", "model", "version", "window", "rule"]
    assert names["drift"] == ["source", "job", "model", "version", "feature"]


def test_a_link_leads_to_a_dashboard_and_sets_variables_that_it_has() -> None:
    by_uid = {board["uid"]: board for board in BOARDS.values()}
    links = re.findall(r"/d/([\w-]+)\?([^\"]*)", orjson.dumps(list(BOARDS.values())).decode())
    assert len(links) >= 2
    for uid, query in links:
        variables = {each["name"] for each in by_uid[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= variables


def test_every_metric_of_the_models_is_on_a_dashboard_and_every_name_there_exists() -> None:
    shown = {name for board in BOARDS.values() for _, expr in queries(board) for name in names_in(expr)}
    assert not shown - exposed() - {"up"}
    seen = {name.removesuffix("_bucket") for name in shown}
    assert not set(MODEL) - seen
    # The router is there only with `repartition`; a panel of it would be empty for everybody else.
    assert {name for name in set(PROCESSOR) - seen if "rout" not in name} == set()


def test_labels_in_queries_are_labels_of_the_metric() -> None:
    families = {**MODEL, **PROCESSOR}
    for board in BOARDS.values():
        for where, expr in queries(board):
            for name, inside in re.findall(r"(\w+)\{([^}]*)\}", expr):
                family = families.get(name.removesuffix("_bucket"))
                known = {"job", "instance", "le", *(family.labels if family else ())}
                assert set(re.findall(r"(\w+)=~?\"", inside)) <= known, (where, expr)


def test_the_provisioned_files_agree_with_each_other() -> None:
    [source] = DATASOURCE["datasources"]
    uses = {step["datasourceUid"] for rule in RULES for step in rule["data"]}
    assert uses == {source["uid"], "__expr__"}
    assert (source["type"], source["url"].rpartition(":")[2]) == ("prometheus", "9090")
    shown = {(board["uid"], str(panel["id"])) for board in BOARDS.values() for panel in panels(board)}
    for rule in RULES:
        notes = rule["annotations"]
        assert (notes["__dashboardUid__"], notes["__panelId__"]) in shown


def test_a_rule_of_grafana_can_be_worked_out() -> None:
    assert len(RULES) >= 18
    assert len({rule["uid"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        steps = {step["refId"]: step["model"] for step in rule["data"]}
        assert rule["condition"] in steps
        assert len(rule["uid"]) <= 40
        assert set(re.findall(r"\$(\w+)", steps["is_there"]["expression"])) == {"query"}
        assert steps["threshold"]["expression"] == "is_there"
        texts = [*rule["labels"].values(), *rule["annotations"].values()]
        assert not [text for text in texts if re.search(r"\$value\b", text)]
        assert (ROOT / rule["annotations"]["runbook_url"]).exists()


# -- with a real Prometheus and a real worker ------------------------------------------------------

ALL = ".+"
LASTING = {"__rate_interval": "15s", "__range": "5m"}


def filled(expr: str, **chosen: str) -> str:
    """An expression as Grafana sends it."""
    values = {**LASTING, **chosen}
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)


def everything(more: Callable[[int], bool], partitions: int) -> Iterable[Written]:
    """The traffic of the end-to-end tests, and some values too large for any detector."""
    where = home("model-3", partitions)
    for number, written in enumerate(traffic(more, partitions, period=4000)):
        yield written
        if number % 500 == 0 and number < 2500:  # few: while one is in a window, that has no RMSE
            at = 1_790_000_000_000 + number * 40
            event = {"prediction_id": f"giant-{number}", "model": "model-3", "timestamp": at, "version": "v1"}
            yield 0, where, b"model-3", orjson.dumps({**event, "prediction": 1e99, "features": {"x": None}})
            yield 1, where, b"model-3", orjson.dumps({**event, "label": 1.0})


@pytest.fixture
def scraped(bootstrap: str, topics: TopicsFactory, tmp_path: Path) -> Iterator[Prometheus]:
    """A worker on eight models of all tasks, and a Prometheus that scrapes it every second."""
    program("prometheus")
    scene = Scene(bootstrap, topics(2, trace="trace"), 2, tmp_path, OBJECTIVES)
    try:
        worker = scene.start().await_ready()

        def source(more: Callable[[int], bool]) -> Iterable[Written]:
            return everything(more, 2)

        scene.feeders.append(Feeder(bootstrap, scene.names, source, 10_000, 1500))
        config = tmp_path / "prometheus.yml"
        job = {"job_name": "model", "static_configs": [{"targets": [f"127.0.0.1:{worker.port}"]}]}
        rules = [str(ROOT / "deploy" / "prometheus" / "rules" / "*.yml")]
        often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config.write_text(yaml.safe_dump({"global": often, "rule_files": rules, "scrape_configs": [job]}))
        with Prometheus(config, tmp_path) as prometheus:
            yield prometheus
    finally:
        scene.close()


@pytest.mark.timeout(300)
def test_every_query_of_every_panel_annotation_variable_and_rule_returns_data(scraped: Prometheus) -> None:
    """An alert's query has data when it fires; when all is well what it reads has."""
    everywhere = dict.fromkeys(("job", "model", "version", "window", "feature", "rule", "segment"), ALL)
    wanted = {
        (f"{name}: {where}", filled(expr, **everywhere))
        for name, board in BOARDS.items()
        for where, expr in queries(board)
    }
    wanted |= {
        (f"{rule['title']} reads", name)
        for rule in RULES
        for name in names_in(expression_of(rule))
        if not re.search("rout|relay", name)  # there is neither of them in this test
    }
    missing = set(wanted)

    def all_answered() -> bool:
        missing.difference_update({each for each in missing if scraped.query(each[1])})
        return not missing

    try:
        wait_until(all_answered, 120, "all queries had data")
    except AssertionError:
        raise AssertionError(f"no data: {sorted(missing)}") from None
    for rule in RULES:
        scraped.query(expression_of(rule))
    for file in (ROOT / "docs" / "runbooks").glob("*.md"):
        for query in re.findall(r"```promql\n(.*?)\n```", file.read_text(), re.S):
            everybody = re.sub(r'model="[^"]*"', 'model=~".+"', query)
            assert scraped.query(everybody) or re.search("unrouted|relay", query), (file.name, query)
    for board in BOARDS.values():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
                values = scraped.ask(
                    f"/api/v1/label/{label}/values", **{"match[]": filled(selector, **everywhere)}
                )
                assert values["data"], variable["query"]
