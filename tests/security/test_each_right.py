"""Each right of a producer, a viewer and an operator is needed: who lacks it is told so by a command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError

from streamer.adapters import deployment, restore
from streamer.adapters.deployment import commit_seen
from streamer.adapters.rights import Role
from streamer.sdk import Drop
from tests.deadline import wait_until
from tests.security.lab import BARE, Lab, granted
from tests.security.secured import Secured

SOURCES, KEPT = ("predictions", "labels"), ("state", "alerts", "dead-letters")
EVERY = (*SOURCES, *KEPT, "reports", "trace")
PREDICTION, LABEL = (["dead-letters", "redrive", each, "--yes", "--wait", "0s"] for each in ("0:P", "1:L"))
RESET = ["state", "reset", "--model", "binary", "--yes"]
IMPORT = ["state", "import", "BACKUP", "--replace", "--yes"]  # as it was before: it may go through
DESCRIBE, CREATE = ["topics", "describe"], ["topics", "create", "--partitions", "1"]
HIDDEN, REFUSED = "topics {} may not be seen", "Topic authorization failed"
UNSENT, UNCHANGED = f"{REFUSED} (", REFUSED

FINE = KafkaError(KafkaError.NO_ERROR)
Need = tuple[Role, str, list[str], str]


def needs() -> Iterator[Need]:
    """Role, right, a command that fails without it, and what that says; ``{}``: the name of the resource."""
    for name in SOURCES:
        yield Role.PRODUCER, f"Write on topic {name}", ["replay", "LOG", "--model", "churn"], HIDDEN
    for name in (*SOURCES, "trace"):
        yield Role.VIEWER, f"Describe on topic {name}", ["state", "show"], HIDDEN
    yield Role.VIEWER, "Read on topic state", ["state", "export", "NEW"], HIDDEN
    yield Role.VIEWER, "Read on topic alerts", ["alerts"], HIDDEN
    yield Role.VIEWER, "Read on topic reports", ["explain", "nothing"], HIDDEN
    yield Role.VIEWER, "Read on topic dead-letters", ["dead-letters", "list"], HIDDEN
    yield Role.VIEWER, "Describe on group group", ["state", "show"], "the offsets of group {}"
    for name in EVERY:
        yield Role.OPERATOR, f"DescribeConfigs on topic {name}", DESCRIBE, "refused (settings of topic {})"
    yield Role.OPERATOR, "Describe on topic trace", RESET, HIDDEN
    yield Role.OPERATOR, "Write on topic predictions", PREDICTION, UNSENT
    yield Role.OPERATOR, "Write on topic labels", LABEL, UNSENT
    yield Role.OPERATOR, "Read on topic dead-letters", PREDICTION, REFUSED
    yield Role.OPERATOR, "Write on topic dead-letters", PREDICTION, UNSENT
    yield Role.OPERATOR, "Write on transactional-id dead-letters-redrive", PREDICTION, "id {}"
    for name in ("state", "alerts"):
        yield (
            Role.OPERATOR,
            f"Read on topic {name}",
            RESET,
            f"{{}}/0 cannot be read: Fetch from broker 1 failed: Broker: {REFUSED}",
        )
        yield Role.OPERATOR, f"Write on topic {name}", RESET, UNCHANGED
    yield Role.OPERATOR, "Write on topic reports", RESET, HIDDEN
    yield Role.OPERATOR, "Read on group group", RESET, "the members of group {}"
    yield Role.OPERATOR, "Write on transactional-id group-", RESET, "Nothing was changed"


# What waits for an answer that never comes.
SLOW = {"Describe on group group"}


@pytest.fixture(scope="module")
def lab(secured: Secured, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(secured, tmp_path_factory.mktemp("lab"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(restore, "ASK_SECONDS", 1.0)


def test_every_right_is_shown_to_be_needed() -> None:
    shown = [(role, right) for role, right, *_ in needs()]
    shown += [(Role.OPERATOR, f"Create on topic {name}") for name in EVERY]
    shown += [(Role.OPERATOR, f"Read on topic {name}") for name in SOURCES]
    roles = (Role.PRODUCER, Role.VIEWER, Role.OPERATOR)
    assert sorted(shown) == sorted((role, right) for role in roles for right in granted(role))


@pytest.mark.parametrize(
    ("role", "right", "command", "words"),
    [pytest.param(*each, id=f"{each[0]}: {each[1]}") for each in needs()],
)
def test_a_command_that_lacks_a_right_says_in_one_line_what_it_cannot_do(
    role: Role, right: str, command: list[str], words: str, lab: Lab, request: pytest.FixtureRequest
) -> None:
    if right in SLOW:
        request.getfixturevalue("impatient")
    binding = granted(role)[right]
    with lab.secured.without(binding):
        done = lab.call(role, command)
    assert done.returncode == 1, done
    [line] = [each for each in done.stderr.splitlines() if each.startswith("streamer: ")]
    assert words.format(binding.name) in line
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", EVERY)
def test_a_topic_that_may_not_be_created_is_named(name: str, lab: Lab) -> None:
    binding = granted(Role.OPERATOR, BARE)[f"Create on topic {name}"]

    def refused() -> str:
        """The controller hears of an ACL a moment later than the broker."""
        lab.remove(binding.name)
        return lab.call(Role.OPERATOR, CREATE, BARE).stderr

    with lab.secured.without(binding):
        said = wait_until(refused, 20, "it is refused")
    [line] = said.splitlines()
    assert f"refused (topic {binding.name})" in line
    assert "`streamer topics acls`" in line
    assert lab.call(Role.OPERATOR, CREATE, BARE).returncode == 0, "nothing else was lacking"


@pytest.mark.parametrize("name", SOURCES)
def test_whoever_may_not_read_a_source_cannot_tell_the_group_what_was_put_in(name: str, lab: Lab) -> None:
    base, group, topic = lab.plain, lab.stage.group, f"lab-{name}"
    before = commit_seen(base, group, topic, 0)
    with lab.secured.without(granted(Role.OPERATOR)[f"Read on topic {name}"]):
        done = lab.call(Role.OPERATOR, IMPORT)
    assert "could not be told" in done.stderr
    assert REFUSED in done.stderr
    assert done.returncode == 1
    assert commit_seen(base, group, topic, 0) == before
    assert lab.call(Role.OPERATOR, IMPORT).returncode == 0
    assert (commit_seen(base, group, topic, 0) or 0) > (before or 0)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_service_that_lacks_a_right_is_told_with_each_event(kind: str, lab: Lab) -> None:
    drops: list[Drop] = []
    with lab.secured.without(granted(Role.PRODUCER)[f"Write on topic {kind}"]):
        logger = lab.logger(drops.append)
        logger.label(logger.prediction(1), 1)
        wait_until(lambda: drops, 30, "it is told")
        logger.close(10)
    [drop] = drops
    assert (f"{drop.kind}s", drop.reason) == (kind, "not_delivered")
    assert "Topic authorization failed" in drop.detail
