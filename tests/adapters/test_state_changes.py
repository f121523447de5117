"""State is looked at, forgotten and begun anew on a real broker; nothing is ever changed by halves."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jsonschema
import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from streamer.adapters import codec, state_changes
from streamer.adapters.deployment import StateRefused, commit_seen
from streamer.adapters.state_changes import carry_out, plan_anew, plan_forget
from streamer.adapters.state_view import MANIFEST, manifest_of, view
from streamer.adapters.transactions import PartitionWriter, Rooms
from streamer.home import home
from tests.adapters.state_stage import PARTITIONS, Stage
from tests.deadline import wait_until
from tests.domain.feed import facts
from tests.e2e.test_quarantine import sealed

MODEL = "binary"
HOME = home(MODEL, PARTITIONS)
OTHER = 1 - HOME


def flipped(raw: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    key = next(key for key in raw if key != MANIFEST)
    return {key: raw[key][:-1] + bytes([raw[key][-1] ^ 1])}


def half_compacted(raw: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    return {next(key for key in raw if key != MANIFEST): None}


def without_manifest(raw: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    return {MANIFEST: None}


def truncated_manifest(raw: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    return {MANIFEST: raw[MANIFEST][:40]}


def of_the_future(raw: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    told = manifest_of(raw)
    assert told is not None
    return {MANIFEST: sealed({**told, "format": 99})}


def gone(raw: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    return dict.fromkeys(raw)


def under_more_partitions(raw: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    told = manifest_of(raw)
    assert told is not None
    return {MANIFEST: sealed({**told, "identity": told["identity"] | {"partitions": 9}})}


BROKEN: list[tuple[Callable[[dict[bytes, bytes]], dict[bytes, bytes | None]], str]] = [
    (flipped, "do not add up"),
    (half_compacted, "do not add up"),
    (without_manifest, "no manifest"),
    (truncated_manifest, "checksum"),
    (of_the_future, "format 99"),
    (gone, "speak of commit"),
    (under_more_partitions, "models have other homes"),
]


# -- looking -----------------------------------------------------------------------------------


def test_what_is_shown_is_what_lives_in_the_topic(stage: Stage) -> None:
    for number, pipeline in stage.pipelines.items():
        found, partition = view(stage.at, number), pipeline.partition
        assert found.problem is None
        assert (found.commit, found.revision, found.format) == (stage.commits[number], 3, 1)
        assert found.offsets == tuple(pipeline.positions)
        assert found.identity == stage.at.identity
        assert (found.clock, found.consumed) == (partition.now, partition.consumed)
        assert sum(found.dead_letters.values()) == partition.dead.total()
        assert sum(found.cells.values()) == len(stage.raw(number))
        assert [each.model for each in found.models] == list(partition.models)
        for each in found.models:
            model = partition.models[each.model]
            assert (each.task, each.parked, each.firing) == (model.task, len(model.parked), model.firing)
            assert [(v.version, v.predictions, v.joined, v.pending) for v in each.versions] == [
                (v.version, v.accepted, v.joined, len(v.table.pending)) for v in model.every_version
            ]
        owned = sum(model.bytes for model in found.models)
        assert owned + found.bytes["manifest"] + found.bytes["join"] == sum(found.bytes.values())


def test_a_single_model_can_be_shown(stage: Stage) -> None:
    assert [each.model for each in view(stage.at, HOME, MODEL).models] == [MODEL]
    assert view(stage.at, OTHER, MODEL).models == ()


@pytest.mark.parametrize(("damage", "words"), BROKEN, ids=[each.__name__ for each, _ in BROKEN])
def test_state_that_cannot_be_trusted_is_shown_with_its_problem_and_begins_anew(
    stage: Stage, damage: Callable[[dict[bytes, bytes]], dict[bytes, bytes | None]], words: str
) -> None:
    stage.write_over(HOME, damage(stage.raw(HOME)))
    before = stage.raw(HOME)
    found = view(stage.at, HOME)
    assert words in (found.problem or "")
    assert f"`streamer state reset --partition {HOME}" in (found.problem or "")
    assert sum(found.cells.values()) == len(before)
    with pytest.raises(StateRefused, match=words):
        plan_forget(stage.at, MODEL, HOME)
    assert stage.raw(HOME) == before
    carry_out(stage.at, plan_anew(stage.at, HOME, "earliest"))
    anew = view(stage.at, HOME)
    assert (anew.problem, anew.offsets, anew.models) == (None, (0, 0), ())
    assert anew.commit is not None
    assert anew.commit > stage.commits[HOME]
    assert list(stage.raw(HOME)) == [MANIFEST]
    assert facts(stage.restored(OTHER)) == facts(stage.pipelines[OTHER])


def test_records_that_retention_has_eaten_are_told_with_the_ways_on(own_stage: Stage) -> None:
    stage = own_stage
    position = stage.pipelines[HOME].positions[0]
    cut = TopicPartition(stage.names.predictions, HOME, position + 5)
    admin = AdminClient(stage.base)  # held: a client that is collected cancels what it was asked
    for future in admin.delete_records([cut]).values():
        future.result(10)
    found = view(stage.at, HOME)
    assert f"offset {position} of {stage.names.predictions} comes next" in (found.problem or "")
    assert "`streamer state import FILE --replace --from earliest`" in (found.problem or "")
    assert [each.model for each in found.models], "its state is good, and shown"
    with pytest.raises(StateRefused, match="retention has eaten"):
        plan_anew(stage.at, HOME, "state")
    carry_out(stage.at, plan_anew(stage.at, HOME, "earliest"))
    assert view(stage.at, HOME).offsets == (position + 5, 0)


# -- forgetting ---------------------------------------------------------------------------------


def test_a_forgotten_model_is_gone_and_its_alerts_end_in_the_same_commit(stage: Stage) -> None:
    open_before = stage.firing()
    ended = {key for key, (_, alert) in open_before.items() if alert["model"] == MODEL}
    assert ended
    reports_before = len(stage.told(stage.names.reports)[HOME])
    told_before = len(stage.told()[HOME])
    others = {
        key: value for key, value in facts(stage.pipelines[HOME]).items() if key != MODEL and key[0] != MODEL
    }
    [step] = plan_forget(stage.at, MODEL)
    assert MODEL in step.summary
    carry_out(stage.at, [step])
    after = facts(stage.restored(HOME))
    assert {key: after[key] for key in others if isinstance(key, tuple)} == {
        key: value for key, value in others.items() if isinstance(key, tuple)
    }
    assert after[MODEL]["versions"] == []
    for terms in after["identity"].values():
        assert 2 * terms["consumed"] == sum(terms.values())
    assert after["positions"] == others["positions"]
    assert set(stage.firing()) == set(open_before) - ended
    schema = orjson.loads((files("streamer") / "schemas" / "alert.schema.json").read_bytes())
    fresh = stage.told()[HOME][told_before:]
    assert {alert["fingerprint"] for alert in fresh} == ended
    for alert in fresh:
        jsonschema.validate(alert, schema)
        before = open_before[alert["fingerprint"]][1]
        assert (alert["status"], alert["reason"]) == ("resolved", "no_data")
        assert alert["incident"] == before["incident"]
        assert alert["alert_id"] != before["alert_id"]
        assert "streamer state reset" in alert["summary"]
    reports = stage.told(stage.names.reports)[HOME][reports_before:]
    assert reports == [{"type": "alert", **alert} for alert in fresh]
    assert view(stage.at, HOME).commit == stage.commits[HOME] + 1
    seen = commit_seen(stage.base, stage.group, stage.names.predictions, HOME)
    assert seen == stage.commits[HOME] + 1
    assert facts(stage.restored(OTHER)) == facts(stage.pipelines[OTHER])


def test_a_model_that_nobody_knows_cannot_be_forgotten(stage: Stage) -> None:
    with pytest.raises(StateRefused, match="no partition knows a model 'nobody'"):
        plan_forget(stage.at, "nobody")
    with pytest.raises(StateRefused, match=f"partition {OTHER} does not know a model '{MODEL}'"):
        plan_forget(stage.at, MODEL, OTHER)
    with pytest.raises(StateRefused, match="there are 0 to 1"):
        plan_forget(stage.at, MODEL, 2)


# -- beginning anew -------------------------------------------------------------------------------


def test_all_begin_anew_where_they_are_told_to(stage: Stage) -> None:
    assert stage.firing()
    carry_out(stage.at, plan_anew(stage.at, None, "latest"))
    for number in range(PARTITIONS):
        assert view(stage.at, number).offsets == stage.at.ends[number]
        restored = facts(stage.restored(number))
        assert restored["identity"]["predictions"]["consumed"] == 0
    assert stage.firing() == {}


def test_a_partition_may_forget_all_and_go_on_where_it_was(stage: Stage) -> None:
    carry_out(stage.at, plan_anew(stage.at, HOME, "state"))
    found = view(stage.at, HOME)
    assert found.offsets == tuple(stage.pipelines[HOME].positions)
    assert found.models == ()


def test_offsets_of_a_state_that_cannot_be_trusted_are_not_gone_on_from(stage: Stage) -> None:
    stage.write_over(HOME, flipped(stage.raw(HOME)))
    with pytest.raises(StateRefused, match="say --from earliest or --from latest"):
        plan_anew(stage.at, HOME, "state")


def test_another_groups_state_is_not_taken_away(stage: Stage) -> None:
    stage.group, owner = "intruder", stage.group
    with pytest.raises(StateRefused, match=f"belongs to group {owner}, not to intruder: say --group"):
        plan_anew(stage.at, HOME, "earliest")


# -- nobody at work -------------------------------------------------------------------------------


def test_nothing_is_changed_while_the_group_has_a_member(stage: Stage) -> None:
    [step] = plan_anew(stage.at, HOME, "earliest")
    member = Consumer({**stage.base, "group.id": stage.group, "session.timeout.ms": 6000})
    try:
        member.subscribe([stage.names.predictions])
        wait_until(lambda: member.poll(0.1) is not None or member.assignment(), 30, "it is a member")
        for attempt in (
            lambda: plan_anew(stage.at, HOME, "earliest"),
            lambda: plan_forget(stage.at, MODEL),
            lambda: carry_out(stage.at, [step]),
        ):
            with pytest.raises(StateRefused, match=r"has 1 workers at work .*: stop each `streamer worker`"):
                attempt()
    finally:
        member.close()
    assert view(stage.at, HOME).commit == stage.commits[HOME]
    carry_out(stage.at, [step])


def test_state_that_was_committed_meanwhile_is_not_written_over(stage: Stage) -> None:
    steps = plan_anew(stage.at, None, "earliest")
    stage.write_over(1, {codec.encode_key(("model", "late")): b"\x80"})
    before = stage.raw(1)
    with pytest.raises(StateRefused, match=r"partition 1: a worker has committed .* Partitions 0 are"):
        carry_out(stage.at, steps)
    assert stage.raw(1) == before


def test_a_worker_that_comes_meanwhile_fences_the_change_and_nothing_of_it_is_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = plan_anew(stage.at, HOME, "earliest")
    before, told = stage.raw(HOME), stage.told()
    read, workers = state_changes.read_raw, []

    def read_late(*arguments: Any) -> dict[bytes, bytes]:
        found = read(*arguments)
        rooms = Rooms({"trace": None, **stage.names.by_role()})
        workers.append(PartitionWriter(stage.base, stage.group, HOME, rooms))
        workers[-1].take_over()
        return found

    monkeypatch.setattr(state_changes, "read_raw", read_late)
    with pytest.raises(StateRefused, match=r"a worker has taken it over.*Nothing was changed"):
        carry_out(stage.at, steps)
    assert workers
    assert stage.raw(HOME) == before
    assert stage.told() == told
