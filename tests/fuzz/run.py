"""``make fuzz``: a campaign, its figures in results/latest.json; exit status 1 if a promise broke.

python -m tests.fuzz.run --payloads 1000000 --seed 7
"""

from __future__ import annotations

import argparse
import resource
import secrets
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from tests.fuzz.campaign import Campaign
from tests.fuzz.payloads import FLOOD
from tests.fuzz.trial import MAX_SERIES, Tally

RESULTS = Path(__file__).parent / "results" / "latest.json"
PAGE_MB = resource.getpagesize() / 1e6
# By the first half everything is full that can be; what is left is noise of the allocator.
GROWTH = 1.15
GROWTH_MB = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--payloads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9), help="the same again")
    given = parser.parse_args()
    print(f"{given.payloads:,} payloads, seed {given.seed}", flush=True)
    campaign = Campaign(given.payloads, given.seed)
    memory: list[tuple[int, float]] = []
    step = max(1, given.payloads // 40)
    began = time.monotonic()

    def watch(tally: Tally) -> None:
        if tally.payloads >= step * (len(memory) + 1):
            memory.append((tally.payloads, round(resident_mb(), 1)))
            if len(memory) % 4 == 0:
                print(f"{tally.payloads:>9,} payloads, {memory[-1][1]:.0f} MB", flush=True)

    tally = campaign.run(watch)
    found = report(campaign, tally, memory) | {"seconds": round(time.monotonic() - began, 1)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    for finding in tally.findings:
        print(f"\n{finding.lane}, round {finding.round}: {finding.error}\n{finding.payload}\n{finding.stack}")
    bounded = found["memory"]["bounded"]
    print(f"{len(tally.findings)} findings, memory {'bounded' if bounded else 'GROWS'}: {RESULTS}")
    return 0 if not tally.findings and bounded else 1


def resident_mb() -> float:
    """The memory of this process that is in RAM, in MB; as of its peak where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB
    except OSError:
        return peak_mb()


def peak_mb() -> float:
    """The most it ever was, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def report(campaign: Campaign, tally: Tally, memory: list[tuple[int, float]]) -> dict[str, Any]:
    """All that was tried and seen, as plain values."""
    half = memory[len(memory) // 2 :]
    before, after = (max((mb for _, mb in part), default=0.0) for part in (memory[: len(memory) // 2], half))
    return {
        "payloads": tally.payloads,
        "seed": campaign.seed,
        "exceptions": [asdict(finding) for finding in tally.findings],
        "dead_letters": dict(tally.dead.most_common()),
        "identities": campaign.identities(),
        "checks": dict(tally.checks),
        "floods": {"seconds": tally.floods, "new_names_of_each_kind": FLOOD},
        "commits": tally.commits,
        "restores": tally.restores,
        "alerts": tally.alerts,
        "series": {"most": tally.most.get("series", 0), "limit": MAX_SERIES},
        "most": {what: size for what, size in sorted(tally.most.items()) if what != "series"},
        "memory": {
            "peak_mb": round(peak_mb(), 1),
            "slope_mb_per_100k": _slope(half),
            "bounded": after <= max(before * GROWTH, before + GROWTH_MB),
            "resident_mb": memory,
        },
    }


def _slope(points: list[tuple[int, float]]) -> float:
    """Least squares: MB for every 100,000 payloads."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return round(100_000 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread, 2)


if __name__ == "__main__":
    sys.exit(main())
