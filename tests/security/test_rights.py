"""Everything works with the rights that `streamer topics acls` prints, and says so where one is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclBinding

from streamer import PredictionLogger
from streamer.adapters.rights import Role, missing_rights, rights_of
from streamer.adapters.topics import Topics
from streamer.sdk import Drop
from tests.deadline import wait_until
from tests.e2e.worker_process import WorkerProcess
from tests.security.commands import ALONE, AT_REST, AWAY, COMMANDS, MODEL, PRESENT, arguments_of
from tests.security.secured import GROUP, NOBODY, PREFIX, Secured, bindings_of, password_of

EVENTS = 300


@pytest.fixture(scope="module")
def worker(secured: Secured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """One that has counted what a service logged with the SDK."""
    drops: list[Drop] = []
    with PredictionLogger(
        secured.kafka.secured_bootstrap,
        model=MODEL,
        predictions_topic=secured.topics.predictions,
        labels_topic=secured.topics.labels,
        kafka=secured.client(Role.PRODUCER),
        on_drop=drops.append,
    ) as logger:
        for number in range(EVENTS):
            # Right, then wrong: an alert that can be explained.
            logger.label(logger.prediction(1, features={"age": number}), int(number < EVENTS // 2))
        assert logger.flush(30) == 0
    assert drops == []
    misplaced = {"prediction_id": "x", "model": MODEL, "timestamp": 1_790_000_000_000, "prediction": 1}
    base = {"bootstrap.servers": secured.kafka.secured_bootstrap, **secured.client(Role.PRODUCER)}
    producer = Producer(base | {"enable.idempotence": True})
    producer.produce(secured.topics.predictions, orjson.dumps(misplaced), MODEL.encode(), AWAY)
    assert producer.flush(20) == 0
    settings = {
        key.removeprefix("STREAMER_").lower(): value
        for key, value in secured.variables(Role.WORKER).items()
        if key not in ("STREAMER_BOOTSTRAP", "STREAMER_TOPIC_PREFIX", "STREAMER_METRICS_PORT")
    }
    scratch = tmp_path_factory.mktemp("worker")
    running = WorkerProcess(secured.kafka.secured_bootstrap, PREFIX, scratch, **settings)
    try:
        running.await_ready()
        wait_until(lambda: running.total("streamer_labels_consumed_total") >= EVENTS, 60, "all is counted")
        wait_until(lambda: running.total("streamer_dead_letters_total") == 1, 60, "one was set aside")
        yield running
    finally:
        running.stop()


def test_what_a_service_logs_is_counted_and_nothing_was_complained_of(worker: WorkerProcess) -> None:
    assert worker.total("model_labels_total", model=MODEL, outcome="joined") >= EVENTS
    assert "ERROR" not in worker.said()
    assert "uthoriz" not in worker.said()


def test_every_command_that_talks_to_a_broker_is_in_the_table() -> None:
    talking = {name for name, options in PRESENT.items() if "--bootstrap" in options}
    assert talking - ALONE == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - AT_REST))
def test_a_command_works_with_the_least_rights(
    command: str, secured: Secured, worker: WorkerProcess, tmp_path: Path
) -> None:
    done = secured.call(COMMANDS[command][0], *arguments_of(command, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "uthoriz" not in done.stdout + done.stderr


# -- the door stays shut ---------------------------------------------------------------------------


def one_line_of(secured: Secured, user: str, arguments: list[str], **client: str) -> str:
    """What a command that fails says: one line, without a secret."""
    run = secured.streamer if arguments == ["worker"] else secured.call
    done = run(user, *arguments, **client)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "canary" not in said
    assert "Traceback" not in said
    [line] = done.stderr.strip().splitlines() or [done.stdout]
    return line


@pytest.mark.parametrize("command", ["topics describe", "replay", "alerts", "worker"])
def test_a_wrong_password_is_one_line(command: str, secured: Secured, tmp_path: Path) -> None:
    arguments = ["worker"] if command == "worker" else arguments_of(command, tmp_path)
    line = one_line_of(secured, Role.OPERATOR, arguments, sasl_password="canary-wrong")
    assert "does not let this client in" in line
    assert "sasl.password" in line


@pytest.mark.parametrize("command", ["topics describe", "worker"])
def test_a_broker_that_no_known_authority_signed_is_one_line(
    command: str, secured: Secured, tmp_path: Path
) -> None:
    stranger = str(secured.scratch / "stranger.pem")
    line = one_line_of(secured, Role.OPERATOR, command.split(), ssl_ca_location=stranger)
    assert "certificate verify failed" in line
    assert "ssl.ca.location" in line


def test_a_client_that_speaks_no_tls_is_told_to(secured: Secured) -> None:
    line = one_line_of(secured, Role.OPERATOR, ["topics", "describe"], security_protocol="SASL_PLAINTEXT")
    assert "security.protocol" in line


@pytest.mark.parametrize("command", [*COMMANDS, "worker"])
def test_whoever_has_no_rights_is_told_which_command_names_them(
    command: str, secured: Secured, tmp_path: Path
) -> None:
    arguments = ["worker"] if command == "worker" else arguments_of(command, tmp_path)
    assert "streamer topics acls" in one_line_of(secured, NOBODY, arguments)


def needed() -> list[tuple[str, str, str]]:
    """What the worker's list of rights says, one by one: (resource, name, operation)."""
    rights = rights_of(Role.WORKER, Topics(trace="trace").prefixed(PREFIX), GROUP)
    return [(r.resource, name, operation) for r in rights for name in r.names for operation in r.operations]


@pytest.mark.parametrize(("resource", "name", "operation"), needed())
def test_a_worker_says_at_once_which_right_it_lacks(
    resource: str, name: str, operation: str, secured: Secured
) -> None:
    base = {"bootstrap.servers": secured.kafka.secured_bootstrap, **secured.client(Role.WORKER)}
    rights = rights_of(Role.WORKER, secured.topics, GROUP)
    [binding] = [each for each in all_bindings(secured) if is_about(each, resource, name, operation)]
    with secured.without(binding):
        missing = missing_rights(base, rights)
    wanted = f"{operation} on {resource} {name}{'*' if resource == 'transactional-id' else ''}"
    assert wanted in missing
    assert all(each.endswith(wanted.rpartition(" on ")[2]) for each in missing)


def test_a_worker_with_all_of_its_rights_lacks_none(secured: Secured) -> None:
    base = {"bootstrap.servers": secured.kafka.secured_bootstrap, **secured.client(Role.WORKER)}
    assert missing_rights(base, rights_of(Role.WORKER, secured.topics, GROUP)) == []


def all_bindings(secured: Secured) -> list[AclBinding]:
    """Those of the worker, as the list has them."""
    return [
        each
        for line in secured.command_list
        for each in bindings_of(line)
        if each.principal == f"User:{Role.WORKER}"
    ]


def is_about(binding: AclBinding, resource: str, name: str, operation: str) -> bool:
    same = (binding.restype.name.lower().replace("_", "-"), binding.name) == (resource, name)
    return same and binding.operation.name.replace("_", "").lower() == operation.lower()


def test_without_an_authorizer_nothing_is_missing(bootstrap: str, topics: Callable[..., object]) -> None:
    names = topics(1)
    assert missing_rights({"bootstrap.servers": bootstrap}, rights_of(Role.WORKER, names, "g")) == []  # type: ignore[arg-type]


def test_a_service_with_a_wrong_password_loses_its_events_and_is_told(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    drops: list[Drop] = []
    logger = PredictionLogger(
        secured.kafka.secured_bootstrap,
        model=MODEL,
        predictions_topic=secured.topics.predictions,
        kafka=secured.client(Role.PRODUCER, sasl_password="canary-wrong"),
        on_drop=drops.append,
    )
    logger.prediction(1)
    wait_until(lambda: "uthentication" in caplog.text, 20, "the client has been turned away")
    assert logger.close(0.1) == 1
    assert [drop.reason for drop in drops] == ["not_delivered"]
    assert "canary" not in caplog.text + repr(logger) + repr(drops)
    assert password_of(Role.PRODUCER) not in caplog.text
