"""Streams in which nothing changes: what they keep of the log, and how long blocks have to be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from streamer.backtest.bootstrap import History, block_length
from streamer.pipeline import LABELS, PREDICTIONS


def history(rows: int = 500) -> History:
    """A prediction every 10 ms, but for a pause after every hundred; each third one has no label."""
    found, now = History(), 1_000_000
    for number in range(rows):
        now += 5000 if number % 100 == 0 else 10
        found.prediction(
            {"prediction_id": f"p{number}", "model": "m", "timestamp": now, "prediction": number}
        )
        if number % 3:
            found.label({"prediction_id": f"p{number}", "model": "m", "timestamp": now + 70, "label": number})
    return found


def test_blocks_keep_neighbours_together_and_every_row_keeps_its_label_and_its_pause() -> None:
    events = list(history().resampled(3000, 25, np.random.default_rng(1), 50_000_000))
    made = [event for kind, event in events if kind == PREDICTIONS]
    labels = {event["prediction_id"]: event for kind, event in events if kind == LABELS}
    assert len(made) == 3000
    assert len({event["prediction_id"] for event in made}) == 3000
    rows = [event["prediction"] for event in made]
    starts = [at for at in range(1, 3000) if rows[at] != (rows[at - 1] + 1) % 500]
    assert not [at for at in starts if at % 25]  # within a block every row is the next one of the log
    assert len(starts) > 100
    assert len(set(rows)) > 450  # and blocks come from everywhere
    for before, event in pairwise(made):
        pause = 0 if event["prediction"] == 0 else 5000 if event["prediction"] % 100 == 0 else 10
        assert event["timestamp"] - before["timestamp"] == pause
        label = labels.get(event["prediction_id"])
        if event["prediction"] % 3 and label is not None:
            assert label["label"] == event["prediction"]
            assert label["timestamp"] - event["timestamp"] == 70
        assert event["prediction"] % 3 or label is None


def test_events_come_in_the_order_of_their_time() -> None:
    times = [event["timestamp"] for _, event in history().resampled(800, 10, np.random.default_rng(2), 10**9)]
    assert times == sorted(times)


def test_the_same_seed_draws_the_same_stream() -> None:
    one, other = (list(history().resampled(100, 10, np.random.default_rng(4), 10**9)) for _ in range(2))
    assert one == other
    assert one != list(history().resampled(100, 10, np.random.default_rng(5), 10**9))


def test_what_does_not_depend_on_its_neighbours_needs_no_blocks() -> None:
    assert block_length(np.random.default_rng(3).random(20_000)) <= 12
    assert block_length(np.zeros(1000)) == 1
    assert block_length(np.arange(5.0)) == 1


@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_of_an_autoregression_the_length_is_what_theory_says(strength: float) -> None:
    chance, n = np.random.default_rng(6), 20_000
    series = np.zeros(n)
    for at, noise in enumerate(chance.normal(size=n - 1), start=1):
        series[at] = strength * series[at - 1] + noise
    # Politis and White, section 3.2: of an AR(1) process, for the circular bootstrap.
    theory = (1.5 * n) ** (1 / 3) * (2 * strength / (1 - strength**2)) ** (2 / 3)
    assert block_length(series) == pytest.approx(theory, rel=0.35)


def test_no_block_is_longer_than_the_series_can_bear() -> None:
    walk = np.random.default_rng(7).normal(size=4000).cumsum()
    assert block_length(walk) <= 3 * 4000**0.5 + 1
