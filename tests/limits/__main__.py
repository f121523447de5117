"""``make limits``: too little memory, too many models, one that is too busy, a disk that is full.

Writes tests/limits/results/latest.json. Exit status: 0 every promise held, 1 one was broken,
130 ended by Ctrl-C (the scenes that were played by then are saved).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import traceback
from functools import partial
from pathlib import Path

from streamer.local import LocalKafka
from tests.limits.disk import CannotMount
from tests.limits.results import LATEST, Results, entry_of, revision
from tests.limits.scenes import SCENES, Scenario
from tests.limits.stage import Outcome

INTERRUPTED = 130
EXAMPLES = """
examples:
  python -m tests.limits                  all scenes, at most ten minutes
  python -m tests.limits --scene hot      one of them
  python -m tests.limits --short          all of them small, as in make test; results are not kept
"""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.limits",
        description=__doc__,
        epilog=EXAMPLES + "\nscenes:\n" + "\n".join(f"  {s.name:<8}{s.about}" for s in SCENES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scene", action="append", choices=SCENES, help="which; may be given again [all]")
    parser.add_argument("--short", action="store_true", help="small, and not kept")
    parser.add_argument("--results", type=Path, default=LATEST, help="the file they are kept in")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = _options().parse_args(arguments)
    results, code = Results(options.results), revision()
    broken = False
    print(f"revision {code}", flush=True)
    try:
        with LocalKafka(say=print) as kafka:
            for name in options.scene or SCENES:
                outcome = _play(SCENES[name], kafka.bootstrap, options.short)
                if outcome is None:
                    continue
                broken |= bool(outcome.verdict.problems)
                if not options.short:
                    results.add(name, entry_of(outcome, code))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1 if broken else 0


def _play(scene: Scenario, bootstrap: str, short: bool) -> Outcome | None:
    """None: it cannot be played here."""
    print(f"{scene.name}: {scene.about}", flush=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"limits-{scene.name}-"))
    say = partial(print, " ", flush=True)
    try:
        outcome = scene.play(bootstrap, scratch, scene.short if short else scene.full, say)
    except CannotMount as error:
        say(f"left out: {error}")
        return None
    except Exception as error:
        outcome = Outcome()
        outcome.expect(False, f"the scene could not be played: {error!s:.2000}")
        traceback.print_exc()
    verdict = outcome.verdict
    say(
        f"{'FAILED' if verdict.problems else 'held'}: {verdict.records:,} records, {verdict.lost} lost,"
        f" {verdict.twice} twice, {verdict.alert_differences} of {verdict.alerts:,} alerts wrong,"
        f" {outcome.seconds:.0f} s"
    )
    if verdict.problems:
        print("\n".join(verdict.problems[:20]), f"\nlogs: {scratch}", flush=True)
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
