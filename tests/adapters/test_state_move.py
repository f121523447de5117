"""A state leaves through a file and comes back elsewhere: every model whole, nothing twice or left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from streamer.adapters.deployment import StateRefused
from streamer.adapters.state_changes import carry_out, plan_forget
from streamer.adapters.state_file import StateFileError
from streamer.adapters.state_move import export, plan_import
from streamer.adapters.state_view import MANIFEST, view
from streamer.adapters.topics import Topics, create, existing_topics
from streamer.pipeline import Pipeline
from tests.adapters.state_stage import PARTITIONS, Stage
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.domain.feed import facts

MORE = 3


@pytest.fixture
def file(stage: Stage, tmp_path: Path) -> Path:
    return exported(stage, tmp_path)


def exported(stage: Stage, scratch: Path) -> Path:
    path = scratch / "monitor.state"
    export(stage.base, stage.group, stage.names, path)
    return path


def moved(stage: Stage, names: Topics, partitions: int, group: str | None = None) -> Stage:
    """The same stage seen at another set of topics."""
    there = object.__new__(Stage)
    there.__dict__ |= stage.__dict__
    there.names, there.partitions, there.group = names, partitions, group or stage.group
    return there


def of_models(pipelines: list[Pipeline], now: int) -> dict[Any, Any]:
    """What is known of each model that has seen anything, at this second; its place apart."""
    found: dict[Any, Any] = {}
    for pipeline in pipelines:
        pipeline.tick(now)
        for key, value in facts(pipeline).items():
            if isinstance(key, tuple) or (key in pipeline.partition.models and value["versions"]):
                assert key not in found, f"{key} lies twice"
                found[key] = {name: part for name, part in value.items() if name != "place"}
    return found


def restored(stage: Stage) -> list[Pipeline]:
    return [stage.restored(number) for number in range(stage.partitions)]


def same_models(left: list[Pipeline], right: list[Pipeline]) -> bool:
    now = max(each.partition.now for each in (*left, *right)) + 1_000
    return of_models(left, now) == of_models(right, now)


def identities_hold(pipelines: list[Pipeline]) -> bool:
    return all(
        2 * terms["consumed"] == sum(terms.values())
        for each in pipelines
        for terms in each.partition.identity().values()
    )


def test_a_state_moves_into_new_topics_with_more_partitions(
    stage: Stage, file: Path, topics: TopicsFactory
) -> None:
    there = moved(stage, topics(MORE), MORE, "another group")
    there.fill(7)
    carry_out(there.at, plan_import(there.at, file, "state", replaces=False))
    after = restored(there)
    assert identities_hold(after)
    assert same_models(after, list(stage.pipelines.values()))
    for number in range(MORE):
        found = view(there.at, number)
        assert (found.problem, found.offsets) == (None, (0, 0)), "what is new there was never read"
    firing = {key: alert for key, (_, alert) in stage.firing().items()}
    assert firing, "else nothing is proven about alerts"
    assert {key: alert for key, (_, alert) in there.firing().items()} == firing
    for number, alert in there.firing().values():
        assert alert["model"] in after[number].partition.models
    assert there.told(there.names.reports) == [[], [], []], "nothing new has happened"


def test_a_backup_comes_back_where_it_left_off(stage: Stage, file: Path) -> None:
    good, firing = [facts(each) for each in stage.pipelines.values()], stage.firing()
    stage.write_over(0, dict.fromkeys(stage.raw(0)))
    with pytest.raises(StateRefused, match="holds state already: add --replace"):
        plan_import(stage.at, file, "state", replaces=False)
    carry_out(stage.at, plan_import(stage.at, file, "state", replaces=True))
    assert [facts(each) for each in restored(stage)] == good
    assert stage.firing() == firing
    assert [view(stage.at, number).problem for number in range(PARTITIONS)] == [None, None]


def test_partitions_that_were_added_in_place_keep_what_was_read_and_alerts_move_with_their_model(
    own_stage: Stage, tmp_path: Path
) -> None:
    stage, file = own_stage, exported(own_stage, tmp_path)
    admin = AdminClient(stage.base)
    names = list(stage.names.by_role().values())
    for future in admin.create_partitions([NewPartitions(name, MORE) for name in names]).values():
        future.result(10)
    wait_until(
        lambda: all(len(existing_topics(stage.base)[name].partitions) == MORE for name in names),
        30,
        "there are more partitions",
    )
    there = moved(stage, stage.names, MORE)
    for number in range(PARTITIONS):
        assert "models have other homes" in (view(there.at, number).problem or "")
    firing = {key: alert for key, (_, alert) in stage.firing().items()}
    carry_out(there.at, plan_import(there.at, file, "state", replaces=True))
    after = restored(there)
    assert same_models(after, list(stage.pipelines.values()))
    assert [each.positions for each in after] == [
        *(each.positions for each in stage.pipelines.values()),
        [0, 0],
    ]
    assert {key: alert for key, (_, alert) in there.firing().items()} == firing
    for number, alert in there.firing().values():
        assert alert["model"] in after[number].partition.models
    assert [number for number, each in enumerate(there.told()) if None in each], "taken back where it was"


def test_alerts_that_the_state_put_in_knows_nothing_of_come_to_an_end(
    stage: Stage, tmp_path: Path, file: Path
) -> None:
    firing = stage.firing()
    carry_out(stage.at, plan_forget(stage.at, "binary"))
    smaller = tmp_path / "smaller.state"
    export(stage.base, stage.group, stage.names, smaller)
    carry_out(stage.at, plan_import(stage.at, file, "state", replaces=True))
    assert stage.firing() == firing, "told again, word for word"
    carry_out(stage.at, plan_import(stage.at, smaller, "state", replaces=True))
    assert set(stage.firing()) == {key for key, (_, alert) in firing.items() if alert["model"] != "binary"}


def test_past_records_that_are_gone_only_when_asked(own_stage: Stage, tmp_path: Path) -> None:
    stage, file = own_stage, exported(own_stage, tmp_path)
    position = stage.pipelines[1].positions[0]
    admin = AdminClient(stage.base)
    cut = TopicPartition(stage.names.predictions, 1, position + 9)
    for future in admin.delete_records([cut]).values():
        future.result(10)
    with pytest.raises(StateRefused, match=r"partition 1: .*retention has eaten") as caught:
        plan_import(stage.at, file, "state", replaces=True)
    assert "`streamer state import FILE --replace --from earliest`" in str(caught.value)
    carry_out(stage.at, plan_import(stage.at, file, "earliest", replaces=True))
    first, second = restored(stage)
    assert first.positions == stage.pipelines[0].positions, "what was read is not read again"
    assert second.positions == [position + 9, stage.pipelines[1].positions[1]]
    assert same_models([first, second], list(stage.pipelines.values()))


def test_what_lies_ahead_may_be_left_out(stage: Stage, file: Path) -> None:
    carry_out(stage.at, plan_import(stage.at, file, "latest", replaces=True))
    assert [tuple(each.positions) for each in restored(stage)] == list(stage.at.ends.values())


def test_where_one_topic_was_made_anew_the_other_is_not_read_twice(own_stage: Stage, tmp_path: Path) -> None:
    stage, file = own_stage, exported(own_stage, tmp_path)
    admin = AdminClient(stage.base)
    admin.delete_topics([stage.names.labels])[stage.names.labels].result(30)
    wait_until(lambda: stage.names.labels not in existing_topics(stage.base), 30, "the topic is gone")
    create(stage.base, stage.names, PARTITIONS)
    assert "deleted and made anew" in (view(stage.at, 0).problem or "")
    carry_out(stage.at, plan_import(stage.at, file, "state", replaces=True))
    for number, pipeline in stage.pipelines.items():
        found = view(stage.at, number)
        assert (found.problem, found.offsets) == (None, (pipeline.positions[0], 0))


def test_state_that_cannot_be_trusted_is_not_exported(stage: Stage, tmp_path: Path) -> None:
    key = next(key for key in stage.raw(1) if key != MANIFEST)
    stage.write_over(1, {key: None})
    with pytest.raises(StateRefused, match=r"partition 1: .*do not add up"):
        export(stage.base, stage.group, stage.names, tmp_path / "x.state")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_exported_of_another_group_or_of_an_empty_topic(
    stage: Stage, tmp_path: Path, topics: TopicsFactory
) -> None:
    with pytest.raises(StateRefused, match=r"belongs to .*--group"):
        export(stage.base, "somebody else", stage.names, tmp_path / "x.state")
    empty = topics(1)
    with pytest.raises(StateRefused, match="holds nothing"):
        export(stage.base, stage.group, empty, tmp_path / "x.state")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_changes_nothing(stage: Stage, file: Path) -> None:
    before = stage.raw(0)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(StateFileError, match="cut off or changed"):
        plan_import(stage.at, file, "state", replaces=True)
    assert stage.raw(0) == before
