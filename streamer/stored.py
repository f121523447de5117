"""A partition's state as it is stored: manifest and cells, with no objectives to bring them to life.

What the state tools need to know of it: whose cell is whose, what a model
adds to the counters of its partition, which incidents are open, and the join
log, whose segments hold rows of many models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from streamer.domain.alerts import Rule, State
from streamer.domain.partition import Cells, Key

KINDS = ("model", "version", "block", "join")
TOPICS = ("predictions", "labels")
_LABEL_TERMS = ("joined", "unmatched", "late", "duplicate", "conflicting")
_FIRST_RECORD = [0, -1]

Terms = dict[str, Counter[str]]


class Inconsistent(ValueError):
    """Cells that do not fit together, or not where they are to go; the message says which."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One partition: what its manifest says, and every cell.

    ``partition``: the manifest's part that is the domain's (clock, counters,
    segments). ``positions``: the next offset of predictions and of labels.
    ``last``: kind and offset of the last record. All cells are plain data.
    """

    partition: dict[str, Any]
    cells: Cells = field(default_factory=dict)
    revision: int = 0
    positions: tuple[int, int] = (0, 0)
    last: tuple[int, int] = (0, -1)
    identity: Mapping[str, Any] = field(default_factory=dict)
    commit: int = 0

    @classmethod
    def of(cls, manifest: Mapping[str, Any], cells: Mapping[Key, Any]) -> Stored:
        """What ``Checkpoint.read`` has found."""
        first, second = manifest["positions"]
        kind, offset = manifest["last"]
        return cls(
            dict(manifest["partition"]),
            dict(cells),
            manifest["revision"],
            (first, second),
            (kind, offset),
            manifest["identity"],
            manifest["commit"],
        )

    @property
    def now(self) -> int:
        """The partition's clock: record time in ms, by whole seconds."""
        return int(self.partition["now"])

    @property
    def models(self) -> list[str]:
        """The models in the order in which they came."""
        places = {str(key[1]): int(cell["place"]) for key, cell in self.cells.items() if key[0] == "model"}
        return sorted(places, key=lambda name: places[name])


def empty(now: int = 0, latest_ms: int = 0) -> dict[str, Any]:
    """The domain's part of the manifest of a partition that has seen nothing."""
    return {
        "now": now,
        "latest_ms": latest_ms,
        "consumed": dict.fromkeys(TOPICS, 0),
        "dead": [],
        "segments": [],
        "next_segment": 0,
    }


# -- the join log --------------------------------------------------------------------------


def segments(cells: Mapping[Key, Any]) -> Iterator[tuple[int, Any]]:
    """The segments of the join log, in the order in which they have to be replayed."""
    numbers = sorted(int(key[1]) for key in cells if key[0] == "join")
    yield from ((number, cells["join", number]) for number in numbers)


def pick(segment: Mapping[str, Any], wanted: Callable[[str], bool]) -> dict[str, Any] | None:
    """The same segment with the rows of these models alone, None where it has none.

    Each version's rows keep their order and their second, which is all that a replay of them needs.
    """
    versions = [entry for entry in segment["versions"] if wanted(entry[0])]
    parked = [entry for entry in segment["parked"] if wanted(entry[0])]
    if not versions and not parked:
        return None
    return {"second": segment["second"], "versions": versions, "parked": parked}


def rows_of(segment: Mapping[str, Any]) -> int:
    """How many rows a segment holds, as ``Partition`` counts them."""
    rows = sum(len(kept) + len(gone) for _, kept, gone in segment["parked"])
    for _, _, gone, ids, _, resolved, _, _, kept in segment["versions"]:
        rows += len(gone) + len(ids) + len(resolved) + (kept is not None)
    return rows


def parked_labels(cells: Mapping[Key, Any]) -> Counter[str]:
    """Model → how many labels wait for their prediction."""
    waiting: dict[str, set[str]] = {}
    for _, segment in segments(cells):
        for name, kept, gone in segment["parked"]:
            ids = waiting.setdefault(name, set())
            ids.difference_update(gone)
            ids.update(entry[0] for entry in kept)
    return Counter({name: len(ids) for name, ids in waiting.items()})


# -- counters ------------------------------------------------------------------------------


def pending_of(head: Mapping[str, Any]) -> int:
    """How many predictions of a version wait for their label, from its cell."""
    accepted, joined, _ = head["counts"]
    return int(accepted - joined - sum(head["expired"].values()))


def terms_of(stored: Stored) -> dict[str, Terms]:
    """Model → what it adds to both identities of promise 2, but for its dead letters."""
    parked = parked_labels(stored.cells)
    found: dict[str, Terms] = {}
    for key, cell in stored.cells.items():
        if key[0] not in ("model", "version"):
            continue
        terms = found.setdefault(str(key[1]), {topic: Counter() for topic in TOPICS})
        if key[0] == "model":
            terms["labels"].update(dict(zip(_LABEL_TERMS, cell["labels"], strict=True)))
            terms["labels"]["parked"] += parked[str(key[1])]
            continue
        _, joined, duplicates = cell["counts"]
        expired = sum(cell["expired"].values())
        terms["predictions"].update(
            {"joined": joined, "pending": pending_of(cell), "expired": expired, "duplicate": duplicates}
        )
    return found


def consumed_by(terms: Iterable[Terms]) -> dict[str, int]:
    """How many records of each topic these models account for."""
    every = list(terms)
    return {topic: sum(each[topic].total() for each in every) for topic in TOPICS}


def dead_letters(stored: Stored) -> dict[str, int]:
    """Topic → how many of its records became dead letters."""
    dead = stored.partition["dead"]
    return {topic: sum(n for kind, _, n in dead if kind == topic) for topic in TOPICS}


def unaccounted(stored: Stored) -> dict[str, int]:
    """By topic, consumed less the sum of what became of it: 0 as long as promise 2 holds."""
    by_models, dead = consumed_by(terms_of(stored).values()), dead_letters(stored)
    consumed = stored.partition["consumed"]
    return {topic: consumed[topic] - by_models[topic] - dead[topic] for topic in TOPICS}


# -- incidents -----------------------------------------------------------------------------


def open_incidents(cells: Mapping[Key, Any]) -> dict[str, tuple[str, str]]:
    """Fingerprint → (model, incident), of everything that has been told to fire and not to end."""
    found = {}
    for key, cell in cells.items():
        if key[0] not in ("model", "version"):
            continue
        for each in cell["silence" if key[0] == "model" else "rules"]:
            if each["incident"]["state"] == State.FIRING:
                rule = Rule(**each["rule"])
                found[rule.fingerprint] = (rule.model, str(each["incident"]["identity"]))
    return found


# -- forgetting ----------------------------------------------------------------------------


def without(stored: Stored, model: str) -> Stored:
    """The same partition as if it had never seen this model.

    Its predictions and labels leave ``consumed`` with it, so that both
    identities hold; dead letters name no model and stay. Offsets stay as well.

    Raises:
        Inconsistent: it has no such model.
    """
    if ("model", model) not in stored.cells:
        raise Inconsistent(f"there is no model {model!r}")
    gone = consumed_by([terms_of(stored)[model]])
    cells = {key: cell for key, cell in stored.cells.items() if key[0] == "join" or key[1] != model}
    kept: list[list[int]] = []
    for number, segment in segments(stored.cells):
        rest = pick(segment, lambda name: name != model)
        if rest is None:
            del cells["join", number]
        else:
            cells["join", number] = rest
            kept.append([number, rows_of(rest)])
    consumed = {topic: stored.partition["consumed"][topic] - gone[topic] for topic in TOPICS}
    partition = stored.partition | {"consumed": consumed, "segments": kept}
    return replace(stored, partition=partition, cells=cells)
