"""``make bench``: speed as ratios in one run, against the decode floor and against stock Faust.

Broker on one core, the measured program on the other. Writes benchmarks/results/latest.json.
"""

from __future__ import annotations

import gc
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from rich.console import Console
from rich.table import Table

from benchmarks.load import START_MS, events, load
from benchmarks.objectives import FILE, OBJECTIVES
from streamer.adapters import codec
from streamer.adapters.alert_log import AlertLog
from streamer.adapters.event_sink import EventSink
from streamer.adapters.kafka import admin_of, reader_config
from streamer.adapters.scrape import Scrape, fetch
from streamer.adapters.topics import Topics, create
from streamer.backtest.run import Asked, backtest
from streamer.checkpoint import MANIFEST_KEY
from streamer.domain.objectives import ModelSpec, Objectives, ReferenceSpec, WindowSpec
from streamer.domain.partition import Partition
from streamer.local import LocalKafka, free_ports
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline
from streamer.replay import Plan

RESULTS = Path(__file__).parent / "results" / "latest.json"
PARTITIONS = 4
PAIRS = {1: 1_000_000, 64: 1_000_000, 1000: 1_000_000}
STOCK_PAIRS = 30_000
TARGETS = {"floor": {1: 0.18, 64: 0.18, 1000: 0.12}, "stock": {1: 10.0, 64: 10.0, 1000: 7.0}}
PENDING = 1_000_000
WARM_UP = 300_000
REFERENCE_PAIRS = 120_000
BACKTEST_PAIRS = 600_000
REFERRED_PAIRS, REFERRED_MODELS = 600_000, 8
REFERENCE = ReferenceSpec("first", 10_000)
FEATURES = (10, 100)
OUR_CORE, BROKERS_CORE = 0, 1
WAITING = b'{"prediction_id":"prediction-%09d","model":"model-0","timestamp":%d,"prediction":1,"score":0.7}'
out = Console(highlight=False)


def pinned(core: int) -> Callable[[], None] | None:
    """For ``preexec_fn``: everything a process starts later stays on that core too."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        return None
    return lambda: os.sched_setaffinity(0, {core})


class Bench:
    """One broker; every measurement has topics of its own."""

    def __init__(self, kafka: LocalKafka, scratch: Path) -> None:
        self.bootstrap, self.scratch = kafka.bootstrap, scratch
        self.conf = {"bootstrap.servers": kafka.bootstrap}

    def topics(self, partitions: int = PARTITIONS) -> Topics:
        names = Topics().prefixed(f"bench-{uuid.uuid4().hex[:6]}-")
        create(self.conf, names, partitions=partitions)
        return names

    def sink(self, names: Topics, **more: str) -> EventSink:
        return EventSink(self.conf | more, names.predictions, names.labels)

    def floor(self, names: Topics, wanted: int) -> float:
        """Events a second of consume and orjson.loads, and nothing else."""
        with _on_core(OUR_CORE):
            consumer = Consumer(reader_config(self.conf, "floor") | {"auto.offset.reset": "earliest"})
            sources = (names.predictions, names.labels)
            consumer.assign([TopicPartition(t, n, 0) for t in sources for n in range(PARTITIONS)])
            seen, began = 0, 0.0
            while seen < wanted:
                messages: list[Any] = consumer.consume(4000, 0.1)
                if messages and not began:
                    began = time.perf_counter()
                for message in messages:
                    if message.error() is None:
                        orjson.loads(message.value())
                        seen += 1
            seconds = time.perf_counter() - began
            consumer.close()
        return wanted / seconds

    def stock(self, names: Topics, wanted: int) -> float:
        """Events a second of ordinary Faust agents around the same core."""
        command = [sys.executable, "-m", "benchmarks.stock_faust", self.bootstrap, names.predictions,
                   names.labels, str(wanted), str(PARTITIONS)]  # fmt: skip
        done = subprocess.run(
            command, preexec_fn=pinned(OUR_CORE), capture_output=True, text=True, timeout=240, check=False
        )
        found = re.search(r"SECONDS ([\d.]+)", done.stdout)
        if found is None:
            raise RuntimeError(f"stock Faust did not finish: {done.stdout[-500:]}{done.stderr[-1500:]}")
        return wanted / float(found[1])

    @contextmanager
    def worker(self, names: Topics, file: Path = FILE) -> Iterator[RunningWorker]:
        worker = RunningWorker(self, names, file)
        try:
            yield worker
        finally:
            worker.process.terminate()
            worker.process.wait(60)

    def ours(self, names: Topics, wanted: int, file: Path = FILE) -> float:
        """Events a second of a whole worker, from its first commit to the one that holds everything."""
        with self.worker(names, file), _on_core(BROKERS_CORE):
            deadline = time.monotonic() + 180
            while _committed(self.conf, names) < wanted:
                time.sleep(0.5)
                if time.monotonic() > deadline:
                    raise RuntimeError("the worker did not finish within 180 s")
            return wanted / _commit_span(self.conf, names)


class RunningWorker:
    """``streamer worker`` pinned to our core, scraped every 15 s as Prometheus would."""

    def __init__(self, bench: Bench, names: Topics, file: Path) -> None:
        self.port = free_ports(1)[0]
        self.log = bench.scratch / f"worker-{self.port}.log"
        prefix = names.predictions.removesuffix("predictions")
        command = [sys.executable, "-m", "streamer", "worker", str(file), "--bootstrap", bench.bootstrap]
        command += ["--topic-prefix", prefix, "--group", f"{prefix}group", "--metrics-port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, preexec_fn=pinned(OUR_CORE), stdout=log, stderr=log)
        threading.Thread(target=self._scrape, daemon=True).start()

    def _scrape(self) -> None:
        while self.process.poll() is None:
            Scrape.of(self.url + "/metrics")
            time.sleep(15)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def await_ready(self) -> None:
        while fetch(self.url + "/readyz") is None:
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text()[-2000:])
            time.sleep(0.1)

    def rss(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


def _committed(conf: dict[str, Any], names: Topics) -> int:
    """How many records the worker's group says it has committed."""
    group = names.predictions.removesuffix("predictions") + "group"
    admin = admin_of(conf)  # held: a client that is collected cancels what it was asked
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    return sum(max(0, each.offset) for each in asked[group].result(10).topic_partitions or ())


def _commit_span(conf: dict[str, Any], names: Topics) -> float:
    """Seconds from the first commit of any partition to the last one that moved on, by the broker's clock."""
    consumer = Consumer(reader_config(conf, "span") | {"auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(names.state, number, 0) for number in range(PARTITIONS)])
    first: dict[int, int] = {}
    last: dict[int, tuple[int, int]] = {}
    key, ended = codec.encode_key(MANIFEST_KEY), 0
    while ended < PARTITIONS:
        messages: list[Any] = consumer.consume(2000, 0.2)
        for message in messages:
            if message.error() is not None:
                ended += message.error().code() == message.error()._PARTITION_EOF
            elif message.key() == key:
                number, at = message.partition(), message.timestamp()[1]
                first.setdefault(number, at)
                done = sum(codec.decode_cell(message.value()[16:])["positions"])
                if number not in last or done > last[number][0]:
                    last[number] = (done, at)
    consumer.close()
    return (max(at for _, at in last.values()) - min(first.values())) / 1000


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    pin, everywhere = pinned(core), os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if pin:
        pin()
    try:
        yield
    finally:
        if pin and everywhere:
            os.sched_setaffinity(0, everywhere)


# -- the measurements ----------------------------------------------------------------------------------


def throughput(bench: Bench, models: int) -> dict[str, float]:
    """Ours, the floor and stock Faust on the same records."""
    names = bench.topics()
    wanted = load(bench.sink(names), PAIRS[models], models)
    small = bench.topics()
    # Faust's aiokafka has no lz4 without another package: its records are not compressed.
    few = load(bench.sink(small, **{"compression.type": "none"}), STOCK_PAIRS, models)
    # The floor before and after: a machine that changes its mind in between shows.
    floors = [bench.floor(names, wanted)]
    ours = bench.ours(names, wanted)
    floors.append(bench.floor(names, wanted))
    stock = bench.stock(small, few)
    return {"ours": ours, "floor": statistics.mean(floors), "stock": stock}


def referred_ratio(bench: Bench) -> float:
    """Events a second of a worker that holds ten features against a reference, over one that does not.

    Of three runs each, in turns: the ratio of the middle ones, since single runs differ by a fifth.
    """
    file = bench.scratch / "referred.yml"
    wanted = "  task: binary\n"
    file.write_text(FILE.read_text().replace(wanted, f"{wanted}  reference: first {REFERENCE.size}\n"))
    rates: dict[Path, list[float]] = {FILE: [], file: []}
    for each in (FILE, file, file, FILE, FILE, file):
        names = bench.topics()
        count = load(bench.sink(names), REFERRED_PAIRS, REFERRED_MODELS)
        rates[each].append(bench.ours(names, count, each))
    return statistics.median(rates[file]) / statistics.median(rates[FILE])


def window_ratio() -> float:
    """Cost per event with windows of 100,000 rows over that with windows of 100, without Kafka."""
    times: dict[int, float] = {}
    for _ in range(2):
        for size in (100, 100_000):
            windows = (WindowSpec("last", size), WindowSpec("last", size + 1))
            spec = ModelSpec("model-0", task="binary", windows=windows)
            seconds = _feed(Objectives(models={"model-0": spec}), 120_000)
            times[size] = min(seconds, times.get(size, seconds))
    return times[100_000] / times[100]


def reference_ratio(features: int) -> float:
    """Events a second with a reference for so many features over those without, without Kafka."""
    pairs = REFERENCE_PAIRS * 10 // features
    times: dict[bool, float] = {}
    for _ in range(3):
        for referred in (False, True):
            seconds = _feed(_referred(OBJECTIVES) if referred else OBJECTIVES, pairs, features)
            times[referred] = min(seconds, times.get(referred, seconds))
    return times[False] / times[True]


def backtest_speed(folder: Path) -> float:
    """Events a second of a backtest: the log of one model as a CSV file, read, watched, and drawn.

    On both cores, as a worker and its broker have them: another process reads the log.
    """
    log = folder / "log.csv"
    truth: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for kind, _, value in events(BACKTEST_PAIRS, 1):
        event = orjson.loads(value)
        if kind == PREDICTIONS:
            rows.append(event)
        else:
            truth[event["prediction_id"]] = event["label"]
    plain = ("prediction_id", "timestamp", "prediction", "score", "latency_ms", "version")
    with log.open("w") as file:
        file.write(",".join([*plain, *rows[0]["features"], "label"]) + "\n")
        for row in rows:
            cells = [*(row[name] for name in plain), *row["features"].values(), truth[row["prediction_id"]]]
            file.write(",".join(map(str, cells)) + "\n")
    del rows, truth
    gc.collect()
    began = time.perf_counter()
    backtest(Asked(Plan("model-0", log, delay_ms=1000), (("objectives.yml", OBJECTIVES),)))
    seconds = time.perf_counter() - began
    return 2 * BACKTEST_PAIRS / seconds


def _referred(objectives: Objectives) -> Objectives:
    return replace(objectives, default=replace(objectives.default, reference=REFERENCE))


class Record:
    """What the pipeline asks of a client's record."""

    __slots__ = ("_offset", "_time", "_value")

    def __init__(self, value: bytes, offset: int, time_ms: int) -> None:
        self._value, self._offset, self._time = value, offset, time_ms

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes | None:
        return None

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 2, self._time


def _feed(objectives: Objectives, pairs: int, features: int = 10) -> float:
    pipeline = Pipeline(Partition(objectives, lambda _: True), 0, ("p", "l"), codec.decode_event)
    runs: list[tuple[int, list[Record]]] = []
    for number, (kind, _, value) in enumerate(events(pairs, 1, features=features)):
        record = Record(value, number, START_MS + number // 200)
        if runs and runs[-1][0] == kind and len(runs[-1][1]) < 2000:
            runs[-1][1].append(record)
        else:
            runs.append((kind, [record]))
    with _on_core(OUR_CORE):
        gc.collect()
        began = time.perf_counter()
        for kind, records in runs:
            pipeline.run(PREDICTIONS if kind == 0 else LABELS, records)
        seconds = time.perf_counter() - began
    return seconds


FLAPPING = """
revision: 1
defaults:
  task: binary
  objectives: {latency_p95: {max: 100ms, window: last 200, min_samples: 50}}
"""


def alert_delays(bench: Bench) -> list[float]:
    """Milliseconds from a record's broker time to the receipt of its alert, at 10,000 events a second."""
    file = bench.scratch / "flapping.yml"
    file.write_text(FLAPPING)
    names = bench.topics()
    delays: list[float] = []
    received: list[tuple[float, dict[str, Any]]] = []
    going = threading.Event()
    going.set()
    log = AlertLog(bench.conf, names.alerts)

    def listen() -> None:
        for alert in log.follow(going.is_set):
            received.append((time.time() * 1000, alert))

    with bench.worker(names, file) as worker, _on_core(BROKERS_CORE):
        worker.await_ready()
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        _paced(bench.sink(names), seconds=30, rate=10_000)
        time.sleep(2)
    going.clear()
    thread.join(5)
    log.close()
    times = _broker_times(bench.conf, names, {_source(alert) for _, alert in received})
    for at, alert in received:
        delays.append(at - times[_source(alert)])
    return sorted(delays)


def _source(alert: dict[str, Any]) -> tuple[str, int, int]:
    source = alert["source"]
    return source["topic"], source["partition"], source["offset"]


def _paced(sink: EventSink, seconds: float, rate: int) -> None:
    """The latency of eight models goes up and down, each after 1,000 predictions of its own, in turns."""
    began, predictions = time.monotonic(), 0
    for sent, (kind, model, value) in enumerate(events(int(seconds * rate / 2), 8)):
        if kind == 0:
            predictions += 1
            mine = predictions // 8 + 125 * int(model.rpartition("-")[2])
            slow = 300.0 if (mine // 1000) % 2 else 5.0
            value = orjson.dumps({**orjson.loads(value), "latency_ms": slow})
        sink.put(kind, model, value)
        if sent % 100 == 0:
            ahead = began + sent / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    sink.flush()


def _broker_times(
    conf: dict[str, Any], names: Topics, wanted: set[tuple[str, int, int]]
) -> dict[tuple[str, int, int], int]:
    consumer = Consumer(reader_config(conf, "times") | {"auto.offset.reset": "earliest"})
    at = [TopicPartition(t, n, 0) for t in (names.predictions, names.labels) for n in range(PARTITIONS)]
    consumer.assign(at)
    found, ended = {}, 0
    while ended < len(at):
        messages: list[Any] = consumer.consume(5000, 0.2)
        for message in messages:
            if message.error() is not None:
                ended += message.error().code() == message.error()._PARTITION_EOF
            elif (here := (message.topic(), message.partition(), message.offset())) in wanted:
                found[here] = message.timestamp()[1]
    consumer.close()
    return found


def pending(bench: Bench) -> tuple[float, float]:
    """Bytes of memory per pending prediction, and the seconds of a restore with a million of them.

    Memory is what the rest of the million costs after the first ``WARM_UP``, all written as fast as it
    goes: by then the buffers of the clients, which do not depend on what is pending, have their full size.
    """
    names = bench.topics(1)
    sink = bench.sink(names)
    with bench.worker(names) as worker:
        worker.await_ready()
        _wait_for_labels(sink, worker, 0, WARM_UP)
        warm = worker.rss()
        _wait_for_labels(sink, worker, WARM_UP, PENDING)
        each = (worker.rss() - warm) / (PENDING - WARM_UP)
        worker.process.kill()
    with bench.worker(names) as worker:
        worker.await_ready()
        again = Scrape.of(worker.url + "/metrics")
        if again is None or again.total("model_pending_predictions") != PENDING:
            raise RuntimeError("the restart does not know all pending predictions")
        return each, again.total("streamer_restore_seconds_total")


def _wait_for_labels(sink: EventSink, worker: RunningWorker, first: int, end: int) -> None:
    """Predictions that will never get a label, until the worker has committed the last of them."""
    for number in range(first, end):
        sink.put(0, "model-0", WAITING % (number, START_MS + number))
    sink.flush()
    deadline = time.monotonic() + 240
    while (scrape := Scrape.of(worker.url + "/metrics")) is None or scrape.total(
        "model_pending_predictions"
    ) < end:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{end:,} predictions were not taken within 240 s")
        time.sleep(1)


# -- the report -----------------------------------------------------------------------------------------


def main() -> int:
    """Measure all; exit status 1 only where a measurement failed, not where it was slow."""
    began = time.monotonic()
    found: dict[str, Any] = {}
    pin = pinned(BROKERS_CORE)
    everywhere = os.sched_getaffinity(0) if pin else None
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as scratch:
        if pin:
            pin()
        kafka = LocalKafka(heap="1g")
        kafka.start()
        if everywhere:
            os.sched_setaffinity(0, everywhere)
        with kafka:
            bench = Bench(kafka, Path(scratch))
            rates = {}
            for models in PAIRS:
                out.print(f"throughput, {models} models", style="dim")
                rates[models] = throughput(bench, models)
            out.print("a reference", style="dim")
            referred = referred_ratio(bench)
            out.print("delay of alerts", style="dim")
            delays = alert_delays(bench)
            out.print("a million pending predictions", style="dim")
            each, restore = pending(bench)
        out.print("a backtest", style="dim")
        tested = backtest_speed(Path(scratch))
    out.print("windows", style="dim")
    found = {
        "floor_ratio": {str(m): round(r["ours"] / r["floor"], 3) for m, r in rates.items()},
        "stock_faust_ratio": {str(m): round(r["ours"] / r["stock"], 2) for m, r in rates.items()},
        "window_ratio": round(window_ratio(), 3),
        "reference_ratio": round(referred, 3),
        "reference_core_ratio": {str(each): round(reference_ratio(each), 3) for each in FEATURES},
        "backtest_ratio": round(tested / rates[1]["ours"], 3),
        "alert_p50_ms": round(statistics.median(delays), 1),
        "alert_p99_ms": round(delays[min(len(delays) - 1, int(len(delays) * 0.99))], 1),
        "alerts": len(delays),
        "bytes_per_pending": round(each),
        "restore_seconds": round(restore, 2),
        "events_per_second": {
            str(m): {name: round(value) for name, value in r.items()} for m, r in rates.items()
        },
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {
            n: version(n) for n in ("confluent-kafka", "faust-streaming", "river", "orjson", "numpy")
        },
        "seconds": round(time.monotonic() - began),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    _report(found)
    return 0


def _cpu() -> str:
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def _report(found: dict[str, Any]) -> None:
    table = Table("measured", "", "to reach", "", title="streamer, ratios within one run")

    def row(name: str, value: float, target: float, more: bool) -> None:
        fine = value >= target if more else value <= target
        table.add_row(name, f"{value:g}", f"{'≥' if more else '≤'} {target:g}", "✓" if fine else "✗")

    for models, value in found["floor_ratio"].items():
        row(f"of the decode floor, {models} models", value, TARGETS["floor"][int(models)], True)
    for models, value in found["stock_faust_ratio"].items():
        row(f"times stock Faust, {models} models", value, TARGETS["stock"][int(models)], True)
    row("windows of 100,000 over 100", found["window_ratio"], 1.2, False)
    row("with a reference of 10 features, of without", found["reference_ratio"], 0.85, True)
    row("a backtest, of a worker of one model", found["backtest_ratio"], 1.0, True)
    row("alert p99, ms", found["alert_p99_ms"], 250, False)
    row("bytes per pending prediction", found["bytes_per_pending"], 200, False)
    row("restore of a million pending, s", found["restore_seconds"], 10, False)
    out.print(table)
    out.print(f"after {found['seconds']} s; written to benchmarks/results/latest.json")


if __name__ == "__main__":
    sys.exit(main())
