"""Traffic at a steady rate, from a thread that ends when its test does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Producer

from streamer.adapters.topics import Topics
from tests.e2e.traffic import Written

Source = Callable[[Callable[[int], bool]], Iterable[Written]]


class Feeder:
    """Writes ``least`` records of a source, and more until it is told to ``finish``.

    It waits as long as the broker is away, and what goes wrong in its thread
    is raised where the test asks for the end.
    """

    def __init__(self, bootstrap: str, names: Topics, source: Source, least: int, rate: int) -> None:
        self.topics = (names.predictions, names.labels)
        self.producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        )
        self.rate, self.sent = rate, 0
        self.by_kind = [0, 0]
        self._enough, self._abandoned = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._events = source(lambda made: made < least or not self._enough.is_set())
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            began = time.monotonic()
            for event in self._events:
                if not self._put(*event):
                    return
                self.sent += 1
                self.by_kind[event[0]] += 1
                if self.sent % 500 == 0:
                    self.producer.poll(0)
                    self._abandoned.wait(began + self.sent / self.rate - time.monotonic())
            while self.producer.flush(0.2) and not self._abandoned.is_set():
                pass
        except BaseException as error:
            self._failure = error

    def _put(self, kind: int, partition: int, key: bytes, value: bytes) -> bool:
        while not self._abandoned.is_set():
            try:
                self.producer.produce(self.topics[kind], value, key, partition)
                return True
            except BufferError:
                self.producer.poll(0.1)
        return False

    def finish(self, seconds: float = 120.0) -> int:
        """No more than has to be; answers how many there were, all of them acknowledged."""
        self._enough.set()
        self._thread.join(seconds)
        if self._failure is not None:
            raise self._failure
        assert not self._thread.is_alive(), f"{len(self.producer)} records not taken within {seconds:.0f} s"
        return self.sent

    def abandon(self) -> None:
        """Write nothing any more, whatever became of the rest."""
        self._abandoned.set()
        self._thread.join(30)
        self.producer.purge()
        self.producer.flush(1)
