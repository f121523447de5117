"""Targets for a test, gone after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TopicsFactory
from tests.relay.processes import AlertmanagerProcess, RelayProcess
from tests.relay.receiver import Receiver
from tests.relay.story import AlertsTopic

RelayFactory = Callable[..., RelayProcess]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver().open()
    yield found
    found.close()


@pytest.fixture
def alertmanager(tmp_path: Path, receiver: Receiver) -> Iterator[AlertmanagerProcess]:
    """A real one, which tells ``receiver``."""
    found = AlertmanagerProcess(tmp_path, receiver.url).start()
    yield found
    found.stop()


@pytest.fixture
def alerts(bootstrap: str, topics: TopicsFactory) -> AlertsTopic:
    return AlertsTopic(bootstrap, topics(2).alerts)


@pytest.fixture
def relay(bootstrap: str, alerts: AlertsTopic, tmp_path: Path) -> Iterator[RelayFactory]:
    """Make a relay: ``relay(webhook__hook="http://…")``; not started yet."""
    made: list[RelayProcess] = []

    def make(**settings: str) -> RelayProcess:
        made.append(RelayProcess(bootstrap, alerts.topic.removesuffix("alerts"), tmp_path, **settings))
        return made[-1]

    yield make
    for each in made:
        each.kill()
