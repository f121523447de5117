"""A deployment with a past on the secured Kafka, under names of its own: rights are taken away here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from confluent_kafka.admin import AclBinding

from streamer import PredictionLogger
from streamer.adapters.dead_letters import LetterLog
from streamer.adapters.rights import Role, commands, rights_of
from streamer.adapters.state_move import export
from streamer.adapters.topics import Topics, create, existing_topics
from streamer.sdk import Drop
from tests.adapters.letters import LABELS, PREDICTIONS, bad, post
from tests.adapters.state_stage import Stage
from tests.deadline import wait_until
from tests.security.calls import called
from tests.security.commands import LOG
from tests.security.secured import Secured, bindings_of, environ_with

PARTITIONS = 2
LAB, BARE = "lab-", "bare-"  # prefixes: of what there is, and of topics to be made


class Lab:
    """``stage``: its state, with open alerts. Every role has its rights, with a trace.

    In commands BACKUP is a file of that state, LOG one of predictions, NEW one that is not there yet; 0:P
    and 1:L are the addresses of dead letters, of a prediction and of a label.
    """

    def __init__(self, secured: Secured, scratch: Path) -> None:
        self.secured, self.scratch = secured, scratch
        self.plain = {"bootstrap.servers": secured.kafka.bootstrap}
        self.address = {"bootstrap.servers": secured.kafka.secured_bootstrap}
        topics = topics_of(LAB)
        create(self.plain, topics, PARTITIONS)
        self.stage = Stage(secured.kafka.bootstrap, topics, PARTITIONS, group=f"{LAB}group")
        export(self.plain, self.stage.group, topics, scratch / "BACKUP")
        ends = LetterLog(self.plain, topics).ends()
        self.words = {"0:P": f"0:{ends[0]}", "1:L": f"1:{ends[1]}"}
        for number, kind in enumerate((PREDICTIONS, LABELS)):
            assert post(secured.kafka.bootstrap, topics, number, [bad(number)], kind) == 1
        self.words |= {word: str(scratch / word) for word in ("BACKUP", "LOG", "NEW")}
        (scratch / "LOG").write_text(LOG)
        create(self.plain, topics_of(BARE), 1)
        secured.grant(*(each for role in Role for each in granted(role).values()))
        secured.grant(*granted(Role.OPERATOR, BARE).values())

    def call(self, role: Role, command: list[str], prefix: str = LAB) -> CompletedProcess[str]:
        """Run a command as a role."""
        (self.scratch / "NEW").unlink(missing_ok=True)
        names = {"TOPIC_PREFIX": prefix, "GROUP": f"{prefix}group", "TRACE": "true"}
        where = {f"STREAMER_{key}": value for key, value in names.items()}
        words = [self.words.get(word, word) for word in command]
        return called(environ_with(self.secured.variables(role) | where), *words)

    def logger(self, on_drop: Callable[[Drop], None]) -> PredictionLogger:
        """What a service has."""
        topics = self.stage.names
        return PredictionLogger(
            self.secured.kafka.secured_bootstrap,
            model="churn",
            predictions_topic=topics.predictions,
            labels_topic=topics.labels,
            kafka=self.secured.client(Role.PRODUCER),
            on_drop=on_drop,
        )

    def remove(self, topic: str) -> None:
        """Delete a topic that may be there."""
        if topic in existing_topics(self.plain):
            self.secured.admin.delete_topics([topic])[topic].result(20)
            wait_until(lambda: topic not in existing_topics(self.plain), 20, "it is gone")


def topics_of(prefix: str) -> Topics:
    return Topics(trace="trace").prefixed(prefix)


def granted(role: Role, prefix: str = LAB) -> dict[str, AclBinding]:
    """What a role is allowed under this prefix, by a title such as "Write on topic labels"."""
    rights = rights_of(role, topics_of(prefix), f"{prefix}group")
    return {
        title_of(binding, prefix): binding
        for line in commands(rights, f"User:{role}", "127.0.0.1:1", "admin.properties")
        for binding in bindings_of(line)
    }


def title_of(binding: AclBinding, prefix: str) -> str:
    operation = binding.operation.name.title().replace("_", "")
    resource = binding.restype.name.lower().replace("_", "-")
    return f"{operation} on {resource} {binding.name.removeprefix(prefix)}"
