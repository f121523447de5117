"""A live run tells what a backtest tells of the same records in the same order, to the last byte."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from streamer.adapters import codec
from streamer.adapters.event_sink import EventSink
from streamer.backtest.drive import Drive
from streamer.replay import Plan, play
from tests.conftest import TopicsFactory
from tests.e2e.oracle import gather
from tests.e2e.scene import Scene

OBJECTIVES = """
revision: 7
models:
  shop:
    task: binary
    reference: first 3000
    segments: []
    objectives:
      accuracy: {min: 0.8, for: 200 labels, severity: page}
      recall: {min: 0.7, window: last 30s}
"""
ROWS = 20_000


@pytest.mark.timeout(240)
def test_a_live_run_tells_what_a_backtest_of_the_same_order_tells(
    bootstrap: str, topics: TopicsFactory, tmp_path: Path
) -> None:
    chance = random.Random(5)
    lines = ["prediction,label,score,amount"]
    for number in range(ROWS):
        score = chance.random()
        truth = chance.random() < (score if number < 9000 else 1 - score)
        amount = chance.gauss(50, 10) * (1 if number < 15_000 else 100)
        lines.append(f"{int(score > 0.5)},{int(truth)},{score:.3f},{amount:.2f}")
    log = tmp_path / "log.csv"
    log.write_text("\n".join(lines) + "\n")
    scene = Scene(bootstrap, topics(1, trace="trace"), 1, tmp_path, OBJECTIVES)
    try:
        scene.start()
        sink = EventSink({"bootstrap.servers": bootstrap}, *scene.names.inputs)
        play(Plan("shop", log, interval_ms=20.0, delay_ms=5000), sink)
        sink.flush()
        scene.await_consumed(2 * ROWS)
        scene.stop()
    finally:
        scene.close()
    evidence = gather(bootstrap, scene.names, 0)
    drive = Drive(scene.objectives, 0, scene.names.inputs)
    rest = [iter(records) for records in evidence.sources]
    for commit in evidence.trace:
        for kind, count in commit["order"]:
            if kind < 0:
                drive.tick(count)
                continue
            for _ in range(count):
                record = next(rest[kind])
                drive.take(kind, codec.decode_event(record.value()), record.timestamp()[1])
    drive.feed()
    live = [codec.decode_event(record.value()) for record in evidence.alerts]
    assert [codec.decode_event(codec.encode_json(each.alert)) for each in drive.told] == live
    assert {alert["rule"] for alert in live} >= {"accuracy", "drift.error", "drift.data"}
