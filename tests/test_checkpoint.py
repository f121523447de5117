"""The commit: what one transaction holds, and every kind of broken state that a restart refuses."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import blake2b, sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.adapters import codec
from streamer.checkpoint import FORMAT, MANIFEST_KEY, Checkpoint, Ledger, UntrustedState
from streamer.domain.events import CURES, Reason
from streamer.domain.objectives import Limits, ModelSpec, Objectives, ThresholdSpec, WindowSpec
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline
from tests.domain.feed import IDENTITY, Disk, Log, build, facts, feed
from tests.domain.traffic import objectives, traffic

MANIFEST = codec.encode_key(MANIFEST_KEY)
seeds = st.integers(0, 2**32)


@cache
def written() -> tuple[dict[bytes, bytes], int]:
    """A state topic after three commits of lively traffic."""
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    steps = traffic(random.Random(1), 300).steps
    for start in (0, 100, 200):
        feed(pipeline, steps[start : start + 100])
        disk.commit(pipeline)
    return disk.raw, disk.number


def good() -> Disk:
    """A copy of its own for a test to break."""
    disk = Disk(objectives(Limits()))
    raw, disk.number = written()
    disk.raw = dict(raw)
    return disk


def refused(disk: Disk, **more: Any) -> str:
    """The message with which this state is refused."""
    raw, number = dict(disk.raw), more.get("expected", disk.number)
    checkpoint = Checkpoint(codec, more.get("identity", IDENTITY))
    with pytest.raises(UntrustedState) as caught:
        checkpoint.restore(disk.raw, lambda: build(disk.objectives), number)
    assert disk.raw == raw, "nothing may be overwritten"
    return str(caught.value)


def cells(disk: Disk) -> list[bytes]:
    return sorted(key for key in disk.raw if key != MANIFEST)


def rewrite_manifest(disk: Disk, change: Callable[[dict[str, Any]], None]) -> None:
    """Someone with the right checksum."""
    manifest = codec.decode_cell(disk.raw[MANIFEST][16:])
    change(manifest)
    body = codec.encode_cell(manifest)
    disk.raw[MANIFEST] = blake2b(body, digest_size=16).digest() + body


# -- state that cannot be trusted -----------------------------------------------------------


@given(seeds, st.data())
@settings(max_examples=25, deadline=None)
def test_a_single_flipped_bit_in_any_record_is_noticed_and_the_message_names_the_cure(
    seed: int, data: st.DataObject
) -> None:
    disk = good()
    key = data.draw(st.sampled_from(sorted(disk.raw)))
    value = bytearray(disk.raw[key])
    value[seed % len(value)] ^= 1 << seed % 8
    disk.raw[key] = bytes(value)
    message = refused(disk)
    assert "partition 3" in message
    assert "good copy of the state topic" in message
    assert "--group" in message


def test_the_state_that_all_these_tests_break_is_good_as_it_was() -> None:
    disk = good()
    assert len(cells(disk)) > 10
    assert disk.restore().positions != [0, 0]


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_a_missing_record_is_noticed(data: st.DataObject) -> None:
    disk = good()
    del disk.raw[data.draw(st.sampled_from(cells(disk)))]
    message = refused(disk)
    assert (
        f"{len(cells(disk))} state records do not add up to the {len(cells(disk)) + 1} of commit 3" in message
    )
    assert "good copy of the state topic" in message


def test_a_record_too_many_is_noticed() -> None:
    disk = good()
    disk.raw[codec.encode_key(("model", "ghost"))] = codec.encode_cell({})
    assert "do not add up" in refused(disk)


def test_two_records_that_changed_places_are_noticed() -> None:
    disk = good()
    first, *rest = cells(disk)
    second = next(key for key in rest if disk.raw[key] != disk.raw[first])
    disk.raw[first], disk.raw[second] = disk.raw[second], disk.raw[first]
    assert "do not add up" in refused(disk)


def test_a_record_of_an_older_commit_is_noticed() -> None:
    disk = Disk(objectives(Limits()))
    pipeline, log = build(disk.objectives), Log()
    log.predict("a", model="binary")
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    old = dict(disk.raw)
    log.predict("b", model="binary")
    feed(pipeline, log.steps[1:])
    disk.commit(pipeline)
    changed = [key for key in cells(disk) if key in old and old[key] != disk.raw[key]]
    assert changed
    disk.raw[changed[0]] = old[changed[0]]
    assert "missing or changed" in refused(disk)


def test_a_whole_older_copy_is_noticed_by_the_commit_that_the_group_has_seen() -> None:
    disk = good()
    message = refused(disk, expected=disk.number + 2)
    assert "state is of commit 3, the group has seen commit 5" in message
    assert "Bring back the newer one" in message
    assert "--group" in message


@pytest.mark.parametrize("expected", [None, 1, 3])
def test_a_state_that_is_as_new_as_the_group_has_seen_or_newer_is_taken(expected: int | None) -> None:
    disk = good()
    pipeline = Checkpoint(codec, IDENTITY).restore(disk.raw, lambda: build(disk.objectives), expected)
    assert facts(pipeline) == facts(disk.restore())


@pytest.mark.parametrize(
    ("change", "cure"),
    [
        ({"group": "h"}, "state topic of its own"),
        ({"group": "h", "cluster": "c"}, "`streamer state export FILE --group g`"),
        ({"partitions": 13}, "models have other homes: .* `streamer state import FILE --replace`"),
        ({"partitioner": "crc32"}, "models have other homes: .* `streamer state import FILE --replace`"),
        ({"topic_ids": ["a", "b"]}, "deleted and made anew.* `streamer state import FILE --replace`"),
        ({"cluster": "c"}, "deleted and made anew.* `streamer state reset --partition 3 --group g`"),
    ],
)
def test_state_that_belongs_elsewhere_is_refused_with_the_way_to_move_it(
    change: dict[str, Any], cure: str
) -> None:
    message = refused(good(), identity={**IDENTITY, **change})
    for value in change.values():
        assert repr(value) in message
    assert re.search(cure, message)


def test_who_only_looks_takes_the_state_of_anybody() -> None:
    disk = good()
    found = Checkpoint(codec, {}).read(disk.raw, 3)
    assert found is not None
    manifest, saved = found
    assert manifest["commit"] == disk.number
    assert len(saved) == len(cells(disk))


@pytest.mark.parametrize("format_", [FORMAT + 1, FORMAT + 100, 0])
def test_a_format_of_the_future_or_the_past_is_refused_by_name(format_: int) -> None:
    disk = good()
    rewrite_manifest(disk, lambda manifest: manifest.update(format=format_))
    message = refused(disk)
    assert f"format {format_}, this program reads {FORMAT}" in message
    assert "run the version of streamer that wrote it" in message
    assert "`streamer state reset --partition 3 --group g`" in message


@pytest.mark.parametrize("revision", [0, 2])
def test_objectives_that_are_older_than_the_state_are_refused_with_both_revisions(revision: int) -> None:
    disk = good()
    disk.objectives = replace(disk.objectives, revision=revision)
    message = refused(disk)
    assert f"under revision 3 of the objectives, this worker has revision {revision}" in message
    assert "`revision: 4`" in message


@pytest.mark.parametrize("revision", [3, 4])
def test_objectives_as_new_as_the_state_or_newer_are_taken(revision: int) -> None:
    disk = good()
    disk.objectives = replace(disk.objectives, revision=revision)
    assert disk.restore().positions != [0, 0]


def test_a_missing_manifest_is_noticed_while_there_is_anything_else() -> None:
    disk = good()
    del disk.raw[MANIFEST]
    message = refused(disk, expected=None)
    assert "no manifest" in message
    assert "backup" in message
    assert "--group" in message


def test_a_state_topic_that_is_empty_though_the_group_has_seen_commits_is_refused() -> None:
    disk = Disk(objectives())
    message = refused(disk, expected=7)
    assert "speak of commit 7" in message
    assert "deleted or truncated" in message


def test_a_partition_that_was_never_written_starts_empty() -> None:
    disk = Disk(objectives())
    pipeline = disk.restore()
    assert pipeline.positions == [0, 0]
    assert facts(pipeline) == facts(build(disk.objectives))


@pytest.mark.parametrize("data", [b"", b"short", bytes(16), bytes(300)])
def test_a_manifest_that_is_no_manifest_is_refused(data: bytes) -> None:
    disk = good()
    disk.raw[MANIFEST] = data
    assert "checksum" in refused(disk)


def test_cells_that_add_up_but_do_not_fit_together_are_refused_and_not_half_restored() -> None:
    disk = good()
    lost = next(key for key in cells(disk) if codec.decode_key(key)[0] == "version")
    del disk.raw[lost]
    ledger = Ledger()
    for key in cells(disk):
        ledger.note(key, disk.raw[key])
    rewrite_manifest(disk, lambda found: found.update(cells=len(ledger.hashes), total=ledger.total))
    message = refused(disk)
    assert "does not fit together" in message
    assert "good copy of the state topic" in message


# -- what a commit holds --------------------------------------------------------------------


@given(seeds)
@settings(max_examples=6, deadline=None)
def test_the_manifest_is_the_last_record_of_the_state_and_comes_before_everything_else(seed: int) -> None:
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    feed(pipeline, traffic(random.Random(seed), 150).steps)
    commit = disk.checkpoint.prepare(pipeline, trace=True)
    rooms = [record.room for record in commit.records]
    last_of_state = len(rooms) - 1 - rooms[::-1].index("state")
    assert rooms[: last_of_state + 1] == ["state"] * (last_of_state + 1)
    assert commit.records[last_of_state].key == MANIFEST
    assert MANIFEST not in [record.key for record in commit.records[:last_of_state]]
    assert commit.positions == tuple(pipeline.positions)
    assert commit.bytes == sum(len(record.value or b"") for record in commit.records)
    reported = [json.loads(each.value or b"") for each in commit.records if each.room == "reports"]
    assert rooms.count("alerts") == sum(each["type"] == "alert" for each in reported) == commit.alerts
    assert rooms[-1] == "trace"


def test_no_state_record_is_written_twice_in_one_commit() -> None:
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    for part in range(5):
        feed(pipeline, traffic(random.Random(part), 100).steps)
        keys = [each.key for each in disk.checkpoint.prepare(pipeline).records if each.room == "state"]
        assert len(keys) == len(set(keys))


def test_each_alert_goes_under_its_fingerprint_to_alerts_and_under_its_model_to_reports() -> None:
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    feed(pipeline, traffic(random.Random(1), 300).steps)
    records = disk.checkpoint.prepare(pipeline).records
    alerts = [record for record in records if record.room == "alerts"]
    reported = [record for record in records if record.room == "reports"]
    reports = [record for record in reported if json.loads(record.value or b"")["type"] == "alert"]
    assert len(alerts) > 10
    assert all(record.key.decode() == json.loads(record.value or b"")["model"] for record in reported)
    for alert, report in zip(alerts, reports, strict=True):
        document = json.loads(alert.value or b"")
        assert alert.key.decode() == document["fingerprint"]
        assert report.key.decode() == document["model"]
        assert json.loads(report.value or b"") == {"type": "alert", **document}


def test_what_was_handed_to_a_commit_is_not_handed_to_the_next_one() -> None:
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    feed(pipeline, traffic(random.Random(1), 300).steps)
    first, second = disk.checkpoint.prepare(pipeline), disk.checkpoint.prepare(pipeline)
    assert first.alerts > 0
    assert (second.alerts, second.number) == (0, first.number + 1)
    assert [(record.room, record.key) for record in second.records] == [("state", MANIFEST)]


def test_a_cell_that_is_gone_is_written_as_a_tombstone_once() -> None:
    spec = ModelSpec("m", task="binary", windows=(WindowSpec("duration", 60_000),), drift=())
    disk = Disk(Objectives(models={"m": spec}))
    pipeline, log = build(disk.objectives), Log()
    for second in range(90):
        log.predict(second, 1, model="m")
        log.label(second, 1, model="m")
        log.wait(1_000)
    feed(pipeline, log.steps[:60])
    disk.commit(pipeline)
    feed(pipeline, log.steps[60:])
    commit = disk.checkpoint.prepare(pipeline)
    gone = [each.key for each in commit.records if each.room == "state" and each.value is None]
    assert gone
    assert set(gone) <= set(disk.raw)
    disk.write(commit)
    assert facts(disk.restore()) == facts(pipeline)


def test_a_dead_letter_is_the_original_bytes_and_says_where_they_lay_and_what_to_do() -> None:
    disk = Disk(objectives())
    pipeline, log = build(disk.objectives), Log()
    log.predict("fine", model="binary")
    log.put(PREDICTIONS, b"{not json", b"a key", raw=True)
    log.put(LABELS, None, b"another", raw=True)
    feed(pipeline, log.steps)
    letters = [
        record for record in disk.checkpoint.prepare(pipeline).records if record.room == "dead_letters"
    ]
    assert [(letter.key, letter.value) for letter in letters] == [(b"a key", b"{not json"), (b"another", b"")]
    headers = {name: value.decode() for name, value in letters[0].headers}
    assert headers == {
        "reason": "undecodable",
        "cure": CURES[Reason.UNDECODABLE],
        "topic": "p",
        "kind": "predictions",
        "partition": "3",
        "offset": "1",
        "timestamp": str(log.at),
    }
    assert dict(letters[1].headers)["reason"] == b"tombstone"


def test_a_dead_letter_that_is_too_long_is_cut_and_says_what_it_was() -> None:
    value = b"x" * 5_000
    pipeline, log = build(objectives()), Log()
    log.put(PREDICTIONS, value, raw=True)
    feed(pipeline, log.steps)
    checkpoint = Checkpoint(codec, IDENTITY, max_dead_letter=1_000)
    [letter] = [record for record in checkpoint.prepare(pipeline).records if record.room == "dead_letters"]
    assert letter.value == value[:1_000]
    assert dict(letter.headers)["truncated-sha256"] == sha256(value).hexdigest().encode()


def test_the_trace_says_in_which_order_runs_and_ticks_were_taken() -> None:
    pipeline, log = build(objectives()), Log()
    log.predict("a", model="binary")
    log.predict("b", model="binary")
    log.label("a", model="binary")
    feed(pipeline, log.steps)
    pipeline.tick(log.at + 5_000)
    record = Checkpoint(codec, IDENTITY).prepare(pipeline, trace=True).records[-1]
    assert (record.room, record.key) == ("trace", b"3")
    order = json.loads(record.value or b"")
    assert (order["commit"], order["positions"]) == (1, [2, 1])
    assert order["order"] == [[PREDICTIONS, 2], [LABELS, 1], [-1, log.at + 5_000]]


# -- and on -------------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=2, deadline=None)
def test_a_restored_partition_writes_the_same_next_commit_as_the_one_that_never_stopped(seed: int) -> None:
    chance = random.Random(seed)
    disk = Disk(objectives(Limits()))
    pipeline = build(disk.objectives)
    steps = traffic(chance, 200).steps
    for start in range(0, 200, 40):
        feed(pipeline, steps[start : start + 40])
        commit = disk.checkpoint.prepare(pipeline)
        disk.write(commit)
        again = disk.restore(chance)
        feed(again, steps[start + 40 : start + 80])
        feed(pipeline, steps[start + 40 : start + 80])
        first, second = Checkpoint(codec, IDENTITY), disk.checkpoint
        alerts = [each for each in first.prepare(pipeline).records if each.room in ("alerts", "dead_letters")]
        assert [
            each for each in second.prepare(again).records if each.room in ("alerts", "dead_letters")
        ] == alerts
        pipeline = disk.restore(chance)


def test_a_commit_that_failed_leaves_the_state_as_of_the_one_before() -> None:
    disk = good()
    before = facts(disk.restore())
    pipeline = disk.restore()
    log = Log(pipeline.partition.now + 1_000)
    log.offsets = list(pipeline.positions)
    for number in range(50):
        log.predict(f"new {number}", model="binary")
    feed(pipeline, log.steps)
    disk.checkpoint.prepare(pipeline)  # and nothing of it is written
    assert facts(disk.restore()) == before


def test_a_commit_after_a_restore_goes_on_counting_and_keeps_the_sum() -> None:
    disk = good()
    pipeline = disk.restore()
    disk.commit(pipeline)
    assert disk.number == 4
    assert facts(disk.restore()) == facts(pipeline)


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.binary(max_size=5))), max_size=40))
def test_the_sum_of_a_ledger_is_that_of_what_is_live_however_it_came_about(
    writes: list[tuple[int, bytes | None]],
) -> None:
    ledger, live = Ledger(), {}
    for number, value in writes:
        key = b"key %d" % number * 20  # longer than a hash takes as its own key
        worth_writing = ledger.note(key, value)
        assert worth_writing is (value is not None or key in live)
        if value is None:
            live.pop(key, None)
        else:
            live[key] = value
    fresh = Ledger()
    for key, value in live.items():
        fresh.note(key, value)
    assert (ledger.total, ledger.hashes) == (fresh.total, fresh.hashes)


def test_objectives_that_changed_between_two_runs_are_no_reason_to_mistrust_the_state() -> None:
    wish = ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 50), minimum=0.9)
    spec = ModelSpec("m", task="binary", windows=(WindowSpec("last", 9_000),), thresholds=(wish,))
    disk = Disk(Objectives(1, models={"m": spec}))
    pipeline: Pipeline = build(disk.objectives)
    log = Log()
    for number in range(300):
        log.predict(number, 1, model="m")
        log.label(number, 1, model="m")
    feed(pipeline, log.steps)
    disk.commit(pipeline)
    assert [key for key in disk.raw if b"last 9000" in key]
    other = replace(spec, windows=(WindowSpec("last", 10),), thresholds=(), drift=())
    disk.objectives = Objectives(2, models={"m": other})
    again = disk.restore()
    assert again.partition.identity() == pipeline.partition.identity()
    disk.commit(again)
    assert facts(disk.restore()) == facts(again)
    assert not [key for key in disk.raw if b"last 9000" in key]  # blocks that nobody reads any more are gone
