"""What the join keeps of an answer, the payload of a packed prediction; ``join`` tells of the rest.

A classifier's answer is the score's bin above the index of the class, a
regression's the bits of the number.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import CLASS_BITS, MAX_CLASSES
from streamer.domain.join import TIME_MASK
from streamer.domain.objectives import Task

PAYLOAD_BITS: Mapping[str, int] = {"binary": 16, "multiclass": 16, "regression": 64}
Scored = tuple[NDArray[np.int64], Any, list[float]]
"""Of labelled rows: when they were predicted (event time, ms), what windows take of them, their losses."""

_CLASS_BITS = PAYLOAD_BITS["binary"]
_CLASS_PAYLOAD = (1 << _CLASS_BITS) - 1
_LOW_64_BITS = (1 << 64) - 1
_DOUBLE = struct.Struct("<d")
_BITS = struct.Struct("<Q")


def number_bits(value: float) -> int:
    """The payload of a predicted number."""
    return int(_BITS.unpack(_DOUBLE.pack(value))[0])


def number_of(packed: int) -> float:
    """The number that was predicted."""
    value: float = _DOUBLE.unpack(_BITS.pack(packed & _LOW_64_BITS))[0]
    return value


def class_of(packed: int) -> int:
    """The index of the class that was predicted."""
    return packed & MAX_CLASSES - 1


def answers_of(payload: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of a classifier's payloads: the bins of their scores, and the indices of their classes."""
    return payload >> CLASS_BITS, payload & MAX_CLASSES - 1


def class_rows(packed: Sequence[int], actual: Sequence[int], binary: bool) -> Scored:
    """Rows whose label is a class: their codes, their 0/1 losses."""
    joined = np.array([each & _LOW_64_BITS for each in packed], np.uint64)
    payload, labels = (joined & _CLASS_PAYLOAD).astype(np.intp), np.array(actual, np.intp)
    bins, predicted = answers_of(payload)
    if binary:
        codes = bins * 4 + predicted * 2 + labels
    else:
        codes = labels * MAX_CLASSES + predicted
    losses: list[float] = (predicted != labels).astype(np.float64).tolist()
    return (joined >> _CLASS_BITS).astype(np.int64), codes, losses


def number_rows(packed: Sequence[int], actual: Sequence[float]) -> Scored:
    """Rows whose label is a number: errors with labels, absolute errors."""
    rows = [(number_of(each) - label, label) for each, label in zip(packed, actual, strict=True)]
    made_at = np.array([each >> 64 & TIME_MASK for each in packed])
    return made_at, rows, [abs(error) for error, _ in rows]


def loss_of(task: Task, packed: int, actual: Any) -> float:
    """Of one row: 1 for a wrong class, or the absolute error of a number."""
    if task == "regression":
        return abs(number_of(packed) - float(actual))
    return float(class_of(packed) != actual)
