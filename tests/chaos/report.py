"""docs/reliability.md: each promise, how it is tested, what was found. Made of the results, never typed."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.results import ROOT, Entry, Results
from tests.limits import report as limits
from tests.soak import report as soak

PAGE = ROOT / "docs" / "reliability.md"

# The promise in its words, and what tests it.
PROMISES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "**Exactly once in state and in alerts.** After any crash, kill or rebalance every figure equals that"
        " of a run that was never disturbed over the same order of records, and a `read_committed` subscriber"
        " sees each alert transition once.",
        (
            "tests/chaos",
            "tests/e2e/test_kills.py",
            "tests/e2e/test_membership.py",
            "tests/e2e/test_outage.py",
            "tests/test_checkpoint.py",
        ),
    ),
    (
        "**Nothing is dropped in silence**, by two identities over the counters: predictions consumed ="
        " accepted + duplicate + dead letter, where accepted = joined + pending + expired; labels consumed ="
        " joined + parked + unmatched + late + duplicate + conflicting + dead letter.",
        (
            "tests/chaos",
            "tests/test_pipeline.py",
            "tests/e2e/test_fuzz.py",
            "tests/e2e/test_unreadable.py",
        ),
    ),
    (
        "**A worker that was replaced cannot write.** (fenced)",
        (
            "tests/chaos",
            "tests/adapters/test_transactions.py",
            "tests/adapters/test_member.py",
            "tests/adapters/test_ownership.py",
            "tests/e2e/test_kills.py",
        ),
    ),
    (
        "**No bad record stops a worker; no bad partition stops the others.** State that cannot be trusted"
        " quarantines its partition (assigned, not consumed, a metric, not ready), with a message that says"
        " what is wrong and how to mend it.",
        (
            "tests/e2e/test_fuzz.py",
            "tests/e2e/test_quarantine.py",
            "tests/adapters/test_quarantine.py",
            "tests/adapters/test_commits.py",
        ),
    ),
    (
        "**Bounded**: memory, Prometheus series, snapshot size and start-up time have a stated bound that"
        " config sets, and a stated behaviour at the bound (expire the oldest with reason `capacity`;"
        " `other`), counted.",
        (
            "tests/domain/test_join.py",
            "tests/domain/test_model.py",
            "tests/adapters/test_exposition.py",
        ),
    ),
)

HEAD = """# Reliability

What is promised, how each promise is tested, and what the tests found. `make chaos` writes this page from
[its results](../tests/chaos/results/latest.json); `make reliability` writes it from those that are there.

## Promises
"""

HOW = """
## How a schedule goes
A schedule is drawn from its seed: one to three workers, with or without names of their own in the group,
three to six partitions, eight models that turn bad and good again, at least 100,000 predictions and labels
with duplicates, conflicts, orphans and garbage among them, and three to five faults:

- SIGKILL, and SIGTERM, which has to end well within 20 s; the worker comes back, at once or after others
  have done its work,
- SIGSTOP until others have its partitions and have committed them, then SIGCONT: a zombie that wakes up with
  work in hand,
- the same with an heir that bears the zombie's own name: the group keeps one of the two, the other ends with
  status 1,
- one more worker, one less.

Faults are aimed: into a commit (the worker is held until the brokers say that its transaction is open), into
a restore (its log says so) or a rebalance (the group's coordinator says so). The victim must have committed
before, in every partition it has.

The judge trusts no figure of the program. It counts what was sent and what the topics hold, replays the order
that the commits recorded through a pipeline that nothing ever interrupts, and compares to the last bit:
alerts, reports, dead letters, the state that the next owner would begin with. Both identities are checked
there, and over /metrics of the living workers. Each way in which it can find against the program has a test
with doctored evidence (tests/chaos/test_judge.py).

## Do it again
```sh
make chaos                          # ten schedules with new seeds; they add up in the results
make chaos MINUTES=60               # as many as fit into an hour
make chaos SEED=7 SCHEDULES=1       # one seed again
make chaos REPARTITION=1            # with a router, on seeds of its own count
make chaos BROKERS=1                # brokers and network
.venv/bin/python -m tests.chaos --seed 7 --plan   # what happens under it
```
Short forms are part of `make test`: tests/chaos/test_chaos.py (fixed seeds) and tests/chaos/test_brokers.py.
"""


def page_of(results: Results) -> str:
    """The whole page."""
    lines = [HEAD]
    for number, (words, tests) in enumerate(PROMISES, start=1):
        where = ", ".join(f"[{path}](../{path})" for path in tests)
        lines.append(f"{number}. {words}\n   Tested by {where}.\n")
    lines += [_found(results), _routed(results), _siege(results.brokers)]
    lines += ["\n" + "\n".join(each.section()) + "\n" for each in (soak, limits)]
    lines.append(HOW)
    return "".join(lines)


def _found(results: Results) -> str:
    totals = results.totals()
    if not results.entries:
        return "\n## What was found\nNothing was tried yet.\n"
    return f"\n## What was found\nSchedules with {_table(totals, results.entries)}"


def _routed(results: Results) -> str:
    if not results.routed:
        return ""
    return (
        "\n## Sources of any key\nThe same with `repartition: true`: records lie anywhere in sources of other"
        " numbers of partitions, under keys that say nothing and clients' clocks. The judge also holds what"
        " the router wrote against the sources: each record once, as it was, in its order, at its model's"
        " home."
        f" Schedules with {_table(results.totals(True), results.routed)}"
    )


def _table(totals: Entry, entries: dict[int, Entry]) -> str:
    """Which seeds, what came of them, and each that failed."""
    rows = "\n".join(f"| {what} | {value} |" for what, value in _rows(totals))
    revisions = ", ".join(f"`{each}`" for each in totals["revisions"])
    text = (
        f"seeds {_spans(sorted(entries))}, {totals['seconds'] / 3600:.1f} hours of them, on"
        f" revision {revisions} (`+`: with changes that were not committed yet).\n\n"
        f"| | |\n|---|---|\n{rows}\n"
    )
    failed = [(seed, entry) for seed, entry in sorted(entries.items()) if entry["failed"]]
    for seed, entry in failed:
        text += f"\n- Seed {seed} failed: {'; '.join(entry['failed'])}"
    return text + ("\n" if failed else "")


def _siege(entry: Entry | None) -> str:
    if entry is None:
        return ""
    rows = "\n".join(
        f"| {trouble} | {times} | {entry['recovered_s'][trouble]:.1f} s |"
        for trouble, times in entry["troubles"].items()
    )
    failed = f"\n**It failed**: {'; '.join(entry['failed'])}.\n" if entry["failed"] else ""
    return f"""
## Brokers and network
Three brokers (three copies, two of them needed), each behind a TCP proxy, and two workers under load,
for {entry["seconds"] / 60:.0f} minutes, on revision `{entry["revision"]}`. The workers wait, say so, and
come back by themselves: no process is started again.
{failed}
{entry["records"]:,} records, {entry["lost"]:,} lost, {entry["twice"]:,} counted twice;
{entry["alerts"]:,} alert transitions, {entry["alert_differences"]:,} missing, wrong or too many.

| trouble | times | every partition commits again after |
|---|---|---|
{rows}
"""


def _rows(totals: Entry) -> list[tuple[str, str]]:
    signals = ", ".join(f"{kind} {times}" for kind, times in totals["kills_by_signal"].items())
    aims = ", ".join(
        f"{moment} {totals['hits'].get(moment, 0)} of {aimed}" for moment, aimed in totals["aimed"].items()
    )
    return [
        ("schedules", f"{totals['schedules']:,}"),
        ("schedules that broke a promise", f"{totals['failed']:,}"),
        ("workers killed, stopped or frozen", f"{totals['kills']:,} ({signals})"),
        ("faults that met what they were aimed at", aims),
        ("workers started", f"{totals['joins']:,}"),
        (
            "zombies that woke up",
            f"{totals['zombies']:,}, {totals['zombies_refused']:,} with a commit refused",
        ),
        ("commits", f"{totals['commits']:,}"),
        ("transactions cut off in their middle", f"{totals['commits_cut']:,}"),
        *([("records in such ones of routers", f"{totals['unrouted']:,}")] if "unrouted" in totals else []),
        ("records", f"{totals['records']:,}"),
        ("records lost", f"{totals['lost']:,}"),
        ("records counted twice", f"{totals['twice']:,}"),
        ("alert transitions", f"{totals['alerts']:,}"),
        ("alert transitions missing, wrong or too many", f"{totals['alert_differences']:,}"),
        ("alert transitions told twice", f"{totals['alerts_twice']:,}"),
        ("restores", f"{totals['restores']:,}"),
        ("longest restore", f"{totals['longest_restore_s']:.1f} s"),
    ]


def _spans(seeds: list[int]) -> str:
    """``1 to 5, 9``."""
    spans: list[list[int]] = []
    for seed in seeds:
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    return ", ".join(f"{a} to {b}" if a != b else str(a) for a, b in spans)


def write(results: Results, page: Path = PAGE) -> None:
    """Write the page anew."""
    page.write_text(page_of(results))


if __name__ == "__main__":
    write(Results())
