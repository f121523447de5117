"""docs/objectives.md names every key of the file, and no other, with the defaults of the code."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from streamer.config import specs
from streamer.config.entries import (
    AdwinEntry,
    DataEntry,
    DriftBlock,
    ErrorEntry,
    FieldsEntry,
    LabelFields,
    LimitsEntry,
    ModelEntry,
    ObjectiveEntry,
    ObjectivesFile,
    PageHinkleyEntry,
    PredictionFields,
    keys_of,
)
from streamer.domain.classes import OTHER
from streamer.domain.objectives import (
    DEFAULT_WINDOWS,
    USUAL_LIMITS,
    DataDriftSpec,
    Limits,
    ModelSpec,
    duration_text,
)
from tests.docs.pages import ROOT, defaults, keys, page, quoted, section, table

PAGE = page("objectives.md")
MODEL, DRIFT = section(PAGE, "Of a model"), section(PAGE, "Drift")


@pytest.mark.parametrize(
    ("heading", "entry"),
    [
        ("Of a model", ModelEntry),
        ("Objectives", ObjectiveEntry),
        ("Drift", ErrorEntry),
        ("Data drift", DataEntry),
    ],
)
def test_the_table_of_a_block_has_its_keys(heading: str, entry: Any) -> None:
    assert sorted(keys(section(PAGE, heading), "key")) == sorted(keys_of(entry))


@pytest.mark.parametrize(
    "entry",
    [ObjectivesFile, ModelEntry, ObjectiveEntry, LimitsEntry, DriftBlock, ErrorEntry, DataEntry, FieldsEntry],
)
def test_the_example_has_every_key_once_at_least(entry: Any) -> None:
    example = (ROOT / "docs" / "examples" / "objectives.yml").read_text()
    if entry is FieldsEntry:
        assert "predictions:" in example
        assert "labels:" in example
    else:
        assert not [key for key in keys_of(entry) if f"{key}:" not in example]


def test_the_keys_of_the_file_are_named() -> None:
    assert set(keys_of(ObjectivesFile)) <= set(quoted(PAGE.partition("\n## ")[0]))


@pytest.mark.parametrize("entry", [PredictionFields, LabelFields])
def test_the_fields_that_can_be_mapped_are_named(entry: Any) -> None:
    assert set(keys_of(entry)) <= set(quoted(MODEL))


@pytest.mark.parametrize(("kind", "entry"), [("adwin", AdwinEntry), ("page_hinkley", PageHinkleyEntry)])
def test_the_parameters_of_a_detector_have_their_defaults(kind: str, entry: Any) -> None:
    common = defaults(DRIFT, "of both")
    found = defaults(DRIFT, f"of `{kind}`")
    assert {*found, *common} == set(keys_of(entry))
    known = {name: str(entry.model_fields[name].default) for name in found}
    assert {name: _number(text) for name, text in found.items()} == {
        name: _number(text) for name, text in known.items()
    }
    for name in ("warm_up", "clip"):
        assert _number(common[name]) == entry.model_fields[name].default


def test_every_limit_has_its_default() -> None:
    found = defaults(section(PAGE, "Limits"), "key")
    assert sorted(found) == sorted(keys_of(LimitsEntry))
    assert {name: int(text) for name, text in found.items()} == asdict(Limits())


def test_every_signal_has_a_line_that_says_its_bound() -> None:
    assert sorted(keys(PAGE, "signal")) == specs._EVERY_SIGNAL
    assert all(row[3] for row in table(PAGE, "signal"))


def test_the_defaults_of_a_model_are_those_of_the_code() -> None:
    found, spec = defaults(MODEL, "key"), ModelSpec(model="")
    assert quoted(found["windows"]) == [window.name for window in DEFAULT_WINDOWS]
    assert found["label_wait"] == duration_text(spec.label_wait_ms)
    assert found["park"] == duration_text(spec.park_ms)
    assert found["dedupe"] == duration_text(spec.dedupe_ms)
    assert found["on_expiry"] == spec.on_expiry
    assert (found["order"], found["label_maturity"]) == (spec.order, duration_text(spec.label_maturity_ms))
    assert found["evaluate_every"] == str(spec.evaluate_every)
    assert found["profile_features"] == str(spec.profile_features).lower()
    assert found["severity"].startswith(specs.DEFAULT_SEVERITY)
    assert found["min_samples"] == f"{specs.DEFAULT_SAMPLES}, {specs.DEFAULT_CONFIDENCE}"
    assert f"at most {OTHER}" in MODEL


def test_the_defaults_of_data_drift_are_those_of_the_code() -> None:
    found, spec = defaults(section(PAGE, "Data drift"), "key"), DataDriftSpec()
    assert found["window"] == f"`last {spec.rows}`"
    assert found["distance"] == spec.distance
    assert found["max"].split("; ") == [str(limit) for limit in USUAL_LIMITS.values()]
    assert list(USUAL_LIMITS) == quoted(section(PAGE, "Data drift").partition("| `distance` |")[2])[:4]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
