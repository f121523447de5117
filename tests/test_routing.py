"""Where a record goes and what it carries, without a broker; and what the worker makes of it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from streamer.adapters import codec
from streamer.checkpoint import Checkpoint, UntrustedState
from streamer.domain.objectives import Objectives
from streamer.domain.partition import Partition
from streamer.home import home
from streamer.origin import Origin, origin_of
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline, Unreadable
from streamer.routing import Routed, Routes
from tests.domain.feed import START_MS, Log, Record, build, feed

PARTITIONS = 4
ROUTES = Routes(("p", "l"), PARTITIONS, lambda model: home(model, PARTITIONS), codec.decode_event, 100)


def routed(value: bytes | None, key: bytes | None = None, partition: int = 6) -> Routed:
    return ROUTES.routed(PREDICTIONS, partition, Record(START_MS, 17, value, key))


@dataclass(frozen=True)
class Arrived:
    """What a worker reads of what the router wrote."""

    record: Routed
    position: int = 0

    def value(self) -> bytes | None:
        return self.record.value

    def key(self) -> bytes | None:
        return self.record.key or None

    def offset(self) -> int:
        return self.position

    def timestamp(self) -> tuple[int, int]:
        return 1, START_MS

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.record.headers)


@pytest.mark.parametrize(
    ("value", "key", "model"),
    [
        (b'{"model": "m1"}', b"user-7", "m1"),
        (b'{"model": "m1"}', None, "m1"),
        (b'{"model": 12}', None, "12"),
        (b'{"x": 1}', b"m2", "m2"),
    ],
)
def test_the_model_is_that_of_the_value_else_the_key(value: bytes, key: bytes | None, model: str) -> None:
    found = routed(value, key)
    assert found.partition == home(model, PARTITIONS)
    assert (found.key, found.value, found.homeless) == (key or b"", value, False)
    assert origin_of(Arrived(found)) == Origin("p", 6, 17, START_MS)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "undecodable"),
        (b"[]", "not_an_object"),
        (None, "tombstone"),
        (b'{"x": 1}', "missing_field"),
        (b'{"model": null}', "missing_field"),
        (b'{"model": "a\\nb"}', "invalid_field"),
        (b'{"model": "m", "x": "' + b"x" * 100 + b'"}', "oversized"),
    ],
)
def test_what_names_no_model_becomes_the_usual_dead_letter_of_its_source(
    value: bytes | None, reason: str
) -> None:
    found = routed(value)
    assert (found.partition, found.homeless) == (6 % PARTITIONS, True)
    headers = letter_of(found)
    assert headers["reason"] == reason.encode()
    place = (headers["topic"], headers["partition"], headers["offset"], headers["timestamp"])
    assert place == (b"p", b"6", b"17", str(START_MS).encode())


def letter_of(record: Routed, is_routed: bool = True, max_dead_letter: int = 1_000_000) -> dict[str, bytes]:
    """The headers of what a worker writes about it."""
    partition = Partition(Objectives(), lambda model: True)
    pipeline = Pipeline(
        partition, 2, ("p-by-model", "l-by-model"), codec.decode_event, max_value=100, routed=is_routed
    )
    pipeline.run(PREDICTIONS, [Arrived(record)])
    commit = Checkpoint(codec, {}, max_dead_letter).prepare(pipeline)
    [letter] = [each for each in commit.records if each.room == "dead_letters"]
    return dict(letter.headers)


def test_where_nothing_is_routed_a_client_cannot_make_up_where_its_record_came_from() -> None:
    headers = letter_of(routed(b"{"), is_routed=False)
    assert (headers["topic"], headers["partition"], headers["offset"]) == (b"p-by-model", b"2", b"0")


def test_of_what_is_too_long_the_letter_names_the_hash_of_all_of_it() -> None:
    import hashlib

    value, key = b"v" * 5_000, b"k" * 9_000
    found = routed(value, key)
    assert (len(found.value or b""), len(found.key)) == (101, 4_097)
    headers = letter_of(found, max_dead_letter=100)
    assert headers["truncated-sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert headers["truncated-key-sha256"] == hashlib.sha256(key).hexdigest().encode()


def test_a_stretch_that_cannot_be_read_is_one_letter_about_the_source() -> None:
    headers = letter_of(ROUTES.routed(LABELS, 1, Unreadable(5, 9, START_MS)))
    assert headers["reason"] == b"unreadable"
    assert (headers["topic"], headers["first-offset"], headers["offset"]) == (b"l", b"5", b"9")


@pytest.mark.parametrize("origin", [b"p:1:2", b"p:1:x:3", b"\xff", b"", None])
def test_what_makes_no_sense_as_an_origin_is_none(origin: Any) -> None:
    assert origin_of(Arrived(Routed("routed_predictions", b"", b"{", (("origin", origin),)))) is None


def test_state_of_other_topics_says_which_setting_was_changed() -> None:
    before = {"topics": ["p", "l"], "topic_ids": ["1", "2"], "group": "g"}
    after = {"topics": ["p-by-model", "l-by-model"], "topic_ids": ["3", "4"], "group": "g"}
    log, pipeline = Log(), build(Objectives())
    log.predict("1")
    feed(pipeline, log.steps)
    raw = {each.key: each.value for each in Checkpoint(codec, before).prepare(pipeline).records}
    with pytest.raises(UntrustedState, match=r"other topics .* `repartition`.*Put that back"):
        Checkpoint(codec, after).restore(raw, lambda: build(Objectives()), None)  # type: ignore[arg-type]
