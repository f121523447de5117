"""Canonical classes: 1, 1.0, "1" and true are one class unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamer.domain.bins import MAX_CLASSES
from streamer.domain.objectives import ClassValue, ModelSpec

USUAL_NEGATIVE: tuple[ClassValue, ...] = (0, False, "no", "false")
OTHER = MAX_CLASSES - 1
MAX_CLASS_NAME = 100


def canonical(value: Any) -> str | None:
    """The one name of a class, None where the value cannot be one."""
    if value is True or value is False:
        return "1" if value else "0"
    if type(value) is int:
        return str(value) if abs(value) < 10**18 else None
    if type(value) is float:
        return (str(int(value)) if value.is_integer() else repr(value)) if abs(value) < 1e15 else None
    return value if type(value) is str and 0 < len(value) <= MAX_CLASS_NAME else None


def _spellings(name: str) -> list[Any]:
    """Every raw value that means this class; 1, 1.0 and True are one key of a dict.

    "1.0" and "1e3" are texts of their own: a number has one spelling.
    """
    for kind in (int, float):
        try:
            number = kind(name)
        except (ValueError, OverflowError):
            continue
        if canonical(number) == name:
            return [name, number]
    return [name]


class Classes:
    """From a raw value to the index of its class.

    ``table`` answers for known values in one look-up: the hot loop reads it
    first and asks ``learn`` about the rest.
    """

    def __init__(self, names: list[str], closed: bool) -> None:
        self.names: list[str] = []
        self.closed = closed
        self.table: dict[Any, int] = {}
        for name in names:
            self._add(name)

    @classmethod
    def binary(cls, spec: ModelSpec) -> Classes:
        """Index 0 negative, 1 positive; several values may mean either."""
        positive = _names(spec.positive)
        negative = _names(spec.negative or USUAL_NEGATIVE)
        known = cls([], closed=True)
        known.names = ["negative", "positive"]
        for index, names in ((0, negative), (1, positive)):
            for name in names:
                for spelling in _spellings(name):
                    known.table[spelling] = index
        return known

    @classmethod
    def multiclass(cls, spec: ModelSpec, learnt: Iterable[str] = ()) -> Classes:
        """The declared classes, closed; or those learnt so far, open up to ``OTHER``.

        What was learnt keeps its index, which is part of the state, whatever the
        file says by now; a class that is no longer declared is not known any more.
        """
        declared = _names(spec.classes)
        known = cls(list(dict.fromkeys([*learnt, *declared])), closed=bool(declared))
        if declared:
            wanted = {spelling for name in declared for spelling in _spellings(name)}
            known.table = {each: index for each, index in known.table.items() if each in wanted}
        return known

    def learn(self, value: Any) -> int | None:
        """The index of a value that ``table`` does not have; None: unknown class."""
        name = canonical(value)
        if name is None or self.closed:
            return None
        if name in self.table:
            return self.table[name]
        return OTHER if len(self.names) >= OTHER else self._add(name)

    def _add(self, name: str) -> int:
        """Give it the next index; those beyond the last one share ``OTHER``."""
        index = len(self.names)
        if index >= OTHER:
            index = OTHER
        else:
            self.names.append(name)
        for spelling in _spellings(name):
            self.table.setdefault(spelling, index)
        return index

    def name_of(self, index: int) -> str:
        return self.names[index] if index < len(self.names) else "other"


def _names(values: Iterable[ClassValue]) -> list[str]:
    return [name for name in map(canonical, values) if name is not None]
