"""``make soak``: a steady load on one broker and one worker, and whether anything grows or is lost.

Exit status: 0 every promise held, 1 one was broken, 130 ended by Ctrl-C (what was seen by then is saved).
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from streamer.local import LocalKafka
from tests.chaos.results import revision
from tests.soak.judge import JUDGED_MINUTES, judge
from tests.soak.results import WHOLE_MINUTES, WHOLE_RATE, entry_of, file_for, save
from tests.soak.run import Soak
from tests.soak.traffic import Plan

INTERRUPTED = 130
SETTLED = 0.9  # of the first third
LONGEST_WINDOW_SECONDS = 300.0  # of the objectives; lifetime aside, which has no end
EXAMPLES = f"""
examples:
  python -m tests.soak                   an hour at {WHOLE_RATE:,} events a second
  python -m tests.soak --minutes 3       a trial; growth is judged from {JUDGED_MINUTES:.0f} minutes on

Runs of {WHOLE_MINUTES:.0f} minutes or more are kept in tests/soak/results/latest.json, shorter ones in
build/soak.json, what Ctrl-C ended in build/soak-unfinished.json.
"""


def plan_for(minutes: float, rate: int, seed: int) -> Plan:
    """Moods and delays that fit into the time: all that can be full is so after the first third.

    Whoever comes last has a window of five minutes to fill by then.
    """
    seconds = 60 * minutes
    delay = min(60.0, seconds / 6)
    # A trial is over before such a window is full.
    window = LONGEST_WINDOW_SECONDS if seconds / 3 > 2 * LONGEST_WINDOW_SECONDS else 0.0
    return Plan(rate, SETTLED * (delay + seconds / 3) - window, min(480.0, seconds / 2), delay, seed)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long [default: 60]")
    parser.add_argument(
        "--rate", type=int, default=WHOLE_RATE, help=f"events a second [default: {WHOLE_RATE:,}]"
    )
    parser.add_argument("--seed", type=int, default=11, help="of the traffic [default: 11]")
    parser.add_argument("--results", type=Path, help="the file they are written to")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = _options().parse_args(arguments)
    code, interrupted = revision(), False
    scratch = Path(tempfile.mkdtemp(prefix="soak-"))
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell lets what it runs behind ignore Ctrl-C
        signal.signal(number, _as_interrupt)
    say = partial(print, flush=True)
    say(f"revision {code}: {options.minutes:g} minutes at {options.rate:,} events a second")
    plan = plan_for(options.minutes, options.rate, options.seed)
    soak: Soak | None = None
    try:
        with LocalKafka(say=say) as kafka:
            soak = Soak(kafka, options.minutes, plan, scratch, say)
            soak.run()
    except KeyboardInterrupt:
        interrupted = True
    if soak is None:
        return INTERRUPTED
    problems = judge(soak.evidence)
    entry = entry_of(soak.evidence, problems, code)
    path = file_for(entry, options.results, interrupted)
    save(entry, path)
    say(
        f"{entry['events']:,} events, {entry['achieved_events_per_s']:,} a second; {entry['lost']} lost,"
        f" {entry['twice']} twice; memory {entry['rss_slope_mb_h']:+.1f} MB/h;"
        f" {'not finished' if interrupted else 'FAILED' if problems else 'held'}: {path}"
    )
    if interrupted:
        shutil.rmtree(scratch, ignore_errors=True)
        return INTERRUPTED
    if problems:
        say("\n".join([*problems, f"logs: {scratch}"]))
        return 1
    shutil.rmtree(scratch, ignore_errors=True)
    return 0


def _as_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
