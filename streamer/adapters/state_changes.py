"""Changing a state from outside: forget a model, begin a partition anew; ``state_move`` puts one in.

Everything is planned first (``plan_…``), so that a person can be asked, and
then written (``carry_out``): one transaction of each partition's own
transactional id, with the alerts that it ends. A worker that comes meanwhile
fences it, or is fenced by it; neither loses anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from streamer.adapters import codec
from streamer.adapters.deployment import (
    Deployment,
    StateRefused,
    await_visible,
    read_raw,
    refuse_while_at_work,
    tell_group,
)
from streamer.adapters.state_alerts import alerts_of, endings, still_open
from streamer.adapters.state_view import Found, examine, manifest_of, unreadable_offsets
from streamer.adapters.transactions import Fenced, PartitionWriter, Rooms, Unreachable, Unwritable
from streamer.checkpoint import Checkpoint, OutRecord
from streamer.stored import Stored, empty, terms_of, without

Start = Literal["state", "earliest", "latest"]
TAKE_OVER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """What is to become of one partition.

    ``before``: its live records when this was planned; ``commit``: the last one that anybody has seen.
    ``outputs``: for alerts and reports. ``summary``: a sentence for a person.
    """

    partition: int
    before: dict[bytes, bytes]
    after: Stored
    commit: int
    outputs: tuple[OutRecord, ...]
    summary: str


# -- forget a model ------------------------------------------------------------------------


def plan_forget(at: Deployment, model: str, partition: int | None = None) -> list[Step]:
    """Forget one model, wherever it lies, or in this partition alone.

    Raises:
        StateRefused: nobody knows it, its partition's state cannot be trusted, or workers are at work.
    """
    refuse_while_at_work(at.base, at.group)
    steps, problems = [], []
    for number in numbers_of(at, partition):
        found = examine(at, number)
        if found.stored is None:
            problems += [found.problem] if found.problem else []
        elif ("model", model) in found.stored.cells:
            steps.append(_forgetting(at, number, found, found.stored, model))
    if not steps and problems:
        raise StateRefused("\n".join(problems))
    if not steps:
        where = "no partition" if partition is None else f"partition {partition} does not"
        knows = "knows" if partition is None else "know"
        raise StateRefused(f"{where} {knows} a model {model!r}: `streamer state show` lists them")
    return steps


def _forgetting(at: Deployment, number: int, found: Found, stored: Stored, model: str) -> Step:
    alerts = {
        key: alert for key, alert in still_open(alerts_of(at, number)).items() if alert["model"] == model
    }
    terms = terms_of(stored)[model]
    pending, joined = terms["predictions"]["pending"], terms["predictions"]["joined"]
    summary = (
        f"partition {number}: model {model} is forgotten, with {joined} joined and {pending} pending"
        f" predictions; {len(alerts)} open alerts end"
    )
    why = "was forgotten by `streamer state reset`"
    outputs = tuple(endings(alerts, f"{{}}: the model {why}"))
    return Step(number, found.raw, without(stored, model), newest(found), outputs, summary)


# -- begin anew ----------------------------------------------------------------------------


def plan_anew(at: Deployment, partition: int | None, start: Start) -> list[Step]:
    """Forget everything about this partition (None: about all), and read on from ``start``.

    Raises:
        StateRefused: one belongs to another group, its offsets cannot be gone on from, or workers are
            at work.
    """
    refuse_while_at_work(at.base, at.group)
    return [_anew(at, number, examine(at, number), start) for number in numbers_of(at, partition)]


def _anew(at: Deployment, number: int, found: Found, start: Start) -> Step:
    owner = _owner(found.raw)
    if owner not in (None, at.group):
        raise StateRefused(
            f"partition {number}: the state belongs to group {owner}, not to {at.group}: say --group {owner}"
            " if that one is meant; each group needs a state topic of its own"
        )
    last = (0, -1)
    if start == "state":
        if found.stored is None:
            raise StateRefused(
                f"partition {number}: there is no state whose offsets can be trusted"
                f" ({found.problem or 'nothing was ever committed'}): say --from earliest or --from latest"
            )
        problem = unreadable_offsets(at, number, found.stored.positions)
        if problem:
            raise StateRefused(problem)
        positions, last = found.stored.positions, found.stored.last
    else:
        positions = (at.begins if start == "earliest" else at.ends)[number]
    alerts = still_open(alerts_of(at, number))
    models = 0 if found.stored is None else len(found.stored.models)
    what = f"{models} models are forgotten" if found.stored is not None else "what lies there is given up"
    ahead = [end - position for end, position in zip(at.ends[number], positions, strict=True)]
    summary = (
        f"partition {number}: {what}, {len(alerts)} open alerts end; it begins anew at offsets"
        f" {positions[0]} and {positions[1]}, with {ahead[0]} and {ahead[1]} records ahead"
    )
    outputs = tuple(endings(alerts, "{}: its partition was begun anew by `streamer state reset`"))
    after = Stored(empty(), positions=positions, last=last)
    return Step(number, found.raw, after, newest(found), outputs, summary)


def numbers_of(at: Deployment, partition: int | None) -> Sequence[int]:
    """This partition, or all of them. Raises StateRefused where there is none of that number."""
    if partition is None:
        return range(at.partitions)
    if partition >= at.partitions:
        raise StateRefused(f"there is no partition {partition}: there are 0 to {at.partitions - 1}")
    return [partition]


# -- write ---------------------------------------------------------------------------------


def carry_out(
    at: Deployment, steps: Sequence[Step], done: Callable[[Step], None] = lambda step: None
) -> None:
    """Write what was planned, a partition at a time; ``done`` hears of each.

    Raises:
        StateRefused: workers are at work, or one came meanwhile; the message says how far it went.
    """
    owners = {_owner(step.before) for step in steps} - {None}
    refuse_while_at_work(at.base, at.group, *(str(owner) for owner in owners))
    commits: dict[int, int] = {}
    for step in steps:
        try:
            commits[step.partition] = _write(at, step)
        except (StateRefused, Fenced, Unreachable, Unwritable) as error:
            raise StateRefused(_how_far(step, commits, error)) from error
        done(step)
    await_visible(at, [step.partition for step in steps])
    tell_group(at, {step.partition: step.after.positions for step in steps}, commits)


def _write(at: Deployment, step: Step) -> int:
    """One partition, in one transaction; answers the commit's number."""
    rooms = Rooms({"trace": None, **at.topics.by_role()})
    writer = PartitionWriter(at.base, at.group, step.partition, rooms)
    try:
        writer.take_over(TAKE_OVER_SECONDS)
        if read_raw(at.base, at.group, at.topics.state, step.partition) != step.before:
            raise StateRefused("a worker has committed meanwhile: stop it, then try again")
        checkpoint = Checkpoint(codec, at.identity)
        checkpoint.number = step.commit
        after = step.after
        commit = checkpoint.rewrite(
            step.before, after.partition, after.cells, after.revision, after.positions, after.last
        )
        writer.write(replace(commit, records=[*commit.records, *step.outputs]))
        return commit.number
    finally:
        writer.close()


def _how_far(step: Step, commits: Mapping[int, int], error: Exception) -> str:
    text = str(error)
    if isinstance(error, Fenced):
        text = (
            "a worker has taken it over, or its records took longer than a transaction may (10 s): stop every"
            " `streamer worker` of the group, then try again"
        )
    number = step.partition
    text = text if text.startswith(f"partition {number}:") else f"partition {number}: {text}"
    if not commits:
        return f"{text}. Nothing was changed"
    written = ", ".join(map(str, commits))
    return (
        f"{text}. Partitions {written} are written, the others are as they were: run the same command again"
    )


def newest(found: Found) -> int:
    """The last commit that the state or the group speaks of."""
    told = manifest_of(found.raw)
    return max(found.commit_seen, 0 if told is None else int(told["commit"]))


def _owner(raw: Mapping[bytes, bytes]) -> str | None:
    """The group that a state says it belongs to."""
    told = manifest_of(raw)
    group = None if told is None else told["identity"].get("group")
    return None if group is None else str(group)
