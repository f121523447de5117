"""Memory that runs out blames no record: none is set aside for it."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.domain.objectives import Objectives
from streamer.pipeline import PREDICTIONS, Pipeline
from tests.domain.feed import Log, build


def exhausted(*_: Any) -> Any:
    raise MemoryError


@pytest.fixture
def pipeline() -> Pipeline:
    return build(Objectives())


@pytest.mark.parametrize("where", ["predict", "advance"])
def test_memory_that_runs_out_is_no_poison(
    where: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.predict("a")
    monkeypatch.setattr(pipeline.partition, where, exhausted)
    with pytest.raises(MemoryError):
        pipeline.run(PREDICTIONS, [record for _, record in log.steps])
    assert not pipeline.effects.dead_letters
