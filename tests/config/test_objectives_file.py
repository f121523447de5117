"""The objectives file: what it means, and every mistake at once with its key path."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from streamer.config import ObjectivesError, load_objectives, objectives_schema, parse_objectives
from streamer.domain.objectives import LIFETIME, WindowSpec

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


def test_the_example_means_what_it_says() -> None:
    found = parse_objectives(CHURN)
    spec = found.models["churn"]
    assert found.revision == 7
    assert spec.declared
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


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_loads_and_fits_the_exported_schema(file: Path) -> None:
    assert load_objectives(file).models
    jsonschema.validate(yaml.safe_load(file.read_text()), objectives_schema())


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("models: {m: {objectives: {acuracy: {min: 0.8}}}}", "models.m.objectives.acuracy", "accuracy"),
        (
            "models: {m: {objectives: {accuracy: {min: 0.8, max: 0.9}}}}",
            "models.m.objectives.accuracy",
            "one of",
        ),
        ("models: {m: {objectives: {accuracy: {min: 1.8}}}}", "models.m.objectives.accuracy", "1"),
        ("models: {m: {objectives: {mae: {max: 1}}, task: binary}}", "models.m.objectives.mae", "binary"),
        ("models: {m: {windows: [last week]}}", "models.m.windows.0", "not a duration"),
        ("models: {m: {drift: {error: [adwinn]}}}", "models.m.drift.error", "adwin"),
        ("models: {m: {drift: {error: [{kind: adwin, delat: 1}]}}}", "models.m.drift.error", "delat"),
        ("models: {m: {label_wait: 7}}", "models.m.label_wait", "duration"),
        ("modles: {}", "modles", "models"),
        ("models: {m: {task: binary, task: regression}}", "line 1", "second time"),
        ("models: [", "line", ""),
        ("- a", "", "mapping"),
    ],
)
def test_a_mistake_is_named_with_its_path_and_a_cure(text: str, path: str, words: str) -> None:
    with pytest.raises(ObjectivesError) as caught:
        parse_objectives(text)
    assert any(path in problem.path and words in str(problem) for problem in caught.value.problems), str(
        caught.value
    )


def test_all_mistakes_are_told_at_once() -> None:
    text = "models: {a: {task: trinary, windows: [no]}, b: {objectives: {accuracy: {}, nonsense: {min: 1}}}}"
    with pytest.raises(ObjectivesError) as caught:
        parse_objectives(text)
    paths = {problem.path for problem in caught.value.problems}
    assert len(paths) >= 4, paths
    assert {path.split(".")[1] for path in paths} == {"a", "b"}


def test_an_empty_file_watches_everything_with_defaults() -> None:
    found = parse_objectives("{}")
    assert found.models == {}
    assert [each.signal for each in found.default.drift] == ["error", "score"]
