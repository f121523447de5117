"""From checked entries to the domain's specs, with the checks that take more than one key."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from streamer.config.durations import parse_duration
from streamer.config.entries import (
    DataEntry,
    DetectorEntry,
    DriftBlock,
    ErrorEntry,
    FieldsEntry,
    LabelFields,
    ModelEntry,
    ObjectiveEntry,
    ObjectivesFile,
    PredictionFields,
    PrivacyEntry,
)
from streamer.config.problems import Problem, meant
from streamer.domain.events import MAX_NAME, Refused, read_name
from streamer.domain.objectives import (
    DEFAULT_DRIFT,
    DEFAULT_WINDOWS,
    LABEL_SIGNALS,
    LIFETIME,
    PREDICTION_SIGNALS,
    SCORES_OF_TASK,
    SILENCE,
    DataDriftSpec,
    DetectorSpec,
    DriftSpec,
    FieldMap,
    Limits,
    ModelSpec,
    Objectives,
    PrivacySpec,
    ReferenceSpec,
    ThresholdSpec,
    WindowSpec,
    duration_text,
)

DEFAULT_SAMPLES = 50
DEFAULT_CONFIDENCE = 0.95
DEFAULT_SEVERITY = "ticket"
DEFAULT_LABEL_WINDOW = WindowSpec("last", 1000)
DEFAULT_TRAFFIC_WINDOW = WindowSpec("duration", 300_000)
SHORTEST_SILENCE_MS = 1000
SHORTEST_MATURITY_MS = 1000

_SCORES = frozenset(sum(SCORES_OF_TASK.values(), ()))
_EVERY_SIGNAL = sorted({*PREDICTION_SIGNALS, *LABEL_SIGNALS, SILENCE, *_SCORES})
_PER_CLASS = {"precision", "recall", "f1"}
_SHARES = {"accuracy", "precision", "recall", "f1", "auc_roc", "brier", "label_coverage"}
_UP_TO_1 = {"r2"}
_ANY_NUMBER = {"bias"}
_DURATIONS = {"latency_p50", "latency_p95", "latency_p99", SILENCE}
_NOT_COUNTED = {SILENCE, "throughput"}  # min_samples means nothing to them
_TOLD = 0.0  # stands for a limit that cannot be used; the problem is told, the spec thrown away

FindReference = Callable[[str], tuple[Any, str]]
FindCalibration = Callable[[str], Any]
Paths = tuple[tuple[str, tuple[str, ...]], ...]


def build(
    file: ObjectivesFile,
    wrong: set[str],
    references: FindReference,
    calibrations: FindCalibration | None,
) -> tuple[Objectives, list[Problem]]:
    """The specs, and what is wrong with the keys together; with problems the specs must not be used.

    ``wrong``: paths of what was cut out of the file; what follows from that is no mistake of its own.
    ``references``: from the path of a reference, as written, to it and its digest; raises ValueError.
    ``calibrations``: the same of a calibration; None: rules are as the file says, for who calibrates them.
    """
    builder = _Builder(wrong, references, calibrations)
    defaults = builder.model("", _Layers("defaults", file.defaults, ModelEntry()))
    models = {}
    for name, entry in file.models.items():
        layers = _Layers(f"models.{name}", entry, file.defaults)
        builder.check_name(name, layers.path)
        models[name] = builder.model(name, layers)
    limits = replace(Limits(), **file.limits.model_dump(exclude_none=True))
    return Objectives(file.revision, defaults, models, limits), builder.problems


@dataclass(frozen=True, slots=True)
class _Layers:
    """What a model's entry says, over what the defaults say. ``path``: of the entry."""

    path: str
    own: ModelEntry
    defaults: ModelEntry

    def get(self, key: str, otherwise: Any = None) -> Any:
        for source in (self.own, self.defaults):
            if getattr(source, key) is not None:
                return getattr(source, key)
        return otherwise

    def inherits(self, key: str) -> bool:
        return self.path != "defaults" and getattr(self.own, key) is None

    def where(self, key: str) -> str:
        """The path of the key that counts: a mistake in the defaults is told there, once."""
        return f"defaults.{key}" if self.inherits(key) else f"{self.path}.{key}"

    def nearest(self, *keys: str) -> str:
        """The path of that of the keys which stands nearest: in the entry, else in the defaults."""
        for path, entry in ((self.path, self.own), ("defaults", self.defaults)):
            for key in keys:
                if getattr(entry, key) is not None:
                    return f"{path}.{key}"
        return f"{self.path}.{keys[0]}"


class _Builder:
    """Makes the spec of one model after the other and collects the problems."""

    def __init__(
        self, wrong: set[str], references: FindReference, calibrations: FindCalibration | None
    ) -> None:
        self.wrong, self.references, self.calibrations = wrong, references, calibrations
        self.problems: list[Problem] = []

    def _complain(self, path: str, message: str) -> None:
        if path not in self.wrong:
            self.problems.append(Problem(path, message))

    # -- models ----------------------------------------------------------------------------

    def check_name(self, name: str, path: str) -> None:
        try:
            read_name(name)
        except Refused:
            self._complain(path, f"a model's name is 1 to {MAX_NAME} printable characters")

    def model(self, name: str, layers: _Layers) -> ModelSpec:
        get, base = layers.get, ModelSpec(model=name)
        spec = replace(
            base,
            task=get("task"),
            positive=tuple(get("positive", base.positive)),
            negative=tuple(get("negative", base.negative)),
            classes=tuple(get("classes", base.classes)),
            windows=tuple(get("windows", DEFAULT_WINDOWS)),
            label_wait_ms=get("label_wait", base.label_wait_ms),
            park_ms=get("park", base.park_ms),
            dedupe_ms=get("dedupe", base.dedupe_ms),
            on_expiry=get("on_expiry", base.on_expiry),
            order=get("order", base.order),
            label_maturity_ms=_label_maturity(layers),
            evaluate_every=get("evaluate_every", base.evaluate_every),
            profile_features=get("profile_features", base.profile_features),
            alert_feature_values=get("alert_feature_values", base.alert_feature_values),
            alert_examples=get("alert_examples", base.alert_examples),
            segments=tuple(dict.fromkeys(get("segments", base.segments))),
            privacy=_privacy(get("privacy")),
            fields=_field_map(get("fields", FieldsEntry())),
        )
        self._check_model(spec, layers)
        entries = get("objectives", {}).items()
        thresholds = (self._threshold(rule, entry, spec, layers) for rule, entry in entries)
        drift = get("drift")
        reference = self._reference(layers)
        asked = (
            layers.path != "defaults" and layers.own.drift is not None and layers.own.drift.data is not None
        )
        if (
            asked
            and reference is None
            and not {f"{layers.path}.reference", "defaults.reference"} & self.wrong
        ):
            about = "there is nothing to hold the data against: add `reference: first 10000` to the model"
            self._complain(f"{layers.path}.drift.data", about)
        spec = replace(
            spec,
            thresholds=tuple(threshold for threshold in thresholds if threshold is not None),
            drift=DEFAULT_DRIFT if drift is None else tuple(_drift(drift, layers)),
            reference=reference,
            champion=get("champion"),
            false_alarms=layers.own.false_alarms,
            data_drift=_data_drift(None if drift is None else drift.data, layers),
        )
        return self._calibrated(spec, layers)

    def _calibrated(self, spec: ModelSpec, layers: _Layers) -> ModelSpec:
        """As strict as its budget of false alarms asks for; without one, as it is."""
        budget, file, path = layers.own.false_alarms, layers.own.calibration, layers.path
        if budget is None and file is None:
            return spec
        if path == "defaults":
            key = "false_alarms" if budget is not None else "calibration"
            self._complain(f"defaults.{key}", "say it of a model: each has a calibration of its own")
        elif self.calibrations is None:
            pass
        elif file is None:
            about = (
                f"nothing is calibrated for {budget}: `streamer calibrate` writes a file for `calibration:`"
            )
            self._complain(f"{path}.false_alarms", about)
        elif budget is None:
            if f"{path}.false_alarms" not in self.wrong:
                about = "it is for a budget: say `false_alarms: 1 per 30d`, or what it was made for"
                self._complain(f"{path}.calibration", about)
        else:
            return self._with_calibration(spec, file, f"{path}.calibration")
        return spec

    def _with_calibration(self, spec: ModelSpec, file: str, path: str) -> ModelSpec:
        from streamer.domain.calibration import calibrated  # only whoever names a file waits

        assert self.calibrations is not None
        try:
            found = self.calibrations(file)
        except ValueError as error:
            self._complain(path, str(error))
            return spec
        again = "run `streamer calibrate` again"
        lacking = found.lacks(spec)
        if found.model != spec.model:
            self._complain(path, f"{file} is of the model {found.model}; {again}")
        elif found.budget != str(spec.false_alarms):
            self._complain(path, f"{file} is for {found.budget}, not {spec.false_alarms}; {again}")
        elif lacking:
            self._complain(path, f"{file} says nothing of {', '.join(lacking)}; {again}")
        return calibrated(spec, found.settings)

    def _reference(self, layers: _Layers) -> ReferenceSpec | None:
        found = layers.get("reference", "off")
        if found == "off":
            return None
        kind, size, file = found
        if kind != "given":
            return ReferenceSpec(kind, size)
        try:
            profile, digest = self.references(file)
        except ValueError as error:
            self._complain(layers.where("reference"), str(error))
            return None
        return ReferenceSpec("given", profile.rows, digest, profile)

    def _check_model(self, spec: ModelSpec, layers: _Layers) -> None:
        both = _names(spec.positive) & _names(spec.negative)
        if both:
            path = layers.nearest("negative", "positive")
            self._complain(path, f"{', '.join(sorted(both))} cannot be both positive and negative")
        known, most = _names(spec.classes), _most_classes() if spec.classes else 0
        if len(known) > most:
            self._complain(layers.where("classes"), f"{len(known)} classes; there can be {most}")
        self._check_maturity(spec, layers)
        if layers.own.on_expiry == "negative" and spec.task not in (None, "binary"):
            self._complain(f"{layers.path}.on_expiry", f"`negative` is for binary models, not {spec.task}")

    def _check_maturity(self, spec: ModelSpec, layers: _Layers) -> None:
        if layers.get("label_maturity") is None:
            return
        path, wait = layers.nearest("label_maturity"), duration_text(spec.label_wait_ms)
        given = duration_text(spec.label_maturity_ms)
        if spec.label_maturity_ms < SHORTEST_MATURITY_MS:
            self._complain(path, f"{given} is too short: at least {duration_text(SHORTEST_MATURITY_MS)}")
        elif spec.label_maturity_ms > spec.label_wait_ms:
            self._complain(path, f"{given} is longer than label_wait, {wait}: no label comes after that")
        elif spec.on_expiry == "negative" and spec.label_maturity_ms < spec.label_wait_ms:
            about = "with `on_expiry: negative` labels come until label_wait is over"
            self._complain(path, f"{about}: say {wait}, or leave it out")

    # -- objectives ------------------------------------------------------------------------

    def _threshold(
        self, rule: str, entry: ObjectiveEntry, model: ModelSpec, layers: _Layers
    ) -> ThresholdSpec | None:
        path, signal = f"{layers.where('objectives')}.{rule}", entry.signal or rule
        if not self._check_names(rule, signal, path):
            return None
        if not layers.inherits("objectives"):  # those of the defaults apply to the tasks that they fit
            self._check_task(signal, entry, model, path)
        minimum, maximum = self._limits(signal, entry, path)
        hold_rows, hold_ms = self._hold(signal, entry, path)
        samples = entry.min_samples or layers.get("min_samples", DEFAULT_SAMPLES)
        confidence = entry.confidence or layers.get("confidence", DEFAULT_CONFIDENCE)
        return ThresholdSpec(
            rule=rule,
            signal=signal,
            window=self._window(signal, entry, samples, path),
            minimum=minimum,
            maximum=maximum,
            klass=None if entry.klass is None else _name(entry.klass),
            hold_rows=hold_rows,
            hold_ms=hold_ms,
            severity=entry.severity or layers.get("severity", DEFAULT_SEVERITY),
            runbook=entry.runbook or layers.get("runbook"),
            min_samples=1 if signal in _NOT_COUNTED else samples,
            margin=self._margin(signal, entry, minimum, maximum, path),
            confidence=None if confidence == "off" else confidence,
        )

    def _check_names(self, rule: str, signal: str, path: str) -> bool:
        """Is the signal one that can be judged?"""
        if rule.startswith("drift."):
            self._complain(path, "names that begin with `drift.` belong to the drift rules: choose another")
        if signal not in _EVERY_SIGNAL and f"{path}.signal" not in self.wrong:
            hint = meant(signal, _EVERY_SIGNAL)
            self._complain(path, f"no signal {signal!r}; {hint} (or name one with `signal:`)")
        return signal in _EVERY_SIGNAL

    def _check_task(self, signal: str, entry: ObjectiveEntry, model: ModelSpec, path: str) -> None:
        task = model.task
        if task is not None and signal in _SCORES and signal not in SCORES_OF_TASK[task]:
            allowed = ", ".join(SCORES_OF_TASK[task])
            self._complain(path, f"{signal} is not a score of a {task} model; it has {allowed}")
        if entry.klass is None:
            return
        name, known = _name(entry.klass), _names(model.classes)
        if signal not in _PER_CLASS:
            self._complain(f"{path}.class", f"{signal} is not a score per class")
        elif task == "binary":
            about = "a binary model's precision, recall and F1 are of its positive class"
            self._complain(f"{path}.class", about)
        elif known and name not in known:
            self._complain(f"{path}.class", f"{name} is not in `classes:`; {meant(name, sorted(known))}")

    def _limits(self, signal: str, entry: ObjectiveEntry, path: str) -> tuple[float | None, float | None]:
        """Minimum and maximum, one of them None."""
        if (entry.min is None) == (entry.max is None):
            if not {f"{path}.min", f"{path}.max"} & self.wrong:
                self._complain(path, "give exactly one of min and max")
            return None, _TOLD
        if signal == SILENCE and entry.min is not None:
            self._complain(f"{path}.min", "silence takes `max:`")
            return None, _TOLD
        if entry.min is not None:
            return self._limit(signal, entry.min, f"{path}.min"), None
        assert entry.max is not None
        return None, self._limit(signal, entry.max, f"{path}.max")

    def _limit(self, signal: str, given: float | str, path: str) -> float:
        limit = self._amount(signal, given, path)
        if limit is None:
            return _TOLD
        least, most = _range(signal)
        if not least <= limit <= most:
            self._complain(path, f"{signal} lies {_between(least, most)}, the limit is {limit:g}")
        elif signal in _DURATIONS and limit == 0:
            self._complain(path, f"{signal} is always above 0")
        elif signal == SILENCE and limit < SHORTEST_SILENCE_MS:
            self._complain(
                path, f"a bare number is milliseconds, and silence is judged by the second: say {limit:g}m"
            )
        return limit

    def _amount(self, signal: str, given: float | str, path: str) -> float | None:
        """A limit or margin in the signal's unit; None where it is told that it has another."""
        if not isinstance(given, str):
            return given
        if signal in _DURATIONS:
            return float(parse_duration(given))
        self._complain(path, f"{signal} is a plain number, {given} is a duration")
        return None

    def _margin(
        self, signal: str, entry: ObjectiveEntry, minimum: float | None, maximum: float | None, path: str
    ) -> float | None:
        """How far the figure has to come back; a margin that leaves no room for that is a mistake."""
        path = f"{path}.margin"
        margin = None if entry.margin is None else self._amount(signal, entry.margin, path)
        if margin is None:
            return None
        least, most = _range(signal)
        if margin < 0:
            self._complain(path, f"should be 0 or more, not {margin:g}")
        elif minimum is not None and minimum + margin > most:
            self._complain(path, f"{signal} never reaches {minimum + margin:g}: it would fire for ever")
        elif maximum is not None and maximum - margin < least:
            self._complain(path, f"{signal} never falls to {maximum - margin:g}: it would fire for ever")
        return margin

    def _window(self, signal: str, entry: ObjectiveEntry, samples: int, path: str) -> WindowSpec:
        path = f"{path}.window"
        if signal in (SILENCE, *LABEL_SIGNALS):
            if entry.window is not None:
                self._complain(path, f"{signal} takes no window")
            return LIFETIME
        usual = DEFAULT_TRAFFIC_WINDOW if signal in PREDICTION_SIGNALS else DEFAULT_LABEL_WINDOW
        window = entry.window or usual
        if signal == "throughput" and window.kind != "duration":
            self._complain(path, "throughput is measured over a duration, as in `last 5m`")
        elif window.kind == "last" and window.size < samples:
            self._complain(path, f"{window.name} never holds the {samples} rows that min_samples asks for")
        return window

    def _hold(self, signal: str, entry: ObjectiveEntry, path: str) -> tuple[int, int]:
        """Rows and milliseconds."""
        rows, unit, ms = entry.hold or (0, "", 0)
        judged_by = "labels" if signal in _SCORES else "predictions"
        if unit and signal == SILENCE:
            self._complain(f"{path}.for", "silence has no rows to count: give a duration")
        elif unit not in ("", "values", judged_by):
            self._complain(f"{path}.for", f"{signal} counts {judged_by}, not {unit}")
        return rows, ms


def _range(signal: str) -> tuple[float, float]:
    """The least and the most that the signal can be."""
    if signal in _SHARES:
        return 0.0, 1.0
    if signal in _UP_TO_1:
        return -math.inf, 1.0
    return (-math.inf if signal in _ANY_NUMBER else 0.0), math.inf


def _between(least: float, most: float) -> str:
    if least == -math.inf:
        return f"at most at {most:g}"
    return f"between {least:g} and {most:g}" if most < math.inf else f"at or above {least:g}"


# -- classes, fields, drift ---------------------------------------------------------------------


def _name(value: Any) -> str:
    """The canonical text of a class value: 1, "1" and true are the same."""
    from streamer.domain.classes import canonical  # with numpy: only who reads an objectives file waits

    return canonical(value) or ""


def _names(values: Iterable[Any]) -> set[str]:
    return {_name(value) for value in values}


def _most_classes() -> int:
    from streamer.domain.classes import OTHER  # with numpy: only who reads an objectives file waits

    return OTHER


def _privacy(entry: PrivacyEntry | None) -> PrivacySpec | None:
    return None if entry is None else PrivacySpec(entry.ids, tuple(sorted(entry.features.items())))


def _field_map(entry: FieldsEntry) -> FieldMap:
    """Each topic's own names over those for both."""
    return FieldMap(
        _paths(PredictionFields, entry, entry.predictions), _paths(LabelFields, entry, entry.labels)
    )


def _paths(topic: type[BaseModel], both: FieldsEntry, own: BaseModel) -> Paths:
    found = ((name, getattr(own, name) or getattr(both, name)) for name in topic.model_fields)
    return tuple((name, path) for name, path in found if path is not None)


def _drift(block: DriftBlock, layers: _Layers) -> Iterable[DriftSpec]:
    entries = {"error": block.error, "score": block.score}
    entries |= {f"feature:{name}": entry for name, entry in block.features.items()}
    for signal, entry in entries.items():
        if entry is not None:
            yield DriftSpec(
                signal,
                tuple(_detector(each) for each in entry.detectors),
                entry.quiet,
                entry.severity or layers.get("severity", DEFAULT_SEVERITY),
                entry.runbook or layers.get("runbook"),
                entry.order if isinstance(entry, ErrorEntry) else None,
            )


def _label_maturity(layers: _Layers) -> int:
    """In ms; usually a day, ``label_wait`` where that is shorter, or where expiry makes labels."""
    base = ModelSpec("")
    wait: int = layers.get("label_wait", base.label_wait_ms)
    usual = wait if layers.get("on_expiry") == "negative" else min(wait, base.label_maturity_ms)
    maturity: int = layers.get("label_maturity", max(usual, SHORTEST_MATURITY_MS))
    return maturity


def _data_drift(entry: DataEntry | None, layers: _Layers) -> DataDriftSpec:
    entry = DataEntry() if entry is None else entry
    return DataDriftSpec(
        entry.window,
        entry.distance,
        entry.max,
        tuple(entry.features or ()),
        entry.severity or layers.get("severity", DEFAULT_SEVERITY),
        entry.runbook or layers.get("runbook"),
    )


def _detector(entry: DetectorEntry) -> DetectorSpec:
    """River gets the parameters that the file names, no more: a detector's saved state belongs to them."""
    ours = {"kind", "scaled", "warm_up", "clip"}
    given = entry.model_dump(include=entry.model_fields_set - ours)
    return DetectorSpec(entry.kind, tuple(sorted(given.items())), entry.scaled, entry.warm_up, entry.clip)
