"""The topic ``reports`` as it is: every committed record of one model, with its place and its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamer.adapters.alert_log import AlertLog, alert_in
from streamer.adapters.kafka import ClientConfig


@dataclass(frozen=True, slots=True)
class Reported:
    """One record, and what it says."""

    partition: int
    offset: int
    value: bytes
    document: dict[str, Any]


def reports_of(base: ClientConfig, topic: str, model: str) -> list[Reported]:
    """All there are of a model, by partition and offset. Raises TopicsError: there is no such topic."""
    log = AlertLog(base, topic, "streamer.reports")
    found = []
    try:
        while not log.caught_up:
            for message in log.records(1.0):
                document = None if message.value() is None else alert_in(message)
                if document is not None and document.get("model") == model:
                    place = message.partition(), message.offset()
                    found.append(Reported(*place, message.value(), document))
    finally:
        log.close()
    return sorted(found, key=lambda each: (each.partition, each.offset))
