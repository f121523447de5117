"""Classes: one name for every way to write the same class, and no class that was never heard of."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from streamer.domain.classes import MAX_CLASS_NAME, OTHER, Classes, canonical
from streamer.domain.objectives import LIFETIME, ModelSpec, Objectives
from tests.domain.feed import Log, build, feed

ONES: tuple[Any, ...] = (1, 1.0, "1", True)
ZEROS: tuple[Any, ...] = (0, 0.0, -0.0, "0", False)
whole = st.integers(-(10**14), 10**14)
texts = st.text(min_size=1, max_size=MAX_CLASS_NAME)


def index_of(classes: Classes, value: Any) -> int | None:
    """As the hot path asks: the table first, then ``learn``."""
    try:
        return classes.table[value]
    except (KeyError, TypeError):
        return classes.learn(value)


def multiclass(*declared: Any) -> Classes:
    return Classes.multiclass(ModelSpec("m", classes=declared))


@pytest.mark.parametrize(("values", "name"), [(ONES, "1"), (ZEROS, "0")])
def test_a_number_its_text_and_a_boolean_are_one_class(values: tuple[Any, ...], name: str) -> None:
    assert {canonical(value) for value in values} == {name}
    for first in values:
        classes = multiclass()
        assert {index_of(classes, value) for value in (first, *values)} == {0}


@given(whole)
def test_a_whole_number_is_one_class_as_an_integer_as_a_float_and_as_text(number: int) -> None:
    classes = multiclass()
    assert {index_of(classes, each) for each in (str(number), float(number), number)} == {0}
    assert canonical(number) == canonical(float(number)) == canonical(str(number)) == str(number)


@given(st.floats(-1e14, 1e14).filter(lambda x: not x.is_integer()))
def test_a_fraction_is_one_class_with_its_shortest_text(number: float) -> None:
    classes = multiclass()
    assert {index_of(classes, each) for each in (number, repr(number))} == {0}


@pytest.mark.parametrize("text", ["1.0", "01", " 1", "1 ", "+1", "1e0", "1_0", "True", "٣", "0x1", "-0"])
def test_a_text_that_only_looks_like_a_number_is_a_class_of_its_own(text: str) -> None:
    numbers = (1, 10, 0, 3)
    after, before = multiclass(), multiclass()
    assert [index_of(after, each) for each in (*numbers, text)] == [0, 1, 2, 3, 4]
    assert [index_of(before, each) for each in (text, *numbers)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "value", [None, [], {}, [1], math.nan, math.inf, -math.inf, 1e300, 10**18, "", "x" * (MAX_CLASS_NAME + 1)]
)
def test_what_cannot_be_a_class_is_none(value: Any) -> None:
    assert canonical(value) is None
    assert index_of(multiclass(), value) is None


@given(texts)
@settings(max_examples=50, deadline=None)
def test_any_other_text_is_its_own_name(text: str) -> None:
    assert canonical(text) == text
    assert index_of(multiclass(text), text) == 0


@given(st.lists(st.one_of(texts, whole, st.booleans(), st.floats(-1e6, 1e6)), max_size=30))
def test_classes_that_were_learnt_come_back_from_their_names_with_the_same_numbers(values: list[Any]) -> None:
    classes = multiclass()
    indices = [index_of(classes, value) for value in values]
    again = Classes.multiclass(ModelSpec("m"), learnt=tuple(classes.names))
    assert again.names == classes.names
    assert [index_of(again, value) for value in values] == indices
    for index, value in zip(indices, values, strict=True):
        assert index is not None
        assert classes.name_of(index) == canonical(value)


def test_the_classes_beyond_the_limit_share_one_that_is_called_other() -> None:
    classes = multiclass()
    indices = [index_of(classes, f"class {number}") for number in range(OTHER + 5)]
    assert indices == [*range(OTHER), *[OTHER] * 5]
    assert classes.name_of(OTHER) == "other"
    assert index_of(classes, "class 3") == 3
    assert len(classes.names) == OTHER


def test_a_declared_list_is_closed_and_knows_each_class_by_all_its_spellings() -> None:
    classes = multiclass("cat", 2, 3.5)
    assert [index_of(classes, each) for each in ("cat", 2, 2.0, "2", 3.5, "3.5")] == [0, 1, 1, 1, 2, 2]
    assert [index_of(classes, each) for each in ("dog", 3, "Cat", True)] == [None] * 4


def test_a_class_that_is_declared_twice_is_one() -> None:
    assert multiclass(1, "1", True, "a").names == ["1", "a"]


def test_a_usual_binary_model_knows_its_usual_words() -> None:
    classes = Classes.binary(ModelSpec("m"))
    assert {index_of(classes, each) for each in (*ONES, "true", "yes")} == {1}
    assert {index_of(classes, each) for each in (*ZEROS, "false", "no")} == {0}
    assert [index_of(classes, each) for each in (2, "maybe", "", None, "Yes")] == [None] * 5


def test_several_values_may_mean_either_side_of_a_binary_model() -> None:
    classes = Classes.binary(ModelSpec("m", positive=("fraud", 2), negative=("fine", 1, "unsure")))
    assert [index_of(classes, each) for each in ("fraud", 2, "2", 2.0)] == [1] * 4
    assert [index_of(classes, each) for each in ("fine", 1, "1", True, "unsure")] == [0] * 5
    assert index_of(classes, 0) is None


def test_what_is_declared_positive_is_so_even_if_it_usually_means_the_opposite() -> None:
    classes = Classes.binary(ModelSpec("m", positive=("no",)))
    assert (index_of(classes, "no"), index_of(classes, 0)) == (1, 0)


@given(st.lists(st.tuples(st.sampled_from(ONES + ZEROS), st.sampled_from(ONES + ZEROS)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_however_a_service_spells_its_classes_the_accuracy_is_that_of_scikit_learn(
    rows: list[tuple[Any, Any]],
) -> None:
    for task in ("binary", "multiclass"):
        spec = ModelSpec("m", task=task, windows=(LIFETIME,), drift=())  # type: ignore[arg-type]
        pipeline, log = build(Objectives(models={"m": spec})), Log()
        for number, (predicted, actual) in enumerate(rows):
            log.predict(number, predicted)
            log.label(number, actual)
        feed(pipeline, log.steps)
        version = pipeline.partition.models["m"].every_version[0]
        version.flush()
        assert version.joined == len(rows)
        predicted, actual = zip(*((int(p), int(a)) for p, a in rows), strict=True)
        expected = metrics.accuracy_score(actual, predicted, normalize=False)
        counts = version.figures.windows["lifetime"].tally
        right = counts.reshape(-1, 4)[:, [0, 3]].sum() if task == "binary" else counts.reshape(64, 64).trace()
        assert right == expected
