"""What commands share: common options, settings, the way to end them, exit statuses."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from streamer import terminal
from streamer.adapters import logs
from streamer.config import Settings, load_settings
from streamer.config.durations import parse_duration
from streamer.errors import StreamerError

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
OBJECTIVES_VARIABLE = "STREAMER_OBJECTIVES"

Bootstrap = Annotated[
    str | None, typer.Option("--bootstrap", help="Kafka's address, HOST:PORT[,…]. [default: 127.0.0.1:9092]")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="A YAML file of settings. [variable: STREAMER_CONFIG]")
]
Prefix = Annotated[
    str | None, typer.Option("--topic-prefix", help="Text before the name of each topic.", show_default=False)
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group", help="The consumer group; workers of one group share the work. [default: streamer]"
    ),
]
Trace = Annotated[
    bool | None,
    typer.Option("--trace", help="Also the topic `trace`, which `worker --trace` needs.", show_default=False),
]
MetricsHost = Annotated[str | None, typer.Option(help="Address of /metrics. [default: 127.0.0.1]")]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]
LogFormat = Annotated[str | None, typer.Option("--log-format", help="text or json (one object a line).")]


def settings_of(
    config: Path | None, *, log_level: str | None = None, log_format: str | None = None, **flags: Any
) -> Settings:
    flags |= {"log_level": log_level, "log_format": log_format}
    settings = load_settings(flags, os.environ, config)
    logs.configure(settings.log_level, settings.log_format)
    return settings


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, for work that ends by itself; a second one ends it at once."""
    told = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class NotWritten(StreamerError):
    """A file that was asked for cannot be written."""


def write_page(path: Path, text: str) -> None:
    """A page of HTML, and a word that it is there. Raises NotWritten."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotWritten(f"{path} cannot be written: {error.strerror}") from error
    terminal.console(stderr=True).print(f"wrote {terminal.clean(path)}", markup=False)


def agreed(question: str) -> bool:
    """Ask whoever sits at the terminal."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        raise typer.BadParameter("there is nobody to ask: say --yes") from None


def duration_ms(text: str, option: str) -> int:
    """A duration as it is written, ``0`` and ``0s`` too."""
    try:
        return parse_duration(text) if text not in ("0", "0s") else 0
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
