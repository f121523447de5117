"""What the tests of the whole way have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TopicsFactory
from tests.e2e.scene import Scene
from tests.e2e.traffic import OBJECTIVES

SceneFactory = Callable[..., Scene]


@pytest.fixture
def scene(bootstrap: str, topics: TopicsFactory, tmp_path: Path) -> Iterator[SceneFactory]:
    """``scene(partitions, objectives)``: workers and traffic that end before their topics do."""
    made: list[Scene] = []

    def make(partitions: int, objectives: str = OBJECTIVES) -> Scene:
        made.append(Scene(bootstrap, topics(partitions, trace="trace"), partitions, tmp_path, objectives))
        return made[-1]

    yield make
    for each in made:
        each.close()
