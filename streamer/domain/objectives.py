"""What a model is held against: specs only, validated when built, never changed.

``config`` reads these from an objectives file; ``monitor`` builds the moving
parts from them. All durations are whole milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Task = Literal["binary", "multiclass", "regression"]
Severity = str
Order = Literal["arrival", "prediction"]
"""Labelled rows as their labels arrive, or by the time of their predictions."""
ClassValue = str | int | float | bool

BINARY_SCORES = ("accuracy", "precision", "recall", "f1", "auc_roc", "log_loss", "brier")
MULTICLASS_SCORES = ("accuracy", "precision", "recall", "f1")
REGRESSION_SCORES = ("mae", "rmse", "bias", "r2")
PREDICTION_SIGNALS = ("latency_p50", "latency_p95", "latency_p99", "throughput")
LABEL_SIGNALS = ("label_coverage",)
SILENCE = "silence"
SCORES_OF_TASK: Mapping[str, tuple[str, ...]] = {
    "binary": BINARY_SCORES,
    "multiclass": MULTICLASS_SCORES,
    "regression": REGRESSION_SCORES,
}

MAX_SEGMENT_FIELDS = 4
MAX_SEGMENT_VALUES = 62
"""Of one field, beside ``other`` and what did not send it: six bits in all."""

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """One sliding window.

    ``last``: the last ``size`` rows. ``duration``: the last ``size``
    milliseconds of event time. ``lifetime``: everything a version ever had.
    """

    kind: Literal["last", "duration", "lifetime"]
    size: int = 0

    def __post_init__(self) -> None:
        if self.kind != "lifetime" and self.size < 1:
            raise ValueError(f"a window of kind {self.kind!r} needs a size of at least 1")

    @property
    def name(self) -> str:
        """The name in files, alerts and Prometheus: ``last 1000``, ``last 1h``, ``lifetime``."""
        if self.kind == "lifetime":
            return "lifetime"
        return f"last {self.size}" if self.kind == "last" else f"last {duration_text(self.size)}"


LIFETIME = WindowSpec("lifetime")


def duration_text(milliseconds: int) -> str:
    """``90_000`` → ``90s``: the largest unit that divides it."""
    for unit, size in (("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", 1000)):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


@dataclass(frozen=True, slots=True)
class ThresholdSpec:
    """A limit on one signal.

    ``rule``: its name, unique within a model. ``signal``: a score of the task,
    ``latency_p50|p95|p99`` (milliseconds), ``throughput`` (predictions a
    second), ``label_coverage`` (a share) or ``silence`` (milliseconds since
    the last prediction). ``klass``: the class of a per-class precision,
    recall or F1, else None (macro for multiclass). Exactly one of ``minimum``
    and ``maximum``. ``hold_rows`` and ``hold_ms``: for how long the limit has
    to stay broken before the alert fires. ``confidence``: level of the
    one-sided bound that has to break the limit, None for the bare figure.
    ``margin``: how far the figure has to come back behind the limit before
    the alert resolves, in the signal's unit. ``min_samples``: how many rows
    have to be in the window before it is judged at all, whatever share of
    them a figure is made of (the predicted positives of precision): how sure
    few rows make us is the matter of ``confidence``. For coverage the settled
    predictions; for throughput those that the limit itself would have brought.
    """

    rule: str
    signal: str
    window: WindowSpec
    minimum: float | None = None
    maximum: float | None = None
    klass: str | None = None
    hold_rows: int = 0
    hold_ms: int = 0
    severity: Severity = "ticket"
    runbook: str | None = None
    min_samples: int = 50
    margin: float | None = None
    confidence: float | None = 0.95

    def __post_init__(self) -> None:
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError(f"objective {self.rule!r} needs exactly one of min and max")

    @property
    def limit(self) -> float:
        return self.minimum if self.minimum is not None else self.maximum  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """One online detector: River's ``adwin`` or ``page_hinkley`` and its parameters.

    ``scaled``: standardise its input by the mean and standard deviation of
    the first ``warm_up`` values and clip at ``±clip`` deviations; None means
    yes for Page-Hinkley on anything but 0/1 losses and probabilities.
    """

    kind: Literal["adwin", "page_hinkley"]
    parameters: tuple[tuple[str, float], ...] = ()
    scaled: bool | None = None
    warm_up: int = 500
    clip: float = 10.0


@dataclass(frozen=True, slots=True)
class DriftSpec:
    """Detectors on one signal: ``error``, ``score`` or ``feature:<name>``.

    One signal is one rule and one incident, however many detectors watch it.
    The incident resolves after ``quiet_rows`` values without a new detection.
    ``order``: in which the detectors of the error see the rows, None for the model's.
    """

    signal: str
    detectors: tuple[DetectorSpec, ...]
    quiet_rows: int = 2000
    severity: Severity = "ticket"
    runbook: str | None = None
    order: Order | None = None

    @property
    def rule(self) -> str:
        return f"drift.{self.signal}"

    @property
    def kind(self) -> Literal["concept_drift", "data_drift"]:
        return "concept_drift" if self.signal == "error" else "data_drift"


@dataclass(frozen=True, slots=True)
class ReferenceSpec:
    """What a version's traffic is held against.

    ``first``: its first ``size`` predictions (and labels). ``previous``: those
    of the ``size`` milliseconds of event time before the window that is judged.
    ``given``: ``profile``, a ``Reference`` that was built before, whose digest
    is ``name``.
    """

    kind: Literal["first", "previous", "given"]
    size: int = 0
    name: str = ""
    profile: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DataDriftSpec:
    """How the last ``rows`` predictions (and labels) are held against the reference.

    ``distance``: the one that decides. ``maximum``: up to where it is no
    drift, None for what is usual for that distance. ``features``: those that
    are watched, empty for all. One rule is one incident, however many columns
    have changed.
    """

    rows: int = 2000
    distance: Literal["psi", "jensen_shannon", "total_variation", "wasserstein"] = "psi"
    maximum: float | None = None
    features: tuple[str, ...] = ()
    severity: Severity = "ticket"
    runbook: str | None = None

    @property
    def limit(self) -> float:
        return USUAL_LIMITS[self.distance] if self.maximum is None else self.maximum


USUAL_LIMITS: Mapping[str, float] = {
    "psi": 0.2,
    "jensen_shannon": 0.2,
    "total_variation": 0.15,
    "wasserstein": 0.25,
}


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """A budget: so many incidents that nothing caused, in so many ms, over all rules of a model."""

    count: float
    per_ms: int

    def __str__(self) -> str:
        return f"{self.count:g} per {duration_text(self.per_ms)}"


@dataclass(frozen=True, slots=True)
class PrivacySpec:
    """What is hidden at the door: see ``door``.

    ``features``: name → ``hash`` or ``drop``. ``key``: of the hashes, never shown.
    """

    ids: Literal["keep", "hash"] = "keep"
    features: tuple[tuple[str, Literal["hash", "drop"]], ...] = ()
    key: bytes = field(default=b"", repr=False, compare=False)

    @property
    def needs_key(self) -> bool:
        return self.ids == "hash" or any(what == "hash" for _, what in self.features)


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Where the fields of a foreign log lie: our name → path of keys."""

    prediction: tuple[tuple[str, tuple[str, ...]], ...] = ()
    label: tuple[tuple[str, tuple[str, ...]], ...] = ()


DEFAULT_WINDOWS = (WindowSpec("last", 1000), WindowSpec("duration", HOUR_MS), LIFETIME)
DEFAULT_DRIFT = (
    DriftSpec("error", (DetectorSpec("adwin"), DetectorSpec("page_hinkley"))),
    DriftSpec("score", (DetectorSpec("adwin"),)),
)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is asked of one model.

    ``task`` None: taken from the first prediction. ``positive``/``negative``:
    the raw values of the two classes of a binary model; empty ``negative``
    means the usual ones (0, false, "no", "false"). ``classes``: the closed
    list of a multiclass model's classes, empty for "as they come, at most
    64". ``reference`` None: no column is held against anything. ``champion``:
    the version that the others are held against, None for the first one. ``false_alarms``: the budget
    for which the rules have been calibrated, None for none. ``on_expiry``:
    a prediction without a label within ``label_wait_ms`` is dropped, or counts
    as a negative. ``order``: in which labelled rows are counted; by prediction
    they wait until their pane is ``label_maturity_ms`` old. ``segments``: the
    fields of ``segments`` by which figures are kept apart. ``privacy``: what is hidden, None: nothing.
    """

    model: str
    task: Task | None = None
    positive: tuple[ClassValue, ...] = (1, True, "true", "yes")
    negative: tuple[ClassValue, ...] = ()
    classes: tuple[ClassValue, ...] = ()
    windows: tuple[WindowSpec, ...] = DEFAULT_WINDOWS
    thresholds: tuple[ThresholdSpec, ...] = ()
    drift: tuple[DriftSpec, ...] = DEFAULT_DRIFT
    reference: ReferenceSpec | None = None
    data_drift: DataDriftSpec = DataDriftSpec()
    champion: str | None = None
    false_alarms: FalseAlarms | None = None
    label_wait_ms: int = 7 * DAY_MS
    park_ms: int = 10 * MINUTE_MS
    dedupe_ms: int = 10 * MINUTE_MS
    on_expiry: Literal["drop", "negative"] = "drop"
    order: Order = "arrival"
    label_maturity_ms: int = DAY_MS
    evaluate_every: int = 100
    profile_features: bool = True
    alert_feature_values: bool = False
    alert_examples: bool = True
    segments: tuple[str, ...] = ()
    privacy: PrivacySpec | None = None
    fields: FieldMap = field(default_factory=FieldMap)

    @property
    def every_window(self) -> tuple[WindowSpec, ...]:
        """The windows asked for, those that objectives need, and the lifetime, which histograms need."""
        needed = (t.window for t in self.thresholds if t.signal != SILENCE)
        return tuple(dict.fromkeys((*self.windows, *needed, LIFETIME)))

    @property
    def error_order(self) -> Order:
        """The order in which the detectors of the error see the rows."""
        own = (d.order for d in self.drift if d.signal == "error")
        return next(own, None) or self.order

    @property
    def waits(self) -> bool:
        """Do labelled rows wait, for the figures or for the detectors of the error?"""
        return "prediction" in (self.order, self.error_order)

    @property
    def pane_ms(self) -> int:
        """Rows that wait in prediction order are counted by panes of this length."""
        return max(1000, self.label_maturity_ms // 24)

    @property
    def matures_after_ms(self) -> int:
        """How old the end of a pane has to be: a pane more where expiry makes labels, just after the wait."""
        return self.label_maturity_ms + (self.pane_ms if self.on_expiry == "negative" else 0)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one partition (promise 5); at the bound the oldest goes, counted.

    ``max_versions`` is a model's, ``max_features`` a version's, ``max_segments`` how many values of a field
    of segments are kept apart; those of a partition have ``_total``.
    """

    max_pending: int = 1_000_000
    max_parked: int = 100_000
    max_recent: int = 1_000_000
    max_models: int = 10_000
    max_versions: int = 50
    max_features: int = 200
    max_versions_total: int = 10_000
    max_features_total: int = 100_000
    max_segments: int = 20


@dataclass(slots=True)
class Quota:
    """How many of something a whole partition may hold, and does."""

    most: int
    held: int = 0

    def take(self) -> bool:
        """Hold one more; False: there is no room for it."""
        if self.held >= self.most:
            return False
        self.held += 1
        return True


@dataclass(frozen=True, slots=True)
class Room:
    """What is left to all models of a partition together."""

    versions: Quota
    features: Quota

    @classmethod
    def of(cls, limits: Limits) -> Room:
        return cls(Quota(limits.max_versions_total), Quota(limits.max_features_total))


@dataclass(frozen=True, slots=True)
class Objectives:
    """A whole objectives file. A model that is not named gets ``default`` under its own name."""

    revision: int = 0
    default: ModelSpec = field(default_factory=lambda: ModelSpec(model=""))
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    @property
    def hidden(self) -> list[str]:
        """The models that hash something, ``""`` for those that nobody named."""
        specs = {"": self.default, **self.models}
        return [name for name, spec in specs.items() if spec.privacy is not None and spec.privacy.needs_key]

    def keyed(self, key: bytes) -> Objectives:
        """The same with this key for all hashes."""

        def of(spec: ModelSpec) -> ModelSpec:
            return spec if spec.privacy is None else replace(spec, privacy=replace(spec.privacy, key=key))

        return self.with_each(of)

    def with_each(self, change: Callable[[ModelSpec], ModelSpec]) -> Objectives:
        """The same with every spec changed, that of unnamed models too."""
        models = {name: change(spec) for name, spec in self.models.items()}
        return replace(self, default=change(self.default), models=models)

    def spec_for(self, model: str) -> ModelSpec:
        return self.models.get(model) or replace(self.default, model=model)
