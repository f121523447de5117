"""The broker is killed under running workers: they wait, say so, and come back by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamer.local import LocalKafka
from tests.deadline import wait_until
from tests.e2e.conftest import SceneFactory
from tests.e2e.scene import Scene
from tests.e2e.worker_process import WorkerProcess

PARTITIONS = 2
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


def start_two(plant: Scene) -> list[WorkerProcess]:
    """One that loses its place in the group before the outage is over, and one that keeps it."""
    workers = [
        plant.start(instance_id=name, session_timeout=wait) for name, wait in (("a", "6"), ("b", "20"))
    ]

    def both_work() -> bool:
        return all(worker.total("streamer_partitions_owned") == 1 for worker in workers)

    wait_until(both_work, 60, "both have a partition")
    return workers


def await_not_ready(worker: WorkerProcess) -> None:
    """Sooner than a worker with a session of 20 s learns it from its group."""
    wait_until(lambda: worker.readiness()[0] == 503, 15, "it says that it is not ready")
    assert "broker" in worker.readiness()[1]


@pytest.mark.timeout(180)
def test_workers_outlive_the_death_of_their_broker_and_nothing_is_lost(
    scene: SceneFactory, power: Power
) -> None:
    plant = scene(PARTITIONS)
    workers = start_two(plant)
    feeder = plant.feed(20_000, RATE)
    for worker in workers:
        worker.await_commits(10)
    power.cut()
    for worker in reversed(workers):
        await_not_ready(worker)
    power.restore()
    for worker in workers:
        worker.await_commits(10)
    plant.await_consumed(feeder.finish())
    assert all(worker.ready() for worker in workers)
    plant.stop()
    plant.judge()


@pytest.mark.timeout(180)
def test_a_worker_can_be_stopped_while_its_broker_is_away(scene: SceneFactory, power: Power) -> None:
    plant = scene(PARTITIONS)
    worker = plant.start(instance_id="a", session_timeout="20").await_ready()
    feeder = plant.feed(10_000, RATE)
    worker.await_commits(10)
    power.cut()
    await_not_ready(worker)
    worker.stop(STOP_SECONDS)  # a commit is under way, and will never end
    power.restore()
    plant.start(instance_id="a")  # the place of one that could not say goodbye
    plant.await_consumed(feeder.finish())
    plant.stop()
    plant.judge()
