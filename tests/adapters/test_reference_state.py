"""What is read from the state topic is what the workers have counted."""

from __future__ import annotations

import pytest

from streamer.adapters.deployment import StateRefused
from streamer.adapters.reference_state import taken
from streamer.domain.objectives import LIFETIME
from streamer.domain.readings import read_partition
from streamer.home import home
from tests.adapters.state_stage import PARTITIONS, Stage
from tests.conftest import TopicsFactory


@pytest.fixture
def stage(bootstrap: str, topics: TopicsFactory) -> Stage:
    return Stage(bootstrap, topics(PARTITIONS), PARTITIONS)


def test_every_version_of_every_model_is_taken_as_it_was_counted(stage: Stage) -> None:
    at, seen = stage.at, set()
    for pipeline in stage.pipelines.values():
        parts = read_partition(pipeline.partition, None).parts.values()
        samples = (each for part in parts for each in part.samples if each.name == "model_accuracy")
        told = {each.labels: each.value for each in samples}
        for name, model in pipeline.partition.models.items():
            for live in {each.version: each for each in model.versions.values()}.values():
                found = taken(at, name, live.version)
                profile = live.profile
                assert profile is not None
                profile.flush()
                assert (found.model, found.version, found.rows) == (name, live.version or None, profile.rows)
                assert {n for n, c in found.columns.items() if c.numbers} == {
                    n for n, counts in profile.numeric.items() if counts.any()
                }
                for feature, counts in profile.numeric.items():
                    assert (found.columns[feature].bins == counts).all()
                for feature, names in profile.categories.items():
                    assert found.columns[feature].names == names
                live.flush()
                if live.task != "regression":
                    assert found.judged == live.figures.windows[LIFETIME.name].rows == live.joined
                    accuracy = told.get((name, live.version, LIFETIME.name))
                    assert found.error_rate == (None if accuracy is None else pytest.approx(1 - accuracy))
                seen.add(live.task)
    assert seen == {"binary", "multiclass", "regression"}


def test_a_model_that_nobody_has_seen_and_a_version_that_is_one_of_several_are_told(stage: Stage) -> None:
    with pytest.raises(StateRefused, match="no worker has seen a model 'nobody'"):
        taken(stage.at, "nobody")
    with pytest.raises(StateRefused, match=r"has these versions: .*--version"):
        taken(stage.at, "binary")
    with pytest.raises(StateRefused, match="has these versions"):
        taken(stage.at, "binary", "of yesterday")


def test_state_that_cannot_be_trusted_is_no_reference(stage: Stage) -> None:
    number = home("binary", PARTITIONS)
    key = next(iter(stage.raw(number)))
    stage.write_over(number, {key: b"damage"})
    with pytest.raises(StateRefused, match="streamer state"):
        taken(stage.at, "binary", "a")
