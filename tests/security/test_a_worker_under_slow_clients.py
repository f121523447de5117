"""A real worker goes on committing whatever the clients of its HTTP endpoints do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from streamer.adapters.scrape import Scrape
from tests.conftest import TopicsFactory
from tests.deadline import wait_until
from tests.e2e.worker_process import WorkerProcess
from tests.security.certificates import Authority

MANY = 1000


def consumed(worker: WorkerProcess, tls: ssl.SSLContext) -> float:
    worker.check()
    scrape = Scrape.of(f"https://127.0.0.1:{worker.port}/metrics", tls)
    return 0.0 if scrape is None else scrape.total("streamer_predictions_consumed_total")


def held(port: int) -> Iterator[socket.socket]:
    """Connections that say nothing, or the beginning of something that is no TLS."""
    for number in range(MANY):
        connection = socket.create_connection(("127.0.0.1", port), 20)
        if number % 2:
            connection.sendall(b"\x16\x03\x01")
        yield connection


@pytest.mark.timeout(180)
def test_commits_go_on_and_a_scrape_by_tls_is_answered_among_a_thousand_connections(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    names = topics(1)
    prefix = names.predictions.removesuffix("predictions")
    authority = Authority.new(tmp_path / "ca.pem")
    authority.issue(tmp_path / "cert.pem", tmp_path / "key.pem")
    tls = ssl.create_default_context(cafile=str(authority.file))
    worker = WorkerProcess(
        bootstrap,
        prefix,
        tmp_path,
        trace="false",
        commit_interval="0.1",
        metrics_tls_cert=str(tmp_path / "cert.pem"),
        metrics_tls_key=str(tmp_path / "key.pem"),
    )
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})

    def send(number: int) -> None:
        event = {"prediction_id": number, "model": "m", "timestamp": 1_790_000_000_000, "prediction": 1}
        producer.produce(names.predictions, orjson.dumps(event), b"m")
        assert producer.flush(20) == 0

    try:
        send(0)
        wait_until(lambda: consumed(worker, tls) == 1, 60, "the first is counted")
        with ExitStack() as crowd:
            for number, connection in enumerate(held(worker.port)):
                crowd.enter_context(connection)
                if number % 250 == 0:
                    send(number + 1)
            wait_until(lambda: consumed(worker, tls) == 1 + MANY // 250, 30, "all is counted and committed")
    finally:
        status = worker.stop()
    assert status == 0
    assert f"metrics on https://127.0.0.1:{worker.port}/metrics" in worker.said()
