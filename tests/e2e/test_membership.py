"""Workers that come and go under load, one by one: each partition has one owner, and nobody can tell."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from tests.deadline import wait_until
from tests.e2e.conftest import SceneFactory
from tests.e2e.scene import Scene, alerts_of

PARTITIONS = 4
RATE = 3_000
COMMITS = 10


def owners(plant: Scene) -> list[list[int]]:
    """Which partitions each member of the group has, as the group says."""
    admin = AdminClient(plant.base)  # held: a client that is collected cancels what it was asked
    members = admin.describe_consumer_groups([plant.group])[plant.group].result(10).members
    return sorted(sorted(tp.partition for tp in member.assignment.topic_partitions) for member in members)


def await_shared(plant: Scene) -> None:
    """Until all partitions are shared out among the running workers, and each has committed since."""
    workers = plant.running

    def shared() -> bool:
        owned = [worker.total("streamer_partitions_owned") for worker in workers]
        return sum(owned) == PARTITIONS and min(owned) > 0 and all(worker.ready() for worker in workers)

    wait_until(shared, 60, f"{len(workers)} workers share {PARTITIONS} partitions")
    told = owners(plant)
    assert len(told) == len(workers)
    assert sorted(number for each in told for number in each) == list(range(PARTITIONS)), (
        "each partition has exactly one owner"
    )
    for worker in workers:
        worker.await_commits(COMMITS)


@pytest.mark.timeout(300)
def test_workers_that_join_and_leave_under_load_leave_no_trace(scene: SceneFactory) -> None:
    plant = scene(PARTITIONS)
    first = plant.start().await_ready()
    feeder = plant.feed(50_000, RATE)
    await_shared(plant)
    second = plant.start()
    await_shared(plant)
    plant.start()
    await_shared(plant)
    assert first.stop() == 0, first.said()
    await_shared(plant)
    second.kill()
    await_shared(plant)
    assert owners(plant) == [list(range(PARTITIONS))]
    plant.await_consumed(feeder.finish())
    plant.stop()
    oracles = plant.judge()
    assert sum(oracle.commits for oracle in oracles) >= 9 * COMMITS  # 1 + 2 + 3 + 2 + 1 workers
    assert len(alerts_of(oracles)) > 20, "nothing was told, so nothing was proven about alerts"
