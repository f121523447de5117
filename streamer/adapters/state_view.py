"""What the state topic holds, partition by partition, and whether a worker would trust it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from streamer.adapters import codec
from streamer.adapters.deployment import Deployment, Pair, commit_seen, read_raw
from streamer.checkpoint import MANIFEST_KEY, Checkpoint, UntrustedState
from streamer.domain.objectives import Objectives
from streamer.domain.partition import Key, Partition
from streamer.stored import Stored, open_incidents, parked_labels, pending_of, unaccounted

CHECK_BYTES = 16
MANIFEST = codec.encode_key(MANIFEST_KEY)


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version of a model, as of the last commit. ``version`` "": predictions name none."""

    version: str
    predictions: int
    joined: int
    pending: int
    expired: int
    duplicate: int


@dataclass(frozen=True, slots=True)
class ModelView:
    """``labels``: outcome → how many; ``parked`` of them wait. ``firing``: incidents that are open."""

    model: str
    task: str | None
    labels: Mapping[str, int]
    parked: int
    firing: int
    cells: int
    bytes: int
    versions: tuple[VersionView, ...]


@dataclass(frozen=True, slots=True)
class PartitionView:
    """``problem``: why a worker would quarantine it. What is told beside one is as the topic has it.

    ``format``, ``commit`` … None: nothing was ever committed, or the manifest cannot be read.
    ``cells``, ``bytes``: by kind of cell. ``oldest``: the oldest offsets that the sources still have.
    """

    partition: int
    cells: Mapping[str, int]
    bytes: Mapping[str, int]
    oldest: Pair
    ends: Pair
    problem: str | None = None
    format: int | None = None
    commit: int | None = None
    revision: int | None = None
    offsets: Pair | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    clock: int | None = None
    consumed: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    models: tuple[ModelView, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The live records of a partition, and what they say. ``stored`` None: nothing, or not to be trusted.

    ``partition``: the same brought to life, under no objectives.
    """

    raw: dict[bytes, bytes]
    commit_seen: int
    stored: Stored | None = None
    problem: str | None = None
    partition: Partition | None = None


def examine(at: Deployment, number: int) -> Found:
    """One partition, trusted as little as a worker would trust it.

    Raises:
        StateRefused: no broker answers.
    """
    # Asked for first: what is committed meanwhile makes the state newer, never older.
    seen = commit_seen(at.base, at.group, at.sources[0], number)
    raw = read_raw(at.base, at.group, at.topics.state, number)
    return judge(raw, number, at.identity, seen)


def judge(
    raw: dict[bytes, bytes], number: int, identity: Mapping[str, Any], commit_seen: int | None
) -> Found:
    """Hold live records against themselves, and bring them to life once to see that they fit together."""
    checkpoint = Checkpoint(codec, identity)
    try:
        found = checkpoint.read(raw, number, commit_seen)
        if found is None:
            return Found(raw, commit_seen or 0)
        manifest, cells = found
        partition = Partition(Objectives(), lambda _: True)
        checkpoint.revive(partition, manifest, cells, number)
    except UntrustedState as error:
        return Found(raw, commit_seen or 0, problem=str(error))
    return Found(raw, commit_seen or 0, Stored.of(manifest, cells), partition=partition)


def view(at: Deployment, number: int, model: str | None = None) -> PartitionView:
    """What there is to see of one partition, of this model or of all. Raises StateRefused: no broker."""
    found = examine(at, number)
    cells, sizes = _by_kind(found.raw)
    shape = PartitionView(number, cells, sizes, at.begins[number], at.ends[number], found.problem)
    told = manifest_of(found.raw)
    if told is None:
        return shape
    stored = found.stored
    first, second = told["positions"]
    problem = found.problem or unreadable_offsets(at, number, (first, second))
    if stored is not None and any(unaccounted(stored).values()):
        off = ", ".join(f"{n:+d} {topic}" for topic, n in unaccounted(stored).items() if n)
        problem = problem or (
            f"partition {number}: what became of the records does not add up ({off} are unaccounted for):"
            " please report it; begin anew with"
            f" `streamer state reset --partition {number}`, or let it go on"
        )
    return PartitionView(
        number,
        cells,
        sizes,
        at.begins[number],
        at.ends[number],
        problem,
        told["format"],
        told["commit"],
        told["revision"],
        (first, second),
        told["identity"],
        told["partition"]["now"],
        told["partition"]["consumed"],
        {f"{kind}/{reason}": n for kind, reason, n in told["partition"]["dead"]},
        () if stored is None else _models(stored, found.raw, model),
    )


def unreadable_offsets(at: Deployment, number: int, positions: Pair) -> str | None:
    """Why nobody can go on from these offsets, with the cure; None where all is well."""
    begins, ends = at.begins[number], at.ends[number]
    for topic, position, begin, end in zip(at.sources, positions, begins, ends, strict=True):
        if begin <= position <= end:
            continue
        what = f"the oldest there is {begin}: retention has eaten records that were never read"
        if position > end:
            what = f"the log ends at {end}: it was cut back, or the topic was made anew"
        return (
            f"partition {number}: offset {position} of {topic} comes next, {what}. Keep what is known and go"
            " on with what there is: `streamer state export FILE`, then `streamer state import FILE --replace"
            f" --from earliest`. Or begin anew with `streamer state reset --partition {number}`"
        )
    return None


def manifest_of(raw: Mapping[bytes, bytes]) -> dict[str, Any] | None:
    """What the manifest says, if its bytes are whole and it has the shape that we know."""
    data = raw.get(MANIFEST, b"")
    check, body = data[:CHECK_BYTES], data[CHECK_BYTES:]
    if blake2b(body, digest_size=CHECK_BYTES).digest() != check:
        return None
    try:
        told = codec.decode_cell(body)
        _ = (told["partition"]["now"], told["partition"]["consumed"], told["partition"]["dead"])
        _ = (told["format"], told["commit"], told["revision"], told["identity"], *told["positions"])
    except (codec.StateError, KeyError, TypeError):
        return None
    return dict(told)


def _by_kind(raw: Mapping[bytes, bytes]) -> tuple[dict[str, int], dict[str, int]]:
    cells: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for key, value in raw.items():
        kind = str(_key(key)[0])
        cells[kind] = cells.get(kind, 0) + 1
        sizes[kind] = sizes.get(kind, 0) + len(key) + len(value)
    return cells, sizes


def _key(data: bytes) -> Key:
    """A key, ("unknown",) where it is none of ours."""
    try:
        return codec.decode_key(data) or ("unknown",)
    except (ValueError, TypeError):
        return ("unknown",)


def _models(stored: Stored, raw: Mapping[bytes, bytes], only: str | None) -> tuple[ModelView, ...]:
    parked = parked_labels(stored.cells)
    firing = Counter(model for model, _ in open_incidents(stored.cells).values())
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for data, value in raw.items():
        key = _key(data)
        if key[0] not in ("manifest", "join"):
            name = str(key[1])
            counts[name] = counts.get(name, 0) + 1
            sizes[name] = sizes.get(name, 0) + len(data) + len(value)
    found = []
    for name in stored.models if only is None else {only} & set(stored.models):
        cell = stored.cells["model", name]
        outcomes = zip(
            ("joined", "unmatched", "late", "duplicate", "conflicting"), cell["labels"], strict=True
        )
        found.append(
            ModelView(
                name,
                cell["task"],
                dict(outcomes),
                parked[name],
                firing[name],
                counts[name],
                sizes[name],
                tuple(
                    _version(version, stored.cells["version", name, version]) for version in cell["versions"]
                ),
            )
        )
    return tuple(found)


def _version(name: str, head: Mapping[str, Any]) -> VersionView:
    accepted, joined, duplicates = head["counts"]
    return VersionView(name, accepted, joined, pending_of(head), sum(head["expired"].values()), duplicates)
