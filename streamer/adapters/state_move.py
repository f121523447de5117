"""A state goes out into a file and comes back, under the same number of partitions or another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from streamer.adapters import state_file
from streamer.adapters.deployment import (
    Deployment,
    Pair,
    StateRefused,
    commit_seen,
    read_raw,
    refuse_while_at_work,
)
from streamer.adapters.kafka import ClientConfig
from streamer.adapters.state_alerts import alerts_of, read_alerts, reconcile, still_open
from streamer.adapters.state_changes import Start, Step, newest
from streamer.adapters.state_file import Frame, Header
from streamer.adapters.state_view import examine, judge, unreadable_offsets
from streamer.adapters.topics import Topics, cluster_of, why_missing
from streamer.domain.events import rfc3339
from streamer.home import home
from streamer.merge import LABELS, PREDICTIONS
from streamer.rehome import rehome
from streamer.stored import Inconsistent, Stored, open_incidents

KINDS = (PREDICTIONS, LABELS)
_NO_RECORD = (PREDICTIONS, -1)


def export(base: ClientConfig, group: str, topics: Topics, path: Path) -> tuple[Header, int]:
    """Write everything that a group's state topic holds into one file; answers its header and size.

    Workers may go on meanwhile: each partition is as of one of its commits.

    Raises:
        StateRefused, StateFileError: nothing there, or nothing that can be trusted; no file was made.
    """
    listed = cluster_of(base)
    missing = [name for name in (topics.state, topics.alerts) if name not in listed.topics]
    if missing:
        raise StateRefused(why_missing(base, missing))
    numbers = sorted(listed.topics[topics.state].partitions)
    now = rfc3339(int(time.time() * 1000))
    header = Header(group, str(listed.cluster_id), len(numbers), topics.state, now, len(numbers))
    return header, state_file.write(path, header, _frames(base, group, topics, numbers))


def _frames(base: ClientConfig, group: str, topics: Topics, numbers: Sequence[int]) -> Iterator[Frame]:
    anything = False
    for number in numbers:
        seen = commit_seen(base, group, topics.inputs[0], number)
        raw = read_raw(base, group, topics.state, number)
        # Where its topics are, or how many partitions they have, is what an export is there to change.
        found = judge(raw, number, {"group": group}, seen)
        if found.problem:
            raise StateRefused(found.problem)
        anything = anything or bool(raw)
        alerts = read_raw(base, group, topics.alerts, number) if raw else {}
        wanted = still_open(read_alerts(alerts))
        yield Frame(number, raw, {key: alerts[key] for key in wanted})
    if not anything:
        raise StateRefused(f"{topics.state} holds nothing: no worker of group {group} has ever committed")


def plan_import(at: Deployment, path: Path, start: Start, replaces: bool) -> list[Step]:
    """Put an exported state in, each model into its home among the partitions that there are now.

    Raises:
        StateFileError: the file cannot be used.
        StateRefused: there is state already, its offsets cannot be gone on from, or workers are at work.
    """
    refuse_while_at_work(at.base, at.group)
    _, frames = state_file.read(path)
    old: dict[int, Stored] = {}
    told: dict[bytes, bytes] = {}
    for frame in frames:
        found = judge(frame.records, frame.partition, {}, None)
        if found.problem:
            raise StateRefused(f"{path}: {found.problem}")
        if found.stored is not None:
            old[frame.partition] = found.stored
        told.update(frame.alerts)

    def at_home(model: str) -> int:
        return home(model, at.partitions, at.partitioner)

    try:
        fresh = rehome(old, at.partitions, at_home)
    except Inconsistent as error:
        raise StateRefused(f"{path}: {error}") from error
    everywhere = {name for stored in fresh.values() for name in open_incidents(stored.cells)}
    steps = []
    for number, stored in fresh.items():
        found = examine(at, number)
        if found.raw and not replaces:
            raise StateRefused(
                f"{at.topics.state} holds state already: add --replace to give it up for this file, or name"
                " an empty set of topics with --topic-prefix"
            )
        positions, last = _positions(at, number, old.get(number), start)
        after = replace(stored, positions=positions, last=last)
        outputs = tuple(
            reconcile(number, alerts_of(at, number), after, read_alerts(told), everywhere, at_home)
        )
        ahead = [end - position for end, position in zip(at.ends[number], positions, strict=True)]
        summary = (
            f"partition {number}: {len(after.models)} models; it goes on at offsets {positions[0]} and"
            f" {positions[1]}, with {ahead[0]} and {ahead[1]} records ahead"
        )
        steps.append(Step(number, found.raw, after, newest(found), outputs, summary))
    return steps


def _positions(at: Deployment, number: int, old: Stored | None, start: Start) -> tuple[Pair, Pair]:
    """Where to read on, and the last record before it: nothing that the state has seen comes again.

    The offsets in a state mean something only in the very topics that it is of.
    """
    begins, ends = at.begins[number], at.ends[number]
    if start == "latest":
        return ends, _NO_RECORD
    ids = ["", ""] if old is None else old.identity.get("topic_ids", ["", ""])
    here = old is not None and old.identity.get("cluster") == at.identity["cluster"]
    known = [here and mine == theirs for mine, theirs in zip(ids, at.identity["topic_ids"], strict=True)]
    if old is None or not any(known):
        return begins, _NO_RECORD
    seen = [old.positions[kind] if known[kind] else begins[kind] for kind in KINDS]
    if start == "earliest":
        seen = [min(max(seen[kind], begins[kind]), ends[kind]) for kind in KINDS]
    positions = (seen[0], seen[1])
    problem = unreadable_offsets(at, number, positions)
    if problem:
        raise StateRefused(problem)
    return positions, old.last if known[old.last[0]] else _NO_RECORD
