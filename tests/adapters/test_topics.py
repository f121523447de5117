"""The product's topics on a real broker: made once, compared ever after."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streamer.adapters.topics import (
    DAY_MS,
    Topics,
    TopicsError,
    cluster_of,
    create,
    describe,
    existing_topics,
    unequal_partitions,
)
from streamer.local import free_ports
from tests.deadline import wait_until


@pytest.fixture
def names() -> Topics:
    return Topics(trace="trace").prefixed(f"topics-{uuid.uuid4().hex[:8]}-")


@pytest.fixture
def conf(bootstrap: str) -> dict[str, str]:
    return {"bootstrap.servers": bootstrap}


def make(conf: dict[str, str], *topics: NewTopic) -> None:
    admin = AdminClient(conf)
    for future in admin.create_topics(list(topics)).values():
        future.result(10)


def test_a_second_create_finds_everything_as_it_should_be(conf: dict[str, str], names: Topics) -> None:
    first = create(conf, names, partitions=3)
    second = create(conf, names, partitions=3)
    assert {each.name for each in first} == set(names.by_role().values())
    assert {each.outcome for each in first} == {"created"}
    assert {each.outcome for each in second} == {"existing"}


def test_create_says_what_differs_and_changes_nothing(conf: dict[str, str], names: Topics) -> None:
    make(conf, NewTopic(names.labels, 2, 1, config={"retention.ms": "1000"}))
    result = {each.name: each for each in create(conf, names, partitions=3)}[names.labels]
    assert result.outcome == "differs"
    assert "has 2 partitions, not 3" in result.differences
    assert f"retention.ms is 1000, not {7 * DAY_MS}" in result.differences
    row = {each.role: each for each in describe(conf, names)}["labels"]
    assert (row.partitions, row.configs["retention.ms"]) == (2, "1000")


def test_describe_finds_no_problem_in_what_create_made(conf: dict[str, str], names: Topics) -> None:
    create(conf, names, partitions=3)
    rows = describe(conf, names)
    assert [row.role for row in rows] == list(names.by_role())
    assert {row.partitions for row in rows} == {3}
    assert [row.problems for row in rows if row.problems] == []


def test_dead_letters_hold_the_largest_record_of_a_source_and_its_headers(
    conf: dict[str, str], names: Topics
) -> None:
    create(conf, names, partitions=1)
    rows = {row.role: row.configs for row in describe(conf, names)}
    spare = int(rows["dead_letters"]["max.message.bytes"]) - int(rows["labels"]["max.message.bytes"])
    assert spare == 64 * 1024


def test_describe_tells_of_clients_clocks(conf: dict[str, str], names: Topics) -> None:
    make(conf, NewTopic(names.predictions, 3, 1, config={"message.timestamp.type": "CreateTime"}))
    rows = {row.role: row for row in describe(conf, names)}
    assert "message.timestamp.type is CreateTime, not LogAppendTime" in rows["predictions"].problems


@pytest.mark.parametrize("odd", list(Topics(trace="trace").by_role()))
def test_the_topic_that_stands_out_by_its_partitions_is_named_with_the_cure(odd: str) -> None:
    names = Topics(trace="trace")
    counts = dict.fromkeys(names.by_role().values(), 3) | {names.by_role()[odd]: 1}
    [(name, problem)] = unequal_partitions(names, counts).items()
    assert name == names.by_role()[odd]
    assert "has 1 partitions, the others have 3" in problem
    assert f"--delete --topic {name}" in problem
    assert "streamer topics create --partitions 3" in problem


def test_where_two_topics_differ_the_predictions_are_right() -> None:
    names = Topics()
    assert list(unequal_partitions(names, {names.labels: 5, names.predictions: 3})) == [names.labels]
    assert unequal_partitions(names, {}) == {}


def test_the_cure_for_unequal_partitions_works(conf: dict[str, str], names: Topics) -> None:
    make(conf, NewTopic(names.alerts, 1, 1, config={"cleanup.policy": "compact"}))
    create(conf, names, partitions=3)
    [problem] = [row.problems[0] for row in describe(conf, names) if row.partitions != 3]
    assert "--delete" in problem
    admin = AdminClient(conf)
    admin.delete_topics([names.alerts])[names.alerts].result(10)
    wait_until(lambda: names.alerts not in existing_topics(conf), 10, "the topic is gone")
    create(conf, names, partitions=3)
    assert [row.problems for row in describe(conf, names) if row.problems] == []


def test_create_completes_a_set_with_as_many_partitions_as_it_has(
    conf: dict[str, str], names: Topics
) -> None:
    without = Topics(**{role: name for role, name in names.by_role().items() if role != "trace"})
    create(conf, without, partitions=3)
    results = {each.name: each.outcome for each in create(conf, names)}
    assert results[names.trace or ""] == "created"
    assert {row.partitions for row in describe(conf, names)} == {3}


def test_describe_tells_which_topics_are_missing(conf: dict[str, str], names: Topics) -> None:
    rows = describe(conf, names)
    assert all(row.partitions == 0 for row in rows)
    assert all("streamer topics create" in row.problems[0] for row in rows)


def test_the_fixture_gives_every_test_topics_of_its_own(topics: Callable[..., Topics]) -> None:
    assert not set(topics().by_role().values()) & set(topics().by_role().values())


def test_an_unreachable_broker_is_named_with_the_cure_and_soon(names: Topics) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    conf = {"bootstrap.servers": address}
    for look in (lambda: create(conf, names), lambda: cluster_of(conf)):
        began = time.monotonic()
        with pytest.raises(TopicsError, match="streamer broker") as caught:
            look()
        assert time.monotonic() - began < 5, "every address refuses: there is nothing to wait for"
        assert address in str(caught.value)
        assert "Connection refused" in str(caught.value)
