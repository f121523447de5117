"""How strict each rule has to be for a budget of false alarms: ladders, and the rung that is enough.

A rule's false incidents are counted at every rung of a ladder on streams in which nothing changes (see
``backtest/calibrate``). Up the ladder they become rarer about exponentially: of a cumulative sum in its
limit (Siegmund, "Sequential Analysis", Springer 1985, ch. II), of ADWIN in the logarithm of its delta, of
which they are at most a multiple (Bifet and Gavaldà, SDM 2007, theorem 3.1), of a bound on a mean in the
square of its width (Hoeffding, JASA 58, 1963). So a straight line through the logarithms of the last
rungs says how far up a rate lies that nobody can wait for. The budget is divided among the rules, and
among the detectors of one (Bonferroni); that of columns is on the farthest of them (Westfall and Young,
"Resampling-Based Multiple Testing", Wiley 1993), so more columns do not mean more alarms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import NormalDist
from typing import Any, Literal

from streamer.domain.objectives import SILENCE, DetectorSpec, ModelSpec, ThresholdSpec

RUNGS = 16
LEAST_COUNT = 8
"""Fewer incidents than this on a rung say nothing of its rate."""

FITTED = 4
"""The line is drawn through so many of the last rungs that say something."""

MARGIN = 0.85
"""Of the budget, this much is spent: a rate that is measured is not known exactly."""

Kind = Literal["adwin", "page_hinkley", "confidence", "max"]
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Ladder:
    """``parameter``: what it is a ladder of. ``rungs``: from loose to strict.

    ``scale``: in which the logarithm of the rate is a line; ``back``: from there to the parameter.
    ``last``: the strictest that there is. ``usual``: River's own, of a detector.
    """

    parameter: str
    rungs: tuple[float, ...]
    scale: Callable[[float], float]
    back: Callable[[float], float]
    last: float
    usual: float | None = None


LADDERS: Mapping[Kind, Ladder] = {
    "adwin": Ladder(
        "delta",
        tuple(10 ** -(0.5 * 1.4**rung) for rung in range(RUNGS)),
        lambda delta: -math.log10(delta),
        lambda x: 10.0**-x,
        1e-300,
        0.002,
    ),
    "page_hinkley": Ladder(
        "threshold", tuple(10 * 1.5**rung for rung in range(RUNGS)), float, float, 1e6, 50.0
    ),
    "confidence": Ladder(
        "confidence",
        tuple(_NORMAL.cdf(0.25 + 0.35 * rung) for rung in range(RUNGS)),
        lambda level: _NORMAL.inv_cdf(level) ** 2,
        lambda x: _NORMAL.cdf(math.sqrt(x)),
        _NORMAL.cdf(8.0),
    ),
    "max": Ladder("max", tuple(0.4 * 1.3**rung for rung in range(RUNGS)), float, float, 100.0),
}
"""Of ``max`` the rungs are multiples of the usual limit."""


@dataclass(frozen=True, slots=True)
class Knob:
    """What makes one rule stricter. ``part``: which detector of it, 0 for the rest."""

    rule: str
    kind: Kind
    part: int = 0

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that it turns: the limit of columns is that of labels too."""
        return (self.rule, "drift.label") if self.kind == "max" else (self.rule,)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a knob has to stand. ``value`` None: nothing makes the rule that quiet.

    ``rate``: incidents in one unit of time that are expected then; ``extrapolated``: read off the line,
    since they are too rare to have been counted.
    """

    knob: Knob
    value: float | None
    rate: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """How strict the rules of a model are for its budget.

    ``budget``: as the objectives file says it. ``made_of``: the history. ``rows``: of it; ``block``: so long
    are the blocks that were drawn from it. ``run_length``: predictions to one false incident. ``tried``:
    incidents by rule in ``tried_rows`` predictions, every knob in its place; rates are per ``run_length``.
    """

    model: str
    budget: str
    made_of: str
    rows: int
    block: int
    run_length: float
    settings: tuple[Setting, ...]
    tried_rows: int
    tried: Mapping[str, int]

    @property
    def allowed(self) -> float:
        """So many incidents the budget has for the last trial."""
        return self.tried_rows / self.run_length

    def lacks(self, spec: ModelSpec) -> list[str]:
        """Rules of which it says nothing."""
        known = {setting.knob for setting in self.settings}
        return list(dict.fromkeys(knob.rule for knob in knobs_of(spec) if knob not in known))

    def plain(self) -> dict[str, Any]:
        """As a file holds it."""
        return asdict(self)

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        """Raises KeyError, TypeError or ValueError where it is none."""
        settings = []
        for each in plain["settings"]:
            knob = Knob(**each["knob"])
            value = each["value"]
            if knob.kind not in LADDERS or not (value is None or math.isfinite(value)):
                raise ValueError(f"no setting: {each}")
            settings.append(Setting(knob, value, float(each["rate"]), bool(each["extrapolated"])))
        names = {each.name for each in fields(cls)} - {"settings"}
        return cls(**{name: plain[name] for name in names}, settings=tuple(settings))


def knobs_of(spec: ModelSpec) -> Iterator[Knob]:
    """All that can be calibrated. Silence, and objectives without a confidence, cannot."""
    for threshold in spec.thresholds:
        if threshold.confidence is not None and threshold.signal != SILENCE:
            yield Knob(threshold.rule, "confidence")
    for drift in spec.drift:
        for part, detector in enumerate(drift.detectors):
            yield Knob(drift.rule, detector.kind, part)
    if spec.reference is not None:
        yield Knob("drift.data", "max")


def shares(knobs: Sequence[Knob]) -> dict[Knob, float]:
    """The part of the budget that each may spend: the same for each rule, and within it for each detector."""
    rules = {knob.rule for knob in knobs}
    parts = {rule: sum(knob.rule == rule for knob in knobs) for rule in rules}
    return {knob: 1 / len(rules) / parts[knob.rule] for knob in knobs}


# -- specs ---------------------------------------------------------------------------------------


def at_rung(spec: ModelSpec, rung: int, part: int) -> ModelSpec:
    """Every rule at this rung, each with this one of its detectors; rules of one part stand in part 0."""
    settings = {knob: LADDERS[knob.kind].rungs[rung] for knob in knobs_of(spec) if knob.part == part}
    found = with_values(spec, settings)
    drift = tuple(
        replace(each, detectors=(each.detectors[part],)) for each in found.drift if part < len(each.detectors)
    )
    if part:
        return lean(replace(found, drift=drift, thresholds=(), reference=None))
    return lean(replace(found, drift=drift))


def lean(spec: ModelSpec) -> ModelSpec:
    """The same rules and nothing that is only there to be looked at."""
    return replace(
        spec,
        windows=(),
        segments=(),
        alert_examples=False,
        profile_features=spec.profile_features and spec.reference is not None,
    )


def calibrated(spec: ModelSpec, settings: Sequence[Setting]) -> ModelSpec:
    """The same with every knob where it has to be, or where it is, if that is stricter."""
    own = {knob: own_value(spec, knob) for knob in knobs_of(spec)}
    values = {}
    for setting in settings:
        mine = own.get(setting.knob)
        if setting.value is not None and mine is not None:
            scale = LADDERS[setting.knob.kind].scale
            values[setting.knob] = max(mine, setting.value, key=scale)
    return with_values(spec, values)


def own_value(spec: ModelSpec, knob: Knob) -> float:
    """Where a knob of this spec stands."""
    if knob.kind == "confidence":
        found = next(each.confidence for each in spec.thresholds if each.rule == knob.rule)
        assert found is not None
        return found
    if knob.kind == "max":
        return spec.data_drift.limit / replace(spec.data_drift, maximum=None).limit
    detector = next(each for each in spec.drift if each.rule == knob.rule).detectors[knob.part]
    ladder = LADDERS[knob.kind]
    assert ladder.usual is not None
    return dict(detector.parameters).get(ladder.parameter, ladder.usual)


def with_values(spec: ModelSpec, values: Mapping[Knob, float]) -> ModelSpec:
    """The same, knobs turned."""
    by_rule: dict[str, dict[int, float]] = {}
    for knob, value in values.items():
        by_rule.setdefault(knob.rule, {})[knob.part] = value
    data = by_rule.get("drift.data", {}).get(0)
    return replace(
        spec,
        thresholds=tuple(_threshold(each, by_rule.get(each.rule, {})) for each in spec.thresholds),
        drift=tuple(
            replace(
                each,
                detectors=tuple(
                    _detector(detector, by_rule.get(each.rule, {}).get(part))
                    for part, detector in enumerate(each.detectors)
                ),
            )
            for each in spec.drift
        ),
        data_drift=spec.data_drift
        if data is None
        else replace(spec.data_drift, maximum=data * replace(spec.data_drift, maximum=None).limit),
    )


def _threshold(spec: ThresholdSpec, values: Mapping[int, float]) -> ThresholdSpec:
    return replace(spec, confidence=values[0]) if values else spec


def _detector(spec: DetectorSpec, value: float | None) -> DetectorSpec:
    if value is None:
        return spec
    name = LADDERS[spec.kind].parameter
    others = [(key, given) for key, given in spec.parameters if key != name]
    return replace(spec, parameters=tuple(sorted([*others, (name, value)])))


# -- the rung ------------------------------------------------------------------------------------


def choose(knob: Knob, counts: Sequence[int], exposure: float, wanted: float) -> Setting:
    """The loosest place of a knob at which incidents are rare enough.

    Args:
        knob: whose ladder it is.
        counts: incidents on each rung.
        exposure: for how long they were counted, in the unit of ``wanted``.
        wanted: so many incidents there may be in one unit.

    Returns:
        Its place; the rate is in one unit.
    """
    ladder, target = LADDERS[knob.kind], math.log(wanted)
    points = [
        (ladder.scale(rung), math.log(count / exposure))
        for rung, count in zip(ladder.rungs, counts, strict=True)
        if count >= LEAST_COUNT
    ]
    loud = [at for at, (_, y) in enumerate(points) if y > target]
    if not loud and (points or (counts[0] + 3) / exposure <= wanted):
        return Setting(knob, ladder.rungs[0], counts[0] / exposure, False)
    if not points:
        return _beyond(knob, ladder, points, counts, target)
    if loud[-1] + 1 < len(points):
        (x, y), (next_x, next_y) = points[loud[-1]], points[loud[-1] + 1]
        at = x + (y - target) / (y - next_y) * (next_x - x)
        return Setting(knob, ladder.back(at), wanted, False)
    # Incidents that never end are few: rates may rise before they fall. Only the falling side is a line.
    peak = max(range(len(points)), key=lambda at: points[at][1])
    return _beyond(knob, ladder, points[peak:][-FITTED:], counts, target)


def _beyond(
    knob: Knob, ladder: Ladder, points: Sequence[tuple[float, float]], counts: Sequence[int], target: float
) -> Setting:
    """Up the line of the last rungs that say something."""
    if len(points) < 2:
        # No line: the first rung on which there was none at all, which is as much as can be said.
        quiet = next((rung for rung, n in zip(ladder.rungs, counts, strict=True) if not n), None)
        return Setting(knob, quiet, 0.0, True)
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    if slope >= 0:
        return Setting(knob, None, math.exp(points[-1][1]), True)
    at = max(mean_x + (target - mean_y) / slope, points[-1][0])
    if at > ladder.scale(ladder.last):
        last = mean_y + slope * (ladder.scale(ladder.last) - mean_x)
        return Setting(knob, None, math.exp(last), True)
    return Setting(knob, ladder.back(at), math.exp(mean_y + slope * (at - mean_x)), True)
