"""A Kafka with TLS, passwords and an authorizer, and who may do what there."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from streamer.adapters.rights import Role
from streamer.adapters.topics import Topics
from streamer.local import LocalKafka
from streamer.local import Secured as Listener
from tests.deadline import wait_until
from tests.security.calls import called
from tests.security.certificates import Authority

PREFIX, GROUP = "shop-", "shop-group"
PARTITIONS = 2
NOBODY = "nobody"  # has a password and no rights
SECONDS = 60.0  # longer than any command may take to say what is wrong
RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
}


class Secured:
    """``topics``: a set that the operator has made. ``scratch``: for files of the tests."""

    def __init__(self, kafka: LocalKafka, scratch: Path) -> None:
        self.kafka, self.scratch = kafka, scratch
        self.topics = Topics(trace="trace").prefixed(PREFIX)
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})

    @classmethod
    def start(cls, scratch: Path) -> Secured:
        """Raises LocalKafkaError."""
        authority = Authority.new(scratch / "ca.pem")
        Authority.new(scratch / "stranger.pem")
        authority.issue(scratch / "broker.pem", scratch / "broker.pem")
        kafka = LocalKafka(heap="256m", secured=Listener(scratch / "broker.pem"))
        kafka.start()
        made = cls(kafka, scratch)
        try:
            made._add_users()
            made._apply_the_list()
            done = made.streamer(
                Role.OPERATOR, "topics", "create", "--trace", "--partitions", str(PARTITIONS)
            )
            assert done.returncode == 0, done.stdout + done.stderr
        except BaseException:
            kafka.stop()
            raise
        return made

    def stop(self) -> None:
        self.kafka.stop()

    def _add_users(self) -> None:
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wanted = [
            UserScramCredentialUpsertion(user, info, password_of(user).encode()) for user in (*Role, NOBODY)
        ]
        for future in self.admin.alter_user_scram_credentials(wanted).values():
            future.result(20)

    # -- as a client -------------------------------------------------------------------------

    def client(self, user: str, **more: str) -> dict[str, str]:
        """Client settings, as librdkafka names them."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password_of(user),
            "ssl.ca.location": str(self.scratch / "ca.pem"),
            **{key.replace("_", "."): value for key, value in more.items()},
        }

    def variables(self, user: str, **more: str) -> dict[str, str]:
        """The same, and where everything is, as STREAMER_* variables."""
        client = self.client(user, **more)
        return {
            "STREAMER_BOOTSTRAP": self.kafka.secured_bootstrap,
            "STREAMER_TOPIC_PREFIX": PREFIX,
            "STREAMER_GROUP": GROUP,
            "STREAMER_METRICS_PORT": "0",
            **{f"STREAMER_KAFKA__{key.replace('.', '_').upper()}": value for key, value in client.items()},
        }

    def call(self, user: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """The same as ``streamer``, within this process."""
        return called(environ_with(self.variables(user, **more)), *arguments)

    def streamer(self, user: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command as this user. ``more``: other client settings, with ``_`` for ``.``."""
        return subprocess.run(
            [sys.executable, "-m", "streamer", *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=environ_with(self.variables(user, **more)),
        )

    # -- as its administrator ------------------------------------------------------------------

    @cached_property
    def command_list(self) -> list[str]:
        """What `streamer topics acls` prints for our principals."""
        principals = [word for role in Role for word in (f"--{role}", f"User:{role}")]
        done = self.streamer(NOBODY, "topics", "acls", "--trace", *principals)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def _apply_the_list(self) -> None:
        """Do what its lines say, as kafka-acls.sh would."""
        wanted = [each for line in self.command_list for each in bindings_of(line)]
        for future in self.admin.create_acls(wanted).values():
            future.result(20)

    def withdraw(self, binding: AclBinding) -> None:
        """Allow it no more."""
        for future in self.admin.delete_acls([exactly(binding)]).values():
            assert len(future.result(20)) == 1

    def grant(self, *bindings: AclBinding) -> None:
        for future in self.admin.create_acls([*bindings]).values():
            future.result(20)

    @contextmanager
    def without(self, binding: AclBinding) -> Iterator[None]:
        """While this is not allowed."""
        self.withdraw(binding)
        wait_until(lambda: not self.is_granted(binding), 20, "the broker has heard of it")
        try:
            yield
        finally:
            self.grant(binding)
            wait_until(lambda: self.is_granted(binding), 20, "the broker has heard of it")

    def is_granted(self, binding: AclBinding) -> bool:
        """Whether the broker's authorizer knows of it: from then on, or until then, it allows it."""
        return bool(self.admin.describe_acls(exactly(binding)).result(20))


def exactly(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype, binding.name, binding.resource_pattern_type, binding.principal,
        binding.host, binding.operation, binding.permission_type,
    )  # fmt: skip


def password_of(user: str) -> str:
    return f"canary-of-{user}"


def environ_with(variables: Mapping[str, str]) -> dict[str, str]:
    ours = {key: value for key, value in os.environ.items() if not key.startswith("STREAMER_")}
    return {**ours, "COLUMNS": "200", "NO_COLOR": "1", **variables}


def bindings_of(line: str) -> Iterator[AclBinding]:
    """What kafka-acls.sh makes of its arguments: every operation on every resource.

    That this is what the real tool makes of our lines was compared with Kafka 4.1.1's.
    """
    program, *words = shlex.split(line)
    assert program == "kafka-acls.sh"
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--command-config", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True)
    parser.add_argument("--resource-pattern-type", choices=["literal", "prefixed"], default="literal")
    for resource in RESOURCES:
        parser.add_argument(f"--{resource.replace('_', '-')}", action="append", default=[])
    given = parser.parse_args(words)
    for resource, kind in RESOURCES.items():
        for name in getattr(given, resource):
            for operation in given.operation:
                yield AclBinding(
                    kind,
                    name,
                    ResourcePatternType[given.resource_pattern_type.upper()],
                    given.allow_principal,
                    "*",
                    AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
                    AclPermissionType.ALLOW,
                )
