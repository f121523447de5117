"""One partition under fire: payloads in, commits and restarts in between, and everything that has to hold."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import Any

from prometheus_client import generate_latest

from streamer.adapters import codec
from streamer.adapters.exposition import Exposition, ProcessorStats
from streamer.adapters.kafka import LARGEST_STATE_RECORD
from streamer.adapters.seat import POISONS
from streamer.adapters.topics import DEAD_LETTER_EXTRA_BYTES, SOURCE_MESSAGE_BYTES
from streamer.checkpoint import Commit
from streamer.domain.bins import MAX_CLASSES
from streamer.domain.objectives import Objectives
from streamer.domain.profile import MAX_CATEGORIES
from streamer.domain.readings import PartitionReadings, read_partition
from streamer.pipeline import KINDS, Pipeline, Poison, Unreadable
from tests.domain.feed import START_MS, Disk, Record, build, facts
from tests.fuzz.payloads import FLOOD, Forge, Payload

ROUND = 2_000
MAX_SERIES = 1_000
LONGEST = 2_000
WAITS_MS = (1, 1, 3, 90, 400, 1_100, 2_500, 12_000, 700_000, 8 * 86_400_000)
WAIT_WEIGHTS = (60, 60, 40, 20, 10, 8, 6, 3, 0.3, 0.1)
# What fits into a record of each topic that a commit writes.
ROOMS = {
    "state": LARGEST_STATE_RECORD,
    "alerts": SOURCE_MESSAGE_BYTES,
    "reports": SOURCE_MESSAGE_BYTES,
    "dead_letters": SOURCE_MESSAGE_BYTES + DEAD_LETTER_EXTRA_BYTES,
}
TICK = -1
Step = tuple[int, Any]


class Broken(AssertionError):
    """A promise does not hold; the message says which, and with what figures."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An exception that left, or a promise that broke. ``payload``: the beginning of the bytes to blame."""

    lane: str
    round: int
    error: str
    payload: str
    stack: str


@dataclass
class Tally:
    """What was tried and seen, of all partitions together. ``most``: the largest ever, by what it is of."""

    payloads: int = 0
    floods: int = 0
    commits: int = 0
    restores: int = 0
    alerts: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    most: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def note(self, what: str, size: int) -> None:
        self.most[what] = max(size, self.most.get(what, 0))


class _Ledger(Disk):
    """A disk that weighs what is written and forgets all of it but the state."""

    def __init__(self, objectives: Objectives, tally: Tally) -> None:
        super().__init__(objectives)
        self.tally = tally
        self.dead_letters = 0
        self.digest = blake2b()

    def write(self, commit: Commit) -> None:
        for record in commit.records:
            headers = sum(len(name) + len(value) for name, value in record.headers)
            size = len(record.key) + len(record.value or b"") + headers
            self.tally.note(f"bytes of a record of {record.room}", size)
            if size > ROOMS[record.room]:
                raise Broken(f"a record of {size} bytes does not fit into {record.room}: {record.key[:80]!r}")
            if record.room == "alerts":
                self.tally.alerts += 1
                self.digest.update(record.value or b"")
            if record.room == "dead_letters":
                self.dead_letters += 1
                self.tally.dead[dict(record.headers)["reason"].decode()] += 1
        super().write(commit)
        self.alerts.clear()
        self.dead.clear()
        self.tally.commits += 1


class Trial:
    """A partition that lives through commits and restarts, beside a twin that nothing ever disturbs."""

    def __init__(self, lane: str, objectives: Objectives, chance: random.Random, tally: Tally) -> None:
        self.lane, self.objectives, self.chance, self.tally = lane, objectives, chance, tally
        # Few enough ids that labels still find their predictions where little may wait.
        self.forge = Forge(chance, ids=min(400, objectives.limits.max_pending))
        self.at, self.rounds, self.poisons = START_MS, 0, 0
        self.offsets, self.given = [0, 0], [0, 0]
        self._begin()

    def _begin(self) -> None:
        """An empty partition at the offsets that come next."""
        self.disk = _Ledger(self.objectives, self.tally)
        self.live, self.twin = build(self.objectives), build(self.objectives)
        for pipeline in (self.live, self.twin):
            pipeline.positions = list(self.offsets)
        self.twin_digest = blake2b()
        self.skip: set[tuple[int, int]] = set()
        self.since: list[Step] = []
        self.given = [0, 0]
        self.readings: PartitionReadings | None = None
        self._commit()

    def round(self, payloads: int = ROUND) -> None:
        """Payloads, with everything that may come in between, and then all checks."""
        self._run(self._steps(payloads))

    def flood(self, count: int = FLOOD) -> int:
        """A flood within one second of record time; answers how many payloads it had."""
        self.tally.floods += 1
        self.at = self.at // 1000 * 1000 + 1000
        steps = [self._step(payload) for payload in self.forge.flood(self.at, count)]
        self._run(steps)
        return len(steps)

    def _steps(self, count: int) -> list[Step]:
        chance = self.chance
        steps: list[Step] = []
        while len(steps) < count:
            if chance.random() < 0.3:
                self.at += chance.choices(WAITS_MS, WAIT_WEIGHTS)[0]
            luck = chance.random()
            if luck < 0.001:
                kind, size = chance.randrange(2), chance.randrange(1, 40)
                first = self.offsets[kind]
                self.offsets[kind] += size
                steps.append((kind, Unreadable(first, first + size - 1, self.at)))
            else:
                steps.append(self._step(self.forge.payload(self.at)))
        return steps

    def _step(self, payload: Payload) -> Step:
        record = Record(self.at, self.offsets[payload.kind], payload.value, payload.key)
        self.offsets[payload.kind] += 1
        return payload.kind, record

    # -- what happens to them ---------------------------------------------------------------

    def _run(self, steps: list[Step]) -> None:
        chance = self.chance
        self.rounds += 1
        self.poisons = 0
        self.tally.payloads += len(steps)
        place = 0
        try:
            while place < len(steps):
                part = steps[place : place + chance.choice((1, 7, 100, 1_000, 4_000))]
                place += len(part)
                self._feed(part)
                luck = chance.random()
                if luck < 0.5:
                    self._commit()
                if not 0.1 < luck < 0.95:  # killed, with nothing lost or with work that is done again
                    self._restart()
            self.at = self.at // 1000 * 1000 + 1000
            self._feed([(TICK, self.at)])
            self._check()
        except Exception as error:
            self._found(error)
            self._begin()

    def _feed(self, part: list[Step]) -> None:
        self.since += part
        for kind, record in part:
            if kind != TICK:
                self.given[kind] += 1
                value = record.value()
                self.tally.note("bytes of a payload", len(value) if isinstance(value, bytes) else 0)
        try:
            _give(self.live, part)
        except Poison as poison:
            self._set_aside(poison)
        _give(self.twin, part, 700)

    def _set_aside(self, poison: Poison) -> None:
        """What a worker does about a record on which our code fails: a dead letter, and the rest counts."""
        self._found(poison)
        self.poisons += 1
        if self.poisons > POISONS:
            raise poison  # not that record is to blame, but something in the state
        self.skip.add((poison.kind, poison.offset))
        self.twin.skip = self.skip
        try:
            self._restart()
        except Poison as another:
            self._set_aside(another)

    def _commit(self) -> None:
        self.disk.commit(self.live)
        self.since = []

    def _restart(self) -> None:
        """A new worker reads the state and does again what was not committed."""
        self.live = self._restored()
        _give(self.live, self.since)

    def _restored(self) -> Pipeline:
        self.tally.restores += 1
        found = self.disk.restore(self.chance)
        found.skip = self.skip
        return found

    def _found(self, error: Exception) -> None:
        blamed = b""
        if isinstance(error, Poison):
            steps = (step[1] for step in self.since if step[0] == error.kind)
            blamed = next((r.value() or b"" for r in steps if r.offset() == error.offset), b"")
        cause = error.__cause__ or error
        stack = "".join(traceback.format_exception(cause, chain=False))[-LONGEST:]
        finding = Finding(self.lane, self.rounds, repr(cause), repr(blamed[:LONGEST]), stack)
        self.tally.findings.append(finding)

    # -- what has to hold -------------------------------------------------------------------

    def _check(self) -> None:
        """Right after a second of record time has begun, when the bounds hold to the record."""
        self._check_bounds()
        self._commit()
        self._check_identities()
        self._check_state()
        self._check_series()

    def _check_identities(self) -> None:
        """Promise 2, against the payloads and the dead letters that were really there."""
        found = self.live.partition.identity()
        for kind, topic in enumerate(KINDS):
            terms = found[topic]
            if terms["consumed"] != self.given[kind]:
                raise Broken(f"{self.given[kind]} {topic} were given, {terms['consumed']} consumed")
            if terms["consumed"] != sum(terms.values()) - terms["consumed"]:
                raise Broken(f"the identity of {topic} does not hold: {terms}")
        dead = sum(terms["dead_letter"] for terms in found.values())
        if dead != self.disk.dead_letters:
            raise Broken(f"{dead} dead letters were counted, {self.disk.dead_letters} written")
        self.tally.checks["identities"] += 1

    def _check_state(self) -> None:
        """Promise 1: what was restored, what goes on and what nothing ever disturbed are one and the same."""
        expected = facts(self.live)
        for effect in self.twin.take_effects().alerts:
            self.twin_digest.update(codec.encode_json(effect))
        self.twin.partition.snapshot()  # forgets what a commit would have written by now
        for name, pipeline in (("restored", self._restored()), ("undisturbed", self.twin)):
            found = facts(pipeline)
            if found != expected:
                raise Broken(f"the {name} partition differs in {_differences(expected, found)}")
            self.tally.checks[f"equal to the {name}"] += 1
        if self.twin_digest.digest() != self.disk.digest.digest():
            raise Broken("the alerts are not those of the undisturbed partition")

    def _check_bounds(self) -> None:
        """Promise 5: everything that could grow is within its limit."""
        partition, limits = self.live.partition, self.objectives.limits
        models = list(partition.models.values())
        versions = [version for _, version in partition.versions()]
        profiles = [version.profile for version in versions if version.profile is not None]
        names = [p.numeric.keys() | p.categories.keys() | p.missing.keys() for p in profiles]
        sizes = {
            "models": (len(models), max(limits.max_models, len(self.objectives.models))),
            # The one that is shared beyond the limit is one more.
            "versions of a model": (max(len(m.every_version) for m in models), limits.max_versions + 1),
            "pending predictions": (sum(len(v.table.pending) for v in versions), limits.max_pending),
            "parked labels": (sum(len(m.parked) for m in models), limits.max_parked),
            "remembered ids": (sum(v.table.forgettable for v in versions), limits.max_recent),
            "features of a version": (max(map(len, names), default=0), limits.max_features),
            "values of a feature": (
                max((len(c) for p in profiles for c in p.categories.values()), default=0),
                MAX_CATEGORIES + 1,
            ),
            "classes": (
                max(len(m.classes.names) if m.classes else 0 for m in models),
                MAX_CLASSES,
            ),
        }
        for what, (size, most) in sizes.items():
            self.tally.note(what, size)
            if size > most:
                raise Broken(f"{size} {what}, the limit is {most}")
        self.tally.checks["bounds"] += 1

    def _check_series(self) -> None:
        self.readings = read_partition(self.live.partition, self.readings)
        exposition = Exposition(ProcessorStats(), MAX_SERIES)
        exposition.publish(self.live.number, self.readings)
        text = generate_latest(exposition.registry).decode()
        series = sum(not line.startswith("#") for line in text.splitlines() if line)
        self.tally.note("series", series)
        self.tally.note("bytes of state", sum(map(len, self.disk.raw.values())))
        if series > MAX_SERIES:
            raise Broken(f"{series} series, the limit is {MAX_SERIES}")
        self.tally.checks["series"] += 1


def _give(pipeline: Pipeline, steps: Iterable[Step], longest: int = 10**9) -> None:
    """Runs of one topic, as long as they get, and ticks between them."""
    for kind, group in groupby(steps, key=lambda step: step[0]):
        records = [record for _, record in group]
        if kind == TICK:
            for now in records:
                pipeline.tick(now)
            continue
        for begin in range(0, len(records), longest):
            pipeline.run(kind, records[begin : begin + longest])


def _differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Where they are not the same, to a length that a person can read."""
    places = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    return "; ".join(f"{name}: {one.get(name)!r:.400} / {other.get(name)!r:.400}" for name in places[:3])
