"""What a service relies on when it logs with PredictionLogger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streamer import PredictionLogger
from streamer.adapters.topics import Topics
from streamer.home import home
from streamer.local import free_ports
from streamer.sdk import Drop, DropReason
from tests.conftest import TopicsFactory
from tests.deadline import wait_until

NOBODY = f"127.0.0.1:{free_ports(1)[0]}"
PARTITIONS = 4


def read(bootstrap: str, topic: str) -> list[tuple[int, str, dict[str, Any]]]:
    """All that a topic holds: (partition, key, event)."""
    conf = {"bootstrap.servers": bootstrap, "group.id": "t", "enable.partition.eof": True}
    consumer = Consumer({**conf, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    found, ended = [], 0
    while ended < PARTITIONS:
        message = consumer.poll(10)
        assert message is not None, "the broker fell silent"
        if message.error():
            ended += 1
        else:
            found.append((message.partition(), message.key().decode(), json.loads(message.value())))
    consumer.close()
    return found


def logger_of(bootstrap: str, names: Topics, **more: Any) -> PredictionLogger:
    topics = {"predictions_topic": names.predictions, "labels_topic": names.labels}
    return PredictionLogger(bootstrap, **{"model": "churn", **topics, **more})


OFFLINE: list[PredictionLogger] = []


def offline(**more: Any) -> PredictionLogger:
    """A logger whose broker is not there, and which keeps quiet about it."""
    settings = {**more, "kafka": {"log_level": 0, **more.get("kafka", {})}}
    OFFLINE.append(PredictionLogger(NOBODY, **settings))
    return OFFLINE[-1]


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while OFFLINE:
        OFFLINE.pop().close(0)


def test_a_prediction_and_its_label_arrive_as_the_contract_says(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(PARTITIONS)
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with logger_of(bootstrap, names, version="v7") as log:
        given = log.prediction(
            1,
            score=np.float32(0.5),
            features={"age": np.int64(41), "plan": "pro"},
            segments={"country": "NL"},
            latency_ms=12.5,
            timestamp=at,
        )
        log.label(given, True, timestamp=at.timestamp() * 1000)
    assert not log.dropped
    ms = int(at.timestamp() * 1000)
    [(_, key, prediction)] = read(bootstrap, names.predictions)
    assert key == "churn"
    assert prediction == {
        "prediction_id": given, "model": "churn", "version": "v7", "timestamp": ms, "prediction": 1,
        "score": 0.5, "features": {"age": 41, "plan": "pro"}, "segments": {"country": "NL"},
        "latency_ms": 12.5,
    }  # fmt: skip
    [(_, _, label)] = read(bootstrap, names.labels)
    assert label == {"prediction_id": given, "model": "churn", "timestamp": ms, "label": True}


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_events_go_to_their_models_home(bootstrap: str, topics: TopicsFactory, partitioner: Any) -> None:
    names = topics(PARTITIONS)
    models = [f"model {number} é" for number in range(40)]
    with logger_of(bootstrap, names, partitioner=partitioner) as log:
        for model in models:
            log.label("1", 1, model=model)
    found = {key: partition for partition, key, _ in read(bootstrap, names.labels)}
    assert found == {model: home(model, PARTITIONS, partitioner) for model in models}


def test_threads_share_one_logger_and_nothing_is_lost(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(PARTITIONS)
    with logger_of(bootstrap, names) as log:
        threads = [threading.Thread(target=lambda: [log.prediction(1) for _ in range(500)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({event["prediction_id"] for _, _, event in read(bootstrap, names.predictions)}) == 4000


def test_without_a_broker_the_buffer_is_bounded_and_drops_are_told() -> None:
    drops: list[Drop] = []
    log = offline(model="churn", max_buffered=100, on_drop=drops.append)
    for number in range(150):
        log.prediction(1, prediction_id=str(number))
    assert log.buffered == 100
    assert log.dropped == {DropReason.BUFFER_FULL: 50}
    assert [drop.prediction_id for drop in drops] == [str(number) for number in range(100, 150)]
    assert log.close(0.01) == 100


def test_what_the_broker_never_takes_is_told_with_its_id() -> None:
    drops: list[Drop] = []
    patience = {"message.timeout.ms": 200}
    log = offline(model="churn", on_drop=drops.append, kafka=patience)
    log.label("17", 1)
    wait_until(lambda: drops, 20, "the event is given up")
    assert (drops[0].reason, drops[0].kind, drops[0].prediction_id) == ("not_delivered", "label", "17")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"prediction": object()}, DropReason.INVALID),
        ({"prediction": None}, DropReason.INVALID),
        ({"prediction": 1, "model": ""}, DropReason.INVALID),
        ({"prediction": 1, "model": 7}, DropReason.INVALID),
        ({"prediction": 1, "timestamp": datetime(2026, 3, 1)}, DropReason.INVALID),
        ({"prediction": 1, "features": {"x": "y" * 2_000_000}}, DropReason.TOO_LARGE),
    ],
)
def test_a_bad_event_raises_nothing_and_is_counted(event: dict[str, Any], reason: DropReason) -> None:
    drops: list[Drop] = []
    log = offline(model="churn", on_drop=drops.append)
    log.prediction(**event)
    assert log.dropped == {reason: 1}
    assert drops[0].detail


def test_a_callback_that_fails_does_not_reach_the_caller() -> None:
    def fail(_: Drop) -> None:
        raise RuntimeError("no")

    log = offline(on_drop=fail)
    log.prediction(1)
    assert log.dropped == {DropReason.INVALID: 1}


def test_after_close_events_are_dropped() -> None:
    log = offline(model="churn")
    log.close()
    log.prediction(1)
    assert log.dropped == {DropReason.CLOSED: 1}


def test_a_wrong_setting_is_an_error_at_once() -> None:
    with pytest.raises(KafkaException, match="No such configuration property"):
        PredictionLogger(NOBODY, kafka={"lingerms": 5})
    with pytest.raises(ValueError, match="murmur2 or crc32"):
        PredictionLogger(NOBODY, partitioner="md5")  # type: ignore[arg-type]


def run(script: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=os.getcwd(),
    )
    assert done.returncode == 0, done.stderr


def test_the_interpreters_exit_flushes(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(PARTITIONS)
    script = """
        import sys
        from streamer import PredictionLogger
        log = PredictionLogger(sys.argv[1], model="churn",
            predictions_topic=sys.argv[2], kafka={"linger.ms": 2000})
        for number in range(1000):
            log.prediction(number, prediction_id=number)
    """
    run(script, bootstrap, names.predictions)
    assert len(read(bootstrap, names.predictions)) == 1000


def test_a_forked_child_logs_by_itself_and_the_parents_buffer_is_sent_once(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(PARTITIONS)
    # As gunicorn with preload does it: the parent has used the logger before it forks.
    script = """
        import os, sys
        from streamer import PredictionLogger
        log = PredictionLogger(sys.argv[1], model="churn",
            predictions_topic=sys.argv[2], kafka={"linger.ms": 500})
        for number in range(100):
            log.prediction(1, prediction_id=f"parent {number}")
        children = []
        for child in range(3):
            pid = os.fork()
            if not pid:
                for number in range(100):
                    log.prediction(1, prediction_id=f"child {child} {number}")
                sys.exit(0)
            children.append(pid)
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
    """
    run(script, bootstrap, names.predictions)
    found = [event["prediction_id"] for _, _, event in read(bootstrap, names.predictions)]
    assert len(found) == 400
    assert len(set(found)) == 400


def test_the_sdk_needs_neither_faust_nor_numpy() -> None:
    script = """
        import sys
        import streamer
        streamer.PredictionLogger
        heavy = {"faust", "river", "numpy", "pydantic", "prometheus_client", "typer"} & set(sys.modules)
        assert not heavy, heavy
    """
    run(script)
