"""One Kafka that asks who is there and allows nothing by itself, for all tests of this directory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from streamer.jars import LocalKafkaError
from tests.security.secured import Secured


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """With a principal for each role, allowed what `streamer topics acls` prints; topics are made."""
    try:
        found = Secured.start(tmp_path_factory.mktemp("secured"))
    except LocalKafkaError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs a broker: {error}")
        pytest.skip(f"no broker: {error}")
    yield found
    found.stop()
