"""A restore that meets no broker says so in its own words, so that it is tried again."""

from __future__ import annotations

import time
from typing import Any

import pytest

from streamer.adapters import codec, restore, transactions
from streamer.adapters.restore import Restorer
from streamer.adapters.transactions import PartitionWriter, Rooms, Unreachable, read_state
from streamer.checkpoint import Commit, OutRecord
from streamer.domain.objectives import Objectives
from tests.conftest import TopicsFactory

NOBODY = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def restorer(base: dict[str, Any], topics: tuple[str, str] = ("p", "l"), state: str = "s") -> Restorer:
    return Restorer(
        base, "g", topics, state, 2, Rooms({}), codec, Objectives(), lambda model: 0, {}, codec.decode_event
    )


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (restore, transactions):
        monkeypatch.setattr(module, "ASK_SECONDS", 0.3)


@pytest.mark.parametrize("again", range(3))
@pytest.mark.parametrize("question", ["_beginning", "_commit_seen_by_group"])
def test_a_question_that_nobody_answers_is_unreachable(question: str, again: int) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable):
        getattr(restorer(NOBODY), question)(0)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("again", range(3))
def test_a_state_whose_leader_does_not_answer_is_unreachable(again: int) -> None:
    with pytest.raises(Unreachable, match="no end offset"):
        read_state(NOBODY, "g", "state", 0, seconds=0.5)


def test_ends_that_nobody_tells_are_left_out() -> None:
    assert restorer(NOBODY).ends([0, 1]) == {}


def test_ends_are_told_of_the_partitions_that_answer(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(2)
    base, rooms = {"bootstrap.servers": bootstrap}, Rooms({"trace": None, **names.by_role()})
    writer = PartitionWriter(base, f"{names.state}-group", 1, rooms)
    writer.take_over()
    writer.write(Commit(1, [OutRecord("alerts", b"a", b"b")], (0, 0), 1, 1))
    asked = restorer(base, (names.predictions, names.alerts))
    # One record and the marker that commits it; partition 7 does not exist.
    assert asked.ends([0, 1, 7]) == {(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): 2}
