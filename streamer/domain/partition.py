"""One partition of the sources: its models, its clock, its counters, its state.

The clock is record time in whole seconds and only moves when records (or a
recorded tick at the head of both topics) move it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from streamer.domain.alerts import Transition
from streamer.domain.declaration import declared, digest_of
from streamer.domain.events import FUTURE_MS, Reason, Refused, read_name
from streamer.domain.join import Changes, last_of_each, packed_bytes
from streamer.domain.model import ModelMonitor
from streamer.domain.objectives import Objectives, Room
from streamer.domain.payload import PAYLOAD_BITS
from streamer.domain.version import PERIODS, VersionMonitor

Key = tuple[str | int, ...]
Cells = dict[Key, Any]

SEGMENT_ROWS = 5_000
SLACK_ROWS = 50_000


class Partition:
    """The monitor of one partition; ``pipeline`` feeds it, ``checkpoint`` saves it.

    ``told`` collects what has to be published, in order; the caller empties it.
    """

    def __init__(self, objectives: Objectives, at_home: Callable[[str], bool]) -> None:
        self.objectives, self.at_home = objectives, at_home
        self.models: dict[str, ModelMonitor] = {}
        self.room = Room.of(objectives.limits)
        self.now = 0
        self.latest_ms = 0
        self.consumed = {"predictions": 0, "labels": 0}
        self.dead: Counter[tuple[str, str]] = Counter()
        self.told: list[Transition] = []
        self.segments: dict[int, int] = {}
        self.next_segment = 0
        self._stale: list[Key] = []
        self._rewrite = False
        for name in objectives.models:
            if at_home(name):
                self._add(name)

    def _add(self, name: str) -> ModelMonitor:
        spec, limits = self.objectives.spec_for(name), self.objectives.limits
        model = ModelMonitor(spec, limits, self.now, len(self.models), self.room)
        if name in self.objectives.models:
            model.asked = digest_of(declared(spec))
        self.models[name] = model
        return model

    # -- events ---------------------------------------------------------------------

    def predict(self, event: dict[str, Any]) -> Reason | None:
        """Take one decoded prediction; a reason makes it a dead letter."""
        try:
            try:
                model = self.models[event["model"]]
            except (KeyError, TypeError):
                model = self._model(event)
            told = model.predict(event, self.latest_ms, self.now)
        except Refused as refused:
            return refused.reason
        if told:
            self.told += model.grouped(told)
        return None

    def label(self, event: dict[str, Any]) -> Reason | None:
        """Take one decoded label; a reason makes it a dead letter."""
        try:
            try:
                model = self.models[event["model"]]
            except (KeyError, TypeError):
                model = self._model(event)
            told = model.label(event, self.latest_ms, self.now)
        except Refused as refused:
            return refused.reason
        if told:
            self.told += model.grouped(told)
        return None

    def _model(self, event: dict[str, Any]) -> ModelMonitor:
        """The model of an event, watched from now on when it is new. Raises Refused."""
        raw = event.get("model")
        if raw is None:
            raise Refused(Reason.MISSING_FIELD)
        name = read_name(raw)
        if name in self.models:
            return self.models[name]
        if not self.at_home(name):
            raise Refused(Reason.MISPLACED)
        if len(self.models) >= self.objectives.limits.max_models:
            raise Refused(Reason.CAPACITY)
        return self._add(name)

    # -- time ------------------------------------------------------------------------

    def advance(self, record_ms: int) -> bool:
        """Move the clock to this record time; True where a second has passed."""
        now = record_ms // 1000 * 1000
        if now <= self.now:
            return False
        before, self.now = self.now // 1000, now
        self.latest_ms = now + 1000 + FUTURE_MS
        pending = parked = recent = 0
        for model in self.models.values():
            if not model.born:
                model.born = now
            self.told += model.grouped(model.tick(now, before))
            parked += len(model.parked)
            for version in model.every_version:
                pending += len(version.table.pending) + version.waiting
                recent += len(version.table.recent)
        limits = self.objectives.limits
        excess = (pending - limits.max_pending, parked - limits.max_parked, recent - limits.max_recent)
        if max(excess) > 0:
            self._make_room(*excess)
        return True

    def _make_room(self, pending: int, parked: int, recent: int) -> None:
        """Let this many of each go: the oldest of whoever has most."""
        owners = [model for model, _ in self.versions()]
        everyone = [version for _, version in self.versions()]
        while pending > 0:
            version = max(everyone, key=lambda v: len(v.table.pending) + v.waiting)
            if version.waiting > len(version.table.pending):
                waiting = version.waiting
                model = owners[everyone.index(version)]
                self.told += model.grouped(model.beside(version.close_oldest(self.now)))
                pending -= waiting - version.waiting
                continue
            gone = version.table.take_oldest(pending)
            version.expire(gone, "capacity")
            pending -= len(gone)
        while parked > 0:
            parked -= max(self.models.values(), key=lambda m: len(m.parked)).unpark_oldest(parked)
        while recent > 0:
            dropped = max(everyone, key=lambda v: v.table.forgettable).table.crowd_out(recent)
            if not dropped:
                break
            recent -= dropped

    # -- figures ------------------------------------------------------------------------

    def versions(self) -> Iterator[tuple[ModelMonitor, VersionMonitor]]:
        for model in self.models.values():
            for version in model.every_version:
                yield model, version

    def take_reports(self) -> list[dict[str, Any]]:
        """Hand over what has to be told beside alerts, as published: model by model, in order."""
        taken: list[dict[str, Any]] = []
        revision = {"objectives_revision": self.objectives.revision}
        for name, model in self.models.items():
            taken += [{"model": name} | revision | each for each in model.reports]
            model.reports = []
            for version in model.every_version:
                of = {"model": name, "version": version.version, "task": version.task}
                if version.panes is not None and version.panes.told:
                    taken += [{"type": "pane"} | of | each.document() for each in version.panes.told]
                    version.panes.told = []
                if version.periods.told:
                    taken += [{"type": "period"} | of | revision | each for each in version.periods.told]
                    version.periods.told = []
        return taken

    def identity(self) -> dict[str, dict[str, int]]:
        """The terms of both identities of promise 2, as of now."""
        predictions: Counter[str] = Counter(joined=0, pending=0, expired=0, duplicate=0)
        labels: Counter[str] = Counter(joined=0, parked=0, unmatched=0, late=0, duplicate=0, conflicting=0)
        for model in self.models.values():
            counts = model.labels
            labels["parked"] += len(model.parked)
            for name in ("joined", "unmatched", "late", "duplicate", "conflicting"):
                labels[name] += getattr(counts, name)
            for version in model.every_version:
                predictions["joined"] += version.joined
                predictions["pending"] += len(version.table.pending)
                predictions["expired"] += sum(version.expired.values())
                predictions["duplicate"] += version.duplicates
        for terms, topic in ((predictions, "predictions"), (labels, "labels")):
            terms["consumed"] = self.consumed[topic]
            terms["dead_letter"] = sum(n for (kind, _), n in self.dead.items() if kind == topic)
        return {"predictions": dict(predictions), "labels": dict(labels)}

    # -- state -----------------------------------------------------------------------------

    def snapshot(self) -> tuple[dict[str, Any], Cells]:
        """The part of the manifest that is ours, and the cells that changed (None: gone)."""
        cells: Cells = dict.fromkeys(self._stale)
        self._stale = []
        self._snapshot_join(cells)
        for name, model in self.models.items():
            if model.changed:
                cells["model", name] = model.snapshot()
            for version in model.every_version:
                if version.changed:
                    head, blocks = version.snapshot()
                    cells["version", name, version.version] = head
                    for window, changed in blocks.items():
                        for block, data in changed.items():
                            cells["block", name, version.version, window, block] = data
        manifest = {
            "now": self.now,
            "latest_ms": self.latest_ms,
            "consumed": dict(self.consumed),
            "dead": [[kind, reason, n] for (kind, reason), n in self.dead.items()],
            "segments": [[number, rows] for number, rows in self.segments.items()],
            "next_segment": self.next_segment,
        }
        return manifest, cells

    def _snapshot_join(self, cells: Cells) -> None:
        """Append what happened to the join tables, or rewrite them once half the log is dead."""
        second = self.now // 1000
        live = sum(
            len(v.table.pending) + len(v.table.recent) for m in self.models.values() for v in m.every_version
        ) + sum(len(m.parked) for m in self.models.values())
        rewrite = self._rewrite or sum(self.segments.values()) > 2 * live + SLACK_ROWS
        self._rewrite = False
        if rewrite:
            cells.update({("join", number): None for number in self.segments})
            self.segments = {}
        writer = _SegmentWriter(self, cells)
        for name, model in self.models.items():
            for version in model.every_version:
                changes = version.table.take_changes(second)
                writer.add(name, version, version.table.everything() if rewrite else changes)
            new = list(model.parked) if rewrite else last_of_each(model.parked_new)
            kept = [[pid, *model.parked[pid]] for pid in new if pid in model.parked]
            gone = [] if rewrite else model.parked_gone
            writer.add_parked(name, kept, gone)
            model.parked_new, model.parked_gone = [], []
        writer.close()

    def restore(self, manifest: Mapping[str, Any], cells: Mapping[Key, Any]) -> None:
        """Become what was saved. Raises ValueError or KeyError where the cells do not fit."""
        self.now, self.latest_ms = manifest["now"], manifest["latest_ms"]
        self.consumed = dict(manifest["consumed"])
        self.dead = Counter({(kind, reason): n for kind, reason, n in manifest["dead"]})
        self.segments = dict(manifest["segments"])
        self.next_segment = manifest["next_segment"]
        blocks: dict[Key, dict[str, dict[int, bytes]]] = {}
        for key, value in cells.items():
            if key[0] == "block":
                _, model_name, version_name, window, block = key
                windows = blocks.setdefault((model_name, version_name), {})
                windows.setdefault(str(window), {})[int(block)] = value
        self._restore_models(cells, blocks)
        self._stale = [key for key in cells if key[0] == "block" and not self._reads(key)]
        for number in sorted(self.segments):
            self._replay(cells["join", number])
        for model in self.models.values():
            if model.former is not None:
                model.begin_anew()
                self._rewrite = True
            if model.recoding is not None:
                for version in model.every_version:
                    version.table.recode(model.recoding)
                model.recoding, self._rewrite = None, True
            for version in model.every_version:
                self._forget(model, version, self.now // 1000)

    def _restore_models(
        self, cells: Mapping[Key, Any], blocks: Mapping[Key, dict[str, dict[int, bytes]]]
    ) -> None:
        """The saved models in the order in which they came, then those that are new in the file.

        Their order decides in which order alerts of one second are told.
        """
        saved = {str(key[1]): value for key, value in cells.items() if key[0] == "model"}
        declared, self.models = self.models, {}
        for name in sorted(saved, key=lambda name: int(saved[name]["place"])):
            model = self._add(name)
            self.told += model.restore(saved[name], self.now)
            for version in model.every_version:
                at = (name, version.version)
                head, changed = cells["version", *at], model.former is not None
                saved_blocks = blocks.get(at, {})
                self.told += version.restore(head, saved_blocks, self.now, changed, model.recoding)
        for name in declared:
            if name not in self.models:
                self._add(name)

    def _reads(self, key: Key) -> bool:
        """Is this block still part of a window? The objectives may have changed."""
        kind, _, window = str(key[3]).partition("/")
        model = self.models.get(str(key[1]))
        version = None if model is None else model.versions.get(key[2])
        if model is None or version is None or (kind in ("labels", "ordered") and model.former is not None):
            return False
        if kind == "data":
            return any(str(key[3]) in data.block_names for data in version.data.values())
        if kind == "segments":
            return model.former is None and version.groups.reads(window)
        if kind == "order":
            return model.former is None and str(key[3]) in version.order_blocks
        if kind == PERIODS:
            return model.former is None and key[4] in version.periods.sizes
        if kind == "traffic":
            return window in version.figures.traffic
        return window in version.figures.windows and key[3] == version.figures.key("labels", window)

    def _forget(self, model: ModelMonitor, version: VersionMonitor, second: int) -> None:
        """Forget what had been forgotten by this second of record time."""
        version.table.forget(second - model.spec.dedupe_ms // 1000)

    def _replay(self, segment: Mapping[str, Any]) -> None:
        for name, version_name, gone, ids, packed, resolved, labels, runs, kept in segment["versions"]:
            model = self.models[name]
            version = model.versions[version_name]
            self._forget(model, version, segment["second"])
            # Wider with segments, whose fields the file may have changed.
            least = packed_bytes(PAYLOAD_BITS[model.former or version.task])
            width = max(least, len(packed) // (len(ids) or 1))
            values = [int.from_bytes(packed[i : i + width], "little") for i in range(0, len(packed), width)]
            version.table.apply(
                Changes(
                    gone,
                    list(zip(ids, values, strict=True)),
                    list(zip(resolved, labels, strict=True)),
                    [(bucket, count) for bucket, count in runs],
                    kept,
                )
            )
        for name, kept, gone in segment["parked"]:
            parked = self.models[name].parked
            for pid in gone:
                parked.pop(pid, None)
            for pid, label, time, second in kept:
                parked[pid] = (label, time, second)


class _SegmentWriter:
    """Cuts join changes into segments of at most ``SEGMENT_ROWS`` rows.

    An id has at most 256 characters: a segment stays below the 8 MB of the largest state record.
    """

    def __init__(self, partition: Partition, cells: Cells) -> None:
        self.partition, self.cells = partition, cells
        self._open()

    def _open(self) -> None:
        self.versions: list[Any] = []
        self.parked: list[Any] = []
        self.rows = 0

    def add(self, model: str, version: VersionMonitor, changes: Changes) -> None:
        """Append one version's changes in the order in which they have to be replayed."""
        gone, added, resolved = changes.gone, changes.added, changes.resolved
        width = packed_bytes(PAYLOAD_BITS[version.task], version.groups.bits)
        while gone:
            room = SEGMENT_ROWS - self.rows
            first, gone = gone[:room], gone[room:]
            self._append(model, version, len(first), first, [], b"", [], [], [], None)
        while added:
            room = SEGMENT_ROWS - self.rows
            part, added = added[:room], added[room:]
            packed = b"".join([value.to_bytes(width, "little") for _, value in part])
            self._append(model, version, len(part), [], [pid for pid, _ in part], packed, [], [], [], None)
        runs = list(changes.runs)
        while resolved:
            room = SEGMENT_ROWS - self.rows
            done, resolved = resolved[:room], resolved[room:]
            ids, labels = [pid for pid, _ in done], [label for _, label in done]
            mine, runs = _split_runs(runs, len(done))
            self._append(model, version, len(done), [], [], b"", ids, labels, mine, None)
        if changes.kept is not None:
            self._append(model, version, 1, [], [], b"", [], [], [], changes.kept)

    def _append(self, model: str, version: VersionMonitor, rows: int, *columns: Any) -> None:
        self.versions.append([model, version.version, *columns])
        self.rows += rows
        if self.rows >= SEGMENT_ROWS:
            self.close()

    def add_parked(self, model: str, kept: list[Any], gone: list[str]) -> None:
        while gone:
            room = SEGMENT_ROWS - self.rows
            first, gone = gone[:room], gone[room:]
            self._append_parked(model, [], first)
        while kept:
            room = SEGMENT_ROWS - self.rows
            part, kept = kept[:room], kept[room:]
            self._append_parked(model, part, [])

    def _append_parked(self, model: str, kept: list[Any], gone: list[str]) -> None:
        self.parked.append([model, kept, gone])
        self.rows += len(kept) + len(gone)
        if self.rows >= SEGMENT_ROWS:
            self.close()

    def close(self) -> None:
        if self.rows:
            number = self.partition.next_segment
            self.partition.next_segment += 1
            self.partition.segments[number] = self.rows
            self.cells["join", number] = {
                "second": self.partition.now // 1000,
                "versions": self.versions,
                "parked": self.parked,
            }
        self._open()


def _split_runs(
    runs: list[tuple[int, int]], count: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The first runs that make up ``count`` ids, and the rest."""
    mine: list[tuple[int, int]] = []
    rest = list(runs)
    while count > 0 and rest:
        bucket, size = rest.pop(0)
        mine.append((bucket, min(size, count)))
        if size > count:
            rest.insert(0, (bucket, size - count))
        count -= size
    return mine, rest
