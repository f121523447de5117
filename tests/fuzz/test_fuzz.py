"""Whatever the payload: no exception leaves, all adds up, all stays bounded; and the judge can tell."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest

from streamer.checkpoint import Checkpoint
from streamer.domain.events import Reason
from streamer.domain.model import ModelMonitor
from streamer.domain.partition import Partition
from streamer.domain.profile import Profile
from tests.fuzz.campaign import LANES, Campaign
from tests.fuzz.trial import Tally, Trial

SEED = 20_261_124
PAYLOADS = 42_000
GROWTH = 1.25


@pytest.mark.timeout(300)
def test_forty_thousand_payloads_raise_nothing_and_everything_adds_up() -> None:
    campaign = Campaign(PAYLOADS, SEED)
    held: list[tuple[int, int]] = []
    tracemalloc.start()
    try:
        tally = campaign.run(lambda tally: held.append((tally.payloads, tracemalloc.get_traced_memory()[0])))
    finally:
        tracemalloc.stop()
    assert [(finding.error, finding.payload) for finding in tally.findings] == [], tally.findings[0].stack
    assert tally.payloads >= PAYLOADS
    expected = set(Reason) - {Reason.INTERNAL_ERROR}
    assert set(tally.dead) == {reason.value for reason in expected}, "the fuzz does not reach what it should"
    assert all(count >= 10 for count in tally.checks.values()), tally.checks
    assert len(tally.checks) == 5
    for terms in campaign.identities().values():
        assert terms["joined"] > 500, "too little of it is good"
    assert max(size for _, size in held[-3:]) < GROWTH * max(size for _, size in held[: len(held) // 2 + 1])


def trial(lane: str = "crowded") -> Trial:
    return Trial(lane, LANES[lane](), random.Random(SEED), Tally())


def test_the_same_seed_forges_the_same_again() -> None:
    one, other = trial(), trial()
    for each in (one, other):
        each.round(500)
    assert one.disk.raw == other.disk.raw


def test_ten_thousand_of_everything_in_a_second_stay_within_the_limits() -> None:
    found = trial("plain")
    assert found.flood() == 20_000
    assert found.tally.findings == []
    limits = found.objectives.limits
    assert found.tally.most["models"] == limits.max_models
    assert found.tally.most["versions of a model"] == limits.max_versions + 1
    assert found.tally.most["features of a version"] == limits.max_features
    assert found.tally.most["classes"] == 63


def test_a_bug_of_ours_is_reported_with_its_payload_and_costs_that_record_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = ModelMonitor.predict

    def fails_on_some(self: ModelMonitor, event: dict[str, Any], *rest: Any) -> Any:
        score = event.get("score")
        if type(score) is float and 0.5 < score < 0.51:
            self.labels.joined += 5  # half-done work
            raise RuntimeError("a bug")
        return original(self, event, *rest)

    monkeypatch.setattr(ModelMonitor, "predict", fails_on_some)
    found = trial()
    for _ in range(3):
        found.round()
    assert {finding.error for finding in found.tally.findings} == {"RuntimeError('a bug')"}
    assert all("0.5" in finding.payload for finding in found.tally.findings)
    assert found.tally.dead["internal_error"] == len(found.tally.findings) > 1
    assert found.tally.checks["identities"] == found.tally.checks["equal to the undisturbed"] == 3


@pytest.mark.parametrize(
    ("owner", "name", "broken", "what"),
    [
        (ModelMonitor, "_label_alone", lambda *_: None, "identity of labels"),
        (Profile, "restore", lambda *_: None, "partition differs in"),
        (Partition, "_make_room", lambda *_: None, ", the limit is"),
        (Checkpoint, "_effects", lambda *_: iter(()), "dead letters were counted"),
    ],
)
def test_a_promise_that_is_broken_is_noticed(
    owner: type, name: str, broken: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, broken)
    found = trial()
    for _ in range(5):
        found.round()
    assert what in found.tally.findings[0].error
