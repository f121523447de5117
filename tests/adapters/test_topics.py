"""The product's topics on a real broker: made once, compared ever after."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streamer.adapters.topics import DAY_MS, Topics, TopicsError, create, describe
from streamer.local import free_ports


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


def test_describe_tells_client_clocks_and_unequal_partitions(conf: dict[str, str], names: Topics) -> None:
    make(
        conf,
        NewTopic(names.predictions, 3, 1, config={"message.timestamp.type": "CreateTime"}),
        NewTopic(names.labels, 2, 1),
    )
    rows = {row.role: row for row in describe(conf, names)}
    assert "message.timestamp.type is CreateTime, not LogAppendTime" in rows["predictions"].problems
    assert f"has 2 partitions, {names.predictions} has 3: they must be the same" in rows["labels"].problems


def test_describe_tells_which_topics_are_missing(conf: dict[str, str], names: Topics) -> None:
    rows = describe(conf, names)
    assert all(row.partitions == 0 for row in rows)
    assert all("streamer topics create" in row.problems[0] for row in rows)


def test_the_fixture_gives_every_test_topics_of_its_own(topics: Callable[..., Topics]) -> None:
    assert not set(topics().by_role().values()) & set(topics().by_role().values())


def test_an_unreachable_broker_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch, names: Topics) -> None:
    monkeypatch.setattr("streamer.adapters.topics.TIMEOUT", 1.0)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(TopicsError, match="streamer broker") as caught:
        create({"bootstrap.servers": address}, names)
    assert address in str(caught.value)
