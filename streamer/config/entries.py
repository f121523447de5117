"""The shape of the objectives file: one class per block, which is also its JSON Schema for editors.

What can be said of one key alone is checked here; what takes more than one key
is checked in ``objectives_file``, which makes the specs.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from streamer.config.durations import parse_duration
from streamer.domain.events import MAX_VERSION, Refused, read_name
from streamer.domain.objectives import (
    LIFETIME,
    MAX_SEGMENT_FIELDS,
    MAX_SEGMENT_VALUES,
    FalseAlarms,
    WindowSpec,
)

MOST_WINDOW_ROWS = 10_000_000
LEAST_REFERENCE, MOST_REFERENCE = 100, 1_000_000_000
LEAST_DATA_WINDOW = 100
_REFERENCES = "`first 10000`, `previous 7d`, a FILE.json of `streamer reference build`, or `off`"
MOST_FIELD_NAME = 100
DETECTORS = ("adwin", "page_hinkley")
_WINDOW = re.compile(r"last\s+(.+)")
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s+per\s+(\S.*)")
_ROWS = re.compile(r"(\d+)\s+(labels|predictions|values)")


def _window(value: Any) -> WindowSpec:
    if value == "lifetime":
        return LIFETIME
    match = _WINDOW.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a window: `last 1000`, `last 1h` or `lifetime`")
    if match[1].isdigit():
        if not 0 < int(match[1]) <= MOST_WINDOW_ROWS:
            raise ValueError(f"a window of rows holds 1 to {MOST_WINDOW_ROWS:,}")
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


def _amount(value: Any) -> float | str:
    """A finite number, or the text of a duration: which of them may stand there the signal decides."""
    if isinstance(value, str):
        try:
            parse_duration(value)
        except ValueError:
            raise ValueError(f"{value!r} is neither a number nor a duration as in 250ms") from None
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("a number, or a duration for latency and silence")
    if not math.isfinite(value):
        raise ValueError(f"{value} is no limit: a finite number")
    return float(value)


def _confidence(value: Any) -> float | Literal["off"]:
    if value == "off" or value is False:
        return "off"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.5 <= value < 1:
        raise ValueError(f"{value!r}: confidence is at least 0.5 and below 1, or `off` for the bare figure")
    return float(value)


def _class_value(value: Any) -> Any:
    # numpy comes with it and takes a tenth of a second: only who reads an objectives file waits.
    from streamer.domain.classes import MAX_CLASS_NAME, canonical

    if canonical(value) is None:
        raise ValueError(f"{value!r} cannot be a class: text up to {MAX_CLASS_NAME}, a number, true or false")
    return value


def _field_path(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str) or not all(value.split(".")):
        raise ValueError(f"{value!r}: the name or the dotted path (a.b) of the field in your log")
    return tuple(value.split("."))


def _reference(value: Any) -> tuple[str, int, str] | Literal["off"]:
    """(kind, rows or ms, path of a file)"""
    if value == "off" or value is False:
        return "off"
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no reference: {_REFERENCES}")
    kind, _, size = value.strip().partition(" ")
    if kind == "previous" and size:
        return "previous", parse_duration(size.strip()), ""
    if kind == "first":
        if not size.strip().isdigit() or not LEAST_REFERENCE <= int(size) <= MOST_REFERENCE:
            raise ValueError(
                f"`first N` takes {LEAST_REFERENCE} to {MOST_REFERENCE:,} predictions, not {size!r}"
            )
        return "first", int(size), ""
    if not value.endswith(".json"):
        raise ValueError(f"{value!r} is no reference: {_REFERENCES}")
    return "given", 0, value


def _predictions(value: Any) -> int:
    """The rows of a window of predictions."""
    window = _window(value)
    if window.kind != "last" or not LEAST_DATA_WINDOW <= window.size <= MOST_WINDOW_ROWS:
        raise ValueError(
            f"{value!r}: columns are compared over at least `last {LEAST_DATA_WINDOW}` predictions"
        )
    return window.size


def _false_alarms(value: Any) -> FalseAlarms:
    match = _BUDGET.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no budget: how many in how long, as in `1 per 30d`")
    count = float(match[1])
    if not count:
        raise ValueError("no detector can promise to be silent: at least `1 per 3650d`")
    return FalseAlarms(count, parse_duration(match[2]))


def _calibration(value: Any) -> str:
    if not isinstance(value, str) or not value.endswith(".json"):
        raise ValueError(f"{value!r}: the file that `streamer calibrate` wrote, FILE.json")
    return value


def _segment_field(value: Any) -> str:
    try:
        if isinstance(value, str) and "=" not in value:
            return read_name(value, MOST_FIELD_NAME)
    except Refused:
        pass
    raise ValueError(f"{value!r}: a field's name is 1 to {MOST_FIELD_NAME} printable characters without `=`")


_TEXT = {"type": "string"}
Duration = Annotated[int, PlainValidator(parse_duration), WithJsonSchema(_TEXT)]
Window = Annotated[WindowSpec, PlainValidator(_window), WithJsonSchema(_TEXT)]
Amount = Annotated[float | str, PlainValidator(_amount), WithJsonSchema({"type": ["number", "string"]})]
Hold = Annotated[tuple[int, str, int], PlainValidator(_rows_or_time), WithJsonSchema(_TEXT)]
Quiet = Annotated[int, PlainValidator(_quiet), WithJsonSchema(_TEXT)]
ReferenceText = Annotated[
    tuple[str, int, str] | Literal["off"],
    PlainValidator(_reference),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"enum": ["off", False]}]}),
]
Budget = Annotated[FalseAlarms, PlainValidator(_false_alarms), WithJsonSchema(_TEXT)]
CalibrationFile = Annotated[str, PlainValidator(_calibration), WithJsonSchema(_TEXT)]
PredictionWindow = Annotated[int, PlainValidator(_predictions), WithJsonSchema(_TEXT)]
SegmentField = Annotated[str, PlainValidator(_segment_field), WithJsonSchema(_TEXT)]
FieldPath = Annotated[tuple[str, ...], PlainValidator(_field_path), WithJsonSchema(_TEXT)]
Value = Annotated[
    str | int | float | bool,
    PlainValidator(_class_value),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
Confidence = Annotated[
    float | Literal["off"],
    PlainValidator(_confidence),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0.5, "exclusiveMaximum": 1}, {"enum": ["off", False]}]}
    ),
]


def _filled(value: Any) -> Any:
    """``churn:`` with nothing under it is a model that is watched with the defaults."""
    return {} if value is None else value


class Strict(BaseModel):
    """A block: no other keys, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ObjectiveEntry(Strict):
    """One limit. Exactly one of ``min`` and ``max``."""

    signal: str | None = None
    min: Amount | None = None
    max: Amount | None = None
    window: Window | None = None
    hold: Hold | None = Field(None, alias="for")
    klass: Value | None = Field(None, alias="class")
    severity: str | None = None
    runbook: str | None = None
    min_samples: int | None = Field(None, ge=1)
    margin: Amount | None = None
    confidence: Confidence | None = None


class _DetectorEntry(Strict):
    """What streamer adds to River's detectors: see ``DetectorSpec``."""

    scaled: bool | None = None
    warm_up: int = Field(500, ge=2, le=1_000_000)
    clip: float = Field(10.0, gt=0)


# The bounds keep River from a panic (a clock of 0, a single bucket) and a detector's state small.
# The defaults are River's.
class AdwinEntry(_DetectorEntry):
    """River's ADWIN and its parameters."""

    kind: Literal["adwin"]
    delta: float = Field(0.002, gt=0, lt=1)
    clock: int = Field(32, ge=1, le=1_000_000)
    max_buckets: int = Field(5, ge=2, le=1000)
    min_window_length: int = Field(5, ge=1, le=1_000_000)
    grace_period: int = Field(10, ge=0, le=1_000_000)


class PageHinkleyEntry(_DetectorEntry):
    """River's Page-Hinkley and its parameters."""

    kind: Literal["page_hinkley"]
    min_instances: int = Field(30, ge=1, le=1_000_000_000)
    delta: float = Field(0.005, ge=0)
    threshold: float = Field(50.0, gt=0)
    alpha: float = Field(0.9999, gt=0, le=1)
    mode: Literal["up", "down", "both"] = "both"


DetectorEntry = AdwinEntry | PageHinkleyEntry


def _as_detector(value: Any) -> Any:
    """``adwin`` is short for ``{kind: adwin}``."""
    kind = value.get("kind") if isinstance(value, dict) else value
    if kind not in DETECTORS:
        close = difflib.get_close_matches(str(kind), DETECTORS, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {' and '.join(DETECTORS)}"
        raise ValueError(
            f"no detector {kind!r}; {hint}" if kind is not None else f"`kind:` is missing; {hint}"
        )
    return value if isinstance(value, dict) else {"kind": kind}


def _as_drift(value: Any) -> Any:
    """``[adwin]`` is short for ``{detectors: [adwin]}``."""
    return {"detectors": value} if isinstance(value, list) else value


Detector = Annotated[
    DetectorEntry,
    Field(discriminator="kind"),
    BeforeValidator(
        _as_detector, json_schema_input_type=Literal["adwin", "page_hinkley"] | AdwinEntry | PageHinkleyEntry
    ),
]


class DriftEntry(Strict):
    """The long form of a signal's detectors."""

    detectors: list[Detector] = Field(min_length=1)
    quiet: Quiet = 2000
    severity: str | None = None
    runbook: str | None = None


Drift = Annotated[DriftEntry, BeforeValidator(_as_drift, json_schema_input_type=list[Detector] | DriftEntry)]


class ErrorEntry(DriftEntry):
    """Of the error, the only signal whose rows are labelled: the order in which the detectors see them."""

    order: Literal["arrival", "prediction"] | None = None


ErrorDrift = Annotated[
    ErrorEntry, BeforeValidator(_as_drift, json_schema_input_type=list[Detector] | ErrorEntry)
]


class DataEntry(Strict):
    """How columns are held against the model's ``reference``."""

    window: PredictionWindow = 2000
    distance: Literal["psi", "jensen_shannon", "total_variation", "wasserstein"] = "psi"
    max: float | None = Field(None, gt=0)
    features: list[str] | None = Field(None, min_length=1)
    severity: str | None = None
    runbook: str | None = None


class DriftBlock(Strict):
    """Which signals are watched, by which detectors."""

    error: ErrorDrift | None = None
    score: Drift | None = None
    data: DataEntry | None = None
    features: dict[str, Drift] = Field(default_factory=dict)


class LabelFields(Strict):
    """Our names of a label's fields → where they are in your log."""

    prediction_id: FieldPath | None = None
    timestamp: FieldPath | None = None
    label: FieldPath | None = None


class PredictionFields(Strict):
    """Our names of a prediction's fields → where they are in your log."""

    prediction_id: FieldPath | None = None
    timestamp: FieldPath | None = None
    prediction: FieldPath | None = None
    version: FieldPath | None = None
    score: FieldPath | None = None
    scores: FieldPath | None = None
    features: FieldPath | None = None
    latency_ms: FieldPath | None = None
    segments: FieldPath | None = None


class FieldsEntry(PredictionFields):
    """Names for both topics; a block of one topic's own wins over them."""

    label: FieldPath | None = None
    predictions: PredictionFields = Field(default_factory=PredictionFields)
    labels: LabelFields = Field(default_factory=LabelFields)


class PrivacyEntry(Strict):
    """What is hidden at the door."""

    ids: Literal["keep", "hash"] = "keep"
    features: dict[str, Literal["hash", "drop"]] = Field(default_factory=dict)


class ModelEntry(Strict):
    """Everything that can be said of a model; the same keys under ``defaults``."""

    task: Literal["binary", "multiclass", "regression"] | None = None
    positive: list[Value] | None = Field(None, min_length=1)
    negative: list[Value] | None = None
    classes: list[Value] | None = None
    windows: list[Window] | None = None
    fields: FieldsEntry | None = None
    label_wait: Duration | None = None
    park: Duration | None = None
    dedupe: Duration | None = None
    on_expiry: Literal["drop", "negative"] | None = None
    order: Literal["arrival", "prediction"] | None = None
    label_maturity: Duration | None = None
    evaluate_every: int | None = Field(None, ge=1, le=100_000)
    profile_features: bool | None = None
    alert_feature_values: bool | None = None
    alert_examples: bool | None = None
    segments: list[SegmentField] | None = Field(None, max_length=MAX_SEGMENT_FIELDS)
    objectives: dict[str, ObjectiveEntry] | None = None
    drift: DriftBlock | None = None
    reference: ReferenceText | None = None
    champion: str | None = Field(None, min_length=1, max_length=MAX_VERSION)
    privacy: PrivacyEntry | None = None
    false_alarms: Budget | None = None
    calibration: CalibrationFile | None = None
    severity: str | None = None
    runbook: str | None = None
    min_samples: int | None = Field(None, ge=1)
    confidence: Confidence | None = None


class LimitsEntry(Strict):
    """Bounds of one partition."""

    max_pending: int | None = Field(None, ge=1)
    max_parked: int | None = Field(None, ge=1)
    max_recent: int | None = Field(None, ge=1)
    max_models: int | None = Field(None, ge=1)
    max_versions: int | None = Field(None, ge=1)
    max_features: int | None = Field(None, ge=0)
    max_versions_total: int | None = Field(None, ge=1)
    max_features_total: int | None = Field(None, ge=0)
    max_segments: int | None = Field(None, ge=1, le=MAX_SEGMENT_VALUES)


Model = Annotated[ModelEntry, BeforeValidator(_filled, json_schema_input_type=ModelEntry | None)]


class ObjectivesFile(Strict):
    """The whole file."""

    revision: int = Field(0, ge=0)
    defaults: Model = Field(default_factory=ModelEntry)
    limits: Annotated[LimitsEntry, BeforeValidator(_filled, json_schema_input_type=LimitsEntry | None)] = (
        Field(default_factory=LimitsEntry)
    )
    models: Annotated[
        dict[str, Model], BeforeValidator(_filled, json_schema_input_type=dict[str, Model] | None)
    ] = Field(default_factory=dict)


def entry_at(path: tuple[int | str, ...]) -> type[BaseModel]:
    """The block in which a key of this path stands: whose names may have been meant."""
    match path[:-1]:
        case ():
            return ObjectivesFile
        case ("limits",):
            return LimitsEntry
        case ("defaults",) | ("models", _):
            return ModelEntry
        case (*_, "privacy"):
            return PrivacyEntry
        case (*_, "fields"):
            return FieldsEntry
        case (*_, "fields", "predictions"):
            return PredictionFields
        case (*_, "fields", "labels"):
            return LabelFields
        case (*_, "objectives", _):
            return ObjectiveEntry
        case (*_, "drift"):
            return DriftBlock
        case (*_, "drift", "data"):
            return DataEntry
        case (*_, "drift", "error"):
            return ErrorEntry
        case (*_, "adwin"):
            return AdwinEntry
        case (*_, "page_hinkley"):
            return PageHinkleyEntry
    return DriftEntry


def keys_of(entry: type[BaseModel]) -> list[str]:
    """The keys of a block as they stand in the file."""
    return [field.alias or name for name, field in entry.model_fields.items()]
