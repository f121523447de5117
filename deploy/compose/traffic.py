"""Endless traffic for docker-compose.yml: the demo's three models; two go wrong for a while."""

from __future__ import annotations

import os

from streamer.config import load_settings
from streamer.demo import Injection, Traffic
from streamer.sdk import PredictionLogger

ROUND_SECONDS = 600.0


def story() -> list[Injection]:
    """One round; ``at`` in seconds. Slow enough to be seen on a dashboard that is scraped every 5 s."""
    return [
        Injection("churn", 90.0, "customers begin to decide differently"),
        Injection("churn", 240.0, "customers are as they were"),
        Injection("search", 330.0, "answers become five times slower"),
        Injection("search", 480.0, "answers are fast again"),
    ]


def main() -> None:
    """Play round after round until the container is stopped."""
    settings = load_settings({}, os.environ)
    names = settings.topics
    with PredictionLogger(
        settings.bootstrap, predictions_topic=names.predictions, labels_topic=names.labels
    ) as logger:
        while True:
            traffic = Traffic(logger)
            traffic.story = story()
            for _, injected in traffic.steps(ROUND_SECONDS):
                for each in injected:
                    print(f"{each.model}: {each.text}", flush=True)


if __name__ == "__main__":
    main()
