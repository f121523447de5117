"""The section of docs/reliability.md on disk and memory. Made of the results, never typed."""

from __future__ import annotations

from collections.abc import Callable

from tests.limits.results import Entry, Results

COMMAND = "`make limits`"


def section(results: Results | None = None) -> list[str]:
    """Lines of markdown; none where nothing was measured yet."""
    results = Results() if results is None else results
    if not results.entries:
        return []
    revisions = sorted({entry["revision"] for entry in results.entries.values()})
    lines = [
        "## Disk and memory",
        f"Played by {COMMAND} on revision {', '.join(f'`{each}`' for each in revisions)}; short forms by",
        "[tests/limits/test_limits.py](../tests/limits/test_limits.py). The judge is that of the schedules.",
        "",
        "| scene | records | lost | twice | alerts | wrong or missing | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in results.entries.items():
        lines.append(
            f"| {name} | {entry['records']:,} | {entry['lost']:,} | {entry['twice']:,} | {entry['alerts']:,}"
            f" | {entry['alert_differences']:,} | {entry['seconds']:.0f} |"
        )
    for name, tell in TELLERS.items():
        if name in results.entries:
            entry = results.entries[name]
            lines += ["", *(_failed(name, entry) if entry["failed"] else tell(entry["figures"]))]
    return lines


def _failed(name: str, entry: Entry) -> list[str]:
    return [f"**{name} failed**: {'; '.join(entry['failed'])}."]


def _table(*rows: tuple[str, str]) -> list[str]:
    return ["", "| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]


def _memory(found: Entry) -> list[str]:
    gave = found["gave_way"]
    return [
        "**Memory.** Under a hard limit of the operating system and low `limits:` a worker lets the oldest"
        " go, counts it, and stays within. Where the limit is too small for what it was allowed to keep, it"
        " ends, and goes on from its last commit once it has more.",
        *_table(
            ("hard limit", f"{found['limit_mb']:.0f} MB of writable memory, stacks included"),
            (
                "the most it had",
                f"{found['peak_mb']:.0f} MB, {found['peak_resident_mb']:.0f} MB of it in RAM",
            ),
            ("predictions that came", f"{found['predictions']:,}"),
            ("expired by `capacity`", f"{gave['pending']:,}"),
            ("labels given up as `unmatched`", f"{gave['parked']:,}"),
            ("dead letters of further models and versions", f"{gave['models_and_versions']:,}"),
            ("values of further features left out", f"{gave['features']:,}"),
            (
                "too small",
                f"{found['small_limit_mb']:.0f} MB: it ended {_ending(found['ended_with'])}; its heir kept"
                f" {found['pending_then']:,} predictions pending",
            ),
        ),
    ]


def _ending(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status}"


def _models(found: Entry) -> list[str]:
    return [
        f"**{found['models']:,} models**, each with ten features and two windows, on one worker: the same"
        f" records as over {found['few']} models, but for the models' names.",
        *_table(
            (
                "records a second",
                f"{found['records_per_s']:,}, {found['ratio_to_few']:.2g} of those over {found['few']}",
            ),
            ("memory in RAM", f"{found['resident_mb']:,.0f} MB (few: {found['few_resident_mb']:,.0f} MB)"),
            ("a commit", f"{found['commit_median_s']:.2f} s, the longest {found['commit_longest_s']:.2f} s"),
            (
                "/metrics",
                f"{found['series']:,} series, {found['series_dropped']:,} more folded into `other`;"
                f" {found['scrape_mb']:.1f} MB in {found['scrape_median_s']:.2f} s,"
                f" the longest {found['scrape_longest_s']:.2f} s",
            ),
            (
                "after kill -9",
                f"ready again in {found['ready_again_s']:.1f} s, the longest restore of a partition"
                f" {found['longest_restore_s']:.1f} s",
            ),
        ),
    ]  # fmt: skip


def _hot(found: Entry) -> list[str]:
    lines = [
        f"**A hot model**: {found['times']} times the traffic of each of {found['neighbours']} neighbours,"
        f" of which {found['neighbours_on_its_partition']} share its partition. How long the neighbours'"
        " alerts took, from a record's append to the sight of its alert: p50 / p99 / longest. No model that"
        " was well had an alert.",
        "",
        "| | on its partition | on others |",
        "|---|---|---|",
    ]  # fmt: skip
    for act, words in (
        ("alone", "without it"),
        ("beside", "beside it"),
        (
            "burst",
            f"while {found['burst_records']:,} records of it arrive in {found['burst_arrived_in_s']:.1f} s",
        ),
    ):
        each = found[act]
        lines.append(f"| {words} | {_delay(each['same_partition'])} | {_delay(each['other_partitions'])} |")
    return lines


def _delay(each: Entry) -> str:
    times = f"{each['p50_ms']:,} / {each['p99_ms']:,} / {each['longest_ms']:,} ms"
    return f"{times} ({each['alerts']:,} alerts)"


def _disk(found: Entry) -> list[str]:
    return [
        "**A full disk.** The broker's data directory lies on a file system of its own, which fills up under"
        " load until the broker halts. The worker waits and says so; once there is room and the broker is"
        " started again, it goes on by itself.",
        *_table(
            ("times that it filled up", f"{found['times']}, on {found['disk_mb']} MB"),
            ("/readyz says so", f"after {found['not_ready_after_s']:.1f} s at most"),
            ("ready and at work again", f"{found['at_work_again_s']:.1f} s at most after there was room"),
        ),
    ]


TELLERS: dict[str, Callable[[Entry], list[str]]] = {
    "memory": _memory,
    "models": _models,
    "hot": _hot,
    "disk": _disk,
}
