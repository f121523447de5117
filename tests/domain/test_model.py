"""One model: its versions, its labels whenever they come, its silence, and nothing lost on the way."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from streamer.domain.events import Reason
from streamer.domain.objectives import (
    LIFETIME,
    FieldMap,
    Limits,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)
from streamer.pipeline import LABELS, PREDICTIONS, Pipeline
from tests.domain.feed import START_MS, Disk, Log, build, facts, feed
from tests.domain.traffic import SMALL, objectives, traffic

SECOND, MINUTE = 1_000, 60_000
SPEC = ModelSpec("m", task="binary", windows=(LIFETIME,), drift=(), label_wait_ms=60 * SECOND)
SILENCE = ThresholdSpec("silence", "silence", LIFETIME, maximum=10 * MINUTE, min_samples=1, confidence=None)
seeds = st.integers(0, 2**32)


class Story:
    """A partition, and what is written to it while seconds pass."""

    def __init__(self, *specs: ModelSpec, limits: Limits | None = None) -> None:
        models = {spec.model: spec for spec in specs}
        self.objectives = Objectives(1, models=models, limits=limits or Limits())
        self.disk = Disk(self.objectives)
        self.pipeline: Pipeline = build(self.objectives)
        self.log = Log()
        self.pipeline.tick(self.log.at)

    def predict(self, pid: Any, value: Any = 1, model: str = "m", **more: Any) -> Story:
        self.log.predict(pid, value, model, **more)
        return self.play()

    def label(self, pid: Any, value: Any = 1, model: str = "m", **more: Any) -> Story:
        self.log.label(pid, value, model, **more)
        return self.play()

    def put(self, kind: int, event: dict[str, Any]) -> Story:
        self.log.put(kind, event)
        return self.play()

    def play(self) -> Story:
        feed(self.pipeline, self.log.steps)
        self.log.steps = []
        return self

    def wait(self, ms: int) -> Story:
        self.log.wait(ms)
        self.pipeline.tick(self.log.at)
        return self

    def restart(self) -> Story:
        self.disk.commit(self.pipeline)
        self.pipeline = self.disk.restore()
        return self

    def terms(self, topic: str) -> dict[str, int]:
        found = self.pipeline.partition.identity()[topic]
        return {name: n for name, n in found.items() if n and name != "consumed"}

    @property
    def labels(self) -> dict[str, int]:
        return self.terms("labels")

    @property
    def predictions(self) -> dict[str, int]:
        return self.terms("predictions")

    def confusion(self, version: str = "", model: str = "m") -> tuple[int, int, int, int]:
        """tn, fn, fp, tp over the lifetime."""
        found = self.pipeline.partition.models[model].versions[version]
        found.flush()
        tn, fn, fp, tp = found.figures.windows["lifetime"].tally.reshape(-1, 4).sum(axis=0).tolist()
        return tn, fn, fp, tp

    def told(self) -> list[dict[str, Any]]:
        return self.pipeline.take_effects().alerts

    def dead(self) -> list[Reason]:
        return [letter.reason for letter in self.pipeline.take_effects().dead_letters]


# -- labels ------------------------------------------------------------------------------


def test_a_label_meets_its_prediction_once_and_the_same_again_is_a_duplicate() -> None:
    story = Story(SPEC).predict("a", 1).label("a", 1).label("a", 1).label("a", "1").label("a", True)
    assert story.labels == {"joined": 1, "duplicate": 3}
    assert story.confusion() == (0, 0, 0, 1)


def test_the_first_label_wins_and_a_different_one_is_conflicting() -> None:
    story = Story(SPEC).predict("a", 1).label("a", 0).label("a", 1).label("a", 1).label("a", 0)
    assert story.labels == {"joined": 1, "conflicting": 2, "duplicate": 1}
    assert story.confusion() == (0, 0, 1, 0)


def test_the_first_label_wins_as_well_while_it_is_parked() -> None:
    story = Story(SPEC).label("a", 0).label("a", 1).label("a", 0).predict("a", 1)
    assert story.labels == {"joined": 1, "conflicting": 1, "duplicate": 1}
    assert story.confusion() == (0, 0, 1, 0)


def test_a_label_before_its_prediction_is_parked_and_meets_it_when_it_comes() -> None:
    story = Story(SPEC).label("a", 1)
    assert story.labels == {"parked": 1}
    story.wait(SPEC.park_ms).predict("a", 1)
    assert story.labels == {"joined": 1}
    assert story.predictions == {"joined": 1}
    assert story.confusion() == (0, 0, 0, 1)


def test_a_label_whose_prediction_does_not_come_in_time_is_unmatched_and_its_prediction_waits() -> None:
    story = Story(SPEC).label("a", 1).wait(SPEC.park_ms + SECOND)
    assert story.labels == {"unmatched": 1}
    assert story.predict("a", 1).predictions == {"pending": 1}


def test_a_label_after_the_wait_is_late_whatever_it_says_and_however_often() -> None:
    story = Story(SPEC).predict("a", 1).wait(SPEC.label_wait_ms + SECOND)
    assert story.label("a", 1).label("a", 0).label("a", 0).labels == {"late": 3}
    assert story.confusion() == (0, 0, 0, 0)


def test_numbers_meet_numbers_and_their_errors_are_those_of_the_first_label() -> None:
    story = Story(replace(SPEC, task="regression"))
    story.predict("a", 2.5).label("a", 2).label("a", 2.0).label("a", 3).predict("b", 7).label("b", 5.0)
    assert story.labels == {"joined": 2, "duplicate": 1, "conflicting": 1}
    [version] = story.pipeline.partition.models["m"].every_version
    version.flush()
    assert version.figures.windows["lifetime"].tally.n == 2
    assert version.figures.windows["lifetime"].tally.sum_abs == (0.5 + 2.0) * 2**64


@pytest.mark.parametrize("value", ["5", True, None, 1e200, [1]])
@pytest.mark.parametrize("kind", [PREDICTIONS, LABELS])
def test_what_is_no_number_is_no_prediction_and_no_label_of_a_regression(kind: int, value: Any) -> None:
    story = Story(replace(SPEC, task="regression")).predict("a", 1.0)
    event = {"prediction_id": "b", "timestamp": START_MS, "model": "m", "prediction": value, "label": value}
    story.put(kind, event)
    assert story.dead() == [Reason.INVALID_FIELD]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 90)), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_the_figures_are_those_of_scikit_learn_on_the_rows_whose_label_came_in_time(
    rows: list[tuple[bool, bool, int]],
) -> None:
    story = Story(SPEC)
    for number, (predicted, _, _) in enumerate(rows):
        story.log.predict(number, predicted)
    story.play()
    for second in range(91):
        for number, (_, actual, delay) in enumerate(rows):
            if delay == second:
                story.log.label(number, actual)
        story.play().wait(SECOND)
    inside = [
        (predicted, actual) for predicted, actual, delay in rows if delay <= SPEC.label_wait_ms // SECOND
    ]
    expected = metrics.confusion_matrix(
        [actual for _, actual in inside] or [0], [p for p, _ in inside] or [0], labels=[False, True]
    )
    if inside:
        assert story.confusion() == tuple(expected.T.ravel().tolist())
    assert story.labels.get("late", 0) == len(rows) - len(inside)


# -- versions ------------------------------------------------------------------------------


def test_one_label_meets_every_version_that_has_the_id_and_counts_once() -> None:
    story = Story(SPEC).predict("a", 1, version="old").predict("a", 0, version="new").label("a", 1)
    assert story.predictions == {"joined": 2}
    assert story.labels == {"joined": 1}
    assert (story.confusion("old"), story.confusion("new")) == ((0, 0, 0, 1), (0, 1, 0, 0))
    assert story.label("a", 1).label("a", 0).labels == {"joined": 1, "duplicate": 1, "conflicting": 1}


def test_a_challenger_that_answers_after_the_label_is_scored_with_it() -> None:
    story = Story(SPEC).predict("a", 1, version="old").label("a", 1).predict("a", 0, version="new")
    assert story.predictions == {"joined": 2}
    assert story.labels == {"joined": 1}
    assert story.confusion("new") == (0, 1, 0, 0)
    assert story.restart().confusion("new") == (0, 1, 0, 0)


def test_a_parked_label_meets_the_first_version_and_then_the_others() -> None:
    story = Story(SPEC).label("a", 1).predict("a", 1, version="old").predict("a", 1, version="new")
    assert story.predictions == {"joined": 2}
    assert story.labels == {"joined": 1}


def test_a_challenger_of_an_expired_prediction_waits_for_a_label_of_its_own() -> None:
    story = Story(SPEC).predict("a", 1, version="old").wait(SPEC.label_wait_ms + SECOND)
    story.predict("a", 1, version="new")
    assert story.predictions == {"expired": 1, "pending": 1}
    assert story.label("a", 1).predictions == {"expired": 1, "joined": 1}


def test_one_id_is_a_duplicate_only_within_one_version() -> None:
    story = Story(SPEC).predict("a", version="old").predict("a", version="new").predict("a", version="new")
    assert story.predictions == {"pending": 2, "duplicate": 1}


def test_no_version_null_and_empty_are_one_and_a_number_is_its_text() -> None:
    story = Story(SPEC).predict("a").predict("b", version=None).predict("c", version="")
    story.predict("d", version=7).predict("e", version="7")
    assert [v.version for v in story.pipeline.partition.models["m"].every_version] == ["", "7"]


def test_the_versions_beyond_the_limit_share_one_that_is_called_other() -> None:
    story = Story(SPEC, limits=Limits(max_versions=2))
    for number, version in enumerate(["a", "b", "c", "d", "a", "c"]):
        story.predict(number, version=version)
    accepted = {v.version: v.accepted for v in story.pipeline.partition.models["m"].every_version}
    assert accepted == {"a": 2, "b": 1, "other": 3}


def test_where_the_partition_is_full_of_versions_known_ones_go_on_and_new_ones_are_other_or_refused() -> None:
    story = Story(SPEC, limits=Limits(max_versions=2, max_versions_total=4))
    for number, version in enumerate(["a", "b", "c"]):  # the third is "other"
        story.predict(number, version=version)
    story.predict(3, model="late", version="x")
    for number, (model, version) in enumerate(
        [("m", "d"), ("late", "x"), ("late", "y"), ("later", None)], start=4
    ):
        story.predict(number, model=model, version=version)
    story = story.restart()
    story.predict(9, version="e").predict(10, model="later")
    models = story.pipeline.partition.models
    found = {name: {v.version: v.accepted for v in model.every_version} for name, model in models.items()}
    assert found == {"m": {"a": 1, "b": 1, "other": 3}, "late": {"x": 2}, "later": {}}
    assert story.pipeline.partition.dead["predictions", "capacity"] == 3
    assert models["later"].task is None, "a dead letter decides nothing"


def test_the_features_of_all_versions_together_are_bounded() -> None:
    story = Story(SPEC, limits=Limits(max_features=3, max_features_total=4))
    story.predict(1, version="a", features={"x": 1, "y": 2.5, "z": "red"})
    story.predict(2, version="b", features={"x": 1, "y": 2.5, "z": "red"})
    story = story.restart()
    story.predict(3, version="a", features={"x": 1, "w": 3}).predict(
        4, version="b", features={"x": 1, "y": 2}
    )
    profiles = [version.profile for _, version in story.pipeline.partition.versions()]
    assert [(set(p.numeric) | set(p.categories), p.overflow) for p in profiles if p] == [
        ({"x", "y", "z"}, 1),
        ({"x"}, 3),
    ]


# -- what kind of model it is ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "more", "task"),
    [
        (1, {}, "binary"),
        ("yes", {}, "binary"),
        (False, {}, "binary"),
        ("0", {}, "binary"),
        ("cat", {}, "multiclass"),
        (7, {}, "multiclass"),
        (0.5, {}, "regression"),
        (1.0, {}, "regression"),
        (1.0, {"score": 0.7}, "binary"),
    ],
)
def test_what_nobody_declared_is_judged_by_the_first_prediction(
    value: Any, more: dict[str, Any], task: str
) -> None:
    story = Story().predict("a", value, model="new", **more)
    assert story.pipeline.partition.models["new"].task == task
    assert story.restart().pipeline.partition.models["new"].task == task


def test_labels_that_came_before_anybody_knew_the_kind_of_model_are_read_once_it_is_known() -> None:
    story = Story().label("a", 1).label("b", "yes").label("c", "cat").label("d", 0.5)
    assert story.labels == {"parked": 4}
    story.predict("a", 1)
    assert story.labels == {"joined": 1, "parked": 1, "unmatched": 2}  # no binary model says cat or 0.5
    story.predict("b", "true")
    assert story.labels == {"joined": 2, "unmatched": 2}
    assert story.confusion() == (0, 0, 0, 2)


def test_labels_parked_before_the_kind_was_known_survive_a_restart() -> None:
    story = Story().label("a", 1).restart().predict("a", 1).restart()
    assert story.labels == {"joined": 1}
    assert story.confusion() == (0, 0, 0, 1)


def test_an_unknown_class_is_a_dead_letter_and_never_silently_wrong() -> None:
    story = Story(SPEC).predict("a", "maybe").predict("b", 1).label("b", "perhaps").label("b", 1)
    assert story.dead() == [Reason.UNKNOWN_CLASS] * 2
    assert story.labels == {"joined": 1, "dead_letter": 1}
    closed = Story(replace(SPEC, task="multiclass", classes=("cat", "dog"))).predict("a", "cat")
    assert closed.label("a", "cow").label("a", "dog").dead() == [Reason.UNKNOWN_CLASS]


@pytest.mark.parametrize(
    ("more", "score"),
    [
        ({"score": 0.75}, 0.75),
        ({"score": 1}, 1.0),
        ({"scores": {"0": 0.25, "1": 0.75}}, 0.75),
        ({"scores": {"no": 0.25, "yes": 0.75}}, 0.75),
        ({"score": 0.75, "scores": {"1": 0.1}}, 0.75),
    ],
)
def test_the_score_of_the_positive_class_is_taken_however_it_was_sent(
    more: dict[str, Any], score: float
) -> None:
    def counts(**sent: Any) -> list[int]:
        story = Story(SPEC).predict("a", 1, **sent).label("a", 1)
        story.confusion()
        tally: list[int] = (
            story.pipeline.partition.models["m"].versions[""].figures.windows["lifetime"].tally.tolist()
        )
        return tally

    assert counts(**more) == counts(score=score)
    assert counts(**more) != counts()


# -- no label in time means negative ------------------------------------------------------------

NEGATIVE = replace(SPEC, on_expiry="negative")


def test_where_silence_means_no_a_prediction_without_a_label_is_scored_as_negative() -> None:
    story = Story(NEGATIVE).predict("a", 1).predict("b", 0).predict("c", 1).label("c", 1)
    story.wait(SPEC.label_wait_ms)
    assert story.confusion() == (0, 0, 0, 1)
    story.wait(SECOND)
    assert story.confusion() == (1, 0, 1, 1)
    assert story.predictions == {"joined": 3}
    assert story.labels == {"joined": 1}


def test_a_label_after_silence_was_taken_as_no_repeats_it_or_conflicts_with_it() -> None:
    story = Story(NEGATIVE).predict("a", 1).predict("b", 1).wait(SPEC.label_wait_ms + SECOND)
    assert story.label("a", 0).label("b", 1).labels == {"duplicate": 1, "conflicting": 1}
    assert story.confusion() == (0, 0, 2, 0)


def test_predictions_that_had_to_make_room_are_not_taken_as_negative() -> None:
    story = Story(NEGATIVE, limits=Limits(max_pending=1)).predict("a").predict("b").wait(SECOND)
    assert story.predictions == {"expired": 1, "pending": 1}
    assert story.confusion() == (0, 0, 0, 0)


def test_silence_means_nothing_for_a_model_whose_classes_have_no_negative() -> None:
    story = Story(replace(NEGATIVE, task="multiclass")).predict("a", "cat").wait(SPEC.label_wait_ms + SECOND)
    assert story.predictions == {"expired": 1}


# -- foreign logs ----------------------------------------------------------------------------------


def test_fields_of_a_foreign_log_are_found_under_their_names_and_paths_per_topic() -> None:
    fields = FieldMap(
        prediction=(
            ("prediction_id", ("inference", "id")),
            ("prediction", ("output",)),
            ("timestamp", ("when",)),
            ("score", ("p", "positive")),
            ("version", ("inference", "model_version")),
            ("latency_ms", ("took",)),
        ),
        label=(("prediction_id", ("inferenceId",)), ("label", ("truth",))),
    )
    story = Story(replace(SPEC, fields=fields))
    story.put(
        PREDICTIONS,
        {
            "model": "m",
            "inference": {"id": 17, "model_version": "v3"},
            "when": "2023-11-14T22:13:20Z",
            "output": "yes",
            "p": {"positive": 0.9},
            "took": 12.5,
        },
    )
    story.put(LABELS, {"model": "m", "inferenceId": "17", "timestamp": START_MS, "truth": 1})
    assert story.dead() == []
    assert story.confusion("v3") == (0, 0, 0, 1)
    version = story.pipeline.partition.models["m"].versions["v3"]
    assert version.latency_sum_us == 12_500


def test_a_record_of_a_foreign_log_without_the_mapped_field_is_said_to_miss_it() -> None:
    story = Story(replace(SPEC, fields=FieldMap(prediction=(("prediction_id", ("id",)),))))
    story.put(PREDICTIONS, {"model": "m", "timestamp": START_MS, "prediction": 1})
    assert story.dead() == [Reason.MISSING_FIELD]


# -- silence ------------------------------------------------------------------------------------------


def test_a_model_that_makes_no_prediction_for_too_long_is_told_once_without_any_record_arriving() -> None:
    story = Story(replace(SPEC, thresholds=(SILENCE,))).predict("a")
    story.wait(10 * MINUTE)
    assert story.told() == []
    [alert] = story.wait(SECOND).told()
    assert (alert["kind"], alert["status"], alert["version"]) == ("silence", "firing", None)
    assert alert["summary"] == "m has made no prediction for 601s"
    assert (alert["value"], alert["threshold"]) == (601_000.0, 600_000)
    for _ in range(20):
        assert story.wait(MINUTE).told() == []


def test_a_declared_model_that_never_spoke_is_told_as_well() -> None:
    story = Story(replace(SPEC, thresholds=(SILENCE,)), replace(SPEC, model="away", thresholds=(SILENCE,)))
    assert story.wait(10 * MINUTE).told() == []
    [alert] = story.wait(SECOND).told()  # that the other one is silent is the business of another partition
    assert (alert["kind"], alert["model"]) == ("silence", "m")


def test_silence_ends_with_the_next_prediction_and_a_label_or_a_duplicate_does_not_end_it() -> None:
    story = Story(replace(SPEC, thresholds=(SILENCE,), label_wait_ms=60 * MINUTE)).predict("a")
    [fired] = story.wait(11 * MINUTE).told()
    assert story.label("a").predict("a").wait(SECOND).told() == []
    [resolved] = story.predict("b").wait(SECOND).told()
    assert (resolved["status"], resolved["reason"]) == ("resolved", "recovered")
    assert resolved["incident"] == fired["incident"]


def test_silence_goes_on_over_a_restart_and_is_not_told_again() -> None:
    story = Story(replace(SPEC, thresholds=(SILENCE,))).predict("a").wait(5 * MINUTE).restart()
    assert story.wait(5 * MINUTE).told() == []
    assert len(story.wait(SECOND).told()) == 1
    assert story.restart().wait(MINUTE).told() == []


def test_a_model_that_was_never_heard_of_waits_from_when_it_was_first_declared() -> None:
    story = Story(replace(SPEC, thresholds=(SILENCE,))).wait(5 * MINUTE).restart()
    assert story.wait(5 * MINUTE).told() == []
    assert len(story.wait(SECOND).told()) == 1


# -- both identities ---------------------------------------------------------------------------------------


def balanced(pipeline: Pipeline) -> bool:
    found = pipeline.partition.identity().values()
    return all(2 * terms["consumed"] == sum(terms.values()) for terms in found)


@given(seeds, st.sampled_from([SMALL, Limits()]))
@settings(max_examples=5, deadline=None)
def test_both_identities_hold_after_every_record_tick_and_restart(seed: int, limits: Limits) -> None:
    chance = random.Random(seed)
    disk = Disk(objectives(limits))
    pipeline = build(disk.objectives)
    for step in traffic(chance, 250).steps:
        feed(pipeline, [step])
        assert balanced(pipeline)
        if chance.random() < 0.05:
            pipeline.tick(step[1].at + chance.choice([500, 2_000, 15_000]))
            assert balanced(pipeline)
        if chance.random() < 0.05:
            disk.commit(pipeline)
            pipeline = disk.restore(chance)
            assert balanced(pipeline)


def test_what_was_consumed_is_what_was_written() -> None:
    log = traffic(random.Random(9), 500)
    pipeline = build(objectives())
    feed(pipeline, log.steps)
    found = pipeline.partition.identity()
    assert [found[topic]["consumed"] for topic in ("predictions", "labels")] == log.offsets
    dead = len(pipeline.take_effects().dead_letters)
    assert dead == found["predictions"]["dead_letter"] + found["labels"]["dead_letter"]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@given(seeds)
@settings(max_examples=3, deadline=None)
def test_a_model_that_is_restored_after_every_record_goes_on_as_if_it_had_never_stopped(
    task: Any, seed: int
) -> None:
    chance = random.Random(seed)
    signal = {"binary": "brier", "multiclass": "f1", "regression": "rmse"}[task]
    wish = ThresholdSpec("wish", signal, WindowSpec("last", 9), maximum=0.2, min_samples=5, hold_rows=4)
    spec = ModelSpec(
        "m",
        task=task,
        windows=(WindowSpec("duration", MINUTE), LIFETIME),
        thresholds=(wish, SILENCE),
        label_wait_ms=9_000,
        park_ms=4_000,
        dedupe_ms=4_000,
        evaluate_every=3,
    )
    never, again = Story(spec), Story(spec)
    for _ in range(120):
        pid, roll = chance.randrange(25), chance.random()
        value = chance.random() if task == "regression" else chance.randrange(2)
        more = {"score": chance.random(), "latency_ms": chance.random() * 100, "version": chance.choice("ab")}
        for story in (never, again):
            if roll < 0.1:
                story.wait(3_000)
            elif roll < 0.6:
                story.predict(pid, value, **more)
            else:
                story.label(pid, value)
        again.restart()
    again.disk.commit(again.pipeline)
    never.disk.commit(never.pipeline)
    assert again.disk.alerts == never.disk.alerts
    assert facts(again.pipeline) == facts(never.pipeline)
