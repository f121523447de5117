"""docker-compose.yml and the Dockerfile: every command line, port, path and variable in them is right."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from confluent_kafka import Consumer

from streamer import demo
from streamer.cli import app
from streamer.config import load_objectives, load_settings
from streamer.jars import KAFKA, java
from streamer.local import LocalKafka
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.deploy.parts import program

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"] == "streamer:local"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SCRIPT = ROOT / "deploy" / "compose" / "traffic.py"
LOCK = (ROOT / "requirements" / "worker.lock").read_text()
# What our command line calls the ports that it serves when nobody says otherwise.
METRICS_PORT = load_settings().metrics_port


def environment(service: dict[str, Any]) -> dict[str, str]:
    """Of a container: the image's variables, and those of the service."""
    of_image = dict(re.findall(r"\b(STREAMER_\w+)=(\S+)", DOCKERFILE))
    return {**of_image, **service.get("environment", {})}


def parsed(words: list[str]) -> dict[str, Any]:
    """The values of the options that a command line gives, as the program understands it.

    Raises:
        click's UsageError: the command line cannot be used.
    """
    command: Any = typer.main.get_command(app)
    context = command.make_context("streamer", list(words))
    while hasattr(command, "commands") and (left := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, left)
        context = command.make_context(name, rest, parent=context)
    values: dict[str, Any] = context.params
    return values


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(where it is on the host or the volume's name, where in the container)."""
    for text in service.get("volumes", ()):
        source, inside, *_ = text.split(":")
        yield source, inside


# -- docker-compose.yml ---------------------------------------------------------------------------


def test_docker_compose_takes_the_file() -> None:
    tool = program("docker-compose", package="docker-compose")
    command = [tool, "-f", str(ROOT / "docker-compose.yml"), "--profile", "elk", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name, each in OURS.items() if "entrypoint" not in each])
def test_every_command_line_and_variable_of_ours_can_be_used(name: str) -> None:
    service = OURS[name]
    given = parsed(service["command"])
    settings = load_settings({}, environment(service))
    assert settings.bootstrap == "kafka:19092"
    inside = {there: here for here, there in mounts(service)}
    if given.get("objectives") is not None:
        assert load_objectives(ROOT / inside[str(given["objectives"])]).models
    if name == "topics":
        assert given["replication"] == 1, "there is one broker"
    if name == "relay":
        assert given["alertmanager"] == "http://alertmanager:9093"


def test_each_worker_is_a_static_member_under_its_own_name_and_listens_where_prometheus_looks() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    workers = [name for name, each in OURS.items() if each.get("command", [""])[:1] == ["worker"]]
    assert len(workers) == 2
    assert jobs["model"] == [f"{name}:{METRICS_PORT}" for name in workers]
    relayed = parsed(OURS["relay"]["command"])["metrics_port"]
    assert jobs["relay"] == [f"relay:{relayed}"]
    for name in workers:
        settings = load_settings({}, environment(OURS[name]))
        assert (settings.instance_id, settings.metrics_host) == (name, "0.0.0.0")
        assert f"127.0.0.1:{METRICS_PORT}/readyz" in OURS[name]["healthcheck"]["test"][-1]
    assert f"127.0.0.1:{relayed}/healthz" in OURS["relay"]["healthcheck"]["test"][-1]


def test_the_probes_in_python_are_python() -> None:
    for name, service in OURS.items():
        test = service.get("healthcheck", {}).get("test", [])
        if "python" in test:
            compile(test[-1], name, "exec")


def test_every_path_that_is_mounted_is_there_and_read_only() -> None:
    for service in SERVICES.values():
        for text in service.get("volumes", ()):
            source, *rest = text.split(":")
            if source.startswith("./"):
                assert (ROOT / source).exists(), text
                assert rest[-1] == "ro", text
            else:
                assert source in COMPOSE["volumes"], text


def test_nothing_is_published_beyond_this_machine() -> None:
    published = {port for each in SERVICES.values() for port in each.get("ports", ())}
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert {int(port.split(":")[1]) for port in published} == {9092, 9090, 9093, 3000, 9200, 5601}


def test_every_image_has_a_version_and_no_variable_is_a_secret() -> None:
    for name, service in SERVICES.items():
        version = service["image"].rpartition(":")[2]
        assert name in OURS or re.fullmatch(r"v?\d+\.\d+\.\d+", version), name
        assert not [key for key in service.get("environment", {}) if re.search("PASSWORD|SECRET|TOKEN", key)]


def test_our_containers_can_do_as_little_as_possible() -> None:
    for service in OURS.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"] == ["/tmp"]


def test_what_is_waited_for_has_a_health_check_or_an_end() -> None:
    for name, service in SERVICES.items():
        waits = service.get("depends_on", {})
        for other, how in waits.items() if isinstance(waits, dict) else []:
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], (name, other)
            else:
                assert SERVICES[other]["restart"] == "no", (name, other)


def test_prometheus_and_alertmanager_can_use_their_files(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy" / "prometheus" / "rules", tmp_path / "rules")
    config = tmp_path / "prometheus.yml"
    shutil.copy(ROOT / "deploy" / "compose" / "prometheus.yml", config)
    inside = {there: here for here, there in mounts(SERVICES["prometheus"])}
    assert inside["/etc/prometheus/rules"] == "./deploy/prometheus/rules"
    for command in (
        [program("promtool"), "check", "config", str(config)],
        [program("amtool"), "check-config", str(ROOT / "deploy" / "compose" / "alertmanager.yml")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_who_is_told_by_the_relay_is_not_told_by_prometheus_as_well() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text())
    assert config["rule_files"] == ["rules/recording.yml", "rules/workers.yml"]


def test_grafana_finds_its_data_source_and_its_dashboards() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "streamer.yml").read_text())["providers"]
    inside = {there: here for here, there in mounts(SERVICES["grafana"])}
    assert source["url"] == "http://prometheus:9090"
    assert inside["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    dashboards = provider["options"]["path"]
    assert inside[dashboards] == "./deploy/grafana/dashboards"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / inside[dashboards] / Path(home).relative_to(dashboards)).exists()


def test_kafka_takes_what_the_file_tells_it(tmp_path: Path) -> None:
    """Its own tool reads the settings, as the image makes them of the variables, and formats a log."""
    given = SERVICES["kafka"]["environment"]
    settings = {
        name.removeprefix("KAFKA_").replace("_", ".").lower(): value
        for name, value in given.items()
        if name.startswith("KAFKA_")
    }
    assert settings["log.dirs"] in [there for _, there in mounts(SERVICES["kafka"])]
    settings["log.dirs"] = str(tmp_path / "data")
    file = tmp_path / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    classpath = os.pathsep.join(map(str, KAFKA.fetch(lambda _: None)))
    tool = [str(java()), "-Xmx128m", "-cp", classpath, "kafka.tools.StorageTool"]
    done = subprocess.run(
        [*tool, "format", "-t", given["CLUSTER_ID"], "-c", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listeners = dict(each.split("://") for each in settings["advertised.listeners"].split(","))
    assert listeners == {"INSIDE": "kafka:19092", "HOST": load_settings().bootstrap}


def test_the_traffic_goes_wrong_and_recovers_in_every_round() -> None:
    script = runpy.run_path(str(SCRIPT))
    moments = [injection.at for injection in script["story"]()]
    assert moments == sorted(moments)
    assert moments[-1] < script["ROUND_SECONDS"]
    models = [injection.model for injection in script["story"]()]
    assert {model: models.count(model) % 2 for model in models} == {"churn": 0, "search": 0}
    assert set(models) <= set(demo.MODELS)


def test_the_traffic_arrives(kafka: LocalKafka, topics: TopicsFactory) -> None:
    names = topics(1)
    prefix = names.predictions.removesuffix("predictions")
    environ = {**os.environ, "STREAMER_BOOTSTRAP": kafka.bootstrap, "STREAMER_TOPIC_PREFIX": prefix}
    process = subprocess.Popen([sys.executable, str(SCRIPT)], env=environ)
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": f"{prefix}look", "auto.offset.reset": "earliest"}
    )
    try:
        consumer.subscribe([names.predictions, names.labels])
        seen = set()

        def both() -> bool:
            messages = consumer.consume(10_000, 0.5)
            seen.update(message.topic() for message in messages if message.error() is None)
            return len(seen) == 2

        wait_until(both, 60, "predictions and labels arrive")
        assert process.poll() is None
    finally:
        consumer.close()
        process.kill()
        process.wait()


# -- the image ------------------------------------------------------------------------------------


def test_the_image_copies_what_is_there_and_what_the_builder_is_sent() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M) for word in line.split()[:-1]
    }
    assert copied == sent
    assert all((ROOT / each).exists() for each in copied)


def test_the_image_is_of_two_stages_with_pinned_bases_and_does_not_run_as_root() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])
    [user] = re.findall(r"^USER (\S+)", DOCKERFILE, re.M)
    assert user == "10001:10001"
    assert f"--uid {user.partition(':')[0]}" in DOCKERFILE
    assert re.findall(r"^EXPOSE (\d+)", DOCKERFILE, re.M) == [str(METRICS_PORT)]
    assert '\nENTRYPOINT ["streamer"]\n' in DOCKERFILE


def test_the_locks_of_the_image_and_of_the_developers_agree() -> None:
    def pins(text: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([^ \\;]+)", text, re.M))

    image, developers = pins(LOCK), pins((ROOT / "requirements" / "dev.lock").read_text())
    assert {name: developers.get(name) for name in image} == image, "make lock"
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'"([\w-]+)[=>~]', project.partition("worker = [")[2].partition("]")[0])
    assert set(wanted) <= set(image)
