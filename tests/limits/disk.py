"""The disk of the brokers is full: the worker waits, says so, and goes on by itself once there is room."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamer.jars import LocalKafkaError
from streamer.local import LocalKafka
from tests.deadline import wait_until
from tests.e2e.scene import Scene
from tests.e2e.traffic import OBJECTIVES
from tests.e2e.worker_process import WorkerProcess
from tests.limits.stage import MB, Clock, Outcome, Say, judged, stage

PARTITIONS = 4
PERIOD = 3_000
PATIENCE = 180.0
SETTLED_COMMITS = 8


@dataclass(frozen=True, slots=True)
class Size:
    """``disk`` in MB, ``left`` of it beside the ballast; records at least; ``times`` that it fills."""

    disk: int
    left: int
    least: int
    rate: int
    times: int


FULL = Size(disk=400, left=8, least=60_000, rate=1_500, times=3)
SHORT = Size(disk=160, left=2, least=12_000, rate=800, times=1)


class CannotMount(Exception):
    """This user, or this container, may not mount a file system; the message says what was refused."""


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A file system of its own with ``size`` MB, in memory. Raises CannotMount."""
    where = Path(tempfile.mkdtemp(prefix="small-disk-"))
    try:
        if not sys.platform.startswith("linux"):
            raise CannotMount("only Linux has tmpfs")
        try:
            _run("mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", str(where))
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise CannotMount(f"a tmpfs cannot be mounted here: {said.strip()}") from None
        try:
            yield where
        finally:
            _run("umount", "-l", str(where))
    finally:
        where.rmdir()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def cannot_mount() -> str | None:
    """Why this scene cannot be played here; None: it can."""
    try:
        with small_disk(1):
            return None
    except CannotMount as error:
        return str(error)


def play(_: str, scratch: Path, size: Size, say: Say) -> Outcome:
    """A broker of its own on a small disk. Raises CannotMount."""
    outcome, clock = Outcome(), Clock()
    with (
        small_disk(size.disk) as disk,
        LocalKafka(disk / "kafka") as kafka,
        stage(kafka.bootstrap, scratch, PARTITIONS, OBJECTIVES) as scene,
    ):
        _play(scene, kafka, disk, size, outcome, say)
    outcome.seconds = round(clock(), 1)
    return outcome


def _play(scene: Scene, kafka: LocalKafka, disk: Path, size: Size, outcome: Outcome, say: Say) -> None:
    worker = scene.start().await_ready()
    feeder = scene.feed(size.least, size.rate, period=PERIOD)
    ballast = disk / "ballast"
    told: list[float] = []
    recovered: list[float] = []
    for _ in range(size.times):
        worker.await_commits(SETTLED_COMMITS)
        _fill(ballast, size.left)
        _until(lambda: _halted(kafka), worker, "the broker has halted for want of room")
        full = Clock()
        _until(lambda: _says_so(worker), worker, "it says that it is not ready, and why")
        told.append(full())
        outcome.expect(_still_full(kafka), "a broker on a full disk came back, which was not the plan")
        ballast.unlink()
        room = Clock()
        kafka.restart()
        worker.await_commits(SETTLED_COMMITS, PATIENCE)
        _until(worker.ready, worker, "it is ready again")
        recovered.append(room())
        say(f"not ready after {told[-1]:.1f} s, at work again {recovered[-1]:.1f} s after there was room")
    sent = feeder.finish(PATIENCE)
    scene.await_consumed(sent, PATIENCE)
    log = worker.log.read_text(errors="replace")
    outcome.expect("broker" in log.lower(), "its log does not say a word about the broker")
    outcome.expect(len(scene.workers) == 1, "a worker was started again")
    outcome.expect(worker.total("streamer_partitions_quarantined") == 0, "a partition is quarantined")
    outcome.figures |= {
        "disk_mb": size.disk,
        "times": size.times,
        "not_ready_after_s": round(max(told), 1),
        "at_work_again_s": round(max(recovered), 1),
        "log_lines": log.count("\n"),
    }
    outcome.verdict.add(judged(scene, feeder.by_kind)[0])


def _fill(ballast: Path, left: int) -> None:
    """All of the disk but ``left`` MB."""
    size = shutil.disk_usage(ballast.parent).free - left * MB
    block = bytes(MB)
    with ballast.open("wb") as file:
        while size > 0:
            size -= file.write(block[: min(size, MB)])


def _halted(kafka: LocalKafka) -> bool:
    """Nobody listens there any more."""
    host, _, port = kafka.bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1.0).close()
    except OSError:
        return True
    return False


def _still_full(kafka: LocalKafka) -> bool:
    """Whoever starts the broker again now has no luck."""
    try:
        kafka.restart()
    except LocalKafkaError:
        return True
    return _halted(kafka)


def _says_so(worker: WorkerProcess) -> bool:
    status, words = worker.readiness()
    return status == 503 and "broker" in words


def _until(condition: Callable[[], bool], worker: WorkerProcess, why: str) -> None:
    """The worker has to live meanwhile."""

    def holds() -> bool:
        worker.check()
        return condition()

    wait_until(holds, PATIENCE, why)
