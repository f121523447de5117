"""The order of one partition's two topics: by record time, in runs, predictions first.

It never runs ahead of a topic that is known to have more: with one queue
empty it waits, until the client says that this topic has no more for now.
What Kafka Streams does with ``max.task.idle.ms=0``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

PREDICTIONS, LABELS = 0, 1
RUN_MS = 100


class Merger:
    """Two queues of chunks in, runs out.

    ``time_of`` tells a record's time in ms, which may not fall within a topic.
    Times are compared in steps of ``RUN_MS``, so that runs stay long.
    """

    def __init__(self, time_of: Callable[[Any], int]) -> None:
        self._time_of = time_of
        self._queues: tuple[deque[Sequence[Any]], deque[Sequence[Any]]] = (deque(), deque())
        self._ended = [False, False]

    def push(self, topic: int, records: Sequence[Any]) -> None:
        """A chunk has arrived."""
        if not records:
            return
        self._queues[topic].append(records)
        self._ended[topic] = False

    def end(self, topic: int) -> None:
        """The client has reached this topic's end, for now."""
        self._ended[topic] = True

    @property
    def at_head(self) -> bool:
        """Nothing is queued and both topics are known to have no more."""
        return not self._queues[0] and not self._queues[1] and all(self._ended)

    @property
    def waiting_for(self) -> int | None:
        """The topic whose next record decides what comes next, if that is what holds us up."""
        for topic, other in ((PREDICTIONS, LABELS), (LABELS, PREDICTIONS)):
            if not self._queues[topic] and not self._ended[topic] and self._queues[other]:
                return topic
        return None

    def next_run(self) -> tuple[int, Sequence[Any]] | None:
        """The next records of one topic, or None while it has to wait."""
        predictions, labels = self._queues
        if predictions and labels:
            first = self._step(predictions[0][0])
            second = self._step(labels[0][0])
            if first <= second:
                return PREDICTIONS, self._take(predictions, second + 1)
            return LABELS, self._take(labels, first)
        if predictions and self._ended[LABELS]:
            return PREDICTIONS, predictions.popleft()
        if labels and self._ended[PREDICTIONS]:
            return LABELS, labels.popleft()
        return None

    def _step(self, record: Any) -> int:
        return self._time_of(record) // RUN_MS

    def _take(self, queue: deque[Sequence[Any]], before: int) -> Sequence[Any]:
        """The records of the first chunk whose step is below ``before``; at least one is."""
        records = queue.popleft()
        if self._step(records[-1]) < before:
            return records
        cut = max(1, bisect_left(records, before, key=self._step))
        queue.appendleft(records[cut:])
        return records[:cut]
