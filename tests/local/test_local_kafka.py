"""The Kafka of the demo and the tests: it starts, keeps data, says what is wrong, leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streamer.local import LocalKafka, LocalKafkaError, _new_cluster_id, free_ports
from tests.deadline import wait_until

OWNER = """
import sys
from pathlib import Path
from streamer.local import LocalKafka
kafka = LocalKafka(Path(sys.argv[1]))
kafka.start()
print(kafka.bootstrap, flush=True)
sys.stdin.read()
"""


def write(kafka: LocalKafka, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all", "log_level": 0})
    producer.produce(topic, value)
    assert producer.flush(15) == 0


def read(kafka: LocalKafka, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "reader", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes | None] = []

    def enough() -> bool:
        record = consumer.poll(0.5)
        if record is not None and record.error() is None:
            values.append(record.value())
        return len(values) >= count

    wait_until(enough, 20, f"{count} records of {topic} were read")
    consumer.close()
    return values


def make_topic(kafka: LocalKafka, topic: str, copies: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for future in admin.create_topics([NewTopic(topic, 1, copies)]).values():
        future.result(15)


def refuses_connections(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_data_outlives_a_stop_a_kill_and_another_owner(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as kafka:
        make_topic(kafka, "kept")
        write(kafka, "kept", b"before the kill")
        with pytest.raises(LocalKafkaError, match=f"another Kafka runs on {tmp_path}"):
            LocalKafka(tmp_path).start()
        kafka.kill()
        kafka.restart()
        write(kafka, "kept", b"after the kill")
        address = kafka.bootstrap
    assert refuses_connections(address)
    with LocalKafka(tmp_path) as later:
        assert read(later, "kept", 2) == [b"before the kill", b"after the kill"]


def test_a_temporary_directory_goes_with_the_broker() -> None:
    kafka = LocalKafka()
    with kafka:
        assert kafka.data_dir.exists()
        kafka.start()
    assert not kafka.data_dir.exists()


def test_three_nodes_lose_one_and_go_on() -> None:
    with LocalKafka(nodes=3, heap="256m") as kafka:
        make_topic(kafka, "copied", copies=3)
        kafka.kill(2)
        write(kafka, "copied", b"with two of three")
        assert read(kafka, "copied", 1) == [b"with two of three"]
        kafka.restart(2)


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalKafkaError, match=f"port {port} is in use.*--port"):
            LocalKafka(port=port).start()


def test_a_broker_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "node-1").mkdir()
    (tmp_path / "node-1" / "meta.properties").write_text("version=1\ncluster.id=elsewhere\nnode.id=7\n")
    with pytest.raises(LocalKafkaError, match=r"(?s)exited with status 1.*node.id.*whole log") as caught:
        LocalKafka(tmp_path).start()
    assert str(tmp_path / "node-1.log") in str(caught.value)


def test_a_chosen_port_is_the_address() -> None:
    port = free_ports(1)[0]
    assert LocalKafka(port=port).bootstrap == f"127.0.0.1:{port}"
    assert LocalKafka(port=port, nodes=2).bootstrap == f"127.0.0.1:{port},127.0.0.1:{port + 1}"


def test_no_broker_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    try:
        address = owner.stdout.readline().strip()
        assert address, "the owner did not start"
        assert not refuses_connections(address)
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    wait_until(lambda: refuses_connections(address), 10, "the broker of a killed owner was gone")


def test_a_new_cluster_id_is_never_taken_for_an_option() -> None:
    drawn = {_new_cluster_id() for _ in range(2_000)}
    assert len(drawn) == 2_000
    assert not [each for each in drawn if each.startswith("-")]
    assert {len(each) for each in drawn} == {22}
