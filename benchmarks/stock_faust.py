"""The same domain core behind ordinary Faust agents: one event per message, state in memory.

Run by ``benchmarks.run`` with BOOTSTRAP PREDICTIONS LABELS EVENTS PARTITIONS.
Prints the seconds from the first event to the last.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from typing import Any

import faust
import orjson

from benchmarks.objectives import OBJECTIVES
from streamer.domain.partition import Partition


def main() -> None:
    bootstrap, predictions, labels, events, partitions = sys.argv[1:]
    wanted = int(events)
    app = faust.App(
        f"{predictions}-stock",
        broker=f"aiokafka://{bootstrap}",
        store="memory://",
        web_enabled=False,
        datadir=tempfile.mkdtemp(prefix="stock-faust-"),
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
    )
    core = [Partition(OBJECTIVES, lambda _: True) for _ in range(int(partitions))]
    seen, began = 0, 0.0

    def count() -> None:
        nonlocal seen, began
        seen += 1
        if seen == 1:
            began = time.perf_counter()
        if seen == wanted:
            # Faust takes print() over for its log.
            os.write(1, f"\nSECONDS {time.perf_counter() - began:.4f}\n".encode())
            os._exit(0)

    async def watch_predictions(stream: Any) -> None:
        async for event in stream.events():
            partition = core[event.message.partition]
            partition.advance(int(event.message.timestamp * 1000))
            partition.predict(orjson.loads(event.value))
            count()

    async def watch_labels(stream: Any) -> None:
        async for event in stream.events():
            partition = core[event.message.partition]
            partition.advance(int(event.message.timestamp * 1000))
            partition.label(orjson.loads(event.value))
            count()

    for name, agent in ((predictions, watch_predictions), (labels, watch_labels)):
        topic = app.topic(name, value_serializer="raw", key_serializer="raw")
        app.agent(topic, name=name)(agent)
    app.finalize()
    faust.Worker(app, loglevel="ERROR").execute_from_commandline()


if __name__ == "__main__":
    main()
