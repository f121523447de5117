"""A reference of what the workers have counted: read from the state topic, which it does not change."""

from __future__ import annotations

from streamer.adapters.deployment import Deployment, StateRefused
from streamer.adapters.state_view import examine
from streamer.domain.bins import MAX_CLASSES, SCORE_BINS
from streamer.domain.events import rfc3339
from streamer.domain.model import ModelMonitor
from streamer.domain.objectives import LIFETIME
from streamer.domain.partition import Partition
from streamer.domain.reference import Reference
from streamer.domain.version import VersionMonitor
from streamer.home import home


def taken(at: Deployment, model: str, version: str | None = None) -> Reference:
    """One version of a model since it began, as of the last commit. ``version`` None: the only one.

    Features are those of all its predictions; scores and errors those of the labelled ones. What
    it predicted is left out: how classes are called, only the objectives say.

    Raises:
        StateRefused: no broker answers, the state cannot be trusted, or there is no such version.
    """
    partition = found_in(at, model)
    monitor = _version(partition.models[model], model, version)
    made_of = f"what group {at.group} had counted at {rfc3339(partition.now)}"
    reference = Reference(model, monitor.version or None, made_of)
    if monitor.profile is not None:
        reference.rows = monitor.profile.rows
        reference.take_features(monitor.profile)
    _take_outputs(reference, monitor)
    return reference


def found_in(at: Deployment, model: str) -> Partition:
    """The partition that watches a model, as of the last commit. Raises StateRefused, as ``taken``."""
    found = examine(at, home(model, at.partitions, at.partitioner))
    if found.problem is not None:
        raise StateRefused(found.problem)
    if found.partition is None or model not in found.partition.models:
        raise StateRefused(f"no worker has seen a model {model!r}: `streamer state show` lists what there is")
    return found.partition


def _version(found: ModelMonitor, model: str, version: str | None) -> VersionMonitor:
    versions = {each.version: each for each in found.versions.values()}
    if version is None and len(versions) == 1:
        return next(iter(versions.values()))
    if version in versions:
        return versions[version]
    names = ", ".join(name or "(none)" for name in sorted(versions)) or "none yet"
    raise StateRefused(f"{model} has these versions: {names}; name one with --version")


def _take_outputs(reference: Reference, monitor: VersionMonitor) -> None:
    """Scores and errors, of the window that holds all labelled rows."""
    if monitor.task == "regression":
        return
    counts = monitor.figures.windows[LIFETIME.name].tally
    if monitor.task == "binary":
        by_bin = counts.reshape(SCORE_BINS, 2, 2)
        reference.truths += counts
        reference.answers += by_bin.sum(axis=2)
        right = int(by_bin[:, 0, 0].sum() + by_bin[:, 1, 1].sum())
    else:
        right = int(counts.reshape(MAX_CLASSES, MAX_CLASSES).trace())
    reference.judged = int(counts.sum())
    reference.wrong = reference.judged - right
