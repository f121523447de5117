"""The judge of the router finds what is lost, doubled, changed, out of order or in the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from streamer.home import home
from streamer.origin import ORIGIN
from tests.chaos.routing import Place, compare
from tests.chaos.schedule import draw

PARTITIONS = 3
MODELS = ("m0", "m1", "m2", "m3")


@dataclass(frozen=True)
class Held:
    """A record of a topic."""

    place: Place
    data: bytes
    came_from: str | None = None

    def key(self) -> bytes:
        return b"user-1"

    def value(self) -> bytes:
        return self.data

    def headers(self) -> list[tuple[str, bytes]]:
        return [] if self.came_from is None else [(ORIGIN, self.came_from.encode())]


Came = dict[tuple[str, int], list[Held]]


def evidence() -> tuple[dict[Place, Held], Came]:
    """Forty records of one source, and where they have to be."""
    there: dict[Place, Held] = {}
    came: Came = {("q", number): [] for number in range(PARTITIONS)}
    for row in range(40):
        place = ("p", row % 2, row // 2)
        model = MODELS[row % len(MODELS)]
        record = there[place] = Held(place, f'{{"model": "{model}", "row": {row}}}'.encode())
        at = ("q", home(model, PARTITIONS))
        came[at].append(replace(record, came_from=f"p:{place[1]}:{place[2]}:0"))
    return there, came


FULL = ("q", home("m0", PARTITIONS))
EMPTIER = ("q", (FULL[1] + 1) % PARTITIONS)


def lose(came: Came) -> None:
    came[FULL].pop(3)


def double(came: Came) -> None:
    came[FULL].append(came[FULL][-1])


def change(came: Came) -> None:
    came[FULL][3] = replace(came[FULL][3], data=came[FULL][3].data + b" ")


def swap(came: Came) -> None:
    records = [each for each in came[FULL] if each.place[1] == came[FULL][0].place[1]]
    first, second = (came[FULL].index(each) for each in records[:2])
    came[FULL][first], came[FULL][second] = came[FULL][second], came[FULL][first]


def misplace(came: Came) -> None:
    came[EMPTIER].append(came[FULL].pop())


def make_up(came: Came) -> None:
    came[FULL].append(replace(came[FULL][-1], came_from=None))


def test_it_has_nothing_against_what_is_right() -> None:
    verdict = compare(*evidence(), PARTITIONS)
    assert (verdict.records, verdict.lost, verdict.twice, verdict.problems) == (40, 0, 0, [])


@pytest.mark.parametrize(
    ("doctor", "said"),
    [
        (lose, "1 of 40 lost"),
        (double, "1 routed twice"),
        (change, "records changed"),
        (swap, "out of order"),
        (misplace, "not at home"),
        (make_up, "without an origin"),
    ],
)
def test_it_finds_what_is_wrong(doctor: Callable[[Came], None], said: str) -> None:
    there, came = evidence()
    doctor(came)
    assert said in "\n".join(compare(there, came, PARTITIONS).problems)


def test_sources_are_drawn_besides_and_change_nothing_else() -> None:
    for seed in range(1, 50):
        plain, routed = draw(seed), draw(seed, repartition=True)
        assert plain.sources is None
        assert replace(routed, sources=None) == plain
    drawn = [draw(seed, repartition=True) for seed in range(1, 50)]
    assert len({each.sources for each in drawn}) > 15
    assert any(each.sources != (each.partitions, each.partitions) for each in drawn)
