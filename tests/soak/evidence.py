"""What a soak saw: samples, probes of the state, and how it ended. Plain figures, which the judge reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.soak.sender import Sent


@dataclass(frozen=True, slots=True)
class Sample:
    """``at``: seconds since the clock began. ``series``: those of the scrape; ``folded``: those it left out.

    ``state_mb``: log segments of the state topic on the broker's disk. ``busy_s``: time spent processing so
    far. ``events``: sent so far.
    """

    at: float
    rss_mb: float
    series: int
    folded: int
    pending: int
    lag_records: int
    lag_s: float
    state_mb: float
    busy_s: float
    quarantined: int
    events: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One whole state read and revived, nobody fenced. ``live``: its records, ``live_mb``: their size."""

    at: float
    live: int
    live_mb: float
    restore_s: float


@dataclass(slots=True)
class Evidence:
    """``minutes``: how long it was to go on. ``clock``, ``end``: what was sent when it began and was over.

    ``sent``: everything. ``same_worker``: one process from the beginning to the end; ``restores``: its
    restores of ``partitions``. ``counters``, ``dead``: of /metrics, once all is consumed. ``kept_from``: the
    oldest offsets of the sources' partitions in the end. ``restarted_s``: what each partition's restore took
    after kill -9; ``at_head_s``: from the kill until nothing is left to read.
    """

    minutes: float
    rate: int
    partitions: int
    samples: list[Sample] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    clock: Sent = field(default_factory=Sent)
    end: Sent = field(default_factory=Sent)
    sent: Sent = field(default_factory=Sent)
    same_worker: bool = False
    restores: int = 0
    fenced: int = 0
    quarantined: int = 0
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)
    fired: int = 0
    resolved: int = 0
    kept_from: tuple[int, ...] = ()
    restarted_s: tuple[float, ...] = ()
    at_head_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    finished: bool = False

    @property
    def achieved(self) -> float:
        """Events a second while the clock ran."""
        seconds = self.end.seconds - self.clock.seconds
        return (self.end.events - self.clock.events) / seconds if seconds > 0 else 0.0
