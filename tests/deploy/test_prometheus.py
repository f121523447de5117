"""deploy/prometheus: its files are right, and an injected drift reaches a pager through the real parts."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer

from streamer.adapters.metric_names import MODEL, PROCESSOR
from streamer.adapters.relay_metrics import RELAY
from streamer.local import free_ports
from streamer.sdk import PredictionLogger
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.deploy.parts import Alertmanager, Prometheus, program
from tests.deploy.receiver import Receiver
from tests.e2e.scene import Scene
from tests.ports import adjacent_ports

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deploy" / "prometheus"
RULES = sorted((SHIPPED / "rules").glob("*.yml"))
OF_PROMETHEUS = {"up", "ALERTS"}


def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def rules(kind: str) -> list[dict[str, Any]]:
    """All rules of all files; ``kind``: ``alert`` or ``record``."""
    groups = [group for file in RULES for group in load(file)["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def names_in(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", re.sub(r'"[^"]*"', "", expression))
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    words = set(re.findall(r"[a-zA-Z_][\w:]*(?!\s*\()\b", bare))
    called = set(re.findall(r"([a-zA-Z_]\w*)\s*\(", bare))
    return words - called - {"by", "and", "or", "unless", "bool", "on", "vector"}


def exposed() -> set[str]:
    """Every name of a series that a worker or a relay serves."""
    families = {**MODEL, **PROCESSOR, **RELAY}
    buckets = {f"{name}_bucket" for name, each in families.items() if each.kind == "histogram"}
    return set(families) | buckets


def kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def promtool(*arguments: str) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# -- the files ----------------------------------------------------------------------------------


def test_promtool_finds_the_configuration_and_the_rules_right() -> None:
    promtool("check", "config", str(SHIPPED / "prometheus.yml"))
    promtool("check", "rules", *map(str, RULES))


def test_the_rules_pass_their_own_tests() -> None:
    promtool("test", "rules", *map(str, sorted((SHIPPED / "tests").glob("*.yml"))))


def test_amtool_finds_the_example_for_alertmanager_right() -> None:
    amtool = program("amtool")
    done = subprocess.run([amtool, "check-config", str(SHIPPED / "alertmanager.yml")], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_names_in_an_expression_are_found() -> None:
    assert names_in('sum by (job) (rate(a_total{x="b_total"}[5m])) / on (job) (l:c:sum > bool 1)') == {
        "a_total",
        "l:c:sum",
    }


def test_every_metric_that_a_rule_reads_exists() -> None:
    known = exposed() | OF_PROMETHEUS | {rule["record"] for rule in rules("record")}
    read = {name for rule in rules("record") + rules("alert") for name in names_in(rule["expr"])}
    assert len(read) > 20
    assert not read - known


def test_every_label_that_a_rule_groups_by_exists() -> None:
    known = {label for family in {**MODEL, **PROCESSOR}.values() for label in family.labels} | {"target"}
    for rule in rules("record") + rules("alert"):
        for inside in re.findall(r"\bby \(([^)]*)\)", rule["expr"]):
            assert set(re.split(r",\s*", inside)) <= known | {"job", "instance", "le"}, rule


def test_every_rule_file_is_used_and_tested() -> None:
    used = load(SHIPPED / "prometheus.yml")["rule_files"]
    assert sorted(used) == [f"rules/{file.name}" for file in RULES]
    tests = [load(file) for file in (SHIPPED / "tests").glob("*.yml")]
    assert {name for test in tests for name in test["rule_files"]} == {f"../{name}" for name in used}
    told = "".join(file.read_text() for file in (SHIPPED / "tests").glob("*.yml"))
    assert not [rule["alert"] for rule in rules("alert") if rule["alert"] not in told]


def test_every_alert_has_a_severity_a_summary_and_a_runbook_of_its_name() -> None:
    names = [rule["alert"] for rule in rules("alert")]
    assert len(set(names)) == len(names) >= 18
    for rule in rules("alert"):
        of_the_rule = rule["alert"].startswith("Model")
        severity = rule["labels"]["severity"]
        assert severity in ({"{{ $labels.severity }}"} if of_the_rule else {"page", "ticket"}), rule
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith((".", "?"))
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{kebab(rule['alert'])}.md"


def test_the_targets_are_the_ports_of_the_workers() -> None:
    config = load(SHIPPED / "prometheus.yml")
    [job] = config["scrape_configs"]
    assert (job["job_name"], config["global"]["scrape_interval"]) == ("model", "15s")
    assert job["static_configs"] == [{"targets": ["localhost:8000"]}]
    assert load(SHIPPED / "targets" / "processes.yml") == [], (
        "a port that nobody has is a worker that is down"
    )


# -- the real parts -----------------------------------------------------------------------------

OBJECTIVES = """
revision: 1
models:
  churn:
    task: binary
    windows: [last 200]
    objectives: {accuracy: {min: 0.8, window: last 200, severity: page}}
    drift: {error: {detectors: [adwin], quiet: 400 labels}}
  search:
    task: binary
    windows: [last 200]
    objectives: {accuracy: {min: 0.8, window: last 200, severity: page}}
    drift: {error: {detectors: [adwin], quiet: 400 labels}}
"""
ACCURACY = {"alertname": "ModelObjectiveBreached", "rule": "accuracy", "severity": "page"}
DRIFT = {"alertname": "ModelDrift", "rule": "drift.error", "severity": "ticket"}


class Traffic:
    """Two models that are right nine times in ten; ``churn`` only half of the time while ``bad`` is set."""

    def __init__(self, plant: Scene) -> None:
        self.bad = threading.Event()
        self.sent = 0
        self._stop = threading.Event()
        self._chance = random.Random(5)
        self._logger = PredictionLogger(
            plant.bootstrap,
            version="v1",
            predictions_topic=plant.names.predictions,
            labels_topic=plant.names.labels,
        )
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._logger.close()

    def _play(self) -> None:
        while not self._stop.wait(0.05):
            for model in ("churn", "search"):
                for _ in range(10):
                    wrong = self._chance.random() < (0.5 if self.bad.is_set() and model == "churn" else 0.1)
                    said = self._logger.prediction(1, model=model, latency_ms=20.0)
                    self._logger.label(said, int(not wrong), model=model)
            self.sent += 10


def rendered(scratch: Path, worker: int, alertmanager: int, receiver: int) -> Path:
    """The shipped files with other ports, and seconds where they have minutes; the rules stay as they are.

    ``worker``: the port of its first process; the second has the next.
    """
    config = scratch / "config"
    shutil.copytree(SHIPPED, config)
    prometheus = load(config / "prometheus.yml")
    prometheus["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    prometheus["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{worker}"]}]
    prometheus["alerting"]["alertmanagers"][0]["static_configs"] = [
        {"targets": [f"127.0.0.1:{alertmanager}"]}
    ]
    (config / "prometheus.yml").write_text(yaml.safe_dump(prometheus))
    (config / "targets" / "processes.yml").write_text(
        yaml.safe_dump([{"targets": [f"127.0.0.1:{worker + 1}"]}])
    )
    routing = (config / "alertmanager.yml").read_text().replace("localhost:9099", f"127.0.0.1:{receiver}")
    routing = re.sub(r"(group_(?:wait|interval)): \w+", r"\1: 1s", routing)
    (config / "alertmanager.yml").write_text(routing)
    return config


@pytest.fixture
def plant(bootstrap: str, topics: TopicsFactory, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(bootstrap, topics(2, trace="trace"), 2, tmp_path, OBJECTIVES)
    yield made
    made.close()


@pytest.mark.timeout(400)
def test_an_injected_drift_fires_reaches_alertmanager_and_its_receiver_and_resolves(
    plant: Scene, tmp_path: Path
) -> None:
    program("prometheus")
    program("alertmanager", "prometheus-alertmanager")
    port = adjacent_ports(2)
    worker = plant.start(processes="2", metrics_port=str(port))
    worker.port = port
    producer = Producer(plant.base)
    producer.produce(plant.names.labels, b"{", b"churn", 0)
    assert producer.flush(30) == 0
    [at] = free_ports(1)
    with Receiver() as receiver, ExitStack() as stack:
        config = rendered(tmp_path, worker.port, at, receiver.port)
        alertmanager = stack.enter_context(Alertmanager(config / "alertmanager.yml", tmp_path, at))
        prometheus = stack.enter_context(Prometheus(config / "prometheus.yml", tmp_path))
        traffic = stack.enter_context(Traffic(plant))

        def active(expected: dict[str, str]) -> bool:
            return any(expected.items() <= labels.items() for labels in alertmanager.alerts())

        def seen(more: int) -> None:
            goal = traffic.sent + more
            wait_until(
                lambda: any(n >= goal for _, n in prometheus.query("model_predictions_total")),
                90,
                f"{goal} predictions of a model have been scraped",
            )

        up = 'up{job="model"} == 1'
        wait_until(lambda: len(prometheus.query(up)) == 2, 90, "both processes are scraped")
        seen(1000)
        assert alertmanager.alerts() == [], "all is well"
        traffic.bad.set()
        for expected in (ACCURACY, DRIFT):
            wait_until(lambda expected=expected: active({"model": "churn", **expected}), 90, f"{expected}")
        traffic.bad.clear()
        wait_until(lambda: not alertmanager.alerts(), 90, "all alerts are resolved")
        expected_there = {
            ("/page", ACCURACY["alertname"], "accuracy"),
            ("/ticket", DRIFT["alertname"], "drift.error"),
        }
        for status in ("firing", "resolved"):
            wait_until(
                lambda status=status: receiver.notified(status) == expected_there, 60, f"{status} is told"
            )
        silent = [rule["record"] for rule in rules("record") if not prometheus.query(rule["record"])]
        assert not silent, "every recording rule has data on a real worker"
        groups = prometheus.ask("/api/v1/rules")["data"]["groups"]
        sick = [rule for group in groups for rule in group["rules"] if rule["health"] != "ok"]
        assert not sick
    plant.stop()
