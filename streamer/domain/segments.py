"""Segments of a model's traffic: the declared fields, their values, and the code that a prediction gets.

A value is known by a small number per field, given in order of arrival; those
of all fields of a prediction ride in its packed integer of the join, above
the bucket. However many values come, a field has a bounded number of them:
the rest is ``other``, and what did not send the field is a segment of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.classes import canonical
from streamer.domain.objectives import MAX_SEGMENT_VALUES

CODE_BITS = 6
NOT_SENT, OTHER, FIRST = range(3)
MAX_VALUE = 100
OTHER_NAME = "other"
_CODE_MASK = (1 << CODE_BITS) - 1

Joint = NDArray[np.int64]


def readable(given: Any) -> bool:
    """Is this what the field ``segments`` of an event may be?"""
    return given is None or type(given) is dict


def segment_text(value: Any) -> str | None:
    """A value as text, as for classes (1, 1.0, "1" and true are one); None where it cannot be a segment."""
    text = canonical(value)
    return text if text is not None and len(text) <= MAX_VALUE and text.isprintable() else None


class Segments:
    """The declared fields of one model and the values that came first, shared by its versions.

    ``most``: values kept apart per field, at most ``MAX_SEGMENT_VALUES``. A value that is
    called ``other`` is counted with the rest; empty text is as if it was not sent.
    """

    __slots__ = ("_columns", "fields", "most", "names")

    def __init__(self, fields: Sequence[str], most: int) -> None:
        self.fields, self.most = tuple(fields), min(most, MAX_SEGMENT_VALUES)
        self.names: list[list[str]] = [[] for _ in self.fields]
        self._columns: list[tuple[str, int, dict[str, int]]] = []
        self._index()

    def _index(self) -> None:
        self._columns = [
            (
                field,
                at * CODE_BITS,
                {"": NOT_SENT, OTHER_NAME: OTHER} | {name: FIRST + i for i, name in enumerate(names)},
            )
            for at, (field, names) in enumerate(zip(self.fields, self.names, strict=True))
        ]

    # -- events ------------------------------------------------------------------

    def code(self, given: Mapping[str, Any] | None) -> int:
        """The joint code of a prediction; values that are new are learnt while there is room."""
        found = 0
        if given is not None:
            for at, (field, shift, known) in enumerate(self._columns):
                value = given.get(field)
                if value is not None:
                    # A number or a boolean is looked for as text: 1 and True are one key of a dict.
                    code = known.get(value) if type(value) is str else None
                    found |= (self._learn(at, value, known) if code is None else code) << shift
        return found

    def _learn(self, at: int, value: Any, known: dict[str, int]) -> int:
        text = segment_text(value)
        if text is None:
            return OTHER
        code = known.get(text)
        if code is None:
            names = self.names[at]
            if len(names) >= self.most:
                return OTHER
            code = known[text] = FIRST + len(names)
            names.append(text)
        return code

    # -- codes ---------------------------------------------------------------------

    @property
    def bits(self) -> int:
        """How many bits a joint code takes."""
        return CODE_BITS * len(self.fields)

    @property
    def learnt(self) -> int:
        """How many values are known, of all fields."""
        return sum(map(len, self.names))

    @property
    def codes(self) -> int:
        """How many codes a field may have, whichever has most."""
        return FIRST + max([self.most, *map(len, self.names)])

    @staticmethod
    def of_field(joint: Joint, at: int) -> Joint:
        """The codes of one field out of joint codes, same shape."""
        return joint >> (CODE_BITS * at) & _CODE_MASK

    def label(self, at: int, code: int) -> str:
        """What people see: ``country=DE``, ``country=other``, ``country=`` where it was not sent."""
        if code < FIRST:
            return f"{self.fields[at]}={OTHER_NAME if code == OTHER else ''}"
        return f"{self.fields[at]}={self.names[at][code - FIRST]}"

    # -- state -----------------------------------------------------------------------

    def snapshot(self) -> list[list[Any]]:
        return [[field, list(names)] for field, names in zip(self.fields, self.names, strict=True)]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take the values of the fields that are still declared; all of them stay, whatever ``most`` is."""
        saved = {str(field): list(names) for field, names in state}
        self.names = [saved.get(field, [])[:MAX_SEGMENT_VALUES] for field in self.fields]
        self._index()


class Recoding:
    """Joint codes of fields that were declared, as those of the fields that are declared now."""

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        self._moves = [
            (CODE_BITS * before.index(field), CODE_BITS * at)
            for at, field in enumerate(after)
            if field in before
        ]

    def __call__(self, joint: int) -> int:
        return sum((joint >> old & _CODE_MASK) << new for old, new in self._moves)
