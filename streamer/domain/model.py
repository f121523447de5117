"""One model: its classes, its versions, labels that came before their prediction.

A prediction is (version, id); a label is an id and meets every version that
has it. The first label wins.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from streamer.domain.alerts import State, Transition
from streamer.domain.bins import CLASS_BITS, NO_SCORE, SCORE_EDGES
from streamer.domain.changes import join_change
from streamer.domain.classes import Classes, canonical
from streamer.domain.declaration import declared
from streamer.domain.door import door_of
from streamer.domain.events import (
    MAX_ID,
    MAX_VERSION,
    SECONDS_LIMIT,
    Reason,
    Refused,
    read_id,
    read_name,
    read_timestamp,
    rfc3339,
)
from streamer.domain.join import EXPIRED, TIME_MASK
from streamer.domain.objectives import SCORES_OF_TASK, SILENCE, Limits, ModelSpec, Room, Task
from streamer.domain.payload import loss_of, number_bits
from streamer.domain.rules import ThresholdRule, restore_rules, rule_removed, snapshot_rules
from streamer.domain.scores import Estimate
from streamer.domain.segments import Recoding, Segments, readable
from streamer.domain.version import VersionMonitor
from streamer.domain.versus import Versus

MAX_NUMBER = 1e100
MAX_LATENCY = 1e12
OTHER_VERSION = "other"
MAX_VERSIONS_TOLD = 10
_NUMBERS = (float, int)


@dataclass(slots=True)
class LabelCounts:
    """The terms of the second identity that belong to a model."""

    joined: int = 0
    unmatched: int = 0
    late: int = 0
    duplicate: int = 0
    conflicting: int = 0


class ModelMonitor:
    """All that one partition keeps about one model."""

    __slots__ = (
        "_door",
        "_every",
        "_many",
        "_saved",
        "_waits",
        "asked",
        "born",
        "classes",
        "former",
        "labels",
        "last_prediction",
        "limits",
        "parked",
        "parked_gone",
        "parked_new",
        "place",
        "recoding",
        "reports",
        "room",
        "segments",
        "silence",
        "spec",
        "table",
        "task",
        "told_of",
        "versions",
        "versus",
    )

    def __init__(self, spec: ModelSpec, limits: Limits, born: int, place: int, room: Room) -> None:
        self.spec, self.limits, self.born, self.place, self.room = spec, limits, born, place, room
        self.task: Task | None = spec.task
        self.classes: Classes | None = None
        self.versions: dict[Any, VersionMonitor] = {}
        self.labels = LabelCounts()
        self.parked: dict[str, tuple[Any, int, int]] = {}
        self.parked_new: list[str] = []
        self.parked_gone: list[str] = []
        self.last_prediction = 0
        self.silence = [ThresholdRule(t, spec.model, None) for t in spec.thresholds if t.signal == SILENCE]
        self.versus = Versus()
        self.segments = Segments(spec.segments, limits.max_segments) if spec.segments else None
        self.recoding: Recoding | None = None
        self._saved: tuple[Any, ...] = ()
        self._door = door_of(spec)
        self.asked = ""  # the digest of what the file asks of it by name, and of what was told last
        self.told_of = ""
        self.reports: list[dict[str, Any]] = []  # that nobody has taken yet
        self.former: Task | None = None
        self._every: list[VersionMonitor] = []
        self._many = False
        self._waits = spec.waits
        self.table: dict[Any, int] = {}
        if self.task is not None:
            self.decide(self.task)

    def decide(self, task: Task, learnt: tuple[str, ...] = ()) -> None:
        """Settle what kind of model this is."""
        self.task = task
        if task == "binary":
            self.classes = Classes.binary(self.spec)
        elif task == "multiclass":
            self.classes = Classes.multiclass(self.spec, learnt)
        self.table = self.classes.table if self.classes is not None else {}

    def _settle(self, raw: Any, event: Mapping[str, Any]) -> None:
        """Judge by the first good prediction what nobody declared; labels parked so far are read anew.

        Raises Refused before anything is decided: a dead letter must not be what judges.
        """
        binary = Classes.binary(self.spec)
        task = "multiclass" if self.spec.classes else _task_of(raw, event, binary)
        _score(event, binary if task == "binary" else None)
        if event.get("version") not in (None, ""):
            read_name(event["version"], MAX_VERSION)
        if self._full:
            raise Refused(Reason.CAPACITY)
        self.decide(task)
        for pid, (label, time, second) in list(self.parked.items()):
            try:
                self.parked[pid] = (self.read_label(label), time, second)
                self.parked_new.append(pid)
            except Refused:
                del self.parked[pid]
                self.parked_gone.append(pid)
                self.labels.unmatched += 1

    # -- predictions ------------------------------------------------------------

    def predict(self, event: dict[str, Any], latest_ms: int, now: int) -> list[Transition] | None:
        """Take one prediction. ``now``: record time in ms, by whole seconds.

        Returns:
            What it caused to be told, if anything.

        Raises:
            Refused: the record is a dead letter.
        """
        if self._door is not None:
            event = self._door.prediction(event)
        try:
            pid, time, raw = event["prediction_id"], event["timestamp"], event["prediction"]
        except KeyError:
            raise Refused(Reason.MISSING_FIELD) from None
        if type(pid) is not str or not 0 < len(pid) <= MAX_ID:
            pid = read_id(pid)
        if type(time) is not int or not SECONDS_LIMIT <= time <= latest_ms:
            time = read_timestamp(time, latest_ms)
        get = event.get
        latency, features, score = get("latency_ms"), get("features"), get("score")
        if latency is not None and (type(latency) not in _NUMBERS or not 0 <= latency < MAX_LATENCY):
            raise Refused(Reason.INVALID_FIELD)
        if (features is not None and type(features) is not dict) or (
            self.segments is not None and not readable(get("segments"))
        ):
            raise Refused(Reason.INVALID_FIELD)
        if self.task is None:
            self._settle(raw, event)
        if type(score) is not float or not 0.0 <= score <= 1.0:
            score = _score(event, self.classes if self.task == "binary" else None)
        payload = self._payload(raw, score)
        try:
            version = self.versions[get("version")]
        except (KeyError, TypeError):
            version = self._version(get("version"), now)
        table = version.table
        if pid in table.pending or pid in table.recent:
            version.duplicates += 1
            return None
        if time > version.prediction_time:
            if time >= version.periods.turn_at:
                version.turn(time)
            version.prediction_time = time
        self.last_prediction = now
        count = version.accepted = version.accepted + 1
        if features is not None and version.profile is not None:
            version.profile.take(features)
        watched = features if version.feature_watches else None
        version.made.append((version.prediction_time, score, latency, watched, payload))
        told = None if count % version.every else version.evaluate_traffic(now)
        if now != table.now:
            table.begin(now)
        packed = table.base | time << table.time_shift | payload
        if self.segments is not None:
            packed |= version.groups.take_prediction(get("segments"))
        if self.parked or self._many:
            label = self._known_label(pid, version)
            if label is not None:
                return self.beside([*(told or []), *(version.join(pid, packed, *label, now) or [])]) or None
        table.pending[pid] = packed
        table.new.append(pid)
        return self.beside(told) if told and self._many else told

    def _payload(self, raw: Any, score: float | None) -> int:
        if self.task == "regression":
            if type(raw) not in _NUMBERS or not -MAX_NUMBER < raw < MAX_NUMBER:
                raise Refused(Reason.INVALID_FIELD)
            return number_bits(raw)
        try:
            index = self.table[raw]
        except (KeyError, TypeError):
            index = self._learn(raw)
        if self.task == "binary":
            return (NO_SCORE if score is None else bisect_right(SCORE_EDGES, score)) << CLASS_BITS | index
        return index

    def _learn(self, raw: Any) -> int:
        """The index of a class that is not in the table. Raises Refused."""
        assert self.classes is not None
        index = self.classes.learn(raw)
        if index is None:
            raise Refused(Reason.UNKNOWN_CLASS)
        return index

    def _version(self, raw: Any, now: int) -> VersionMonitor:
        """The version of this name, made when it is new; beyond the model's limit they share one.

        Raises Refused where the partition has no room for one more.
        """
        name = "" if raw is None or raw == "" else read_name(raw, MAX_VERSION)
        if name not in self.versions and len(self._every) >= self.limits.max_versions:
            name = OTHER_VERSION
        if name not in self.versions and self._full:
            name = OTHER_VERSION
            if name not in self.versions:
                raise Refused(Reason.CAPACITY)
        if name not in self.versions:
            self.add_version(name).groups.clock = now
        return self.versions[name]

    @property
    def _full(self) -> bool:
        return self.room.versions.held >= self.room.versions.most

    def add_version(self, name: str) -> VersionMonitor:
        assert self.task is not None
        self.room.versions.held += 1
        version = VersionMonitor(
            self.spec, name, self.task, self.classes, self.limits, self.room, self.segments
        )
        self.versions[name] = version
        if name == "":
            self.versions[None] = version
        self._every.append(version)
        self._many = len(self._every) > 1
        return version

    @property
    def every_version(self) -> list[VersionMonitor]:
        return self._every

    def _known_label(self, pid: str, version: VersionMonitor) -> tuple[Any, int] | None:
        """A label that came before this prediction: parked, or met by another version."""
        parked = self.parked.pop(pid, None)
        if parked is not None:
            self.labels.joined += 1
            self.parked_gone.append(pid)
            return parked[0], parked[1]
        for other in self._every:
            if other is not version:
                label = other.table.recent.get(pid)
                if label is not None and label != EXPIRED:
                    return label, other.label_time
        return None

    # -- labels -------------------------------------------------------------------

    def label(self, event: dict[str, Any], latest_ms: int, now: int) -> list[Transition] | None:
        """Take one label; the answer is as of ``predict``."""
        if self._door is not None:
            event = self._door.label(event)
        try:
            pid, time, raw = event["prediction_id"], event["timestamp"], event["label"]
        except KeyError:
            raise Refused(Reason.MISSING_FIELD) from None
        if type(pid) is not str or not 0 < len(pid) <= MAX_ID:
            pid = read_id(pid)
        if type(time) is not int or not SECONDS_LIMIT <= time <= latest_ms:
            time = read_timestamp(time, latest_ms)
        try:
            actual = self.table[raw]
        except (KeyError, TypeError):
            actual = self.read_label(raw)
        told: list[Transition] | None = None
        hit = False
        if self._many:
            self._pair(pid, actual)
        for version in self._every:
            packed = version.table.pending.pop(pid, None)
            if packed is not None:
                hit = True
                joined = version.join(pid, packed, actual, time, now)
                if joined:
                    told = [*(told or []), *joined]
        if hit:
            self.labels.joined += 1
            return self.beside(told) if told and self._many else told
        self._label_alone(pid, actual, time, now)
        return None

    @property
    def champion(self) -> VersionMonitor | None:
        """The version that the others are held against, once it has come; never ``other``."""
        name = self.spec.champion
        found = self.versions.get(name) if name is not None else next(iter(self._every), None)
        return None if found is None or found.version == OTHER_VERSION else found

    def _pair(self, pid: str, actual: Any, expired: VersionMonitor | None = None, packed: int = 0) -> None:
        """A label settles what was predicted: a pair of the champion with each challenger that waits too.

        ``expired``: the version whose prediction (``packed``) has waited so long that its label is
        negative. Such are paired as well: else all pairs would be of what turned out positive.
        """
        champion = self.champion
        if champion is None:
            return
        base = packed if expired is champion else champion.table.pending.get(pid)
        if base is None:
            return
        for other in self._every if expired is champion or expired is None else (expired,):
            mine = packed if other is expired else other.table.pending.get(pid)
            if mine is not None and other is not champion and other.version != OTHER_VERSION:
                task = champion.task
                losses = loss_of(task, base, actual), loss_of(task, mine, actual)
                self.versus.note(task, champion.version, other.version, losses)

    def beside(self, told: list[Transition]) -> list[Transition]:
        """Add to alerts about a version's labels how the model's other versions do."""
        for each in told:
            signal = each.rule.signal.partition("[")[0]
            labelled = signal == "error" or (self.task is not None and signal in SCORES_OF_TASK[self.task])
            if labelled and each.status != "resolved":
                self._compare(each)
        return told

    def grouped(self, told: list[Transition]) -> list[Transition]:
        """Alerts that fire get the change that they belong to."""
        for step in told:
            if step.status == "firing":
                rules = [*self.silence, *(rule for version in self._every for rule in version.rules)]
                mine = next((each.incident for each in rules if each.rule is step.rule), None)
                if mine is not None:
                    version = self.versions.get(step.rule.version)
                    now = self._newest if version is None else version.prediction_time
                    near_ms = max((each.near_ms for each in self._every), default=0)
                    join_change(step, mine, [each.incident for each in rules], now, near_ms)
        return told

    def _compare(self, told: Transition) -> None:
        rule, found = told.rule, []
        drift = self.versions[rule.version].drift_rules.get("error") if rule.signal == "error" else None
        since = None if drift is None else drift.incident.since
        for version in self._every:
            if version.version == rule.version:
                continue
            figure = version.figure(rule.rule) if since is None else version.error_since(since)
            one: dict[str, Any] = {"version": version.version}
            if figure is not None:
                one |= {"rows": figure.n, "value": figure.value}
            pair = self.versus.pairs.get(version.version) or self.versus.pairs.get(rule.version or "")
            if pair is not None and {pair.champion, pair.challenger} == {version.version, rule.version}:
                low, high = pair.interval
                # Of the other version, less the one that the alert is about.
                sign = 1 if pair.challenger == version.version else -1
                one |= {"pairs": pair.rows, "difference": sign * pair.difference}
                if math.isfinite(low):
                    one |= {"lower": min(sign * low, sign * high), "upper": max(sign * low, sign * high)}
            if len(one) > 1:
                found.append(one)
        if found:
            # First those that it is paired with most, then the newest: the oldest may be long out of use.
            found.reverse()
            found.sort(key=lambda each: -each.get("pairs", 0))
            told.evidence["versions"] = found[:MAX_VERSIONS_TOLD]

    def read_label(self, raw: Any) -> Any:
        """The class index or number of a label, the raw value while the task is not known. Raises Refused."""
        if self.task is None:
            if canonical(raw) is None:
                raise Refused(Reason.INVALID_FIELD)
            return raw
        if self.task == "regression":
            if type(raw) not in _NUMBERS or not -MAX_NUMBER < raw < MAX_NUMBER:
                raise Refused(Reason.INVALID_FIELD)
            return float(raw)
        known = self.table.get(raw) if canonical(raw) is not None else None
        return self._learn(raw) if known is None else known

    def _label_alone(self, pid: str, actual: Any, time: int, now: int) -> None:
        """No prediction waits for it: a repeat, too late, or early."""
        for version in self._every:
            known = version.table.recent.get(pid)
            if known is not None:
                if known == EXPIRED:
                    self.labels.late += 1
                elif known == actual:
                    self.labels.duplicate += 1
                else:
                    self.labels.conflicting += 1
                return
        parked = self.parked.get(pid)
        if parked is None:
            self.parked[pid] = (actual, time, now // 1000)
            self.parked_new.append(pid)
        elif parked[0] == actual or (self.task is None and canonical(parked[0]) == canonical(actual)):
            self.labels.duplicate += 1
        else:
            self.labels.conflicting += 1

    # -- time ------------------------------------------------------------------------

    def tick(self, now: int, before: int) -> list[Transition]:
        """A second of record time has passed: expiry, forgetting, and rules that wait for time.

        ``now``: record time in ms. ``before``: the second that it was until now; what
        was resolved since then belongs to that one, whenever a commit came between.
        """
        told: list[Transition] = []
        if self.told_of != self.asked:
            named = bool(self.asked)
            self.told_of = self.asked
            of = {"type": "objectives", "told_at": rfc3339(now), "named": named}
            self.reports.append(of | declared(self.spec))
        spec, second = self.spec, now // 1000
        newest = max((v.last_prediction for v in self._every), default=0)
        clock = self._event_time(now) if self._waits else 0
        for version in self._every:
            table = version.table
            table.note_bucket(before)
            oldest = table.oldest_bucket()
            limit = second - spec.label_wait_ms // 1000
            if oldest is not None and oldest < limit:
                told += self._expire(version, table.expire(limit), "label_wait", now)
            if table.runs:
                table.forget(second - spec.dedupe_ms // 1000)
            told += version.tick(now, newest > version.last_prediction, clock)
        if told and self._many:
            self.beside(told)
        if self.parked:
            self._unpark(second - spec.park_ms // 1000)
        for rule in self.silence:
            told += self._judge_silence(rule, now)
        return told

    @property
    def _newest(self) -> int:
        """Event time of the newest prediction, in ms."""
        return max((v.prediction_time for v in self._every), default=0)

    def _event_time(self, now: int) -> int:
        """That of the newest prediction (ms), moved on by the record time that has passed since."""
        return self._newest + now - self.last_prediction

    def _expire(
        self, version: VersionMonitor, gone: list[tuple[str, int]], reason: str, now: int
    ) -> list[Transition]:
        if self.spec.on_expiry == "negative" and self.task == "binary" and reason == "label_wait":
            told: list[Transition] = []
            for pid, packed in gone:
                due = (packed >> 16 & TIME_MASK) + self.spec.label_wait_ms
                if self._many:
                    self._pair(pid, 0, version, packed)
                told += version.join(pid, packed, 0, due, now) or []
            return told
        version.expire(gone, reason)
        return []

    def _unpark(self, before: int) -> None:
        """Give up labels that were parked before this second."""
        count = 0
        for _, _, second in self.parked.values():
            if second >= before:
                break
            count += 1
        self.unpark_oldest(count)

    def unpark_oldest(self, count: int) -> int:
        """Give up to this many of the labels up that have waited longest; answers how many."""
        gone = list(islice(self.parked, count))
        for pid in gone:
            del self.parked[pid]
        self.parked_gone += gone
        self.labels.unmatched += len(gone)
        return len(gone)

    def _judge_silence(self, rule: ThresholdRule, now: int) -> list[Transition]:
        last = max(self.last_prediction, self.born)
        idle = Estimate(float(now - last), rule.spec.min_samples, None, None)
        step = rule.evaluate(idle, rule.spec.min_samples, 0, now, now, since=last)
        return [step] if step else []

    # -- state -------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Is there anything outside the versions that the last snapshot does not hold?"""
        return self._saved != self._mark()

    def _mark(self) -> tuple[Any, ...]:
        counts = self.labels
        steps = tuple((r.incident.state, r.incident.transitions) for r in self.silence)
        learnt = len(self.classes.names) if self.classes else 0
        learnt += self.segments.learnt if self.segments is not None else 0
        return (
            self.born,
            self.task,
            learnt,
            self.last_prediction,
            (counts.joined, counts.unmatched, counts.late, counts.duplicate, counts.conflicting),
            steps,
            len(self._every),
            self.versus.mark,
            self.told_of,
        )

    def snapshot(self) -> dict[str, Any]:
        counts = self.labels
        state: dict[str, Any] = {
            "place": self.place,
            "born": self.born,
            "task": self.task,
            "classes": self.classes.names if self.classes else [],
            "last_prediction": self.last_prediction,
            "labels": [counts.joined, counts.unmatched, counts.late, counts.duplicate, counts.conflicting],
            "told_of": self.told_of,
            "silence": snapshot_rules(self.silence),
            "versions": [version.version for version in self._every],
            **({"versus": self.versus.snapshot()} if self.versus.pairs else {}),
        }
        if self.segments is not None:
            state["segments"] = self.segments.snapshot()
        self._saved = self._mark()
        return state

    def restore(self, state: Mapping[str, Any], now: int) -> list[Transition]:
        """Become what was snapshot, all versions made but empty.

        Where the file has changed the task, ``former`` names the old one until ``begin_anew``; where it has
        changed the fields of segments, ``recoding`` is what those that wait need.
        """
        self.born, self.last_prediction = state["born"], state["last_prediction"]
        self.told_of = state.get("told_of", "")
        if self.spec.task is not None and state["task"] not in (None, self.spec.task):
            self.former = state["task"]
        elif state["task"] is not None:
            self.decide(state["task"], tuple(state["classes"]))
        self.labels = LabelCounts(*state["labels"])
        fields = [field for field, _ in state.get("segments", ())]
        if self.segments is not None:
            self.segments.restore(state.get("segments", ()))
        if fields != list(self.spec.segments):
            self.recoding = Recoding(fields, self.spec.segments)
        orphans = restore_rules(self.silence, state["silence"])
        for name in state["versions"]:
            self.add_version(name)
        if self.task is not None and self.former is None:
            self.versus.restore(state.get("versus", []), self.task, self.spec.champion)
        names = self.classes.names if self.classes else []
        same = self.place == state["place"] and names == state["classes"] and self.recoding is None
        if not orphans and same:
            self._saved = self._mark()
        return [rule_removed(rule, incident, now) for rule, incident in orphans]

    def begin_anew(self) -> None:
        """What waits was read as classes or numbers of the former task: it cannot be scored any more."""
        for version in self._every:
            version.begin_anew()
        self.unpark_oldest(len(self.parked))
        self.former = None

    @property
    def firing(self) -> int:
        rules = [*self.silence, *(rule for version in self._every for rule in version.rules)]
        return sum(rule.incident.state is State.FIRING for rule in rules)


def _task_of(raw: Any, event: Mapping[str, Any], usual: Classes) -> Task:
    """What a model that nobody declared seems to be, judged by its first prediction. Raises Refused."""
    if type(raw) is float and "score" not in event:
        if not -MAX_NUMBER < raw < MAX_NUMBER:
            raise Refused(Reason.INVALID_FIELD)
        return "regression"
    if canonical(raw) is None:
        raise Refused(Reason.INVALID_FIELD)
    return "binary" if raw in usual.table else "multiclass"


def _score(event: Mapping[str, Any], classes: Classes | None) -> float | None:
    """P(positive) of a binary model (``classes`` given), the confidence in its answer of another."""
    score: Any = event.get("score")
    if score is None:
        every = event.get("scores")
        if every is None:
            return None
        if type(every) is not dict or not every:
            raise Refused(Reason.INVALID_FIELD)
        if classes is not None:
            score = next((p for name, p in every.items() if classes.table.get(name) == 1), None)
        else:
            numbers = [p for p in every.values() if type(p) in _NUMBERS]
            score = max(numbers) if numbers else None
    if type(score) not in _NUMBERS or not 0 <= score <= 1:
        raise Refused(Reason.INVALID_FIELD)
    return float(score)
