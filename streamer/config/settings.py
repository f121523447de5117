"""Settings of a process: flag, then ``STREAMER_*`` variable, then file, then default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from streamer.adapters.topics import Topics

PREFIX = "STREAMER_"
KAFKA_PREFIX = "STREAMER_KAFKA__"
OURS = frozenset(
    {
        "bootstrap.servers",
        "group.id",
        "enable.auto.commit",
        "transactional.id",
        "isolation.level",
        "auto.offset.reset",
        "partition.assignment.strategy",
        "enable.partition.eof",
    }
)


class SettingsError(ValueError):
    """A setting cannot be used; the message names where it came from."""


class TopicNames(BaseModel):
    """The topics' names, before the prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    predictions: str = "predictions"
    labels: str = "labels"
    state: str = "state"
    alerts: str = "alerts"
    reports: str = "reports"
    dead_letters: str = "dead-letters"


class Settings(BaseModel):
    """Everything a process can be told. Times in seconds.

    ``kafka``: client settings passed through to every client (SASL, TLS);
    its values never appear in a repr or an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str = "127.0.0.1:9092"
    group: str = "streamer"
    topic_names: TopicNames = Field(default_factory=TopicNames)
    topic_prefix: str = ""
    partitioner: Literal["murmur2", "crc32"] = "murmur2"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(8000, ge=0, le=65535)
    max_series: int = Field(10_000, ge=100)
    commit_interval: float = Field(1.0, gt=0)
    commit_interval_max: float = Field(10.0, gt=0)
    commit_share: float = Field(0.10, gt=0, le=1)
    session_timeout: float = Field(30.0, ge=1)
    chunk: int = Field(4000, ge=1)
    max_buffered: int = Field(64_000, ge=1000)
    trace: bool = False
    instance_id: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    kafka: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("kafka", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        texts = {True: "true", False: "false"}
        return {
            str(k): texts[v] if isinstance(v, bool) else v if isinstance(v, SecretStr) else str(v)
            for k, v in value.items()
        }

    @field_validator("kafka")
    @classmethod
    def _not_ours(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        taken = sorted(OURS & value.keys())
        if taken:
            raise ValueError(f"{', '.join(taken)}: streamer sets this itself; remove it from the kafka block")
        return value

    @property
    def topics(self) -> Topics:
        """The topics' full names; one for the trace where it is asked for."""
        names = Topics(**self.topic_names.model_dump(), trace="trace" if self.trace else None)
        return names.prefixed(self.topic_prefix)

    def client_config(self, **extra: object) -> dict[str, Any]:
        """Settings for any Kafka client of ours; the only place where the secrets are revealed."""
        block = {key: value.get_secret_value() for key, value in self.kafka.items()}
        return {"bootstrap.servers": self.bootstrap, **block, **extra}


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
    if file is None and environ.get("STREAMER_CONFIG"):
        file = Path(environ["STREAMER_CONFIG"])
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key, value in _from_file(file).items():
        values[key], sources[key] = value, f"{file}: {key}"
    for key, value in _from_environ(environ).items():
        if key == "kafka":
            values["kafka"] = {**values.get("kafka", {}), **value}
            sources["kafka"] = f"{KAFKA_PREFIX}* or {sources.get('kafka', 'the file')}"
        else:
            values[key], sources[key] = value, f"variable {PREFIX}{key.upper()}"
    for key, value in (flags or {}).items():
        if value is not None:
            values[key], sources[key] = value, f"flag --{key.replace('_', '-')}"
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_problem(each, sources) for each in error.errors())) from None


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: not YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: settings are `key: value` lines")
    return {str(key): value for key, value in content.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, value in environ.items():
        if variable.startswith(KAFKA_PREFIX):
            key = variable.removeprefix(KAFKA_PREFIX).lower().replace("_", ".")
            found.setdefault("kafka", {})[key] = value
        elif variable.startswith(PREFIX) and variable.removeprefix(PREFIX).lower() in Settings.model_fields:
            found[variable.removeprefix(PREFIX).lower()] = value
    return found


def _problem(error: Any, sources: Mapping[str, str]) -> str:
    """One line; the value itself is left out, it may be a secret."""
    key = str(error["loc"][0])
    where = sources.get(key, key)
    rest = ".".join(str(part) for part in error["loc"][1:])
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting"
    return f"{where}{'.' + rest if rest else ''}: {error['msg'].removeprefix('Value error, ')}"
