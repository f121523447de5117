"""deploy/kubernetes: fits Kubernetes' own schemas, and agrees with the program and the image."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from streamer import __version__
from streamer.config import load_objectives, load_settings
from tests.deploy.parts import program
from tests.deploy.test_compose import DOCKERFILE, parsed

BASE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "base"
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text())
FILES = {name: yaml.safe_load((BASE / name).read_text()) for name in KUSTOMIZATION["resources"]}
STATEFUL = FILES["statefulset.yaml"]["spec"]
POD = STATEFUL["template"]["spec"]
[WORKER] = POD["containers"]
RELAY = BASE.parent / "relay"
RELAY_DEPLOYMENT = yaml.safe_load((RELAY / "deployment.yaml").read_text())
RELAY_POD = RELAY_DEPLOYMENT["spec"]["template"]["spec"]
[RELAY_CONTAINER] = RELAY_POD["containers"]
# The oldest that is still cared for by its makers, and the newest that the schemas know.
VERSIONS = ("1.32", "1.37")


@cache
def rendered(folder: Path = BASE) -> list[dict[str, Any]]:
    """All that kustomize makes of a folder."""
    kubectl = program("kubectl", package="kubernetes-client")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def variables() -> dict[str, str]:
    """What the worker's container is told, as Kubernetes puts it together."""
    maps = {each["name"]: each for each in KUSTOMIZATION["configMapGenerator"]}
    [settings] = [each["configMapRef"]["name"] for each in WORKER["envFrom"] if "configMapRef" in each]
    given = dict(line.split("=", 1) for line in maps[settings]["literals"])
    of_the_pod = {each["name"] for each in WORKER["env"]}
    return given | dict.fromkeys(of_the_pod, "streamer-0")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FILES)
def test_a_manifest_fits_the_schema(name: str, version: str) -> None:
    kubernetes_validate.validate(FILES[name], version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_kustomize_makes_of_them_fits_the_schema(version: str) -> None:
    kinds = []
    for each in rendered():
        kubernetes_validate.validate(each, version, strict=True)
        kinds.append(each["kind"])
    assert sorted(kinds) == [
        "ConfigMap",
        "ConfigMap",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    ]


def test_a_change_of_the_objectives_rolls_the_workers() -> None:
    """The name of the map has a hash of its contents, and the pods name it so."""
    [made] = [each for each in rendered() if each["kind"] == "StatefulSet"]
    volumes = {each["name"]: each for each in made["spec"]["template"]["spec"]["volumes"]}
    assert re.fullmatch(r"streamer-objectives-\w{10}", volumes["objectives"]["configMap"]["name"])
    [container] = made["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"streamer:{__version__}"


def test_every_file_of_the_folder_is_used() -> None:
    used = {name for each in KUSTOMIZATION["configMapGenerator"] for name in each.get("files", ())}
    assert {file.name for file in BASE.iterdir()} == {*FILES, *used, "kustomization.yaml"}


def test_the_worker_can_use_its_command_line_its_variables_and_its_objectives() -> None:
    parsed(WORKER["args"])
    settings = load_settings({}, variables())
    assert settings.instance_id == "streamer-0"
    assert settings.metrics_host == "0.0.0.0"
    [mount] = [each for each in WORKER["volumeMounts"] if each["name"] == "objectives"]
    assert settings.objectives is not None
    assert str(settings.objectives.parent) == mount["mountPath"]
    assert load_objectives(BASE / settings.objectives.name).revision == 1


def test_the_membership_is_static_by_the_name_of_the_pod() -> None:
    [instance] = [each for each in WORKER["env"] if each["name"] == "STREAMER_INSTANCE_ID"]
    assert instance["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    # A pod has to be back before the others take its partitions over.
    assert load_settings({}, variables()).session_timeout > POD["terminationGracePeriodSeconds"]


def test_the_probes_ask_what_the_worker_answers_where_it_answers() -> None:
    [port] = WORKER["ports"]
    assert port["containerPort"] == load_settings({}, variables()).metrics_port
    asked = {kind: WORKER[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: get["path"] for kind, get in asked.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {get["port"] for get in asked.values()} == {port["name"]}
    [service] = FILES["service.yaml"]["spec"]["ports"]
    annotations = STATEFUL["template"]["metadata"]["annotations"]
    assert service["targetPort"] == port["name"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert annotations["prometheus.io/path"] == "/metrics"


def test_everything_selects_the_same_pods() -> None:
    labels = STATEFUL["template"]["metadata"]["labels"]
    assert STATEFUL["selector"]["matchLabels"] == labels
    assert FILES["poddisruptionbudget.yaml"]["spec"]["selector"]["matchLabels"] == labels
    assert FILES["service.yaml"]["spec"]["selector"] == labels
    assert STATEFUL["serviceName"] == FILES["service.yaml"]["metadata"]["name"]


@pytest.mark.parametrize(("container", "spec"), [(WORKER, POD), (RELAY_CONTAINER, RELAY_POD)])
def test_a_container_may_do_as_little_as_possible(container: dict[str, Any], spec: dict[str, Any]) -> None:
    own, pod = container["securityContext"], spec["securityContext"]
    assert pod["runAsNonRoot"]
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in DOCKERFILE
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["readOnlyRootFilesystem"]
    assert not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not spec["automountServiceAccountToken"]
    # What is written goes where it may be written.
    assert "/tmp" in [each["mountPath"] for each in container["volumeMounts"]]
    assert "WORKDIR /tmp" in DOCKERFILE


def test_a_worker_has_a_core_of_its_own_and_is_never_throttled() -> None:
    resources = WORKER["resources"]
    assert resources["requests"]["cpu"] == "1"
    assert "cpu" not in resources["limits"]
    assert resources["limits"]["memory"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_relay_fits_the_schema_and_runs_the_same_image(version: str) -> None:
    made = {each["kind"]: each for each in rendered(RELAY)}
    assert set(made) == {"ConfigMap", "Deployment"}
    for each in made.values():
        kubernetes_validate.validate(each, version, strict=True)
    [container] = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"streamer:{__version__}"
    assert container["envFrom"][0]["configMapRef"]["name"] == made["ConfigMap"]["metadata"]["name"]


def test_the_relay_can_use_its_command_line_and_answers_where_it_is_asked() -> None:
    given = parsed(RELAY_CONTAINER["args"])
    assert given["alertmanager"] == "http://alertmanager:9093"
    [port] = RELAY_CONTAINER["ports"]
    assert given["metrics_port"] == port["containerPort"]
    for kind in ("startup", "liveness"):
        assert RELAY_CONTAINER[f"{kind}Probe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    [made] = yaml.safe_load((RELAY / "kustomization.yaml").read_text())["configMapGenerator"]
    settings = load_settings({}, dict(line.split("=", 1) for line in made["literals"]))
    assert settings.metrics_host == "0.0.0.0"
    assert settings.instance_id is None, "two of them are two members"
    template = RELAY_DEPLOYMENT["spec"]["template"]["metadata"]
    assert RELAY_DEPLOYMENT["spec"]["selector"]["matchLabels"] == template["labels"]
    assert template["annotations"]["prometheus.io/port"] == str(port["containerPort"])
