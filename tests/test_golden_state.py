"""State that an earlier version wrote is read by this one, to the last figure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from streamer.adapters import codec
from streamer.adapters.state_file import read
from streamer.checkpoint import FORMAT, Checkpoint
from streamer.domain.objectives import Limits
from streamer.stored import Stored, unaccounted
from tests.domain.feed import Log, build, feed
from tests.domain.traffic import objectives
from tests.golden_state import IDENTITY, told

DATA = Path(__file__).parent / "data"
FILES = sorted(DATA.glob("state-format-*.state"))


# Labels that a figure has got since: they are its last.
LATER_LABELS = {"model_alert_firing": 1}


def as_of_old(figures: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Figures whose labels are more than they were, under their old name."""
    for name, value in figures.items():
        if later := LATER_LABELS.get(name.partition(" ")[0]):
            yield "|".join(name.split("|")[:-later]), value


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_state_of_an_earlier_version_is_read_to_the_last_figure_and_goes_on(file: Path) -> None:
    _, [frame] = read(file)
    checkpoint = Checkpoint(codec, IDENTITY)
    found = checkpoint.read(frame.records, 0)
    assert found is not None
    assert unaccounted(Stored.of(*found)) == {"predictions": 0, "labels": 0}
    wanted = objectives(Limits())
    pipeline = checkpoint.restore(frame.records, lambda: build(wanted), None)
    expected, now = orjson.loads(file.with_suffix(".json").read_bytes()), told(pipeline)
    assert now["identity"] == expected["identity"]
    assert now["positions"] == expected["positions"]
    figures = {**now["figures"], **dict(as_of_old(now["figures"]))}
    for name, value in expected["figures"].items():
        assert math.isclose(figures[name], value, rel_tol=1e-12), name
    for name, (counts, total) in expected["histograms"].items():
        assert now["histograms"][name][0] == counts, name
        assert math.isclose(now["histograms"][name][1], total, rel_tol=1e-12), name
    log = Log(pipeline.partition.now + 1_000)
    log.offsets = list(pipeline.positions)
    for number in range(50):
        log.predict(f"new {number}", 1, "binary")
        log.label(f"new {number}", 1, "binary")
    feed(pipeline, log.steps)
    before = expected["identity"]["labels"]["joined"]
    assert told(pipeline)["identity"]["labels"]["joined"] == before + 50
    assert checkpoint.prepare(pipeline).number == found[0]["commit"] + 1


def test_there_is_a_golden_state_of_the_format_that_is_written_now() -> None:
    assert DATA / f"state-format-{FORMAT}.state" in FILES, "make one: python -m tests.golden_state tests/data"
