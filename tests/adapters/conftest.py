"""The stages on which tests change a state from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.state_stage import PARTITIONS, Stage, shared_stage
from tests.conftest import TopicsFactory


@pytest.fixture(scope="module")
def shared(bootstrap: str) -> Iterator[Stage]:
    with shared_stage(bootstrap, PARTITIONS) as made:
        yield made


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """The same for all tests, and each finds it as it was."""
    yield shared
    shared.put_back()


@pytest.fixture
def own_stage(bootstrap: str, topics: TopicsFactory) -> Stage:
    """For a test that changes more than can be put back."""
    return Stage(bootstrap, topics(PARTITIONS), PARTITIONS)
