"""The group's member, on a real broker: what it gives up is saved first, and its name is nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from confluent_kafka import KafkaError

from streamer.adapters.kafka import member_config
from streamer.adapters.member import Member
from streamer.adapters.topics import Topics
from tests.conftest import TopicsFactory
from tests.deadline import wait_until

PARTITIONS = 2


class Seen:
    """One member and what it was told; ``saving`` is called while it gives up partitions."""

    def __init__(self, bootstrap: str, names: Topics, instance: str | None = None) -> None:
        config = member_config({"bootstrap.servers": bootstrap}, f"{names.state}-group", 6_000, instance)
        self.member = Member(
            config, (names.predictions, names.labels), self._assigned, self._revoked, self._expelled
        )
        self.assigned: list[set[int]] = []
        self.expelled: list[KafkaError] = []
        self.saving: Any = lambda: None
        self.asked: list[Any] = []  # for the thread that polls: a client belongs to one
        self.member.join()

    def _assigned(self, partitions: set[int]) -> None:
        self.assigned.append(partitions)

    def _revoked(self, partitions: set[int], lost: bool) -> None:
        if not lost:
            self.saving()

    def _expelled(self, error: KafkaError) -> None:
        self.expelled.append(error)


@pytest.fixture
def thread() -> Iterator[ExitStack]:
    """Whatever polls in a thread stops before its member is closed."""
    with ExitStack() as stack:
        yield stack


def polled(stack: ExitStack, seen: Seen) -> None:
    """From now on in a thread of its own, as the poll thread does it."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            seen.member.poll(0.02)
            while seen.asked:
                seen.asked.pop()()
        seen.member.close()

    each = threading.Thread(target=run)
    stack.callback(each.join, 30)
    stack.callback(done.set)
    each.start()


def test_nobody_is_given_a_partition_before_the_one_who_had_it_has_saved_it(
    bootstrap: str, topics: TopicsFactory, thread: ExitStack
) -> None:
    names = topics(PARTITIONS)
    first = Seen(bootstrap, names)
    polled(thread, first)
    wait_until(lambda: first.assigned == [{0, 1}], 30, "the first has both")
    second = Seen(bootstrap, names)
    early: list[bool] = []

    def save() -> None:
        # Were it possible, it would take some ten milliseconds.
        try:
            wait_until(lambda: second.assigned, 2, "the second is given something")
            early.append(True)
        except AssertionError:
            early.append(False)

    first.saving = save
    polled(thread, second)
    wait_until(lambda: second.assigned and len(first.assigned) > 1, 30, "both share")
    assert early == [False]
    assert sorted([*first.assigned[-1], *second.assigned[-1]]) == [0, 1]


def test_a_member_whose_name_was_taken_is_expelled(
    bootstrap: str, topics: TopicsFactory, thread: ExitStack
) -> None:
    names = topics(PARTITIONS)
    first = Seen(bootstrap, names, "a")
    polled(thread, first)
    wait_until(lambda: first.assigned, 30, "the first has partitions")
    second = Seen(bootstrap, names, "a")
    polled(thread, second)
    wait_until(lambda: second.assigned and first.expelled, 30, "the first is expelled")
    assert not second.expelled


def test_a_member_whose_name_was_taken_does_not_take_it_back(
    bootstrap: str, topics: TopicsFactory, thread: ExitStack
) -> None:
    names = topics(PARTITIONS)
    first = Seen(bootstrap, names, "a")
    wait_until(lambda: first.member.poll(0.02) or first.assigned, 30, "the first has partitions")
    second = Seen(bootstrap, names, "a")
    polled(thread, second)
    wait_until(lambda: second.assigned, 30, "the second has them")
    # The first learns of it from a commit that was refused, before its group has told it.
    first.asked.append(first.member.rejoin)
    polled(thread, first)
    wait_until(lambda: first.expelled or second.expelled, 30, "one of them is expelled")
    assert first.expelled
    assert not second.expelled


def test_a_static_member_that_joins_again_gets_its_partitions_back(
    bootstrap: str, topics: TopicsFactory, thread: ExitStack
) -> None:
    names = topics(PARTITIONS)
    only = Seen(bootstrap, names, "a")
    polled(thread, only)
    wait_until(lambda: len(only.assigned) == 1, 30, "it has partitions")
    only.asked.append(only.member.rejoin)
    wait_until(lambda: len(only.assigned) == 2, 30, "it has them again")
    assert not only.expelled
