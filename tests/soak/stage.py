"""Where the soak takes place: bounded topics, one worker on them, and what can be measured there."""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial
from pathlib import Path

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streamer.adapters import codec
from streamer.adapters.alert_log import AlertLog
from streamer.adapters.deployment import commit_seen, look_at, read_raw
from streamer.adapters.scrape import Scrape, fetch
from streamer.adapters.topics import Topics, create
from streamer.checkpoint import Checkpoint
from streamer.config import parse_objectives
from streamer.domain.partition import Partition
from streamer.home import home
from streamer.local import LocalKafka
from streamer.pipeline import Pipeline
from tests.e2e.worker_process import WorkerProcess
from tests.soak.evidence import Probe, Sample
from tests.soak.traffic import GUESTS, MODELS, PARTITIONS

# Predictions expire, ids are forgotten before their time, guests fill what room there is, a third version of
# a model shares with all that follow: after a few minutes everything that can be full is.
OBJECTIVES = f"""
revision: 1
limits:
  max_models: {(MODELS + GUESTS) // PARTITIONS}
  max_versions: 2
  max_recent: 100000
  max_features_total: 600
defaults:
  task: binary
  label_wait: 2m
  park: 30s
  dedupe: 1m
  windows: [last 1000, last 5m, lifetime]
  objectives:
    accuracy: {{min: 0.85, window: last 1000}}
    latency_p95: {{max: 250ms, window: last 1000}}
    label_coverage: {{min: 0.80}}
  drift:
    error: {{detectors: [adwin, page_hinkley], quiet: 2000 labels}}
    score: [adwin]
    features: {{feature_0: {{detectors: [adwin], quiet: 2000 values}}}}
"""
MAX_SERIES = 10_000
# A few minutes of the sources are on the disk; the broker looks every minute for what may go.
BOUNDED = {"retention.ms": "300000", "segment.ms": "60000", "segment.bytes": "33554432"}
MB = 1e6


class Stage:
    """A broker's topics under a prefix, and the objectives of who works on them."""

    def __init__(self, kafka: LocalKafka, prefix: str, scratch: Path) -> None:
        self.kafka, self.prefix, self.scratch = kafka, prefix, scratch
        self.base = {"bootstrap.servers": kafka.bootstrap}
        self.group = f"{prefix}group"
        self.names = Topics().prefixed(prefix)
        self.objectives = parse_objectives(OBJECTIVES)
        self.file = scratch / "objectives.yml"
        self.file.write_text(OBJECTIVES)
        create(self.base, self.names, partitions=PARTITIONS)
        self._bound()

    def worker(self) -> WorkerProcess:
        """One more worker on these topics."""
        settings = {"trace": "false", "max_series": str(MAX_SERIES)}
        return WorkerProcess(self.kafka.bootstrap, self.prefix, self.scratch, self.file, **settings)

    def _bound(self) -> None:
        """Let the broker delete what is old of the sources."""
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in BOUNDED.items()
        ]
        resources = [
            ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
            for name in (self.names.predictions, self.names.labels)
        ]
        admin = AdminClient({**self.base, "log_level": 0})
        for future in admin.incremental_alter_configs(resources).values():
            future.result(30)

    def sample(self, url: str, pid: int, at: float, events: int) -> Sample | None:
        """How the worker is; None while it does not answer."""
        text = fetch(f"{url}/metrics")
        if text is None:
            return None
        scrape = own_figures(text)
        return Sample(
            round(at, 1),
            round(resident_mb(pid), 1),
            sum(not line.startswith("#") for line in text.splitlines()),
            int(scrape.total("streamer_series_dropped")),
            int(scrape.total("streamer_predictions_pending")),
            int(scrape.total("streamer_lag_records")),
            round(max((value for _, value in scrape.matching("streamer_lag_seconds")), default=0.0), 2),
            round(self.state_mb(), 2),
            round(scrape.total("streamer_busy_seconds_total"), 1),
            int(scrape.total("streamer_partitions_quarantined")),
            events,
        )

    def state_mb(self) -> float:
        """The state topic's log segments on the broker's disk; not those that wait for their deletion."""
        total = 0
        for segment in self.kafka.data_dir.glob(f"node-*/{self.names.state}-*/*.log"):
            try:
                total += segment.stat().st_size
            except FileNotFoundError:
                continue  # compaction has just replaced it
        return total / MB

    def probe(self, at: float) -> Probe:
        """Read every partition's state and bring it to life, as a restart would, without fencing anybody."""
        deployment = look_at(self.base, self.group, self.names, "murmur2")
        live = size = 0
        began = time.monotonic()
        for number in range(PARTITIONS):
            # Asked for first: what is committed meanwhile makes the state newer, never older.
            seen = commit_seen(self.base, self.group, self.names.predictions, number)
            raw = read_raw(self.base, self.group, self.names.state, number)
            Checkpoint(codec, deployment.identity).restore(raw, partial(self._empty, number), seen)
            live += len(raw)
            size += sum(len(key) + len(value) for key, value in raw.items())
        return Probe(round(at, 1), live, round(size / MB, 3), round(time.monotonic() - began, 3))

    def _empty(self, number: int) -> Pipeline:
        partition = Partition(self.objectives, lambda model: home(model, PARTITIONS) == number)
        return Pipeline(partition, number, (self.names.predictions, self.names.labels), codec.decode_event)

    def kept_from(self) -> tuple[int, ...]:
        """The oldest offsets of predictions and labels that retention has left."""
        begins = look_at(self.base, self.group, self.names, "murmur2").begins
        return tuple(offset for number in sorted(begins) for offset in begins[number])

    def alerts(self) -> tuple[int, int]:
        """How many incidents were told, and how many that were over."""
        log = AlertLog(self.base, self.names.alerts)
        try:
            told = [alert["status"] for alert in log.so_far()]
        finally:
            log.close()
        return told.count("firing"), told.count("resolved")


def own_figures(text: str) -> Scrape:
    """What a worker says about itself: to read the models' series as well takes half a second of a core."""
    return Scrape("\n".join(line for line in text.splitlines() if line.startswith("streamer_")) + "\n")


def resident_mb(pid: int) -> float:
    """The memory of a process that is in RAM, in MB."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MB
    except FileNotFoundError:
        told = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
        )
        return int(told.stdout) * 1024 / MB
