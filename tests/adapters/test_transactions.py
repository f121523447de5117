"""Promise 3 at its root: who was replaced cannot commit, and nobody sees that it tried."""

from __future__ import annotations

import pytest

from streamer.adapters.transactions import Fenced, PartitionWriter, Rooms, read_state
from streamer.checkpoint import Commit, OutRecord
from tests.conftest import TopicsFactory
from tests.e2e.oracle import committed


def commit(number: int, key: bytes, value: bytes | None) -> Commit:
    records = [OutRecord("state", key, value), OutRecord("alerts", key, b"%d" % number)]
    return Commit(number, records, (0, 0), 1, 0)


def test_the_late_commit_of_a_replaced_worker_is_refused_and_never_seen(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(2)
    base, rooms = {"bootstrap.servers": bootstrap}, Rooms({"trace": None, **names.by_role()})
    group = f"{names.state}-group"
    old = PartitionWriter(base, group, 1, rooms)
    old.take_over()
    old.write(commit(1, b"a", b"one"))
    new = PartitionWriter(base, group, 1, rooms)
    new.take_over()
    with pytest.raises(Fenced):
        old.write(commit(2, b"a", b"zombie"))
    new.write(commit(2, b"b", b"two"))
    assert read_state(base, group, names.state, 1) == {b"a": b"one", b"b": b"two"}
    assert [message.value() for message in committed(bootstrap, names.alerts, 1)] == [b"1", b"2"]


def test_taking_over_ends_what_the_old_owner_left_open(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(1)
    base, rooms = {"bootstrap.servers": bootstrap}, Rooms({"trace": None, **names.by_role()})
    group = f"{names.state}-group"
    old = PartitionWriter(base, group, 0, rooms)
    old.take_over()
    old.write(commit(1, b"a", b"one"))
    old._producer.begin_transaction()
    old._producer.produce(names.state, b"never", b"a", 0)
    old._producer.flush(10)
    new = PartitionWriter(base, group, 0, rooms)
    new.take_over()
    # Had it stayed open, a read_committed reader would stop before it.
    assert read_state(base, group, names.state, 0) == {b"a": b"one"}
    new.write(commit(2, b"a", None))
    assert read_state(base, group, names.state, 0) == {}
