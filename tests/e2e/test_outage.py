"""The broker is killed under running workers: they wait, say so and come back, or can be stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from streamer.local import LocalKafka
from tests.deadline import wait_until
from tests.e2e.conftest import SceneFactory
from tests.e2e.scene import Scene
from tests.e2e.worker_process import WorkerProcess

PARTITIONS = 4
RATE = 2_000
STOP_SECONDS = 20.0


class Power:
    """What the broker runs on."""

    def __init__(self, broker: LocalKafka) -> None:
        self.broker, self.on = broker, True

    def cut(self) -> None:
        self.on = False
        self.broker.kill()

    def restore(self) -> None:
        if not self.on:
            self.broker.restart()
            self.on = True


@pytest.fixture(scope="module")
def kafka() -> Iterator[LocalKafka]:
    """A broker of our own: the others' must not be killed."""
    with LocalKafka() as broker:
        yield broker


@pytest.fixture(scope="module")
def bootstrap(kafka: LocalKafka) -> str:
    return kafka.bootstrap


@pytest.fixture
def power(kafka: LocalKafka, scene: SceneFactory) -> Iterator[Power]:
    """It is back before topics are taken down."""
    power = Power(kafka)
    yield power
    power.restore()


def start_three(plant: Scene) -> list[WorkerProcess]:
    """One that loses its place in the group before the outage is over, and two that keep it."""
    sessions = {"a": "6", "b": "25", "c": "25"}
    workers = [plant.start(instance_id=name, session_timeout=wait) for name, wait in sessions.items()]

    def all_work() -> bool:
        owned = [worker.total("streamer_partitions_owned") for worker in workers]
        return sum(owned) == PARTITIONS and min(owned) > 0

    wait_until(all_work, 60, "they share the partitions")
    return workers


def await_not_ready(worker: WorkerProcess) -> None:
    """Sooner than a worker with a session of 25 s learns it from its group."""
    wait_until(lambda: worker.readiness()[0] == 503, 15, "it says that it is not ready")
    assert "broker" in worker.readiness()[1]


@pytest.mark.timeout(240)
def test_workers_outlive_the_death_of_their_broker_or_can_be_stopped_and_nothing_is_lost(
    scene: SceneFactory, power: Power
) -> None:
    plant = scene(PARTITIONS)
    workers = start_three(plant)
    feeder = plant.feed(20_000, RATE)
    for worker in workers:
        worker.await_commits(10)
    power.cut()
    *survivors, stopped = workers
    stopped.ask_to_stop()  # a commit is under way, and will not end
    deadline = time.monotonic() + STOP_SECONDS
    for worker in reversed(survivors):
        await_not_ready(worker)
    stopped.stop(deadline - time.monotonic())
    power.restore()
    plant.start(instance_id="c")  # takes the place of the one that could not say goodbye
    for worker in survivors:
        worker.await_commits(10)
    plant.await_consumed(feeder.finish())
    assert all(worker.ready() for worker in survivors)
    plant.stop()
    plant.judge()
