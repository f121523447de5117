"""Writes the golden state of this version: ``python -m tests.golden_state tests/data``.

The files it wrote stay as they are for as long as their format is read:
``tests/test_golden_state.py`` holds every later version against them. A new
state format gets a new pair of files, and the way from the old one.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import orjson

from streamer.adapters import codec
from streamer.adapters.state_file import Frame, Header, write
from streamer.checkpoint import FORMAT, Checkpoint
from streamer.domain.objectives import Limits
from streamer.domain.readings import read_partition
from streamer.pipeline import Pipeline
from tests.domain.feed import build, feed
from tests.domain.traffic import objectives, traffic

IDENTITY = {"group": "golden", "cluster": "c", "topics": ["p", "l"], "topic_ids": ["a", "b"], "partitions": 1,
            "partitioner": "murmur2"}  # fmt: skip


def told(pipeline: Pipeline) -> dict[str, Any]:
    """What people see of a partition, as JSON has it."""
    readings = read_partition(pipeline.partition, None)
    parts = readings.parts.values()
    return {
        "identity": readings.identity,
        "positions": pipeline.positions,
        "figures": {
            f"{each.name} {'|'.join(each.labels)}": each.value for part in parts for each in part.samples
        },
        "histograms": {
            f"{each.name} {'|'.join(each.labels)}": [list(each.counts), each.total]
            for part in parts
            for each in part.histograms
        },
    }


def main(folder: Path) -> None:
    pipeline = build(objectives(Limits()))
    checkpoint = Checkpoint(codec, IDENTITY)
    raw: dict[bytes, bytes] = {}
    steps = traffic(random.Random(20), 600).steps
    for start in range(0, len(steps), 100):
        feed(pipeline, steps[start : start + 100])
        for record in checkpoint.prepare(pipeline).records:
            if record.room == "state":
                raw.pop(record.key, None)
                raw |= {} if record.value is None else {record.key: record.value}
    name = f"state-format-{FORMAT}"
    write(folder / f"{name}.state", Header("golden", "c", 1, "state", "", 1), [Frame(0, raw)])
    text = orjson.dumps(told(pipeline), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    (folder / f"{name}.json").write_bytes(text + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
