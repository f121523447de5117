"""The objectives file: YAML in, domain specs out, every mistake at once with its key path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from streamer.config.durations import parse_duration
from streamer.domain.objectives import (
    DEFAULT_DRIFT,
    DEFAULT_WINDOWS,
    LIFETIME,
    PREDICTION_SIGNALS,
    SCORES_OF_TASK,
    SILENCE,
    ClassValue,
    DetectorSpec,
    DriftSpec,
    FieldMap,
    Limits,
    ModelSpec,
    Objectives,
    ThresholdSpec,
    WindowSpec,
)

_WINDOW = re.compile(r"last\s+(.+)")
_ROWS = re.compile(r"(\d+)\s+(labels|predictions|values)")
_EVERY_SIGNAL = sorted({*PREDICTION_SIGNALS, "label_coverage", SILENCE, *sum(SCORES_OF_TASK.values(), ())})
_SHARES = {"accuracy", "precision", "recall", "f1", "auc_roc", "label_coverage"}
_PER_CLASS = {"precision", "recall", "f1"}
_DETECTOR_KEYS = {
    "adwin": {"delta", "clock", "max_buckets", "min_window_length", "grace_period"},
    "page_hinkley": {"min_instances", "delta", "threshold", "alpha"},
}
_WHOLE = {"clock", "max_buckets", "min_window_length", "grace_period", "min_instances"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where (a dotted key path), what, and the cure in the same sentence."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ObjectivesError(ValueError):
    """The file cannot be used. ``problems`` holds every mistake in it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def _window(value: Any) -> WindowSpec:
    if value == "lifetime":
        return LIFETIME
    match = _WINDOW.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a window: `last 1000`, `last 1h` or `lifetime`")
    if match[1].isdigit():
        if not 0 < int(match[1]) <= 10_000_000:
            raise ValueError("a window of rows holds 1 to 10,000,000")
        return WindowSpec("last", int(match[1]))
    return WindowSpec("duration", parse_duration(match[1]))


def _rows_or_time(value: Any) -> tuple[int, str, int]:
    """(rows, unit of the rows, ms)"""
    match = _ROWS.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        return int(match[1]), match[2], 0
    try:
        return 0, "", parse_duration(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither `200 labels` nor a duration as in 10m") from None


def _quiet(value: Any) -> int:
    rows, _, _ = _rows_or_time(value)
    if rows < 1:
        raise ValueError(f"{value!r}: the quiet stretch is counted in values, as in `2000 labels`")
    return rows


def _limit(value: Any) -> float:
    if isinstance(value, bool) or value is None:
        raise ValueError("a number, or a duration for latency and silence")
    return float(value) if isinstance(value, (int, float)) else float(parse_duration(value))


Duration = Annotated[int, BeforeValidator(parse_duration), Field(json_schema_extra={"type": "string"})]
Window = Annotated[Any, BeforeValidator(_window), Field(json_schema_extra={"type": "string"})]
Limit = Annotated[float, BeforeValidator(_limit), Field(json_schema_extra={"type": ["number", "string"]})]
Hold = Annotated[Any, BeforeValidator(_rows_or_time), Field(json_schema_extra={"type": "string"})]
Quiet = Annotated[int, BeforeValidator(_quiet), Field(json_schema_extra={"type": "string"})]
Value = str | int | float | bool


def _off(value: Any) -> Any:
    """YAML reads a bare ``off`` as false."""
    return "off" if value is False else value


Confidence = Annotated[
    float | Literal["off"], BeforeValidator(_off, json_schema_input_type=float | Literal["off", False])
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)


class ObjectiveEntry(_Strict):
    """One limit. Exactly one of ``min`` and ``max``."""

    signal: str | None = None
    min: Limit | None = None
    max: Limit | None = None
    window: Window | None = None
    hold: Hold | None = Field(None, alias="for")
    klass: Value | None = Field(None, alias="class")
    severity: str | None = None
    runbook: str | None = None
    min_samples: int | None = Field(None, ge=1)
    margin: float | None = Field(None, ge=0)
    confidence: Confidence | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> ObjectiveEntry:
        if (self.min is None) == (self.max is None):
            raise ValueError("give exactly one of min and max")
        if isinstance(self.confidence, float) and not 0.5 <= self.confidence < 1:
            raise ValueError("confidence lies between 0.5 and 1, or is `off` for the bare figure")
        return self


class DetectorEntry(BaseModel):
    """A detector with its parameters, as River names them."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["adwin", "page_hinkley"]
    scaled: bool | None = None
    warm_up: int = Field(500, ge=2)
    clip: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _known_parameters(self) -> DetectorEntry:
        extra = self.model_extra or {}
        known = _DETECTOR_KEYS[self.kind]
        for name, value in extra.items():
            if name not in known:
                raise ValueError(f"{self.kind} has no parameter {name!r}; it has {', '.join(sorted(known))}")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
                raise ValueError(f"{name}: a number above 0")
            if name in _WHOLE and not isinstance(value, int):
                raise ValueError(f"{name}: a whole number")
        return self


def _as_detector(value: Any) -> Any:
    """``adwin`` is short for ``{kind: adwin}``."""
    if not isinstance(value, str):
        return value
    if value not in _DETECTOR_KEYS:
        close = difflib.get_close_matches(value, _DETECTOR_KEYS, 1)
        raise ValueError(
            f"no detector {value!r}; {f'did you mean {close[0]}?' if close else 'adwin, page_hinkley'}"
        )
    return {"kind": value}


def _as_drift(value: Any) -> Any:
    """``[adwin]`` is short for ``{detectors: [adwin]}``."""
    return {"detectors": value} if isinstance(value, list) else value


Detector = Annotated[DetectorEntry, BeforeValidator(_as_detector, json_schema_input_type=str | DetectorEntry)]


class DriftEntry(_Strict):
    """The long form of a signal's detectors."""

    detectors: list[Detector] = Field(min_length=1)
    quiet: Quiet = 2000
    severity: str | None = None
    runbook: str | None = None


Drift = Annotated[DriftEntry, BeforeValidator(_as_drift, json_schema_input_type=list[Detector] | DriftEntry)]


class DriftBlock(_Strict):
    error: Drift | None = None
    score: Drift | None = None
    features: dict[str, Drift] = Field(default_factory=dict)


class ModelEntry(_Strict):
    """Everything that can be said of a model; the same keys under ``defaults``."""

    task: Literal["binary", "multiclass", "regression"] | None = None
    positive: list[Value] | None = None
    negative: list[Value] | None = None
    classes: list[Value] | None = None
    windows: list[Window] | None = None
    fields: dict[str, Any] | None = None
    label_wait: Duration | None = None
    park: Duration | None = None
    dedupe: Duration | None = None
    on_expiry: Literal["drop", "negative"] | None = None
    evaluate_every: int | None = Field(None, ge=1, le=100_000)
    profile_features: bool | None = None
    alert_feature_values: bool | None = None
    objectives: dict[str, ObjectiveEntry] | None = None
    drift: DriftBlock | None = None
    severity: str | None = None
    runbook: str | None = None
    min_samples: int | None = Field(None, ge=1)
    confidence: Confidence | None = None


class LimitsEntry(_Strict):
    max_pending: int | None = Field(None, ge=1)
    max_parked: int | None = Field(None, ge=1)
    max_recent: int | None = Field(None, ge=1)
    max_models: int | None = Field(None, ge=1)
    max_versions: int | None = Field(None, ge=1)
    max_features: int | None = Field(None, ge=0)


class ObjectivesFile(_Strict):
    """The whole file."""

    revision: int = Field(0, ge=0)
    defaults: ModelEntry = Field(default_factory=ModelEntry)
    limits: LimitsEntry = Field(default_factory=LimitsEntry)
    models: dict[str, ModelEntry] = Field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """YAML without duplicate keys: the second would silently win."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, (list, dict)):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands here a second time", key_node.start_mark
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_objectives(path: Path | None) -> Objectives:
    """The objectives of a file; without one, defaults for whatever model turns up.

    Raises:
        ObjectivesError: with every mistake in the file.
    """
    if path is None:
        return Objectives()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ObjectivesError([Problem(str(path), f"cannot be read: {error}")]) from None
    return parse_objectives(text, str(path))


def parse_objectives(text: str, name: str = "objectives") -> Objectives:
    """As ``load_objectives``, from text."""
    try:
        content = _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise ObjectivesError([Problem(where, getattr(error, "problem", None) or "not YAML")]) from None
    if not isinstance(content, dict):
        raise ObjectivesError([Problem(name, "an objectives file is a mapping with `models:`")])
    file, problems = _validate(_text_keys(content))
    builder = _Builder(file)
    objectives = builder.build()
    if problems or builder.problems:
        raise ObjectivesError(problems + builder.problems)
    return objectives


def _validate(content: dict[str, Any]) -> tuple[ObjectivesFile, list[Problem]]:
    """The file without what is wrong in it, and what is: so that one mistake does not hide the others."""
    problems: list[Problem] = []
    while True:
        try:
            return ObjectivesFile.model_validate(content), problems
        except ValidationError as error:
            for each in error.errors():
                problems.append(_problem(each))
                _cut(content, each["loc"])


def _cut(content: Any, path: tuple[Any, ...]) -> None:
    """Take out the deepest part of the content that the path leads to."""
    holder, key = None, None
    for part in path:
        if isinstance(content, dict) and part in content:
            holder, key, content = content, part, content[part]
    if holder is not None:
        del holder[key]


def objectives_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return ObjectivesFile.model_json_schema(by_alias=True)


def _text_keys(value: Any) -> Any:
    """``404:`` as a model's name is text too."""
    if isinstance(value, dict):
        return {str(key): _text_keys(each) for key, each in value.items()}
    return [_text_keys(each) for each in value] if isinstance(value, list) else value


_KNOWN_KEYS = sorted(
    {
        field.alias or name
        for model in (ObjectivesFile, ModelEntry, ObjectiveEntry, DriftBlock, DriftEntry, LimitsEntry)
        for name, field in model.model_fields.items()
    }
)


def _problem(error: Any) -> Problem:
    parts = [str(part) for part in error["loc"]]
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(parts[-1], _KNOWN_KEYS, 1)
        message = f"there is no such key{f'; did you mean {close[0]}?' if close else ''}"
    return Problem(".".join(parts), message)


class _Builder:
    """From checked entries to specs, with the checks that need more than one key."""

    def __init__(self, file: ObjectivesFile) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def build(self) -> Objectives:
        """The specs; ``problems`` tells whether they may be used."""
        default = self._model("", self.file.defaults, ModelEntry(), "defaults")
        models = {
            name: replace(self._model(name, entry, self.file.defaults, f"models.{name}"), declared=True)
            for name, entry in self.file.models.items()
        }
        limits = replace(Limits(), **self.file.limits.model_dump(exclude_none=True))
        return Objectives(self.file.revision, default, models, limits)

    def _complain(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def _model(self, name: str, entry: ModelEntry, defaults: ModelEntry, path: str) -> ModelSpec:
        def pick(key: str, otherwise: Any) -> Any:
            for source in (entry, defaults):
                if getattr(source, key) is not None:
                    return getattr(source, key)
            return otherwise

        base = ModelSpec(model=name)
        task = pick("task", None)
        spec = replace(
            base,
            task=task,
            positive=tuple(pick("positive", base.positive)),
            negative=tuple(pick("negative", base.negative)),
            classes=tuple(pick("classes", base.classes)),
            windows=tuple(pick("windows", DEFAULT_WINDOWS)),
            label_wait_ms=pick("label_wait", base.label_wait_ms),
            park_ms=pick("park", base.park_ms),
            dedupe_ms=pick("dedupe", base.dedupe_ms),
            on_expiry=pick("on_expiry", base.on_expiry),
            evaluate_every=pick("evaluate_every", base.evaluate_every),
            profile_features=pick("profile_features", base.profile_features),
            alert_feature_values=pick("alert_feature_values", base.alert_feature_values),
            fields=self._fields(pick("fields", {}), f"{path}.fields"),
        )
        if {type_ok(v) for v in spec.positive} & {type_ok(v) for v in spec.negative}:
            self._complain(f"{path}.negative", "a value cannot be both positive and negative")
        if spec.on_expiry == "negative" and task not in (None, "binary"):
            self._complain(f"{path}.on_expiry", "`negative` is for binary models")
        severity, runbook = pick("severity", "ticket"), pick("runbook", None)
        objectives = pick("objectives", {})
        thresholds = tuple(
            self._threshold(rule, each, task, f"{path}.objectives.{rule}", pick)
            for rule, each in objectives.items()
        )
        drift = pick("drift", None)
        return replace(
            spec,
            thresholds=tuple(t for t in thresholds if t is not None),
            drift=_drift(drift, severity, runbook) if drift is not None else DEFAULT_DRIFT,
        )

    def _fields(self, raw: Mapping[str, Any], path: str) -> FieldMap:
        apart = {"predictions", "labels"}
        both = {k: v for k, v in raw.items() if k not in apart}
        maps: list[tuple[tuple[str, tuple[str, ...]], ...]] = []
        for topic in ("predictions", "labels"):
            own = raw.get(topic, {})
            if not isinstance(own, Mapping):
                self._complain(f"{path}.{topic}", "a mapping of our name to your path")
                own = {}
            merged = {**both, **own}
            for key, target in merged.items():
                if not isinstance(target, str) or not target:
                    self._complain(f"{path}.{key}", "the name or dotted path of the field in your log")
            maps.append(tuple((k, tuple(str(v).split("."))) for k, v in merged.items()))
        return FieldMap(*maps)

    def _threshold(
        self, rule: str, entry: ObjectiveEntry, task: str | None, path: str, pick: Any
    ) -> ThresholdSpec | None:
        signal = entry.signal or rule
        if signal not in _EVERY_SIGNAL:
            close = difflib.get_close_matches(signal, _EVERY_SIGNAL, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(_EVERY_SIGNAL)}"
            self._complain(path, f"no signal {signal!r}{hint} (or name one with `signal:`)")
            return None
        self._check(signal, entry, task, path)
        rows, unit, hold_ms = entry.hold or (0, "", 0)
        if unit == "labels" and signal in (*PREDICTION_SIGNALS, SILENCE):
            self._complain(f"{path}.for", f"{signal} needs no labels: count predictions, or give a duration")
        window = entry.window or (
            WindowSpec("duration", 300_000) if signal in PREDICTION_SIGNALS else WindowSpec("last", 1000)
        )
        if signal == "throughput" and window.kind != "duration":
            self._complain(f"{path}.window", "throughput is measured over a duration, as in `last 5m`")
        confidence = entry.confidence if entry.confidence is not None else pick("confidence", 0.95)
        samples = entry.min_samples or pick("min_samples", 50)
        return ThresholdSpec(
            rule=rule,
            signal=signal,
            window=LIFETIME if signal in (SILENCE, "label_coverage") else window,
            minimum=entry.min,
            maximum=entry.max,
            klass=None if entry.klass is None else type_ok(entry.klass),
            hold_rows=rows,
            hold_ms=hold_ms,
            severity=entry.severity or pick("severity", "ticket"),
            runbook=entry.runbook or pick("runbook", None),
            min_samples=1 if signal in (SILENCE, "throughput") else samples,
            margin=entry.margin,
            confidence=None if confidence == "off" else confidence,
        )

    def _check(self, signal: str, entry: ObjectiveEntry, task: str | None, path: str) -> None:
        limit = entry.min if entry.min is not None else entry.max
        assert limit is not None
        scores = set(sum(SCORES_OF_TASK.values(), ()))
        if task is not None and signal in scores and signal not in SCORES_OF_TASK[task]:
            allowed = ", ".join(SCORES_OF_TASK[task])
            self._complain(path, f"{signal} is not a score of a {task} model; it has {allowed}")
        if signal in _SHARES and not 0 <= limit <= 1:
            self._complain(path, f"{signal} lies between 0 and 1, the limit is {limit:g}")
        if signal == SILENCE and (entry.min is not None or entry.window is not None):
            self._complain(path, "silence takes `max:` and no window")
        if entry.klass is not None and signal not in _PER_CLASS:
            self._complain(f"{path}.class", f"{signal} is not a score per class")
        if entry.klass is not None and task == "binary":
            self._complain(
                f"{path}.class", "a binary model's precision, recall and F1 are of its positive class"
            )


def type_ok(value: ClassValue) -> str:
    """The canonical text of a class value: 1, "1" and true are the same."""
    return str(int(value)) if isinstance(value, (bool, int)) else str(value)


def _drift(block: DriftBlock, severity: str, runbook: str | None) -> tuple[DriftSpec, ...]:
    entries = {"error": block.error, "score": block.score}
    entries |= {f"feature:{name}": entry for name, entry in block.features.items()}
    specs = []
    for signal, entry in entries.items():
        if entry is None:
            continue
        specs.append(
            DriftSpec(
                signal,
                tuple(_detector(each) for each in entry.detectors),
                entry.quiet,
                entry.severity or severity,
                entry.runbook or runbook,
            )
        )
    return tuple(specs)


def _detector(entry: DetectorEntry) -> DetectorSpec:
    parameters = tuple(sorted((entry.model_extra or {}).items()))
    return DetectorSpec(entry.kind, parameters, entry.scaled, entry.warm_up, entry.clip)


__all__ = [
    "ObjectivesError",
    "ObjectivesFile",
    "Problem",
    "load_objectives",
    "objectives_schema",
    "parse_objectives",
]
