"""Online drift detectors on one signal: River's, with a door, a memory and a position.

Sources: ADWIN, Bifet and Gavaldà, "Learning from time-changing data with
adaptive windowing", SDM 2007; Page-Hinkley, Page, "Continuous inspection
schemes", Biometrika 41, 1954. Both are ``river.drift``: they alarm at exactly
the values at which River's alarm when fed by hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from river import drift, stats
from river.base import DriftDetector

from streamer.domain.objectives import DetectorSpec
from streamer.domain.timeline import Timeline, Times

RECENT = 50
LARGEST = 1e100
"""From here on a value is refused: its square, which ADWIN keeps, would outgrow a float and blind it."""

ADWIN_STATE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Detection:
    """One alarm. ``position``: how many values the signal had seen, this one included.

    ``before``/``after``: the signal's mean on the two sides of the cut, in its
    own unit. ``cut``: the position after which the new level begins; None
    where the detector does not tell, and ``after`` is then the mean of the
    last ``RECENT`` values. ``origin``: the position since which the detector had
    been looking, and the sum of the signal's values up to there.
    """

    detector: str
    position: int
    before: float
    after: float
    cut: int | None
    origin: Sequence[float] | None = None


class Scaler:
    """Standardises by the mean and deviation of a frozen warm-up, and clips.

    Page-Hinkley's defaults mean nothing on an unknown scale: they alarm 8,300
    times in 250,000 stable points at sigma 100 and never at sigma 0.001.
    """

    def __init__(self, warm_up: int, clip: float) -> None:
        self.warm_up, self.clip = warm_up, clip
        self.n, self.mean, self.m2 = 0, 0.0, 0.0

    def warm(self, values: Sequence[float]) -> int:
        """Use values for the warm-up while it lasts; answers how many."""
        used = max(0, min(len(values), self.warm_up - self.n))
        for x in values[:used]:
            self.n += 1
            delta = x - self.mean
            self.mean += delta / self.n
            self.m2 += delta * (x - self.mean)
        return used

    def scale(self, values: Sequence[float]) -> list[float]:
        """Values in deviations. Only after the warm-up."""
        mean, deviation, clip = self.mean, self.deviation, self.clip
        return [max(-clip, min(clip, (x - mean) / deviation)) for x in values]

    @property
    def deviation(self) -> float:
        return math.sqrt(self.m2 / self.n) or 1.0

    def unscale(self, z: float) -> float:
        return self.mean + z * self.deviation


class Watch:
    """One detector, and where on the signal it last began anew."""

    __slots__ = ("detector", "origin", "reset_at", "scaler", "spec", "total")

    def __init__(self, spec: DetectorSpec, bounded: bool) -> None:
        self.spec = spec
        scaled = spec.scaled if spec.scaled is not None else spec.kind == "page_hinkley" and not bounded
        self.scaler = Scaler(spec.warm_up, spec.clip) if scaled else None
        self.detector = _build(spec)
        self.begin_anew(0)
        self.origin: Sequence[float] = (0, 0.0)

    def begin_anew(self, seen: int) -> None:
        """From here on counts what alarms say; ``total`` is the sum of the values since."""
        self.reset_at, self.total = seen, 0.0

    def feed(self, values: Sequence[float], seen: int, history: Sequence[float]) -> list[Detection]:
        """Feed values in order; the alarms they raised.

        ``seen``: how many values the signal had before. ``history``: its last
        values, these included, for the description of an alarm.
        """
        scaled = values
        if self.scaler is not None:
            used = self.scaler.warm(values)
            if used:
                seen, values = seen + used, values[used:]
                self.begin_anew(seen)
            scaled = self.scaler.scale(values) if values else values
        if isinstance(self.detector, drift.ADWIN):
            alarms = self._feed_adwin(self.detector, scaled, values)
        else:
            alarms = self._feed_page_hinkley(self.detector, scaled, values)
        before = len(history) - len(values)
        return [self.describe(seen + index, history[: before + index]) for index in alarms]

    # Both answer how many values were fed when an alarm came, each told before the next value is
    # fed. ``scaled``: what the detector is to see; ``values``: what it stands for.

    def _feed_adwin(
        self, adwin: drift.ADWIN, scaled: Sequence[float], values: Sequence[float]
    ) -> Iterator[int]:
        """Straight into the core that River's ADWIN wraps: a third of the time."""
        update, alarm, total = adwin._helper.update, adwin._drift_detected, self.total
        for index, (z, x) in enumerate(zip(scaled, values, strict=True), start=1):
            if alarm:  # by the value before: River begins anew, with a new core
                adwin._drift_detected = True
                adwin.update(z)
                update, alarm = adwin._helper.update, adwin._drift_detected
            else:
                alarm = update(z)
            total += x
            if alarm:
                self.total = total
                yield index
                total = self.total
        adwin._drift_detected, self.total = alarm, total

    def _feed_page_hinkley(
        self, detector: DriftDetector, scaled: Sequence[float], values: Sequence[float]
    ) -> Iterator[int]:
        """River's own update in one loop, on River's own state, to the last bit: half of the time."""
        alpha, delta, threshold = detector.alpha, detector.delta, detector.threshold
        up, down, least = detector.mode != "down", detector.mode != "up", detector.min_instances
        n, mean = detector._x_mean.n, detector._x_mean._mean
        rise, fall = detector._sum_increase, detector._sum_decrease
        low, high, alarm = detector._min_increase, detector._max_decrease, detector._drift_detected
        total = self.total
        for index, (z, x) in enumerate(zip(scaled, values, strict=True), start=1):
            if alarm:  # by the value before: begin anew
                n = mean = rise = fall = 0.0
                low, high, alarm = math.inf, -1, False
            n += 1.0
            mean += (1.0 / n) * (z - mean)
            deviation = z - mean
            rise = alpha * rise + deviation - delta
            fall = alpha * fall + deviation + delta
            if rise < low:
                low = rise
            if fall > high:
                high = fall
            if n >= least:
                alarm = (up and rise - low > threshold) or (down and high - fall > threshold)
            total += x
            if alarm:
                self.total = total
                yield index
                total = self.total
        detector._x_mean.n, detector._x_mean._mean = n, mean
        detector._sum_increase, detector._sum_decrease = rise, fall
        detector._min_increase, detector._max_decrease = low, high
        detector._drift_detected, self.total = alarm, total

    def describe(self, seen: int, history: Sequence[float]) -> Detection:
        """The alarm that the detector has just raised. River starts it anew at the next value."""
        since = seen - self.reset_at
        if isinstance(self.detector, drift.ADWIN):
            tail = min(int(self.detector.width), since)
            after = float(self.detector.estimation)
            cut: int | None = seen - tail
        else:
            # Right after a new beginning half of the values have to stand for what was before.
            tail = min(len(history), RECENT, max(1, since // 2))
            after = math.fsum(history[-tail:]) / tail
            cut = None
        if self.scaler is not None and cut is not None:  # the estimate is in deviations: back to the unit
            after = self.scaler.unscale(after)
        old = since - tail
        before = (self.total - after * tail) / old if old else after
        self.begin_anew(seen)
        return Detection(self.spec.kind, seen, before, after, cut)

    @property
    def identity(self) -> list[Any]:
        """What the state belongs to: River's detectors carry their parameters along."""
        spec, scaled = self.spec, self.scaler is not None
        parameters = [list(pair) for pair in spec.parameters]
        return [spec.kind, parameters, *([spec.warm_up, spec.clip] if scaled else [])]

    def snapshot(self) -> dict[str, Any]:
        scaler = self.scaler
        return {
            "spec": self.identity,
            "reset": [self.reset_at, self.total],
            "origin": [*self.origin],
            "scaler": None if scaler is None else [scaler.n, scaler.mean, scaler.m2],
            "state": _detector_state(self.detector),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.reset_at, self.total = state["reset"]
        if "origin" in state:
            position, total = state["origin"]
            self.origin = (position, total)
        if self.scaler is not None and state["scaler"] is not None:
            self.scaler.n, self.scaler.mean, self.scaler.m2 = state["scaler"]
        _restore_detector(self.detector, state["state"])


class SignalWatch:
    """All detectors of one signal, behind a door that lets only finite numbers in, below ``LARGEST``.

    One NaN or infinity would blind ADWIN and Page-Hinkley for ever.
    ``bounded``: the signal is a 0/1 loss or a probability. ``every``: about how many values apart
    the timeline keeps dates.
    """

    __slots__ = ("recent", "refused", "seen", "timeline", "watches")

    def __init__(self, specs: tuple[DetectorSpec, ...], bounded: bool, every: int = 100) -> None:
        self.timeline = Timeline(every)
        self.watches = [Watch(spec, bounded) for spec in specs]
        self.seen = 0
        self.refused = 0
        self.recent: list[float] = []

    def feed(self, values: Sequence[float], times: Times = ()) -> list[Detection]:
        """Feed values in order; the alarms they raised, in order. However they are cut, the same come.

        ``times``: the event time of each, in ms; without them no change has a date.
        """
        good = [x for x in values if -LARGEST < x < LARGEST]
        if len(good) < len(values):
            self.refused += len(values) - len(good)
            times = [at for at, x in zip(times, values, strict=False) if -LARGEST < x < LARGEST]
        if not good:
            return []
        totals = self.timeline.note(self.seen, times, good)
        history = self.recent + good
        found = []
        for watch in self.watches:
            for alarm in watch.feed(good, self.seen, history):
                found.append(replace(alarm, origin=watch.origin))
                watch.origin = (alarm.position, totals[alarm.position - self.seen])
        found.sort(key=_position)
        self.seen += len(good)
        self.recent = history[-RECENT:]
        return found

    def since(self, found: Detection) -> int | None:
        """The event time in ms from which a change that was found seems to hold, where that is known."""
        if found.origin is None:
            return None
        onset = self.timeline.onset(found.origin, self.seen)
        return self.timeline.at(found.position if onset is None else onset)

    def snapshot(self) -> dict[str, Any]:
        return {
            "timeline": self.timeline.snapshot(),
            "seen": self.seen,
            "refused": self.refused,
            "recent": self.recent,
            "watches": [watch.snapshot() for watch in self.watches],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what was snapshot; a detector that the file has changed begins anew."""
        self.seen, self.refused = state["seen"], state["refused"]
        self.recent = list(state["recent"])
        if "timeline" in state:
            self.timeline.restore(state["timeline"])
        for watch in self.watches:
            watch.origin = (self.seen, self.timeline.total)
            saved = next((each for each in state["watches"] if each["spec"] == watch.identity), None)
            if saved is not None:
                watch.restore(saved)
            else:
                watch.begin_anew(self.seen)


def _position(detection: Detection) -> int:
    return detection.position


def _build(spec: DetectorSpec) -> DriftDetector:
    kinds = {"adwin": drift.ADWIN, "page_hinkley": drift.PageHinkley}
    return kinds[spec.kind](**dict(spec.parameters))


def _detector_state(detector: DriftDetector) -> list[Any]:
    """ADWIN: its core's bytes and the flag, without which it would alarm twice."""
    if isinstance(detector, drift.ADWIN):
        return [detector._helper.__getstate__(), detector._drift_detected]
    mean = detector._x_mean
    return [
        mean.n,
        mean._mean,
        detector._sum_increase,
        detector._sum_decrease,
        detector._min_increase if math.isfinite(detector._min_increase) else None,
        detector._max_decrease,
        detector._drift_detected,
    ]


def _restore_detector(detector: DriftDetector, state: list[Any]) -> None:
    if isinstance(detector, drift.ADWIN):
        core, flag = state
        # River's core panics on bytes it cannot read; the checksum was verified
        # before, this bounds what is left.
        if not isinstance(core, bytes) or len(core) > ADWIN_STATE_LIMIT:
            raise ValueError("the bytes of an ADWIN are missing or too many")
        try:
            detector._helper.__setstate__(core)
        except BaseException as error:  # a panic of Rust is no Exception
            if type(error).__name__ != "PanicException":
                raise
            raise ValueError("River cannot read the bytes of this ADWIN") from error
        detector._drift_detected = flag
        return
    n, mean, increase, decrease, low, high, flag = state
    detector._x_mean = stats.Mean()
    detector._x_mean.n, detector._x_mean._mean = n, mean
    detector._sum_increase, detector._sum_decrease = increase, decrease
    detector._min_increase = math.inf if low is None else low
    detector._max_decrease = high
    detector._drift_detected = flag
