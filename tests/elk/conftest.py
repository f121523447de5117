"""One node with the templates, and alerts as a worker tells them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from streamer.adapters import codec
from streamer.jars import LocalKafkaError
from tests.deploy.parts import program
from tests.domain.test_alerts import told
from tests.elk.elasticsearch import Document, Elasticsearch

SETUP = Path(__file__).parents[2] / "deploy" / "elk" / "setup.sh"


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elasticsearch]:
    """Told of the templates by the script that users run."""
    try:
        found = Elasticsearch(tmp_path_factory.mktemp("node"))
    except LocalKafkaError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"no Elasticsearch: {error}")
    with found:
        environ = {**os.environ, "ELASTICSEARCH": found.url, "KIBANA": ""}
        command = [program("bash", package="bash"), str(SETUP)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield found


@pytest.fixture(scope="package")
def stories() -> list[Document]:
    """All that random traffic makes workers tell: every kind of alert, from firing to resolved."""
    return [orjson.loads(codec.encode_json(alert)) for alert in told(1, 1_000)]
