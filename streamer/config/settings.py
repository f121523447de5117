"""Settings of a process: flag, then ``STREAMER_*`` variable, then file, then default."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from streamer.adapters.http_server import Certificate
from streamer.adapters.topics import Topics
from streamer.config.yaml_text import YamlError, parse_yaml
from streamer.domain.objectives import Objectives

PREFIX = "STREAMER_"
CONFIG_VARIABLE = "STREAMER_CONFIG"
DUPLICATE = "stands here a second time"  # the one thing that is quoted: a key
# Settings that are mappings: STREAMER_KAFKA__SASL_USERNAME.
BLOCKS = ("kafka", "topic_names", "webhook", "webhook_template")

# What streamer sets itself, with the setting to use instead or the reason why there is none.
OURS: Mapping[str, str] = {
    **dict.fromkeys(("bootstrap.servers", "metadata.broker.list"), "set `bootstrap`"),
    "group.id": "set `group`",
    "group.instance.id": "set `instance_id`",
    "session.timeout.ms": "set `session_timeout`",
    "heartbeat.interval.ms": "it follows from `session_timeout`",
    "partitioner": "set `partitioner`",
    **dict.fromkeys(
        ("group.protocol", "group.remote.assignor", "partition.assignment.strategy"),
        "partitions change hands as the classic protocol's range assignor does it",
    ),
    **dict.fromkeys(
        ("enable.auto.commit", "auto.commit.interval.ms", "enable.auto.offset.store"),
        "offsets are committed with the state, in one transaction",
    ),
    "transactional.id": "it is the group and the partition: that is what keeps a replaced worker out",
    "transaction.timeout.ms": "it bounds how long a hung worker holds subscribers back",
    "isolation.level": "only what is committed may be read",
    **dict.fromkeys(
        ("auto.offset.reset", "enable.partition.eof"), "reading begins at the offsets in the state"
    ),
    **dict.fromkeys(
        ("acks", "request.required.acks", "enable.idempotence"),
        "exactly once needs every copy, and each record once",
    ),
    "message.max.bytes": "it is what the largest record of state needs",
}

# Kubernetes puts these into every container next to a service named streamer or streamer-….
_SERVICE_LINK = re.compile(r"STREAMER_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP|SCTP)\w*)")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://.*")  # of a variable that ends in _PORT


SHORTEST_KEY = 16


class SettingsError(ValueError):
    """A setting cannot be used; each line of the message names where one came from."""


class TopicNames(BaseModel):
    """The topics' names, before the prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    predictions: str = "predictions"
    labels: str = "labels"
    state: str = "state"
    alerts: str = "alerts"
    reports: str = "reports"
    dead_letters: str = "dead-letters"


def _not_ours(key: str) -> str:
    if key in OURS:
        raise ValueError(f"streamer sets this itself: {OURS[key]}")
    return key


def _target_name(name: str) -> str:
    """It becomes a part of a consumer group's name, and a label; an Alertmanager's is made of that word."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name) or name.startswith("alertmanager"):
        raise ValueError("a name is made of a-z, 0-9, - and _, and does not begin with alertmanager")
    return name


def _as_text(value: Any) -> Any:
    """Texts, as librdkafka wants them; YAML has numbers and booleans too."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


KafkaKey = Annotated[str, AfterValidator(_not_ours)]
KafkaValue = Annotated[SecretStr, BeforeValidator(_as_text)]
TargetName = Annotated[str, AfterValidator(_target_name)]


class Settings(BaseModel):
    """Everything a process can be told. Times in seconds.

    ``kafka``: client settings passed through to every client (SASL, TLS);
    its values never appear in a repr or an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    objectives: Path | None = None
    bootstrap: str = "127.0.0.1:9092"
    group: str = "streamer"
    topic_names: TopicNames = Field(default_factory=TopicNames)
    topic_prefix: str = ""
    partitioner: Literal["murmur2", "crc32"] = "murmur2"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(8000, ge=0, le=65535)
    metrics_tls_cert: Path | None = None
    metrics_tls_key: Path | None = None
    max_series: int = Field(10_000, ge=100)
    commit_interval: float = Field(1.0, gt=0)
    commit_interval_max: float = Field(10.0, gt=0)
    commit_share: float = Field(0.10, gt=0, le=1)
    session_timeout: float = Field(30.0, ge=1)
    chunk: int = Field(4000, ge=1)
    max_buffered: int = Field(24_000, ge=1000)
    trace: bool = False
    repartition: bool = False
    instance_id: str | None = None
    processes: int = Field(1, ge=1, le=256)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    privacy_key: SecretStr | None = Field(None, min_length=SHORTEST_KEY)
    alertmanager: SecretStr | None = None
    webhook: dict[TargetName, SecretStr] = Field(default_factory=dict)
    webhook_template: dict[TargetName, str] = Field(default_factory=dict)
    kafka: dict[KafkaKey, KafkaValue] = Field(default_factory=dict)

    @field_validator("metrics_tls_key")
    @classmethod
    def _of_a_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key is not None and info.data.get("metrics_tls_cert") is None:
            raise ValueError("a key alone is of no use: set `metrics_tls_cert` as well")
        return key

    @field_validator("processes")
    @classmethod
    def _on_ports_that_follow(cls, processes: int, info: ValidationInfo) -> int:
        first = info.data.get("metrics_port")
        if processes > 1 and first is not None and not 0 < first <= 65536 - processes:
            raise ValueError(f"each has a port of its own, from `metrics_port` on: not from {first} on")
        return processes

    @property
    def certificate(self) -> Certificate | None:
        """What /metrics is served under, None for plain HTTP."""
        if self.metrics_tls_cert is None:
            return None
        return Certificate(self.metrics_tls_cert, self.metrics_tls_key)

    @property
    def topics(self) -> Topics:
        """The topics' full names; one for the trace, and those of the router, where they are asked for."""
        names = Topics(**self.topic_names.model_dump(), trace="trace" if self.trace else None)
        return (names.repartitioned() if self.repartition else names).prefixed(self.topic_prefix)

    def keyed(self, objectives: Objectives) -> Objectives:
        """The objectives with the key that hides what they want hidden.

        Raises:
            SettingsError: there is none, and a model wants one.
        """
        hidden = objectives.hidden
        if not hidden:
            return objectives
        if self.privacy_key is None:
            who = ", ".join(name or "defaults" for name in hidden)
            raise SettingsError(
                f"`privacy` of {who} hashes, and there is no key: set {PREFIX}PRIVACY_KEY to a secret of"
                f" {SHORTEST_KEY} characters or more, the same for all workers and for good"
            )
        return objectives.keyed(blake2b(self.privacy_key.get_secret_value().encode()).digest())

    def client_config(self, **extra: object) -> dict[str, Any]:
        """Settings for any Kafka client of ours; the only place where the secrets are revealed."""
        block = {key: value.get_secret_value() for key, value in self.kafka.items()}
        return {"bootstrap.servers": self.bootstrap, **block, **extra}


class _Gathered:
    """Values by setting, and where each came from: what is added later wins."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(self, key: str, value: Any, source: str) -> None:
        """One setting; a block is added to key by key."""
        if key in BLOCKS and isinstance(value, Mapping):
            for each, inner in value.items():
                self.add_to_block(key, str(each), inner, f"{source}.{each}")
        else:
            self.values[key], self.sources[key] = value, source

    def add_to_block(self, key: str, part: str, value: Any, source: str) -> None:
        block = self.values.get(key)
        self.values[key] = {**(block if isinstance(block, dict) else {}), part: value}
        self.sources[f"{key}.{part}"] = source

    def source_of(self, loc: tuple[Any, ...]) -> str:
        """Where a value came from; a key with dots is one part of the path."""
        key = str(loc[0])
        inner = f"{key}.{loc[1]}" if len(loc) > 1 else key
        return self.sources.get(inner) or self.sources.get(key) or inner


def load_settings(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Settings from all sources; a flag that is None was not given.

    Raises:
        SettingsError: names every bad value's source: a flag, a variable, or a key of the file.
    """
    environ = environ or {}
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    found = _Gathered()
    for key, value in _from_file(file).items():
        found.add(key, value, f"{file}: {key}")
    problems = _add_variables(found, environ)
    for key, value in (flags or {}).items():
        if value is not None:
            found.add(key, value, f"flag --{key.replace('_', '-')}")
    try:
        settings = Settings(**found.values)
    except ValidationError as error:
        problems += [_problem(each, found) for each in error.errors()]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read: {error}") from None
    except YamlError as error:
        where = f", line {error.line}" if error.line else ""
        # What the parser quotes may be a password that begins with * or !.
        said = str(error) if DUPLICATE in str(error) else re.sub(r"'.*'", "…", str(error), flags=re.S)
        raise SettingsError(f"{file}{where}: {said}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: settings are `key: value` lines")
    return {str(key): value for key, value in content.items()}


def _add_variables(found: _Gathered, environ: Mapping[str, str]) -> list[str]:
    """Add what the variables say, the empty ones nothing; a line for each that nobody knows: it is a slip."""
    problems = []
    for variable, value in environ.items():
        if (
            not variable.startswith(PREFIX)
            or variable == CONFIG_VARIABLE
            or _is_service_link(variable, value)
        ):
            continue
        key, _, part = variable.removeprefix(PREFIX).lower().partition("__")
        if (key in BLOCKS) != bool(part) or key not in Settings.model_fields:
            problems.append(f"variable {variable}: there is no such setting{_meant(variable, _variables())}")
        elif part and value:
            name = part.replace("_", ".") if key == "kafka" else part
            found.add_to_block(key, name, value, f"variable {variable}")
        elif value:
            found.add(key, value, f"variable {variable}")
    return problems


def _is_service_link(variable: str, value: str) -> bool:
    if variable.endswith("_PORT") and _SERVICE_URL.fullmatch(value):
        return True
    return _SERVICE_LINK.fullmatch(variable) is not None


def _variables() -> list[str]:
    blocks = [f"{PREFIX}{key.upper()}__…" for key in BLOCKS]
    names = [f"{PREFIX}{key.upper()}" for key in Settings.model_fields if key not in BLOCKS]
    return [*names, CONFIG_VARIABLE, *blocks]


def _meant(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def _problem(error: Any, found: _Gathered) -> str:
    """One line; the value itself is left out, it may be a secret."""
    where = found.source_of(error["loc"])
    if error["type"] == "extra_forbidden":
        known = Settings.model_fields if len(error["loc"]) == 1 else TopicNames.model_fields
        return f"{where}: there is no such setting{_meant(str(error['loc'][-1]), known)}"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"
