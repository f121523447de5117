"""docs/operations.md: its commands parse, its files can be used, its figures are those that were measured."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from streamer.config import Settings, load_settings
from streamer.config.settings import CONFIG_VARIABLE
from tests.deploy.parts import program
from tests.deploy.test_compose import parsed
from tests.deploy.test_kubernetes import BASE
from tests.docs.pages import ROOT, section
from tests.docs.test_cli_page import lines_with_commands

FILE = ROOT / "docs" / "operations.md"
PAGE = FILE.read_text()
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]
PAGES = [FILE, *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]


def block(key: str) -> dict[str, Any]:
    """The one block of YAML that has this key."""
    [found] = [each for each in BLOCKS if key in each]
    return dict(found)


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_every_command_of_a_page_is_understood_with_its_values(file: Path) -> None:
    for words in lines_with_commands(file):
        parsed(words)


def test_the_page_shows_how_to_run_move_save_and_restore() -> None:
    shown = {" ".join(words[:2]) for words in lines_with_commands(FILE)}
    assert {"topics create", "topics describe", "topics acls", "state export", "state import"} <= shown
    assert {"state show", "state reset", "check objectives.yml", "worker objectives.yml"} <= shown


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_every_variable_of_a_page_is_a_setting(file: Path) -> None:
    for variable in re.findall(r"\bSTREAMER_[A-Z_]+", file.read_text()):
        key = variable.removeprefix("STREAMER_").lower().partition("__")[0]
        assert key in Settings.model_fields or variable == CONFIG_VARIABLE, variable


def test_the_layer_on_the_base_can_be_rendered(tmp_path: Path) -> None:
    kubectl = program("kubectl", package="kubernetes-client")
    shutil.copytree(BASE, tmp_path / "base")
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "kustomization.yaml").write_text(yaml.safe_dump(block("replicas")))
    (layer / "objectives.yml").write_text("revision: 2\n")
    done = subprocess.run([kubectl, "kustomize", str(layer)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}
    stateful = made["StatefulSet", "streamer"]["spec"]
    assert stateful["replicas"] == 4
    assert stateful["template"]["spec"]["containers"][0]["image"].startswith("images.example.com/")
    maps = [each["data"] for (kind, _), each in made.items() if kind == "ConfigMap"]
    assert {"objectives.yml": "revision: 2\n"} in maps
    [settings] = [each for each in maps if "STREAMER_BOOTSTRAP" in each]
    assert load_settings({}, settings).bootstrap == "kafka-1:9093,kafka-2:9093"
    assert settings["STREAMER_LOG_FORMAT"] == "json", "the rest is that of the base"


def test_prometheus_takes_the_part_that_finds_the_pods(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    config = block("scrape_configs")
    [job] = config["scrape_configs"]
    assert job["job_name"] == "model", "what the rules and dashboards ask for"
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}], "Debian builds without it: not for promtool"
    file.write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [program("promtool"), "check", "config", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_scaling_on_lag_ends_at_the_number_of_partitions() -> None:
    [keda] = [each for each in BLOCKS if each.get("kind") == "ScaledObject"]
    [trigger] = keda["spec"]["triggers"]
    assert trigger["metadata"]["consumerGroup"] == Settings().group
    assert trigger["metadata"]["topic"] == Settings().topics.predictions
    partitions = parsed(["topics", "create", "--partitions", "12"])["partitions"]
    assert keda["spec"]["maxReplicaCount"] == partitions
    target = yaml.safe_load((BASE / "statefulset.yaml").read_text())
    assert keda["spec"]["scaleTargetRef"] == {"kind": target["kind"], "name": target["metadata"]["name"]}


def test_the_settings_file_of_the_page_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(yaml.safe_dump(block("bootstrap")))
    config = load_settings({}, {"STREAMER_KAFKA__SASL_PASSWORD": "x"}, file).client_config()
    assert config["security.protocol"] == "SASL_SSL"
    assert config["sasl.password"] == "x"


def test_the_figures_are_near_those_that_were_measured() -> None:
    """Measured on another day they differ; by more than half the page is out of date."""
    rows = {name: text.replace(",", "") for name, text in defaults_of(section(PAGE, "Sizing")).items()}

    def near(said: float, measured: float) -> bool:
        return 0.5 < said / measured < 2

    bench = orjson.loads((ROOT / "benchmarks" / "results" / "latest.json").read_bytes())
    events = [each["ours"] for each in bench["events_per_second"].values()]
    low, high = (float(text) for text in re.findall(r"\d{5,}", rows["CPU"]))
    assert near(low, min(events))
    assert near(high, max(events))
    [waiting] = re.findall(r"(\d+) bytes", rows["… for each prediction that waits"])
    assert near(float(waiting), bench["bytes_per_pending"])
    assert near(float(re.findall(r"([\d.]+) s", rows["restart"])[0]), bench["restore_seconds"])
    assert near(float(re.findall(r"(\d+) ms", rows["alerts"])[0]), bench["alert_p50_ms"])


def defaults_of(text: str) -> dict[str, str]:
    """First column → second, of the table of sizes."""
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", text, re.M)
    return dict(rows)
