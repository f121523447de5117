"""What the topic ``reports`` says of a model, read with care: anybody who may write there may have."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError


class _Told(BaseModel):
    """Unknown keys are left out; what does not fit is no report of ours."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Limit(_Told):
    """One objective of a model."""

    rule: str
    signal: str
    klass: str | None = Field(None, alias="class")
    window: str | None
    min: float | None
    max: float | None
    hold: str | None = Field(None, alias="for")
    confidence: float | None
    severity: str

    def kept_by(self, value: float) -> bool:
        return value >= self.min if self.min is not None else self.max is None or value <= self.max


class Detector(_Told):
    kind: str


class Drift(_Told):
    rule: str
    detectors: list[Detector]


class Asked(_Told):
    """What was asked of a model from a time on."""

    type: Literal["objectives"]
    told_at: AwareDatetime
    objectives_revision: int
    named: bool
    objectives: list[Limit]
    drift: list[Drift]
    reference: str | None
    false_alarms: str | None
    label_wait: str


class Segment(_Told):
    segment: str
    rows: NonNegativeInt
    figures: dict[str, float]


class Period(_Told):
    """What a version did in a stretch of event time."""

    type: Literal["period"]
    version: str
    objectives_revision: int
    period: str
    start: AwareDatetime
    end: AwareDatetime
    whole: bool
    predictions: NonNegativeInt
    labels: NonNegativeInt
    expired: NonNegativeInt
    duplicates: NonNegativeInt
    coverage: float | None
    figures: dict[str, float]
    segments: list[Segment]
    detections: dict[str, int]
    distances: dict[str, float]
    firing: list[str]


class Evidence(_Told):
    since: AwareDatetime | None = None


class Step(_Told):
    """One transition of an alert."""

    type: Literal["alert"]
    alert_id: str
    incident: str
    status: Literal["firing", "updated", "resolved"]
    reason: str | None
    kind: str
    version: str | None
    rule: str
    severity: str
    signal: str
    summary: str
    value: float | None
    threshold: float | None
    window: str | None
    started_at: AwareDatetime
    updated_at: AwareDatetime
    resolved_at: AwareDatetime | None
    evidence: Evidence
    objectives_revision: int


Report = Asked | Period | Step
_KINDS: dict[str, type[Asked] | type[Period] | type[Step]] = {
    "objectives": Asked,
    "period": Period,
    "alert": Step,
}


def read(document: dict[str, Any]) -> Report | None:
    """The report that a document is, None for what is none of ours, or is of another kind."""
    kind = _KINDS.get(str(document.get("type")))
    if kind is None:
        return None
    try:
        return kind.model_validate(document)
    except ValidationError:
        return None
