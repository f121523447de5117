"""Sources of any key, and the judge of the router: each of their records is at its model's home, once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

from streamer.adapters import codec
from streamer.adapters.topics import Topics
from streamer.home import home
from streamer.origin import origin_of
from streamer.routing import model_of
from tests.chaos.judge import Verdict
from tests.e2e.feeder import Source
from tests.e2e.oracle import aborted, committed
from tests.e2e.traffic import Written, traffic

SIDE_BY_SIDE = 4
Place = tuple[str, int, int]  # topic, partition, offset
Pair = tuple[int, int]


def make_sources(conf: Mapping[str, Any], names: Topics, counts: Pair) -> None:
    """Topics as somebody else makes them: other numbers of partitions, and their clients' clocks."""
    config = {"message.timestamp.type": "CreateTime"}
    wanted = [NewTopic(topic, n, 1, config=config) for topic, n in zip(names.sources, counts, strict=True)]
    admin = AdminClient({**conf, "log_level": 0})
    for future in admin.create_topics(wanted).values():
        future.result(30)


def scattered(counts: Pair, partitions: int, seed: int, **how: int) -> Source:
    """The same traffic, anywhere and under keys that say nothing. ``how``: as of ``traffic``."""

    def source(more: Callable[[int], bool]) -> Iterable[Written]:
        chance = random.Random(f"keys of {seed}")
        for kind, _, model, value in traffic(more, partitions, seed=seed, **how):
            key = chance.choice((b"", b"user-%d" % chance.randrange(1000), model))
            yield kind, chance.randrange(counts[kind]), key, value

    return source


def judge_routing(bootstrap: str, names: Topics, counts: Pair, partitions: int) -> Verdict:
    """What the sources hold, against what workers were given of it."""

    def read(place: tuple[str, int]) -> list[Any]:
        return committed(bootstrap, *place)

    sources = [(topic, n) for topic, count in zip(names.sources, counts, strict=True) for n in range(count)]
    inputs = [(topic, n) for topic in names.inputs for n in range(partitions)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        there = {
            (*place, int(record.offset())): record
            for place, records in zip(sources, pool.map(read, sources), strict=True)
            for record in records
        }
        came = dict(zip(inputs, pool.map(read, inputs), strict=True))
    return compare(there, came, partitions)


def compare(
    there: Mapping[Place, Any], came: Mapping[tuple[str, int], Sequence[Any]], partitions: int
) -> Verdict:
    """``there``: records of the sources. ``came``: (topic, partition) → records that the router wrote."""
    verdict = Verdict(records=sum(map(len, came.values())))
    found: Counter[Place] = Counter()
    problems: Counter[str] = Counter()
    for (_, number), records in came.items():
        last: dict[tuple[str, int], int] = {}
        for record in records:
            origin = origin_of(record)
            if origin is None:
                problems["records without an origin"] += 1
                continue
            lane, place = (origin.topic, origin.partition), (origin.topic, origin.partition, origin.offset)
            found[place] += 1
            problems["records out of order"] += origin.offset < last.get(lane, -1)
            last[lane] = origin.offset
            problems["records changed"] += place in there and not _same(there[place], record)
            problems["records not at home"] += _home(record, origin.partition, partitions) != number
    sent = Counter(there.keys())
    verdict.lost, verdict.twice = (sent - found).total(), (found - sent).total()
    if verdict.lost or verdict.twice:
        verdict.problems.append(f"router: {verdict.lost} of {len(there)} lost, {verdict.twice} routed twice")
    verdict.problems += [f"router: {count} {what}" for what, count in problems.items() if count]
    return verdict


def _same(source: Any, record: Any) -> bool:
    return (source.key() or b"", source.value()) == (record.key() or b"", record.value())


def _home(record: Any, number: int, partitions: int) -> int:
    model = model_of(record.key(), record.value(), codec.decode_event)
    return number % partitions if model is None else home(model, partitions)


def cut_in(bootstrap: str, names: Topics, partitions: int) -> int:
    """Records that a router wrote in transactions that never came to their commit."""
    return sum(aborted(bootstrap, topic, n) for topic in names.inputs for n in range(partitions))
