"""`streamer worker --processes N` on a real Kafka: one that is killed comes back to its own partitions."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streamer.adapters.scrape import Scrape
from streamer.local import free_ports
from tests.deadline import wait_until
from tests.e2e.conftest import SceneFactory
from tests.e2e.scene import Scene, alerts_of
from tests.e2e.worker_process import WorkerProcess
from tests.ports import adjacent_ports

PARTITIONS, RATE = 4, 1_000
Seats = dict[str, list[int]]


def seats(plant: Scene) -> Seats:
    """Which partitions each instance has, as the group says."""
    admin = AdminClient(plant.base)
    members = admin.describe_consumer_groups([plant.group])[plant.group].result(10).members
    return {
        str(member.group_instance_id): sorted(tp.partition for tp in member.assignment.topic_partitions)
        for member in members
    }


def totals(pair: WorkerProcess, name: str) -> list[float]:
    """A metric of each process; 0 where it does not answer."""
    pair.check()
    scrapes = [Scrape.of(f"http://127.0.0.1:{pair.port + number}/metrics") for number in range(2)]
    return [scrape.total(name) if scrape else 0.0 for scrape in scrapes]


def pids(pair: WorkerProcess, number: int) -> list[int]:
    """Of all lives of a process, as the log tells them."""
    said = pair.log.read_text(errors="replace")
    return [int(pid) for pid in re.findall(rf"process {number}: pid (\d+)", said)]


def await_shared(pair: WorkerProcess) -> None:
    wait_until(lambda: totals(pair, "streamer_partitions_owned") == [2, 2], 90, "each has two partitions")


def await_consumed(pair: WorkerProcess, records: int) -> None:
    def consumed() -> float:
        return sum(
            sum(totals(pair, f"streamer_{topic}_consumed_total")) for topic in ("predictions", "labels")
        )

    wait_until(lambda: consumed() == records, 90, f"{records} records are processed")


@pytest.mark.timeout(300)
def test_a_process_that_is_killed_comes_back_to_its_partitions_and_leaves_no_trace(
    scene: SceneFactory,
) -> None:
    plant = scene(PARTITIONS)
    port = adjacent_ports(2)
    # Longer than a restart takes on a busy machine: nobody else may get the partitions meanwhile.
    settings = {"processes": "2", "instance_id": "pair", "session_timeout": "45", "log_level": "info"}
    pair = plant.start(metrics_port=str(port), **settings)
    pair.port = port
    feeder = plant.feed(10_000, RATE)
    await_shared(pair)
    before = seats(plant)
    assert sorted(before) == ["pair-0", "pair-1"]
    assert sorted(number for each in before.values() for number in each) == list(range(PARTITIONS))
    [victim] = pids(pair, 1)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(pids(pair, 1)) == 2, 60, "it was started again")
    await_shared(pair)
    assert seats(plant) == before, "the same partitions under the same name"
    assert len(pids(pair, 0)) == 1, "the other was left alone"
    await_consumed(pair, feeder.finish())
    plant.stop()
    assert alerts_of(plant.judge())
    said = pair.log.read_text(errors="replace").splitlines()
    assert {line[:3] for line in said if "stopped after" in line} == {"[0]", "[1]"}


def streamer(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamer", "worker", "--processes", "2", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_objectives_that_cannot_be_used_end_it_before_anything_is_started(tmp_path: Path) -> None:
    file = tmp_path / "objectives.yml"
    file.write_text("models: {churn: {task: guess}}")
    done = streamer(str(file))
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert "models.churn.task" in line


def test_processes_that_can_never_begin_end_it_with_their_message_said_once() -> None:
    [closed] = free_ports(1)
    ports = ["--metrics-port", str(adjacent_ports(2))]
    done = streamer(*ports, "--bootstrap", f"127.0.0.1:{closed}", "--log-format", "json")
    assert done.returncode == 1
    messages = [line for line in done.stderr.splitlines() if "streamer broker" in line]
    assert len(messages) == 1, done.stderr
    assert '"process":0' in messages[0]


def test_ports_beyond_the_last_one_are_refused() -> None:
    done = streamer("--metrics-port", "65535")
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("streamer: flag --processes: ")
