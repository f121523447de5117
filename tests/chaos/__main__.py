"""``make chaos``: random schedules of faults, minutes to hours of them, each judged to the last record.

Exit status: 0 every promise held, 1 one was broken, 130 ended by Ctrl-C (what was done by then is saved).
"""

from __future__ import annotations

import argparse
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from streamer.local import LocalKafka
from tests.chaos import report
from tests.chaos.brokers import FULL, NODES, Siege
from tests.chaos.play import Abandoned, Outcome, Play
from tests.chaos.proxy import ProxiedKafka
from tests.chaos.results import LATEST, Entry, Results, entry_of, revision, siege_entry
from tests.chaos.schedule import Schedule, draw

RECORDS = 100_000
INTERRUPTED = 130
CLOSE_SECONDS = 40.0
EXAMPLES = """
examples:
  python -m tests.chaos                          ten schedules with seeds that were never tried
  python -m tests.chaos --seed 7 --schedules 1   seed 7 again
  python -m tests.chaos --minutes 60             as many as fit into an hour
  python -m tests.chaos --repartition            the same with a router, on seeds of its own count
  python -m tests.chaos --brokers                brokers and network fail instead of workers
  python -m tests.chaos --seed 7 --plan          what happens under seed 7, without doing it
"""

Done = tuple[Schedule, Outcome, Path]


class Crew:
    """Plays seeds on one broker, ``side_by_side`` at a time; ``done``: what came out, in the order it did."""

    def __init__(self, bootstrap: str, seeds: Iterator[int], side_by_side: int, how: dict[str, int]) -> None:
        self.bootstrap, self.seeds, self.how = bootstrap, seeds, how
        self.done: queue.Queue[Done] = queue.Queue()
        self.stopping = threading.Event()
        self.interrupted = False
        self._lock = threading.Lock()
        self._plays: dict[int, Play] = {}
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(side_by_side)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (seed := self._next()) is not None:
            schedule = draw(seed, **self.how)
            scratch = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
            play = self._plays[seed] = Play(schedule, self.bootstrap, scratch)
            try:
                outcome = play.run()
            except Abandoned:
                return
            except Exception as error:
                outcome = play.outcome
                outcome.verdict.problems.append(f"the schedule could not be played: {error!r}")
            finally:
                del self._plays[seed]
            if not self.stopping.is_set():  # Ctrl-C reaches the workers as well
                self.done.put((schedule, outcome, scratch))

    def _next(self) -> int | None:
        with self._lock:
            return None if self.stopping.is_set() else next(self.seeds, None)

    def interrupt(self, *_: Any) -> None:
        """From a signal."""
        self.interrupted = True
        self.stop()

    def stop(self) -> None:
        """End what is being played."""
        self.stopping.set()
        for play in list(self._plays.values()):
            play.abandon()

    def results(self) -> Iterator[Done]:
        """Until all is done, or somebody stops it."""
        while not self.stopping.is_set():
            busy = any(thread.is_alive() for thread in self._threads)
            try:
                yield self.done.get(timeout=0.2)
            except queue.Empty:
                if not busy:
                    return

    def close(self) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)


def line_of(seed: int, entry: Entry) -> str:
    """One schedule's line on the terminal."""
    kills = ", ".join(f"{kind} {times}" for kind, times in entry["kills"].items())
    return (
        f"seed {seed:<5} {'FAILED' if entry['failed'] else 'held':<7} {entry['records']:>9,} records"
        f"  lost {entry['lost']}  twice {entry['twice']}  alerts {entry['alerts']},"
        f" wrong {entry['alert_differences']}  {kills}  restores {entry['restores']},"
        f" longest {entry['longest_restore_s']:.1f} s  {entry['seconds']:.0f} s"
    )


def plan_of(schedule: Schedule) -> str:
    """What happens under a seed."""
    members = "with names of their own" if schedule.static else "without names"
    lines = [
        f"seed {schedule.seed}: {schedule.workers} workers {members}, {schedule.partitions} partitions,"
        f" at least {schedule.records:,} records, {schedule.rate:,} a second"
    ]
    if schedule.sources:
        lines.append("  sources of any key, with {} and {} partitions".format(*schedule.sources))
    lines += [
        f"  after {fault.after:.0%}: {fault.kind} (moment: {fault.moment}, victim {fault.victim})"
        for fault in schedule.faults
    ]
    return "\n".join(lines)


def _seeds(first: int, most: int | None, minutes: float | None) -> Iterator[int]:
    end = None if minutes is None else time.monotonic() + 60 * minutes
    for seed in islice(count(first), most):
        if end is not None and time.monotonic() > end:
            return
        yield seed


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--schedules", type=int, help="how many [default: 10, or what --minutes allows]")
    parser.add_argument("--minutes", type=float, help="begin no schedule after that long")
    parser.add_argument("--seed", type=int, help="the first seed [default: the first never tried]")
    parser.add_argument("--anew", action="store_true", help="forget the results so far")
    parser.add_argument("--side-by-side", type=int, default=2, help="schedules at a time [default: 2]")
    parser.add_argument(
        "--records", type=int, default=RECORDS, help=f"of a schedule, at least [default: {RECORDS}]; results"
        " of fewer are not kept",
    )  # fmt: skip
    parser.add_argument(
        "--brokers", action="store_true", help="instead: three brokers and their network fail, some minutes"
    )
    parser.add_argument(
        "--repartition", action="store_true", help="sources of any key and number of partitions, and a router"
    )
    parser.add_argument("--plan", action="store_true", help="print what would happen, and do nothing")
    parser.add_argument("--results", type=Path, default=LATEST, help="the file they are added to")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = _options().parse_args(arguments)
    results = Results(options.results, options.anew)
    first = options.seed or results.next_seed(options.repartition)
    most = options.schedules or (None if options.minutes else 10)
    how = {"records": options.records, "repartition": options.repartition}
    if options.plan:
        for seed in range(first, first + (options.schedules or 1)):
            print(plan_of(draw(seed, **how)))
        return 0
    if options.brokers:
        return _besiege(results)
    code, broken = revision(), False
    print(f"revision {code}, seeds from {first} on", flush=True)
    with LocalKafka(say=print) as kafka:
        crew = Crew(kafka.bootstrap, _seeds(first, most, options.minutes), options.side_by_side, how)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, crew.interrupt)
        try:
            for schedule, outcome, scratch in crew.results():
                entry = entry_of(schedule, outcome, code)
                broken |= bool(entry["failed"])
                print(line_of(schedule.seed, entry), flush=True)
                if entry["failed"]:
                    print("\n".join(outcome.verdict.problems), f"\nlogs: {scratch}", flush=True)
                else:
                    shutil.rmtree(scratch, ignore_errors=True)
                if options.records >= RECORDS and results.add(schedule.seed, entry):
                    results.save()
        finally:
            crew.close()
    if options.records >= RECORDS:
        print(summary(results.totals(options.repartition)))
        _write_page(results)
    return 1 if broken else INTERRUPTED if crew.interrupted else 0


def _besiege(results: Results) -> int:
    """Every trouble of brokers and network; answers the exit status."""
    scratch = Path(tempfile.mkdtemp(prefix="chaos-brokers-"))
    code = revision()
    print(f"revision {code}: three brokers behind proxies", flush=True)
    with ProxiedKafka(NODES) as kafka:
        siege = Siege(kafka, scratch, partial(print, flush=True))
        try:
            siege.run(FULL)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            siege.survival.verdict.problems.append(f"{error!s:.2000}")
    results.brokers = entry = siege_entry(siege.survival, code)
    results.save()
    _write_page(results)
    print(
        f"{entry['records']:,} records, {entry['lost']} lost, {entry['twice']} twice,"
        f" {entry['alert_differences']} of {entry['alerts']} alerts wrong, {entry['seconds']:.0f} s"
    )
    if not entry["failed"]:
        shutil.rmtree(scratch, ignore_errors=True)
        return 0
    print("\n".join(siege.survival.verdict.problems), f"\nlogs: {scratch}")
    return 1


def _write_page(results: Results) -> None:
    """docs/reliability.md, unless the results are kept elsewhere."""
    if results.path == LATEST:
        report.write(results)


def summary(totals: Entry) -> str:
    """All seeds so far, in one line."""
    return (
        f"{totals['schedules']} schedules, {totals['failed']} failed; {totals['kills']} kills,"
        f" {totals['records']:,} records, {totals['lost']} lost, {totals['twice']} twice,"
        f" {totals['alert_differences']} of {totals['alerts']:,} alerts wrong,"
        f" longest restore {totals['longest_restore_s']:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
