"""A restore that meets no broker says so in its own words, so that it is tried again."""

from __future__ import annotations

import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from streamer.adapters import codec, restore, transactions
from streamer.adapters.restore import Restorer
from streamer.adapters.transactions import PartitionWriter, Rooms, Unreachable, read_state
from streamer.checkpoint import Commit, OutRecord
from streamer.domain.objectives import Objectives
from tests.conftest import TopicsFactory
from tests.deadline import wait_until

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
    # The coordinator answers a commit before its marker is in every log.
    expected = {(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): 2}
    wait_until(lambda: asked.ends([0, 1, 7]) == expected, 30, "the commit is in the log")


class Headless:
    """An admin client that meets a leader which is away: it answers -1001 for its partition, and no error."""

    def __init__(self, away: int) -> None:
        self.away = away

    def list_offsets(self, asked: dict[Any, Any], **_: Any) -> dict[Any, Future[Any]]:
        answers: dict[Any, Future[Any]] = {at: Future() for at in asked}
        for at, future in answers.items():
            future.set_result(SimpleNamespace(offset=-1001 if at.partition == self.away else 7))
        return answers


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (restore, transactions):
        monkeypatch.setattr(module, "admin_of", lambda base: Headless(1))


@pytest.mark.usefixtures("headless")
def test_a_state_is_never_read_to_an_end_that_no_leader_named() -> None:
    with pytest.raises(Unreachable, match="no end offset"):
        read_state(NOBODY, "g", "state", 1, seconds=0.2)


@pytest.mark.usefixtures("headless")
def test_a_first_read_never_begins_at_an_offset_that_no_leader_named() -> None:
    assert restorer(NOBODY)._beginning(0) == [7, 7]
    with pytest.raises(Unreachable, match="oldest offsets"):
        restorer(NOBODY)._beginning(1)


@pytest.mark.usefixtures("headless")
def test_an_end_that_no_leader_named_is_no_end() -> None:
    assert restorer(NOBODY).ends([0, 1]) == {(0, 0): 7, (1, 0): 7}
