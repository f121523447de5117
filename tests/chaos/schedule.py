"""What happens in one schedule: a pure function of its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

MOST_WORKERS = 3


class Kind(StrEnum):
    """What is done to the workers."""

    KILL = "kill"  # SIGKILL; it comes back
    STOP = "stop"  # SIGTERM; it comes back
    FREEZE = "freeze"  # SIGSTOP until others have done its work for a while, then SIGCONT: the zombie
    DOUBLE = "double"  # the same, but its heir bears its own name, which ends it for good
    JOIN = "join"  # one more
    LEAVE = "leave"  # SIGTERM, for good


class Moment(StrEnum):
    """What the victim is in the middle of."""

    ANY = "any"
    COMMIT = "commit"
    RESTORE = "restore"
    REBALANCE = "rebalance"


FATAL = (Kind.KILL, Kind.STOP)
NEWCOMERS = (Moment.RESTORE, Moment.REBALANCE)  # somebody joins to bring such a moment about
WEIGHTS = {
    (Kind.KILL, Moment.ANY): 1.0,
    (Kind.KILL, Moment.COMMIT): 3.0,
    (Kind.KILL, Moment.RESTORE): 1.5,
    (Kind.KILL, Moment.REBALANCE): 1.5,
    (Kind.STOP, Moment.ANY): 0.5,
    (Kind.STOP, Moment.COMMIT): 1.0,
    (Kind.STOP, Moment.RESTORE): 1.0,
    (Kind.STOP, Moment.REBALANCE): 1.0,
    (Kind.FREEZE, Moment.COMMIT): 3.0,
    (Kind.FREEZE, Moment.RESTORE): 1.0,
    (Kind.FREEZE, Moment.REBALANCE): 1.0,
    (Kind.DOUBLE, Moment.COMMIT): 3.0,
    (Kind.JOIN, Moment.ANY): 1.0,
    (Kind.LEAVE, Moment.ANY): 1.0,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    ``after``: the share of the least number of records that has been sent by then.
    ``victim``: which of those at work, counted round. ``depth``: seconds into a restore.
    ``heirs_first``: a dead one comes back only after the others have done its work.
    """

    kind: Kind
    moment: Moment
    after: float
    victim: int
    depth: float
    heirs_first: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """``static``: workers have names in the group that outlive them. ``rate``: records a second.

    ``period``: after how many predictions the models turn bad, and good again. ``sources``: partitions
    of predictions and of labels where records of any key lie anywhere and a router brings them home;
    None: they lie at home.
    """

    seed: int
    workers: int
    partitions: int
    static: bool
    records: int
    rate: int
    period: int
    faults: tuple[Fault, ...]
    sources: tuple[int, int] | None = None


def draw(
    seed: int, records: int = 100_000, rate: int = 6_000, period: int = 15_000, repartition: bool = False
) -> Schedule:
    """The schedule of a seed. Its faults depend neither on ``records`` nor on ``repartition``."""
    chance = random.Random(seed)
    workers = alive = chance.randint(1, MOST_WORKERS)
    static = chance.random() < 0.4
    partitions = chance.choice((3, 4, 6))
    faults: list[Fault] = []
    for after in sorted(chance.uniform(0.1, 0.9) for _ in range(chance.randint(3, 5))):
        slow = any(each.kind is Kind.FREEZE for each in faults)  # it waits for a session to end
        kind, moment = _choose(chance, alive, static, slow)
        alive += _change(kind, moment)
        fault = Fault(
            kind,
            moment,
            round(after, 3),
            chance.randrange(MOST_WORKERS),
            round(chance.choice((0.0, 0.05, 0.15, 0.3)), 2),
            chance.random() < 0.5,
        )
        faults.append(fault)
    sources = _sources(seed) if repartition else None
    return Schedule(seed, workers, partitions, static, records, rate, period, tuple(faults), sources)


def _sources(seed: int) -> tuple[int, int]:
    """From a stream of its own: what is drawn besides stays as it was."""
    chance = random.Random(f"sources of {seed}")
    return chance.randint(1, 7), chance.randint(1, 5)


def _choose(chance: random.Random, alive: int, static: bool, slow: bool) -> tuple[Kind, Moment]:
    def possible(kind: Kind, moment: Moment) -> bool:
        if kind is Kind.JOIN or moment in NEWCOMERS:
            fits = alive < MOST_WORKERS
        elif kind in (Kind.LEAVE, Kind.FREEZE):
            fits = alive > 1
        else:
            fits = static or kind is not Kind.DOUBLE
        return fits and not (slow and kind is Kind.FREEZE)

    choices = [each for each in WEIGHTS if possible(*each)]
    return chance.choices(choices, [WEIGHTS[each] for each in choices])[0]


def _change(kind: Kind, moment: Moment) -> int:
    """By how many there are more workers afterwards."""
    if kind is Kind.LEAVE:
        return -1
    if kind is Kind.JOIN or (kind is Kind.FREEZE and moment in NEWCOMERS):
        return 1
    return 0
