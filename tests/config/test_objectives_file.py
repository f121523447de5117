"""The objectives file: what it means, and every mistake at once with its key path."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from river import drift

from streamer.adapters import calibration_file, reference_file
from streamer.config import (
    ObjectivesError,
    Problem,
    Settings,
    SettingsError,
    load_objectives,
    objectives_schema,
    parse_objectives,
)
from streamer.config.entries import (
    AdwinEntry,
    DriftBlock,
    DriftEntry,
    FieldsEntry,
    LimitsEntry,
    ModelEntry,
    ObjectiveEntry,
    ObjectivesFile,
    PageHinkleyEntry,
    keys_of,
)
from streamer.domain.calibration import Calibration, Knob, Setting
from streamer.domain.classes import OTHER
from streamer.domain.objectives import (
    DAY_MS,
    LIFETIME,
    DataDriftSpec,
    DetectorSpec,
    FalseAlarms,
    ModelSpec,
    Objectives,
    PrivacySpec,
    ReferenceSpec,
    Room,
    WindowSpec,
)
from streamer.domain.reference import Reference
from streamer.domain.version import VersionMonitor

ROOT = Path(__file__).parents[2]
EXAMPLES = [ROOT / "docs" / "examples" / "objectives.yml", ROOT / "streamer" / "demo.yml"]

# The issue's own example: to be extended, never broken.
CHURN = """
revision: 7
defaults: {label_wait: 7d, severity: ticket}
models:
  churn:
    task: binary
    positive: [1, "yes", true]
    windows: [last 1000, last 1h, lifetime]
    fields: {prediction_id: inferenceId}
    objectives:
      accuracy: {min: 0.80, window: last 1000, for: 200 labels, severity: page, runbook: "https://x.test/a"}
      latency_p99: {max: 250ms, window: last 5m}
      silence: {max: 10m}
    drift:
      error: [adwin, page_hinkley]
      score: [adwin]
      features: {age: [adwin]}
"""


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(ObjectivesError) as caught:
        parse_objectives(text)
    return caught.value.problems


def model_of(text: str) -> ModelSpec:
    """The spec of model ``m`` with these lines."""
    return parse_objectives(f"models: {{m: {text}}}").models["m"]


def test_the_example_means_what_it_says() -> None:
    found = parse_objectives(CHURN)
    spec = found.models["churn"]
    assert found.revision == 7
    assert spec.label_wait_ms == 7 * 86_400_000
    assert spec.windows == (WindowSpec("last", 1000), WindowSpec("duration", 3_600_000), LIFETIME)
    accuracy, latency, silence = spec.thresholds
    assert (accuracy.minimum, accuracy.hold_rows, accuracy.severity) == (0.8, 200, "page")
    assert accuracy.runbook == "https://x.test/a"
    assert (latency.maximum, latency.window, latency.severity) == (
        250,
        WindowSpec("duration", 300_000),
        "ticket",
    )
    assert silence.maximum == 600_000
    signals = {drift.signal: [each.kind for each in drift.detectors] for drift in spec.drift}
    assert signals == {"error": ["adwin", "page_hinkley"], "score": ["adwin"], "feature:age": ["adwin"]}
    assert spec.fields.prediction == spec.fields.label == (("prediction_id", ("inferenceId",)),)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_loads_and_fits_the_exported_schema(file: Path) -> None:
    assert load_objectives(file).models
    jsonschema.validate(yaml.safe_load(file.read_text()), objectives_schema())


def test_an_empty_file_watches_everything_with_defaults() -> None:
    found = parse_objectives("{}")
    assert found.models == {}
    assert [each.signal for each in found.default.drift] == ["error", "score"]


def test_a_model_with_nothing_under_it_is_watched_with_the_defaults() -> None:
    found = parse_objectives("defaults: {label_wait: 1d}\nmodels:\n  churn:\n")
    assert found.models["churn"].label_wait_ms == 86_400_000


# -- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("models: {m: {task: binary, task: regression}}", "line 1", "second time"),
        ("models: [", "line 1", ""),
        ("- a", "", "mapping"),
        ("modles: {}", "modles", "did you mean models"),
        ("models: [m]", "models", "mapping"),
        ("models: {'': {}}", "models.", "printable"),
        ("revision: -1", "revision", "greater than or equal to 0"),
        ("models: {m: {task: binry}}", "models.m.task", "did you mean binary"),
        ("models: {m: {positve: [1]}}", "models.m.positve", "did you mean positive"),
        ("models: {m: {positive: [[1]]}}", "models.m.positive.0", "cannot be a class"),
        ("models: {m: {positive: [1], negative: ['1']}}", "models.m.negative", "both"),
        ("models: {m: {label_wait: 7}}", "models.m.label_wait", "duration"),
        ("models: {m: {label_wait: 9999999d}}", "models.m.label_wait", "100 years"),
        ("models: {m: {on_expiry: negative, task: regression}}", "models.m.on_expiry", "binary"),
        ("models: {m: {windows: [last week]}}", "models.m.windows.0", "not a duration"),
        ("models: {m: {confidence: 1.5}}", "models.m.confidence", "below 1"),
        ("models: {m: {confidence: 0}}", "models.m.confidence", "at least 0.5"),
        ("models: {m: {confidence: .nan}}", "models.m.confidence", "below 1"),
        ("defaults: {confidence: 1}", "defaults.confidence", "below 1"),
        ("limits: {max_pendig: 1}", "limits.max_pendig", "did you mean max_pending"),
        ("limits: {max_segments: 63}", "limits.max_segments", "less than or equal to 62"),
        ("models: {m: {segments: country}}", "models.m.segments", "as in [country]"),
        ("models: {m: {segments: [a, b, c, d, e]}}", "models.m.segments", "5 stand here; there can be 4"),
        ("models: {m: {segments: ['a=b']}}", "models.m.segments.0", "without `=`"),
        ("models: {m: {segments: [7]}}", "models.m.segments.0", "printable characters"),
        ("defaults: {segments: ['']}", "defaults.segments.0", "1 to 100 printable"),
    ],
)
def test_a_mistake_in_a_model_is_told_once_with_its_path_and_a_cure(text: str, path: str, words: str) -> None:
    [problem] = problems_of(text)
    assert problem.path == path
    assert words in problem.message


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        ("acuracy: {min: 0.8}", "acuracy", "did you mean accuracy"),
        ("accuracy: 0.8", "accuracy", "mapping"),
        ("accuracy: {min: 0.8, max: 0.9}", "accuracy", "exactly one"),
        ("accuracy: {window: last 100}", "accuracy", "exactly one"),
        ("accuracy: {min: 1.8}", "accuracy.min", "between 0 and 1"),
        ("accuracy: {min: -0.1}", "accuracy.min", "between 0 and 1"),
        ("accuracy: {min: 10m}", "accuracy.min", "a plain number"),
        ("accuracy: {min: high}", "accuracy.min", "neither a number nor a duration"),
        ("accuracy: {min: .nan}", "accuracy.min", "finite"),
        ("accuracy: {min: 0.8, confidence: 1}", "accuracy.confidence", "below 1"),
        ("accuracy: {min: 0.8, margin: 0.3}", "accuracy.margin", "for ever"),
        ("accuracy: {min: 0.8, margin: -0.1}", "accuracy.margin", "0 or more"),
        ("accuracy: {min: 0.8, window: last 20}", "accuracy.window", "never holds the 50 rows"),
        ("accuracy: {min: 0.8, for: 10 predictions}", "accuracy.for", "counts labels"),
        ("accuracy: {min: 0.8, class: 1}", "accuracy.class", "not a score per class"),
        ("brier: {max: 1.5}", "brier.max", "between 0 and 1"),
        ("log_loss: {max: -1}", "log_loss.max", "at or above 0"),
        ("mae: {max: .inf}", "mae.max", "finite"),
        ("rmse: {max: -1}", "rmse.max", "at or above 0"),
        ("r2: {min: 1.5}", "r2.min", "at most at 1"),
        ("latency_p99: {max: -5}", "latency_p99.max", "at or above 0"),
        ("latency_p99: {max: 0}", "latency_p99.max", "above 0"),
        ("latency_p99: {max: 9ms, for: 10 labels}", "latency_p99.for", "counts predictions"),
        ("latency_p99: {max: 9ms, margin: 10ms}", "latency_p99.margin", "for ever"),
        ("throughput: {min: 5, window: last 100}", "throughput.window", "over a duration"),
        ("label_coverage: {min: 0.9, window: last 100}", "label_coverage.window", "no window"),
        ("silence: {max: 10}", "silence.max", "milliseconds"),
        ("silence: {min: 10m}", "silence.min", "takes `max:`"),
        ("silence: {max: 10m, window: last 5m}", "silence.window", "no window"),
        ("silence: {max: 10m, for: 5 predictions}", "silence.for", "no rows"),
        ("drift.error: {signal: accuracy, min: 0.8}", "drift.error", "drift rules"),
    ],
)
def test_a_mistake_in_an_objective_is_told_once_with_its_path_and_a_cure(
    entry: str, key: str, words: str
) -> None:
    [problem] = problems_of(f"models: {{m: {{objectives: {{{entry}}}}}}}")
    assert problem.path == f"models.m.objectives.{key}"
    assert words in problem.message


@pytest.mark.parametrize(
    ("detectors", "key", "words"),
    [
        ("[adwinn]", "0", "did you mean adwin"),
        ("[{delta: 0.1}]", "0", "`kind:` is missing"),
        ("[{kind: adwin, delat: 1}]", "0.delat", "did you mean delta"),
        ("[{kind: adwin, threshold: 1}]", "0.threshold", "there are"),
        ("[{kind: adwin, delta: 0}]", "0.delta", "greater than 0"),
        ("[{kind: adwin, delta: 1}]", "0.delta", "less than 1"),
        ("[{kind: adwin, delta: .nan}]", "0.delta", "finite"),
        ("[{kind: adwin, clock: 0}]", "0.clock", "greater than or equal to 1"),
        ("[{kind: adwin, clock: 1000001}]", "0.clock", "less than or equal to 1000000"),
        ("[{kind: adwin, clock: 1.5}]", "0.clock", "integer"),
        ("[{kind: adwin, max_buckets: 1}]", "0.max_buckets", "greater than or equal to 2"),
        ("[{kind: adwin, max_buckets: 1001}]", "0.max_buckets", "less than or equal to 1000"),
        ("[{kind: adwin, min_window_length: 0}]", "0.min_window_length", "greater than or equal to 1"),
        ("[{kind: adwin, grace_period: -1}]", "0.grace_period", "greater than or equal to 0"),
        ("[{kind: page_hinkley, min_instances: 0}]", "0.min_instances", "greater than or equal to 1"),
        ("[{kind: page_hinkley, delta: -0.1}]", "0.delta", "greater than or equal to 0"),
        ("[{kind: page_hinkley, threshold: 0}]", "0.threshold", "greater than 0"),
        ("[{kind: page_hinkley, threshold: .inf}]", "0.threshold", "finite"),
        ("[{kind: page_hinkley, alpha: 0}]", "0.alpha", "greater than 0"),
        ("[{kind: page_hinkley, alpha: 1.1}]", "0.alpha", "less than or equal to 1"),
        ("[{kind: page_hinkley, mode: upp}]", "0.mode", "did you mean up"),
        ("[{kind: adwin, warm_up: 1}]", "0.warm_up", "greater than or equal to 2"),
        ("{detectors: [{kind: adwin, clock: 0}]}", "detectors.0.clock", "greater than or equal to 1"),
        ("{detectors: [adwin], quiet: 10m}", "quiet", "counted in values"),
        ("[]", "", "empty"),
    ],
)
def test_a_mistake_in_a_detector_is_told_once_with_its_path_and_a_cure(
    detectors: str, key: str, words: str
) -> None:
    [problem] = problems_of(f"models: {{m: {{drift: {{error: {detectors}}}}}}}")
    assert problem.path == f"models.m.drift.error.{key}".rstrip(".")
    assert words in problem.message


@pytest.mark.parametrize(
    ("fields", "key", "words"),
    [
        ("{predction_id: id}", "predction_id", "did you mean prediction_id"),
        ("{model: name}", "model", "there are"),
        ("{score: 5}", "score", "dotted path"),
        ("{score: a..b}", "score", "dotted path"),
        ("{prediction: {prediction_id: id}}", "prediction", "dotted path"),
        ("{predictions: {label: y}}", "predictions.label", "there are"),
        ("{labels: {lable: y}}", "labels.lable", "did you mean label"),
    ],
)
def test_a_mistake_in_the_fields_is_told_once_with_its_path_and_a_cure(
    fields: str, key: str, words: str
) -> None:
    [problem] = problems_of(f"models: {{a: {{}}, m: {{fields: {fields}}}}}")
    assert problem.path == f"models.m.fields.{key}"
    assert words in problem.message


def test_a_score_of_another_task_names_those_that_the_task_has() -> None:
    [problem] = problems_of("models: {m: {task: binary, objectives: {mae: {max: 1}}}}")
    assert problem.path == "models.m.objectives.mae"
    assert "binary" in problem.message
    assert "accuracy" in problem.message


def test_the_class_of_an_objective_is_one_of_the_classes() -> None:
    start = "models: {m: {task: multiclass, classes: [english, dutch], objectives: {f1: {min: 0.8, class: "
    [problem] = problems_of(f"{start} duch}}}}}}}}")
    assert problem.path == "models.m.objectives.f1.class"
    assert "did you mean dutch" in problem.message
    assert parse_objectives(f"{start} dutch}}}}}}}}").models["m"].thresholds[0].klass == "dutch"


def test_there_can_be_as_many_classes_as_have_a_place_of_their_own() -> None:
    most = ", ".join(f"c{number}" for number in range(OTHER))
    assert len(model_of(f"{{classes: [{most}]}}").classes) == OTHER
    [problem] = problems_of(f"models: {{m: {{classes: [{most}, more]}}}}")
    assert problem.path == "models.m.classes"
    assert str(OTHER) in problem.message


def test_all_mistakes_are_told_at_once_and_none_hides_another() -> None:
    text = """
    modles: {}
    models:
      a:
        task: trinary
        windows: [no]
        objectives: {acuracy: {min: .nan}, f1: {min: 0.8, severty: page}, recall: {}}
      b:
        drift: {error: [adwinn, {kind: adwin, delta: 5, clock: 0}], score: []}
        objectives: {accuracy: {min: 2}}
    """
    paths = [problem.path for problem in problems_of(text)]
    assert sorted(paths) == [
        "models.a.objectives.acuracy",
        "models.a.objectives.acuracy.min",
        "models.a.objectives.f1.severty",
        "models.a.objectives.recall",
        "models.a.task",
        "models.a.windows.0",
        "models.b.drift.error.0",
        "models.b.drift.error.1.clock",
        "models.b.drift.error.1.delta",
        "models.b.drift.score",
        "models.b.objectives.accuracy.min",
        "modles",
    ]


@pytest.mark.parametrize(
    ("text", "kind", "size"),
    [("first 10000", "first", 10_000), ("previous 7d", "previous", 7 * DAY_MS)],
)
def test_a_reference_is_of_the_first_rows_or_of_those_before(text: str, kind: str, size: int) -> None:
    found = model_of(f"{{reference: {text}}}")
    assert found.reference == ReferenceSpec(kind, size)  # type: ignore[arg-type]
    assert found.data_drift == DataDriftSpec()
    assert model_of("{reference: off}").reference is None
    assert model_of("{}").reference is None


def test_how_data_is_compared() -> None:
    drift = "{data: {window: last 500, distance: wasserstein, max: 0.4, features: [age], severity: page}}"
    found = model_of(f"{{reference: first 500, drift: {drift}}}")
    assert found.data_drift == DataDriftSpec(500, "wasserstein", 0.4, ("age",), "page")
    assert found.drift == ()
    inherited = parse_objectives(
        f"defaults: {{drift: {drift}}}\nmodels: {{a: {{reference: previous 1h}}, b: {{}}}}"
    )
    assert inherited.models["a"].data_drift == found.data_drift
    assert inherited.models["b"].reference is None  # what the defaults say of data is for those that have one


@pytest.mark.parametrize(
    ("text", "path", "part"),
    [
        ("{reference: last 5}", "reference", "first 10000"),
        ("{reference: first 5}", "reference", "100 to"),
        ("{reference: previous soon}", "reference", "soon"),
        ("{reference: first}", "reference", "100 to"),
        ("{reference: 7}", "reference", "off"),
        ("{drift: {data: {}}}", "drift.data", "reference: first 10000"),
        ("{reference: first 100, drift: {data: {window: last 1h}}}", "drift.data.window", "last 100"),
        ("{reference: first 100, drift: {data: {distance: psy}}}", "drift.data.distance", "did you mean psi"),
        ("{reference: first 100, drift: {data: {max: 0}}}", "drift.data.max", "greater than 0"),
        ("{reference: first 100, drift: {data: {maxx: 1}}}", "drift.data.maxx", "did you mean max"),
        ("{reference: nowhere.json}", "reference", "streamer reference build"),
    ],
)
def test_a_mistake_about_references_names_its_cure(text: str, path: str, part: str) -> None:
    [problem] = problems_of(f"models: {{m: {text}}}")
    assert problem.path == f"models.m.{path}"
    assert part in problem.message


def test_a_reference_of_a_file_lies_beside_the_objectives(tmp_path: Path) -> None:
    reference = Reference("m", None, "march.csv", 40)
    reference_file.save(reference, tmp_path / "march.json")
    file = tmp_path / "objectives.yml"
    file.write_text("models: {m: {reference: march.json}}")
    found = load_objectives(file).models["m"].reference
    assert found is not None
    assert (found.kind, found.size, found.profile.made_of) == ("given", 40, "march.csv")
    before = found.name
    reference_file.save(Reference("m", None, "april.csv", 40), tmp_path / "march.json")
    again = load_objectives(file).models["m"].reference
    assert again is not None
    assert again.name != before  # another reference under the old name: what was counted begins anew
    (tmp_path / "march.json").write_text("{}")
    with pytest.raises(ObjectivesError, match="no reference of streamer"):
        load_objectives(file)


def test_a_mistake_in_the_defaults_is_told_there_once_however_many_models_inherit_it() -> None:
    defaults = "{negative: [1], objectives: {accuracy: {min: 2}, silence: {min: 1m}}}"
    problems = problems_of(f"defaults: {defaults}\nmodels: {{a: {{positive: [1]}}, b: {{}}, c: {{}}}}")
    assert [each.path for each in problems] == [
        "defaults.negative",
        "defaults.objectives.accuracy.min",
        "defaults.objectives.silence.min",
        "models.a.positive",
    ]


def test_what_follows_from_a_mistake_is_no_mistake_of_its_own() -> None:
    [problem] = problems_of("models: {m: {objectives: {quick: {signal: 5, max: 1}}}}")
    assert problem.path == "models.m.objectives.quick.signal"


def test_every_line_of_the_error_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "o.yml"
    file.write_text("models: {a: {task: x}, b: {task: y}}")
    with pytest.raises(ObjectivesError) as caught:
        load_objectives(file)
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [str(file)] * 2
    with pytest.raises(ObjectivesError, match="No such file"):
        load_objectives(tmp_path / "missing.yml")


KEYS = sorted(
    {"adwin", "accuracy", "m", "kind", "x"}.union(
        *map(
            keys_of,
            (ObjectivesFile, ModelEntry, ObjectiveEntry, DriftBlock, DriftEntry, FieldsEntry, LimitsEntry),
        )
    )
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*KEYS, "last 5m", "1d"])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["models", "defaults", "limits", "revision"]), TREES))
def test_any_file_is_either_usable_or_refused_with_reasons(content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content)
    try:
        found: Objectives | ObjectivesError = parse_objectives(text)
    except ObjectivesError as error:
        found = error
    if isinstance(found, ObjectivesError):
        lines = str(found).splitlines()
        assert lines
        assert len(set(lines)) == len(lines)


# -- meaning ----------------------------------------------------------------------------------


def test_confidence_comes_from_the_objective_else_the_model_else_the_defaults() -> None:
    found = parse_objectives(
        """
        defaults: {confidence: off}
        models:
          a: {objectives: {accuracy: {min: 0.8}}}
          b: {confidence: 0.9, objectives: {accuracy: {min: 0.8}, f1: {min: 0.8, confidence: 0.99}}}
        """
    )
    assert [t.confidence for name in "ab" for t in found.models[name].thresholds] == [None, 0.9, 0.99]


def test_flat_fields_are_for_both_topics_and_a_block_is_for_its_own() -> None:
    fields = model_of(
        "{fields: {prediction_id: id, score: out.p, labels: {prediction_id: ref, label: y}}}"
    ).fields
    assert fields.prediction == (("prediction_id", ("id",)), ("score", ("out", "p")))
    assert fields.label == (("prediction_id", ("ref",)), ("label", ("y",)))


def test_yes_and_no_are_words_and_true_is_a_boolean() -> None:
    spec = model_of("{task: multiclass, classes: [en, no], positive: [yes, true], profile_features: no}")
    assert spec.classes == ("en", "no")
    assert spec.positive == ("yes", True)
    assert spec.profile_features is False


def test_fields_of_segments_are_those_of_the_model_else_of_the_defaults() -> None:
    found = parse_objectives(
        "{defaults: {segments: [a, b, a]}, models: {m: {}, n: {segments: []}}, limits: {max_segments: 5}}"
    )
    assert found.default.segments == found.models["m"].segments == ("a", "b")
    assert found.models["n"].segments == ()
    assert found.limits.max_segments == 5


def test_objectives_of_the_defaults_apply_to_the_tasks_that_they_fit() -> None:
    found = parse_objectives(
        """
        defaults: {objectives: {accuracy: {min: 0.8}, mae: {max: 3}, f1: {min: 0.5, class: a}}}
        models: {price: {task: regression}}
        """
    )
    monitor = VersionMonitor(
        found.models["price"], "", "regression", None, found.limits, Room.of(found.limits)
    )
    assert [rule.spec.signal for rule in monitor.thresholds] == ["mae"]


def test_a_detector_gets_the_parameters_that_the_file_names_and_no_others() -> None:
    text = "{drift: {error: [adwin, {kind: page_hinkley, threshold: 20, mode: up, warm_up: 100}]}}"
    assert model_of(text).drift[0].detectors == (
        DetectorSpec("adwin"),
        DetectorSpec("page_hinkley", (("mode", "up"), ("threshold", 20.0)), warm_up=100),
    )


@pytest.mark.parametrize(
    ("entry", "river"), [(AdwinEntry, drift.ADWIN), (PageHinkleyEntry, drift.PageHinkley)]
)
def test_detector_parameters_and_their_defaults_are_those_of_river(entry: Any, river: Any) -> None:
    parameters = inspect.signature(river).parameters
    ours = {"kind", "scaled", "warm_up", "clip"}
    assert {name: field.default for name, field in entry.model_fields.items() if name not in ours} == {
        name: each.default for name, each in parameters.items()
    }


@pytest.mark.parametrize(
    "parameters",
    [
        *({name: value} for name, value in (("delta", 1e-300), ("clock", 1), ("clock", 10**6))),
        *({name: value} for name, value in (("max_buckets", 2), ("max_buckets", 1000))),
        *({name: value} for name, value in (("min_window_length", 1), ("grace_period", 0))),
    ],
    ids=str,
)
def test_river_takes_every_parameter_of_adwin_at_its_bound(parameters: dict[str, Any]) -> None:
    AdwinEntry(kind="adwin", **parameters)
    detector = drift.ADWIN(**parameters)
    for number in range(3000):
        detector.update(float(number > 1500))
    assert math.isfinite(detector.estimation)


def calibration(budget: str, *knobs: Knob, value: float = 0.999) -> Calibration:
    settings = tuple(Setting(knob, value, 0.1, False) for knob in knobs)
    return Calibration("m", budget, "may.csv", 5000, 7, 1e5, settings, 100, {})


def test_a_budget_of_false_alarms_makes_rules_stricter_by_a_file_beside_the_objectives(
    tmp_path: Path,
) -> None:
    found = calibration("1 per 30d", Knob("accuracy", "confidence"), Knob("drift.error", "adwin"))
    calibration_file.save(found, tmp_path / "m.json")
    file = tmp_path / "objectives.yml"
    text = "models: {m: {false_alarms: 1 per 30d, calibration: m.json, %s}}"
    rules = "objectives: {accuracy: {min: 0.8}}, drift: {error: [adwin]}"
    file.write_text(text % rules)
    spec = load_objectives(file).models["m"]
    assert spec.false_alarms == FalseAlarms(1, 30 * DAY_MS)
    assert spec.thresholds[0].confidence == 0.999
    assert spec.drift[0].detectors[0].parameters == (("delta", 0.002),)  # which is stricter than 0.999
    assert load_objectives(file, calibrate=True).models["m"].thresholds[0].confidence == 0.95


@pytest.mark.parametrize(
    ("text", "path", "part"),
    [
        ("{false_alarms: 1 per 30d}", "models.m.false_alarms", "streamer calibrate"),
        ("{false_alarms: 1 a month}", "models.m.false_alarms", "`1 per 30d`"),
        ("{false_alarms: 0 per 30d}", "models.m.false_alarms", "no detector can promise"),
        ("{calibration: m.json}", "models.m.calibration", "false_alarms: 1 per 30d"),
        ("{calibration: m.yml, drift: {}}", "models.m.calibration", "FILE.json"),
        ("{false_alarms: 1 per 30d, calibration: gone.json}", "models.m.calibration", "cannot be read"),
        ("{false_alarms: 1 per 7d, calibration: m.json, drift: {}}", "models.m.calibration", "for 1 per 30d"),
        ("{false_alarms: 1 per 30d, calibration: bad.json}", "models.m.calibration", "no calibration of"),
        (
            "{false_alarms: 1 per 30d, calibration: m.json, objectives: {f1: {min: 0.5}}, drift: {}}",
            "models.m.calibration",
            "says nothing of f1",
        ),
    ],
)
def test_a_mistake_about_budgets_names_its_cure(tmp_path: Path, text: str, path: str, part: str) -> None:
    calibration_file.save(calibration("1 per 30d", Knob("accuracy", "confidence")), tmp_path / "m.json")
    (tmp_path / "bad.json").write_text('{"format": 1, "model": "m"}')
    with pytest.raises(ObjectivesError) as error:
        parse_objectives(f"models: {{m: {text}}}", folder=tmp_path)
    assert [each.path for each in error.value.problems] == [path]
    assert part in str(error.value)


def test_a_budget_is_said_of_a_model_since_each_has_its_own_calibration(tmp_path: Path) -> None:
    [problem] = problems_of("defaults: {false_alarms: 1 per 30d}")
    assert problem.path == "defaults.false_alarms"
    calibration_file.save(calibration("1 per 30d"), tmp_path / "m.json")
    other = "models: {n: {false_alarms: 1 per 30d, calibration: m.json, drift: {}}}"
    with pytest.raises(ObjectivesError, match="is of the model m"):
        parse_objectives(other, folder=tmp_path)


def test_what_is_hidden_at_the_door() -> None:
    spec = model_of("{privacy: {ids: hash, features: {town: hash, email: drop}}}")
    assert spec.privacy == PrivacySpec("hash", (("email", "drop"), ("town", "hash")))
    assert model_of("{}").privacy is None
    inherited = parse_objectives("defaults: {privacy: {ids: hash}}\nmodels: {a: {}, b: {privacy: {}}}")
    assert inherited.hidden == ["", "a"]
    assert inherited.keyed(b"key").models["a"].privacy == PrivacySpec("hash", (), b"key")
    [problem] = problems_of("models: {m: {privacy: {features: {email: dorp}}}}")
    assert problem.path == "models.m.privacy.features.email"
    assert "did you mean drop?" in problem.message


def test_a_worker_without_a_key_refuses_objectives_that_hash() -> None:
    objectives = parse_objectives("defaults: {privacy: {ids: hash}}\nmodels: {a: {}}")
    with pytest.raises(SettingsError, match=r"`privacy` of defaults, a hashes.*set STREAMER_PRIVACY_KEY"):
        Settings().keyed(objectives)
    keyed = Settings(privacy_key=SecretStr("sixteen letters.")).keyed(objectives)
    assert keyed.default.privacy is not None
    assert len(keyed.default.privacy.key) == 64
    plain = parse_objectives("models: {a: {privacy: {features: {x: drop}}}}")
    assert Settings().keyed(plain) is plain
