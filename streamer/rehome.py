"""Models move to their homes under another number of partitions, with all that is known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from shlex import quote
from typing import Any

from streamer.domain.events import FUTURE_MS
from streamer.domain.partition import Cells
from streamer.stored import (
    TOPICS,
    Inconsistent,
    Stored,
    consumed_by,
    dead_letters,
    empty,
    pick,
    rows_of,
    segments,
    terms_of,
)

Homes = Mapping[str, int]


def rehome(old: Mapping[int, Stored], partitions: int, home: Callable[[str], int]) -> dict[int, Stored]:
    """The same models in ``partitions`` partitions, each where ``home`` says.

    A model's cells stay as they are, byte for byte, but for its place in the
    order of models; its rows of the join log keep their order. The clock of a
    partition is the latest of those that its models come from. ``consumed``
    follows the models; the dead letters of partition p, which name no model,
    go on counting in p modulo ``partitions``. Offsets are not decided here.

    Raises:
        Inconsistent: a model lies in two partitions.
    """
    homes = _homes(old, home)
    return {number: _assemble(old, number, partitions, homes) for number in range(partitions)}


def _homes(old: Mapping[int, Stored], home: Callable[[str], int]) -> dict[str, int]:
    lies: dict[str, int] = {}
    for number, stored in sorted(old.items()):
        for name in stored.models:
            if name in lies:
                raise Inconsistent(
                    f"model {name!r} lies in partition {lies[name]} and in partition {number}: forget one of"
                    f" them with `streamer state reset --model {quote(name)} --partition {number}`, then"
                    " export again"
                )
            lies[name] = number
    return {name: home(name) for name in lies}


def _assemble(old: Mapping[int, Stored], number: int, partitions: int, homes: Homes) -> Stored:
    cells: Cells = {}
    rows: list[list[int]] = []
    place = next_segment = now = latest_ms = revision = 0
    consumed: Counter[str] = Counter(dict.fromkeys(TOPICS, 0))
    dead: Counter[tuple[str, str]] = Counter()
    for source, stored in sorted(old.items()):
        names = [name for name in stored.models if homes[name] == number]
        revision = max(revision, stored.revision)
        if source % partitions == number:
            consumed.update(dead_letters(stored))
            dead.update({(kind, reason): n for kind, reason, n in stored.partition["dead"]})
        if not names and source != number:
            continue
        now = max(now, stored.now)
        latest_ms = max(latest_ms, int(stored.partition["latest_ms"]))
        terms = terms_of(stored)
        consumed.update(consumed_by(terms[name] for name in names))
        for name in names:
            cells["model", name] = stored.cells["model", name] | {"place": place}
            place += 1
        mine = set(names)
        for key, cell in stored.cells.items():
            if key[0] in ("version", "block") and key[1] in mine:
                cells[key] = cell
        for _, segment in segments(stored.cells):
            picked = pick(segment, mine.__contains__)
            if picked is not None:
                cells["join", next_segment] = picked
                rows.append([next_segment, rows_of(picked)])
                next_segment += 1
    partition: dict[str, Any] = empty(now, latest_ms or (now + 1000 + FUTURE_MS if now else 0)) | {
        "consumed": dict(consumed),
        "dead": [[kind, reason, n] for (kind, reason), n in dead.items()],
        "segments": rows,
        "next_segment": next_segment,
    }
    return Stored(partition, cells, revision)
