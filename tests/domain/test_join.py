"""The join: who waits, who met, who came twice, and that all of it can be written down and read back."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.domain import partition as partition_module
from streamer.domain.objectives import LIFETIME, Limits, ModelSpec, Objectives
from streamer.pipeline import Pipeline
from tests.domain.feed import Disk, Log, build, facts, feed

SECOND = 1_000
WAIT, DEDUPE, PARK = 60 * SECOND, 20 * SECOND, 10 * SECOND
SPEC = ModelSpec(
    "m",
    task="binary",
    windows=(LIFETIME,),
    drift=(),
    label_wait_ms=WAIT,
    dedupe_ms=DEDUPE,
    park_ms=PARK,
    profile_features=False,
)
seeds = st.integers(0, 2**32)


@dataclass
class Story:
    """A partition, and what is written to it while seconds pass."""

    limits: Limits = field(default_factory=Limits)
    specs: tuple[ModelSpec, ...] = (SPEC,)
    count: int = 0

    def __post_init__(self) -> None:
        self.disk = Disk(Objectives(models={spec.model: spec for spec in self.specs}, limits=self.limits))
        self.pipeline: Pipeline = build(self.disk.objectives)
        self.log = Log()
        self.tick()

    def predict(self, *pids: Any, **more: Any) -> None:
        for pid in pids:
            self.log.predict(pid, **more)
        self._play()

    def label(self, *pids: Any, **more: Any) -> None:
        for pid in pids:
            self.log.label(pid, **more)
        self._play()

    def _play(self) -> None:
        feed(self.pipeline, self.log.steps)
        self.log.steps = []

    def wait(self, ms: int) -> None:
        self.log.wait(ms)
        self.tick()

    def tick(self) -> None:
        self.pipeline.tick(self.log.at)

    @property
    def predictions(self) -> dict[str, int]:
        return self._terms("predictions")

    @property
    def labels(self) -> dict[str, int]:
        return self._terms("labels")

    def _terms(self, topic: str) -> dict[str, int]:
        found = self.pipeline.partition.identity()[topic]
        return {name: n for name, n in found.items() if n and name != "consumed"}

    def tables(self) -> Any:
        return tables(self.pipeline)


def tables(pipeline: Pipeline) -> Any:
    """Everything that the join remembers, in order."""
    return [
        (
            name,
            list(model.parked.items()),
            [
                (v.version, list(v.table.pending.items()), list(v.table.recent.items()))
                for v in model.every_version
            ],
        )
        for name, model in pipeline.partition.models.items()
    ]


def reasons(pipeline: Pipeline) -> dict[str, int]:
    """How many predictions ended without a label, by why."""
    total: Counter[str] = Counter()
    for version in pipeline.partition.models["m"].every_version:
        total.update(version.expired)
    return {reason: n for reason, n in total.items() if n}


# -- expiry ------------------------------------------------------------------------------


def test_a_prediction_waits_for_its_label_as_long_as_it_was_told_and_not_a_second_longer() -> None:
    story = Story()
    story.predict("a", "b")
    story.wait(WAIT)
    assert story.predictions == {"pending": 2}
    story.label("a")
    assert story.predictions == {"joined": 1, "pending": 1}
    story.wait(SECOND)
    assert story.predictions == {"joined": 1, "expired": 1}
    assert reasons(story.pipeline) == {"label_wait": 1}


def test_a_label_that_comes_after_its_prediction_expired_is_late() -> None:
    story = Story()
    story.predict("a")
    story.wait(WAIT + SECOND)
    story.label("a", value=0)
    assert story.labels == {"late": 1}
    assert story.predictions == {"expired": 1}


def test_predictions_expire_in_the_order_in_which_they_came() -> None:
    story = Story()
    for second in range(5):
        story.predict(f"a{second}", f"b{second}")
        story.wait(SECOND)
    story.wait(WAIT - 5 * SECOND)
    for second in range(5):
        story.wait(SECOND)
        assert story.predictions == {
            key: n for key, n in (("pending", 8 - 2 * second), ("expired", 2 + 2 * second)) if n
        }


def test_nothing_expires_while_record_time_stands_still_however_old_the_events_say_they_are() -> None:
    story = Story()
    story.predict("old", timestamp=story.log.at - 10 * WAIT)
    story.wait(WAIT)
    assert story.predictions == {"pending": 1}


def test_an_expired_prediction_was_still_made_and_counts_in_no_score() -> None:
    story = Story()
    story.predict("a", "b")
    story.label("b")
    story.wait(WAIT + SECOND)
    [version] = story.pipeline.partition.models["m"].every_version
    version.flush()
    assert (version.accepted, version.joined) == (2, 1)
    assert int(version.figures.windows["lifetime"].tally.sum()) == 1


# -- the same id again ---------------------------------------------------------------------


def test_an_id_that_still_waits_is_a_duplicate_however_old_it_is() -> None:
    story = Story()
    story.predict("a")
    story.wait(WAIT)
    story.predict("a", value=0)
    assert story.predictions == {"pending": 1, "duplicate": 1}


def test_an_id_is_remembered_after_its_join_for_as_long_as_it_was_told_and_then_it_is_new() -> None:
    story = Story()
    story.predict("a")
    story.wait(3 * SECOND)
    story.label("a")
    story.wait(DEDUPE)
    story.predict("a")
    assert story.predictions == {"joined": 1, "duplicate": 1}
    story.wait(SECOND)
    story.predict("a")
    assert story.predictions == {"joined": 1, "duplicate": 1, "pending": 1}


def test_an_id_that_expired_is_remembered_as_well() -> None:
    story = Story()
    story.predict("a")
    story.wait(WAIT + SECOND)
    story.predict("a")
    assert story.predictions == {"expired": 1, "duplicate": 1}
    story.wait(DEDUPE + SECOND)
    story.predict("a")
    assert story.predictions == {"expired": 1, "duplicate": 1, "pending": 1}


def test_of_two_predictions_with_one_id_the_first_is_scored() -> None:
    story = Story()
    story.predict("a", value=0)
    story.predict("a", value=1)
    story.label("a", value=0)
    [version] = story.pipeline.partition.models["m"].every_version
    version.flush()
    tn, _, _, tp = version.figures.windows["lifetime"].tally.reshape(-1, 4).sum(axis=0).tolist()
    assert (tn, tp) == (1, 0)


def test_a_label_for_an_id_that_is_forgotten_is_parked_and_then_unmatched() -> None:
    story = Story()
    story.predict("a")
    story.label("a")
    story.wait(DEDUPE + SECOND)
    story.label("a")
    assert story.labels == {"joined": 1, "parked": 1}
    story.wait(PARK)
    assert story.labels == {"joined": 1, "parked": 1}
    story.wait(SECOND)
    assert story.labels == {"joined": 1, "unmatched": 1}


def test_one_id_in_two_models_is_two_predictions() -> None:
    story = Story(specs=(SPEC, ModelSpec("n", task="binary", drift=())))
    story.predict("a")
    story.predict("a", model="n")
    story.label("a", model="n")
    assert story.predictions == {"joined": 1, "pending": 1}


# -- bounds -----------------------------------------------------------------------------------


def test_beyond_the_limit_the_oldest_predictions_make_room_and_are_counted_as_capacity() -> None:
    story = Story(Limits(max_pending=3))
    story.predict("a", "b", "c", "d", "e")
    story.wait(SECOND)
    assert story.predictions == {"pending": 3, "expired": 2}
    assert reasons(story.pipeline) == {"capacity": 2}
    story.label("a", "b", "c", "d", "e")
    assert story.labels == {"late": 2, "joined": 3}


def test_room_is_made_by_the_version_that_has_most() -> None:
    story = Story(Limits(max_pending=6))
    story.predict("x", "y", version="small")
    story.predict(*range(8), version="large")
    story.wait(SECOND)
    pending = {version: len(ids) for version, ids, _ in story.tables()[0][2]}
    assert pending == {"small": 2, "large": 4}


def test_beyond_the_limit_the_oldest_remembered_ids_are_forgotten_first() -> None:
    story = Story(Limits(max_recent=2))
    for pid in "abcd":
        story.predict(pid)
        story.label(pid)
        story.wait(SECOND)
    story.predict("d", "c")
    assert story.predictions == {"joined": 4, "duplicate": 2}
    story.predict("a", "b")
    assert story.predictions == {"joined": 4, "duplicate": 2, "pending": 2}


def test_beyond_the_limit_the_labels_that_were_parked_longest_are_given_up() -> None:
    story = Story(Limits(max_parked=2))
    story.label("a", "b", "c")
    story.wait(SECOND)
    assert story.labels == {"parked": 2, "unmatched": 1}
    story.predict("a", "b", "c")
    assert story.predictions == {"joined": 2, "pending": 1}


def test_a_limit_holds_again_at_the_next_second_however_much_comes_at_once() -> None:
    story = Story(Limits(max_pending=10, max_recent=10, max_parked=10))
    story.predict(*range(500))
    story.label(*range(250, 900))
    story.wait(SECOND)
    [(_, parked, [(_, pending, recent)])] = story.tables()
    assert (len(pending), len(parked)) == (10, 10)
    # What went for want of room was resolved in this very second; it can be forgotten from the next one on.
    story.wait(SECOND)
    [(_, _, [(_, _, recent)])] = story.tables()
    assert len(recent) <= 10


# -- the join against pandas ---------------------------------------------------------------------


@given(seeds, st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_order_of_predictions_and_labels_joins_what_pandas_merges(seed: int, restarts: bool) -> None:
    chance = random.Random(seed)
    rows = [
        (chance.choice(["prediction", "label"]), str(chance.randrange(40)), chance.randrange(2))
        for _ in range(120)
    ]
    story = Story()
    for kind, pid, value in rows:
        (story.predict if kind == "prediction" else story.label)(pid, value=value)
        if restarts and chance.random() < 0.1:
            story.disk.commit(story.pipeline)
            story.pipeline = story.disk.restore(chance)
    table = pd.DataFrame(rows, columns=["kind", "pid", "value"])
    first = {kind: group.drop_duplicates("pid") for kind, group in table.groupby("kind")}
    merged = first["prediction"].merge(first["label"], on="pid", suffixes=("_predicted", "_true"))
    again = table[table.kind == "label"].merge(first["label"], on="pid", suffixes=("", "_first"))
    conflicting = int((again.value != again.value_first).sum())
    joined = len(merged)
    assert story.pipeline.partition.identity() == {
        "predictions": {
            "joined": joined,
            "pending": len(first["prediction"]) - joined,
            "expired": 0,
            "duplicate": int((table.kind == "prediction").sum()) - len(first["prediction"]),
            "consumed": int((table.kind == "prediction").sum()),
            "dead_letter": 0,
        },
        "labels": {
            "joined": joined,
            "parked": len(first["label"]) - joined,
            "unmatched": 0,
            "late": 0,
            "duplicate": len(again) - len(first["label"]) - conflicting,
            "conflicting": conflicting,
            "consumed": int((table.kind == "label").sum()),
            "dead_letter": 0,
        },
    }
    [version] = story.pipeline.partition.models["m"].every_version
    version.flush()
    cells = version.figures.windows["lifetime"].tally.reshape(-1, 2, 2).sum(axis=0)  # predicted, true
    expected = pd.crosstab(merged.value_predicted, merged.value_true).reindex(
        index=[0, 1], columns=[0, 1], fill_value=0
    )
    assert cells.tolist() == expected.to_numpy().tolist()


# -- written down and read back -------------------------------------------------------------------

REGRESSION = ModelSpec(
    "r", task="regression", drift=(), label_wait_ms=WAIT // 3, dedupe_ms=DEDUPE // 2, park_ms=PARK
)


def wander(story: Story, chance: random.Random) -> None:
    """One random step; ids come again and again."""
    what = chance.random()
    if what < 0.15:
        story.wait(chance.choice([200, 1_000, 3_000, 3_000, 9_000, 25_000, 70_000]))
        return
    predicts = what < 0.6
    pid = str(chance.randrange(15))
    model = chance.choice("mr")
    value = chance.randrange(2) if model == "m" else chance.random()
    if predicts:
        story.predict(pid, value=value, model=model, version=chance.choice(["a", "a", "b"]))
    else:
        story.label(pid, value=value, model=model)


@pytest.mark.parametrize("slack", [0, 50_000], ids=["rewriting", "appending"])
@pytest.mark.parametrize("segment", [3, 5_000])
@given(seeds)
@settings(max_examples=6, deadline=None)
def test_the_changes_of_all_commits_add_up_to_the_whole_table(slack: int, segment: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_module, "SLACK_ROWS", slack)
        patch.setattr(partition_module, "SEGMENT_ROWS", segment)
        chance = random.Random(seed)
        story = Story(specs=(SPEC, REGRESSION))
        for _ in range(150):
            wander(story, chance)
            if chance.random() < 0.3:
                story.disk.commit(story.pipeline)
                copy = Disk(story.disk.objectives)
                copy.raw, copy.number = dict(story.disk.raw), story.disk.number
                assert tables(copy.restore(chance)) == story.tables()


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_changes_add_up_too_where_ids_have_to_make_room(seed: int) -> None:
    chance = random.Random(seed)
    story = Story(Limits(max_pending=8, max_parked=4, max_recent=6), (SPEC, REGRESSION))
    for _ in range(150):
        wander(story, chance)
        if chance.random() < 0.3:
            story.disk.commit(story.pipeline)
            copy = Disk(story.disk.objectives)
            copy.raw, copy.number = dict(story.disk.raw), story.disk.number
            assert tables(copy.restore(chance)) == story.tables()


@pytest.mark.parametrize(
    "limits", [Limits(), Limits(max_pending=8, max_parked=4, max_recent=6)], ids=["roomy", "crowded"]
)
@given(seeds)
@settings(max_examples=4, deadline=None)
def test_a_join_that_is_restored_after_every_step_goes_on_as_if_it_had_never_stopped(
    limits: Limits, seed: int
) -> None:
    never, again = Story(limits, (SPEC, REGRESSION)), Story(limits, (SPEC, REGRESSION))
    first, second = random.Random(seed), random.Random(seed)
    for _ in range(120):
        wander(never, first)
        wander(again, second)
        again.disk.commit(again.pipeline)
        again.pipeline = again.disk.restore()
        assert again.tables() == never.tables()
    assert facts(again.pipeline) == facts(never.pipeline)


def test_ids_that_were_forgotten_and_came_back_within_one_commit_stand_where_they_came_last() -> None:
    story = Story()
    story.predict("a", "b")
    story.label("a", "b")
    story.wait(DEDUPE + SECOND)
    story.predict("c", "b", "a")
    story.label("c", "b")
    story.predict("d")
    story.disk.commit(story.pipeline)
    [(_, _, [(_, pending, recent)])] = story.tables()
    assert [pid for pid, _ in pending] == ["a", "d"]
    assert [pid for pid, _ in recent] == ["c", "b"]
    assert tables(story.disk.restore()) == story.tables()
    story.wait(DEDUPE + SECOND)
    story.predict("b", "a")
    story.disk.commit(story.pipeline)
    assert [pid for pid, _ in story.tables()[0][2][0][1]] == ["a", "d", "b"]
    assert tables(story.disk.restore()) == story.tables()


def test_a_commit_in_which_nothing_happened_writes_nothing_about_the_join() -> None:
    story = Story()
    story.predict("a", "b")
    story.label("b", "c")
    story.disk.commit(story.pipeline)
    before = {key for key in story.disk.raw if b"join" in key}
    story.disk.commit(story.pipeline)
    assert {key for key in story.disk.raw if b"join" in key} == before


def test_a_long_run_leaves_no_more_behind_than_what_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "SLACK_ROWS", 100)
    story, sizes = Story(), []
    for second in range(400):
        ids = [f"{second}-{n}" for n in range(10)]
        story.predict(*ids)
        story.label(*ids)
        story.wait(SECOND)
        story.disk.commit(story.pipeline)
        sizes.append(sum(len(value) for key, value in story.disk.raw.items() if b"join" in key))
    assert max(sizes[200:]) < 2 * max(sizes[50:200])
