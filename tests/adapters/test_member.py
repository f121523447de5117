"""The group's member, on a real broker: what it gives up is saved first, and its name is nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, ConsumerGroupState, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from streamer.adapters.kafka import member_config, offsets_of
from streamer.adapters.member import Member
from streamer.adapters.topics import Topics
from tests.conftest import TopicsFactory
from tests.deadline import wait_until

PARTITIONS = 2


class Seen:
    """One member and what it was told; ``saving`` is called while it gives up partitions."""

    def __init__(self, bootstrap: str, names: Topics, instance: str | None = None, **more: Any) -> None:
        self.group = f"{names.state}-group"
        config = member_config({"bootstrap.servers": bootstrap}, self.group, 6_000, instance) | more
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


def test_a_static_member_that_was_away_for_too_long_comes_back_as_a_new_client(
    bootstrap: str, topics: TopicsFactory, thread: ExitStack
) -> None:
    """A late commit of its earlier life would else expel it."""
    names = topics(PARTITIONS)
    only = Seen(bootstrap, names, "a", **{"max.poll.interval.ms": 6_000})
    before = only.member._client
    wait_until(lambda: only.member.poll(0.02) or only.assigned, 30, "it has partitions")
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def empty() -> bool:
        found = admin.describe_consumer_groups([only.group])[only.group].result(10)
        return found.state is ConsumerGroupState.EMPTY

    wait_until(empty, 30, "nobody polls for so long that the group gives it up")
    only.member.commit(0, (0, 0), 1)
    polled(thread, only)
    wait_until(
        lambda: only.member._client is not before and len(only.assigned) >= 2, 30, "it is somebody new"
    )
    assert not only.expelled


def test_a_member_that_is_still_joining_tells_no_offsets_and_is_not_expelled_for_it(
    bootstrap: str, topics: TopicsFactory, thread: ExitStack
) -> None:
    """What was saved while its predecessor left comes to be told only now."""
    names = topics(PARTITIONS)
    only = Seen(bootstrap, names, "a")
    wait_until(lambda: only.member.poll(0.02) or only.assigned, 30, "it has partitions")
    only.member._renew()
    only.member.commit(0, (7, 7), 1)
    polled(thread, only)
    wait_until(lambda: only.expelled or len(only.assigned) == 2, 30, "it has them again")
    only.asked.append(lambda: only.member.commit(1, (5, 5), 2))
    with offsets_of({"bootstrap.servers": bootstrap}, only.group) as offsets:
        told = [TopicPartition(names.predictions, number) for number in range(PARTITIONS)]
        wait_until(lambda: offsets(told)[1].offset == 5, 30, "a later one is told")
        assert offsets(told)[0].offset == OFFSET_INVALID
    assert not only.expelled
