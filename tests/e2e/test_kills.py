"""Promises 1 to 3 under fire: workers are killed in the middle of commits, and nobody can tell afterwards."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streamer.adapters.transactions import PartitionWriter, Rooms
from tests.deadline import wait_until
from tests.e2e.conftest import SceneFactory
from tests.e2e.oracle import aborted
from tests.e2e.scene import alerts_of
from tests.e2e.wiretap import Wiretap
from tests.e2e.worker_process import WorkerProcess

PARTITIONS = 4
EVENTS = 200_000
KILLS = 10
RATE = 7_000
COMMITS = 20

# What has to have been told, or nothing was proven about it: (rule, status).
TOLD = {
    ("accuracy", "firing"), ("accuracy", "resolved"), ("latency_p95", "firing"), ("latency_p95", "resolved"),
    ("drift.error", "firing"), ("drift.error", "resolved"), ("drift.score", "firing"),
    ("drift.feature:x", "firing"), ("drift.feature:x", "resolved"), ("label_coverage", "firing"),
    ("mae", "firing"), ("mae", "resolved"), ("r2", "firing"), ("worst class", "firing"),
    ("worst class", "resolved"), ("precision", "firing"), ("silence", "firing"), ("silence", "resolved"),
}  # fmt: skip


@pytest.mark.timeout(600)
def test_ten_kills_in_the_middle_of_commits_leave_no_trace(scene: SceneFactory) -> None:
    plant = scene(PARTITIONS)
    # A static member's place is kept, so that a restart needs no rebalance.
    workers = [plant.start(instance_id=name).await_ready() for name in "ab"]
    chance = random.Random(3)
    feeder = plant.feed(EVENTS, RATE)
    wiretap = Wiretap(plant.base, plant.names.alerts, PARTITIONS)
    for _ in range(KILLS):
        place = chance.randrange(2)
        # It has committed since it came, and is at work: a kill that hits nothing would prove nothing.
        workers[place].await_commits(COMMITS, 90)
        wiretap.await_record_of((0, 1) if place == 0 else (2, 3))
        workers[place].kill()
        workers[place] = plant.start(instance_id="ab"[place])
    records = feeder.finish()
    assert records >= EVENTS
    plant.await_consumed(records)
    plant.stop()
    oracles = plant.judge()
    assert sum(oracle.commits for oracle in oracles) >= KILLS * COMMITS
    assert plant.names.trace
    cut = [aborted(plant.bootstrap, plant.names.trace, number) for number in range(PARTITIONS)]
    assert sum(cut) >= KILLS // 3, "too few kills met a commit in its middle to prove anything"
    assert {(alert["rule"], alert["status"]) for alert in alerts_of(oracles)} >= TOLD
    terms = [oracle.pipeline.partition.identity() for oracle in oracles]
    assert_every_term_counts(terms)


def assert_every_term_counts(identities: list[dict[str, dict[str, int]]]) -> None:
    """An identity over terms that are 0 says little. At the end, nothing may be waiting any more."""
    sums: dict[str, int] = {}
    for identity in identities:
        for topic, terms in identity.items():
            for term, count in terms.items():
                sums[f"{topic} {term}"] = sums.get(f"{topic} {term}", 0) + count
    waiting = {"predictions pending", "labels parked"}
    assert {term for term, count in sums.items() if not count} <= waiting, sums


def fenced_or_lost(worker: WorkerProcess) -> float:
    return worker.total("streamer_fenced_total") + worker.total("streamer_lost_total")


@pytest.mark.timeout(120)
def test_the_late_commit_of_a_worker_that_was_replaced_is_refused(scene: SceneFactory) -> None:
    plant = scene(1)
    # It keeps its place in the group while it sleeps, so that nothing but its own commit tells it.
    zombie = plant.start(session_timeout="30").await_ready()
    feeder = plant.feed(20_000, 3_000)
    zombie.await_commits(10)
    zombie.freeze()
    rooms: dict[str, Any] = {"trace": None, **plant.names.by_role()}
    heir = PartitionWriter(plant.base, plant.group, 0, Rooms(rooms))
    heir.take_over()
    zombie.thaw()
    wait_until(lambda: zombie.total("streamer_fenced_total") > 0, 30, "the late commit is refused")
    zombie.await_commits(10)  # it has joined again, and goes on from the last commit that was not refused
    plant.await_consumed(feeder.finish())
    plant.stop()
    plant.judge()


@pytest.mark.timeout(180)
def test_a_worker_that_slept_through_its_replacement_writes_nothing(scene: SceneFactory) -> None:
    plant = scene(2)
    zombie = plant.start().await_ready()
    feeder = plant.feed(30_000, 3_000)
    zombie.await_commits(10)
    zombie.freeze()
    heir = plant.start()
    heir.await_commits(10, 90)
    zombie.thaw()
    # It wakes up with work in hand, and learns from the group or from a late commit that it was replaced.
    wait_until(lambda: fenced_or_lost(zombie) > 0, 30, "it knows that it was replaced")
    zombie.await_commits(10)
    plant.await_consumed(feeder.finish())
    plant.stop()
    plant.judge()
