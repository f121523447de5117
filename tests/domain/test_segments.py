"""Figures by segment are those of the rows of that segment, however they came and whatever was restarted."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from streamer.adapters import codec
from streamer.domain import moment_windows, windows
from streamer.domain.events import Reason
from streamer.domain.objectives import LIFETIME, FieldMap, Limits, ModelSpec, Objectives, Task, WindowSpec
from streamer.domain.segments import Segments, segment_text
from streamer.pipeline import Pipeline
from tests.domain.feed import Disk, Log, build, facts, feed
from tests.domain.test_readings import run, samples

LAST_30, LAST_MINUTE = WindowSpec("last", 30), WindowSpec("duration", 60_000)
COUNTRIES = ["DE", "NL", "FR", None]
seeds = st.integers(0, 2**32)


def spec(task: Task, window: WindowSpec = LAST_30, **more: Any) -> ModelSpec:
    return ModelSpec(
        "m", task=task, windows=(window,), drift=(), **{"segments": ("country", "device"), **more}
    )


def rows_of(task: Task, seed: int, count: int = 90) -> pd.DataFrame:
    """Random predictions with their labels and segments."""
    chance = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "country": chance.choice(np.array(COUNTRIES, object), count),
            "device": chance.choice(["phone", "tv"], count),
        }
    )
    if task == "regression":
        frame["actual"] = chance.normal(10, 3, count)
        frame["predicted"] = frame["actual"] + chance.normal(0.5, 2, count)
    elif task == "binary":
        frame["score"] = chance.random(count)
        frame["actual"], frame["predicted"] = chance.integers(0, 2, count), frame["score"].gt(0.5).astype(int)
    else:
        frame["actual"], frame["predicted"] = (
            chance.choice(list("abc"), count),
            chance.choice(list("abc"), count),
        )
    return frame


def written(frame: pd.DataFrame) -> Log:
    log = Log()
    for at, row in enumerate(frame.to_dict("records")):
        more = {} if "score" not in row else {"score": row["score"]}
        sent = {name: row[name] for name in ("country", "device") if row[name] is not None}
        predicted, actual = (
            int(x) if isinstance(x, (int, np.integer)) else x for x in (row["predicted"], row["actual"])
        )
        log.predict(at, predicted, segments=sent, **more)
        log.label(at, actual)
        log.wait(100)
    return log


def shown(found: dict[tuple[str, ...], float], score: str, segment: str, window: str) -> float | None:
    return found.get((f"segment_{score}", "", segment, window))


def groups(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [
        (f"{field}={'' if value is None else value}", rows)
        for field in ("country", "device")
        for value, rows in frame.astype(object).fillna({field: ""}).groupby(field)
    ]


@pytest.mark.parametrize("window", [LAST_30, LAST_MINUTE, LIFETIME], ids=lambda each: each.name)
@given(seeds)
@settings(max_examples=6, deadline=None)
def test_figures_of_a_binary_model_are_those_of_pandas_on_the_rows_of_each_segment(
    window: WindowSpec, seed: int
) -> None:
    frame = rows_of("binary", seed)
    found = samples(run(spec("binary", window), written(frame)))
    inside = frame[60:] if window is LAST_30 else frame
    for segment, rows in groups(inside):
        guess, actual, score = (rows[name].astype(float) for name in ("predicted", "actual", "score"))
        assert shown(found, "window_labels", segment, window.name) == len(rows)
        assert shown(found, "accuracy", segment, window.name) == (guess == actual).mean()
        positive, true = guess[guess == 1], actual[actual == 1]
        for name, part in (("precision", actual[positive.index]), ("recall", guess[true.index])):
            assert shown(found, name, segment, window.name) == (part.mean() if len(part) else None)
        if len(positive) + len(true):
            assert shown(found, "f1", segment, window.name) == pytest.approx(metrics.f1_score(actual, guess))
        if actual.nunique() == 2:
            auc, error = (shown(found, each, segment, window.name) for each in ("auc_roc", "auc_roc_error"))
            assert auc is not None
            assert error is not None
            assert abs(auc - metrics.roc_auc_score(actual, score)) <= error + 1e-12


def test_bins_are_fine_enough_for_an_area_that_can_be_used() -> None:
    frame = rows_of("binary", 3, 2_000)
    frame["actual"] = np.random.default_rng(4).binomial(1, frame["score"])
    found = samples(run(spec("binary", LIFETIME), written(frame)))
    for segment, rows in groups(frame):
        auc, error = (shown(found, each, segment, "lifetime") for each in ("auc_roc", "auc_roc_error"))
        exact = metrics.roc_auc_score(rows["actual"].astype(int), rows["score"].astype(float))
        assert auc == pytest.approx(exact, abs=0.005)
        assert error is not None
        assert error < 0.025


@pytest.mark.parametrize("window", [LAST_30, LAST_MINUTE], ids=lambda each: each.name)
def test_figures_of_a_regression_are_those_of_pandas(window: WindowSpec) -> None:
    frame = rows_of("regression", 1)
    found = samples(run(spec("regression", window), written(frame)))
    for segment, rows in groups(frame[60:] if window is LAST_30 else frame):
        error = (rows["predicted"] - rows["actual"]).astype(float)
        for name, value in (
            ("mae", error.abs().mean()), ("rmse", (error**2).mean() ** 0.5), ("bias", error.mean()),
        ):  # fmt: skip
            assert shown(found, name, segment, window.name) == pytest.approx(value), (segment, name)
        assert shown(found, "window_labels", segment, window.name) == len(rows)


def test_accuracy_of_a_multiclass_model_is_that_of_pandas_and_there_is_no_other_score() -> None:
    frame = rows_of("multiclass", 2)
    found = samples(run(spec("multiclass"), written(frame)))
    for segment, rows in groups(frame[60:]):
        assert shown(found, "accuracy", segment, "last 30") == (rows["predicted"] == rows["actual"]).mean()
    scores = {key[0] for key in found if key[0].startswith("segment_")}
    assert scores == {
        "segment_accuracy", "segment_window_labels", "segment_predictions_total", "segment_label_lag_seconds",
    }  # fmt: skip


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_the_segments_of_a_field_add_up_to_the_version(seed: int) -> None:
    found = samples(run(spec("binary"), written(rows_of("binary", seed))))
    for name, whole in (
        ("segment_window_labels", found["window_labels", "", "last 30"]),
        ("segment_predictions_total", found["predictions_total", ""]),
    ):
        for field in ("country", "device"):
            parts = [v for key, v in found.items() if key[0] == name and key[2].startswith(f"{field}=")]
            assert sum(parts) == whole


# -- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [("DE", "DE"), (1, "1"), (1.0, "1"), (True, "1"), (2.5, "2.5"), ("a=b", "a=b"), ([1], None), ({}, None),
     ("x" * 101, None), ("a\nb", None), (1e300, None)],
)  # fmt: skip
def test_what_a_value_is_called(value: Any, text: str | None) -> None:
    assert segment_text(value) == text


def test_a_value_that_cannot_be_one_is_other_and_what_is_not_sent_is_a_segment_of_its_own() -> None:
    segments = Segments(("country", "device"), 3)
    codes = [
        segments.code({"country": each})
        for each in ("DE", "NL", "DE", 1, "1", "FR", "other", [1], "x" * 101, "", None)
    ]
    named = [segments.label(0, code) for code in codes]
    assert named == [
        "country=DE", "country=NL", "country=DE", "country=1", "country=1", "country=other", "country=other",
        "country=other", "country=other", "country=", "country=",
    ]  # fmt: skip
    assert segments.code(None) == segments.code({}) == 0
    both = segments.code({"country": "NL", "device": "tv", "more": 1})
    assert [segments.label(at, int(segments.of_field(np.array([both]), at)[0])) for at in (0, 1)] == [
        "country=NL",
        "device=tv",
    ]


def test_features_can_be_the_segments() -> None:
    fields = FieldMap(prediction=(("segments", ("features",)),))
    log = Log()
    for at in range(10):
        log.predict(at, features={"plan": "pro" if at % 2 else "basic", "age": at})
    found = samples(run(spec("binary", segments=("plan",), fields=fields), log))
    assert found["segment_predictions_total", "", "plan=pro"] == 5


def test_however_many_values_come_series_memory_and_state_are_bounded() -> None:
    sizes, counts = [], []
    for many in (1_000, 10_000):
        log = Log()
        for at in range(many):
            log.predict(at, at % 2, score=at / many, segments={"country": f"c{at}", "device": at})
            log.label(at, 1)
        disk = Disk(Objectives(models={"m": spec("binary")}, limits=Limits(max_segments=5)))
        pipeline = build(disk.objectives)
        feed(pipeline, log.steps)
        disk.commit(pipeline)
        model = pipeline.partition.models["m"]
        assert model.segments is not None
        assert [len(names) for names in model.segments.names] == [5, 5]
        found = samples(pipeline)
        counts.append(len([key for key in found if key[0].startswith("segment_")]))
        head, _ = model.every_version[0].snapshot()
        sizes.append(len(codec.encode_cell(head["segments"])))
        segments = model.every_version[0].groups.figures
        assert segments is not None
        assert all(window.tally.size == 7 * 412 for window in segments.windows.values())
        assert found["segment_predictions_total", "", "country=other"] == many - 5
    assert counts[1] <= counts[0] <= 2 * 7 * 10
    assert sizes[1] < 2 * sizes[0]


def test_segments_of_the_wrong_type_are_a_dead_letter_where_fields_are_declared_and_ignored_elsewhere() -> (
    None
):
    for declared, dead in ((("country",), 1), ((), 0)):
        pipeline = build(Objectives(models={"m": spec("binary", segments=declared)}))
        log = Log()
        log.predict(1, segments=["DE"])
        log.predict(2, segments={"country": ["DE"]})
        log.predict(3, segments=None)
        feed(pipeline, log.steps)
        assert pipeline.partition.dead["predictions", Reason.INVALID_FIELD] == dead
        assert pipeline.partition.models["m"].every_version[0].accepted == 3 - dead


def test_a_bad_record_neither_settles_the_task_nor_teaches_a_value() -> None:
    pipeline = build(Objectives(models={"m": ModelSpec("m", segments=("country",))}))
    log = Log()
    log.predict(1, segments="DE")
    log.predict(2, score=7, segments={"country": "DE"})
    log.predict(3, segments={"country": "NL"})
    log.predict(3, segments={"country": "FR"})
    feed(pipeline, log.steps[:2])
    model = pipeline.partition.models["m"]
    assert (model.task, model.segments and model.segments.learnt) == (None, 0)
    feed(pipeline, log.steps[2:])
    assert model.segments is not None
    assert model.segments.names == [["NL"]]


def test_without_declared_fields_nothing_is_kept() -> None:
    found = []
    for sent in ({"country": "DE"}, None):
        log = Log()
        for at in range(50):
            log.predict(at, segments=sent)
        pipeline = run(spec("binary", segments=()), log)
        version = pipeline.partition.models["m"].every_version[0]
        assert "segments" not in version.snapshot()[0]
        assert "segments" not in pipeline.partition.models["m"].snapshot()
        found.append(version.table.pending)
    assert found[0] == found[1]


# -- state ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize(
    "window", [WindowSpec("last", 40), WindowSpec("duration", 3_000)], ids=lambda w: w.name
)
@given(seeds)
@settings(max_examples=4, deadline=None)
def test_windows_of_many_blocks_survive_commits_and_restarts_anywhere(
    task: Task, window: WindowSpec, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "BLOCK_ROWS", 8)
        patch.setattr(moment_windows, "BLOCK_ROWS", 8)
        chance = random.Random(seed)
        steps = written(rows_of(task, seed)).steps
        wanted = Objectives(models={"m": spec(task, window)}, limits=Limits(max_segments=2))
        undisturbed = build(wanted)
        feed(undisturbed, steps)
        disk = Disk(wanted)
        pipeline = build(wanted)
        for step in steps:
            feed(pipeline, [step])
            if chance.random() < 0.1:
                disk.commit(pipeline)
                if chance.random() < 0.5:
                    pipeline = disk.restore(chance)
        disk.commit(pipeline)
        restored = disk.restore(chance)
        assert facts(restored) == facts(undisturbed)
        assert samples(restored) == samples(undisturbed)


def reborn(disk: Disk, pipeline: Pipeline, model: ModelSpec, limits: Limits | None = None) -> Pipeline:
    """The next worker has another file; the one after it restores what that one wrote."""
    disk.commit(pipeline)
    disk.objectives = Objectives(models={"m": model}, limits=limits or Limits())
    changed = disk.restore()
    shown = samples(changed)
    disk.commit(changed)
    again = disk.restore()
    assert samples(again) == shown
    return again


def test_fields_that_stay_keep_their_figures_and_what_waits_keeps_its_segments() -> None:
    first = spec("binary", segments=("country", "device"))
    disk = Disk(Objectives(models={"m": first}))
    pipeline, log = build(disk.objectives), Log()
    for at in range(20):
        log.predict(at, 1, segments={"country": "DE" if at % 2 else "NL", "device": "tv"})
        if at < 10:
            log.label(at, 1)
    feed(pipeline, log.steps)
    # Another order, one gone, one new: the first figures of the field that stays are still there.
    pipeline = reborn(disk, pipeline, replace(first, segments=("plan", "country")))
    found = samples(pipeline)
    assert found["segment_predictions_total", "", "country=DE"] == 10
    assert found["segment_window_labels", "", "country=DE", "last 30"] == 5
    assert not [key for key in found if key[-1].startswith("device=") or "plan=pro" in key]
    more = Log(log.at)
    more.offsets = log.offsets
    for at in range(10, 20):
        more.label(at, 0)
    more.predict("new", 1, segments={"plan": "pro", "country": "DE", "device": "tv"})
    more.label("new", 1)
    feed(pipeline, more.steps)
    found = samples(pipeline)
    assert found["segment_window_labels", "", "country=NL", "last 30"] == 10
    assert found["segment_accuracy", "", "country=NL", "last 30"] == 0.5
    assert found["segment_window_labels", "", "plan=", "last 30"] == 10
    assert found["segment_window_labels", "", "plan=pro", "last 30"] == 1
    # None declared, and the first ones again: what was forgotten is gone.
    pipeline = reborn(disk, pipeline, replace(first, segments=()))
    assert not [key for key in samples(pipeline) if key[0].startswith("segment_")]
    assert not [key for key in disk.raw if b"segments" in key]
    pipeline = reborn(disk, pipeline, first)
    assert not [key for key in samples(pipeline) if key[0].startswith("segment_")]
    last = Log(more.at)
    last.offsets = more.offsets
    last.predict("last", 1, segments={"country": "ES"})
    last.label("last", 1)
    feed(pipeline, last.steps)
    assert samples(pipeline)["segment_window_labels", "", "country=ES", "last 30"] == 1


def test_values_that_are_known_stay_apart_when_the_limit_falls_and_more_come_when_it_rises() -> None:
    model = spec("binary", segments=("country",))
    disk = Disk(Objectives(models={"m": model}, limits=Limits(max_segments=3)))
    pipeline, log = build(disk.objectives), Log()
    for at, country in enumerate("abcd"):
        log.predict(at, segments={"country": country})
        log.label(at)
    feed(pipeline, log.steps)

    def known(pipeline: Pipeline) -> set[str]:
        return {key[2] for key in samples(pipeline) if key[0] == "segment_window_labels"}

    pipeline = reborn(disk, pipeline, model, Limits(max_segments=1))
    assert known(pipeline) == {"country=a", "country=b", "country=c", "country=other"}
    more = Log(log.at)
    more.offsets = log.offsets
    more.predict("x", segments={"country": "e"})
    more.label("x")
    feed(pipeline, more.steps)
    assert samples(pipeline)["segment_predictions_total", "", "country=other"] == 2
    pipeline = reborn(disk, pipeline, model, Limits(max_segments=5))
    last = Log(more.at)
    last.offsets = more.offsets
    last.predict("y", segments={"country": "e"})
    last.label("y")
    feed(pipeline, last.steps)
    assert "country=e" in known(pipeline)


def test_another_task_begins_the_figures_by_segment_anew() -> None:
    first = spec("binary", segments=("country",))
    disk = Disk(Objectives(models={"m": first}))
    pipeline, log = build(disk.objectives), Log()
    for at in range(20):
        log.predict(at, 1, segments={"country": "DE"})
        if at < 10:
            log.label(at, 1)
    feed(pipeline, log.steps)
    pipeline = reborn(disk, pipeline, replace(first, task="regression", segments=("device", "country")))
    found = samples(pipeline)
    assert found["segment_predictions_total", "", "country=DE"] == 20
    assert not [key for key in found if key[0] in ("segment_window_labels", "segment_label_lag_seconds")]
    assert facts(pipeline)["m", ""]["pending"] == []
