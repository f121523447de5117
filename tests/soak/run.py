"""One soak: warm up, watch for as long as it takes, kill the worker, and see that nothing is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from streamer.adapters.scrape import Scrape, fetch
from streamer.local import LocalKafka
from tests.chaos.diary import Diary
from tests.chaos.judge import counters_of
from tests.deadline import wait_until
from tests.soak.evidence import Evidence
from tests.soak.judge import LAG_S
from tests.soak.sender import Sender
from tests.soak.stage import Stage, own_figures
from tests.soak.traffic import PARTITIONS, TOPICS, Plan

SAMPLE_SECONDS = 10.0
PROBES = 20  # over the whole time
PROBE_SECONDS = 30.0  # at least between two of them: each takes a core for some seconds
PATIENCE = 180.0
POLL_SECONDS = 1.0


class Soak:
    """``run`` it once; ``evidence`` is there whenever it ends. ``say`` hears a line now and then."""

    def __init__(
        self,
        kafka: LocalKafka,
        minutes: float,
        plan: Plan,
        scratch: Path,
        say: Callable[[str], None],
        sample_seconds: float = SAMPLE_SECONDS,
        patience: float = PATIENCE,
    ) -> None:
        self.stage = Stage(kafka, f"soak-{plan.seed}-", scratch)
        self.plan, self.say, self.sample_seconds = plan, say, sample_seconds
        self.patience = patience
        self.evidence = Evidence(minutes, plan.rate, PARTITIONS)

    def run(self) -> Evidence:
        """The whole of it, whatever happens on the way; Ctrl-C goes through, and leaves what was seen."""
        self.worker = self.stage.worker()
        self.sender: Sender | None = None
        try:
            self.worker.await_ready(self.patience)
            self.sender = Sender(self.stage.kafka.bootstrap, self.stage.prefix, self.plan)
            self._watch()
            self._crash()
            self._finish()
            self.evidence.finished = True
        except Exception as error:
            self.evidence.problems.append(f"{error!s:.3000}")
        finally:
            self.worker.kill()
            if self.sender is not None:
                self.sender.close()
        return self.evidence

    def _watch(self) -> None:
        """Samples and probes while the clock runs; it begins when labels come as fast as predictions."""
        assert self.sender
        sender, evidence, seconds = self.sender, self.evidence, 60 * self.evidence.minutes
        self.say(f"{self.plan.delay:.0f} s until labels come as fast as predictions")
        wait_until(
            lambda: self._alive() and sender.last.seconds > self.plan.delay, self.plan.delay + 30, "it begins"
        )
        evidence.clock, began = sender.last, time.monotonic()
        every = max(PROBE_SECONDS, seconds / PROBES)
        sample_at, probe_at = 0.0, min(every, seconds) / 2
        while (at := time.monotonic() - began) < seconds:
            self._alive()
            evidence.end = sender.last
            if at >= sample_at:
                sample_at = at + self.sample_seconds
                self._sample(at)
            if at >= probe_at and evidence.samples:
                probe_at = at + every
                evidence.probes.append(self.stage.probe(at))
                self._tell()
            time.sleep(0.2)
        evidence.end = sender.last
        self._note_worker()

    def _alive(self) -> bool:
        assert self.sender
        self.worker.check()
        self.sender.check()
        return True

    def _sample(self, at: float) -> None:
        assert self.sender
        pid, events = self.worker.process.pid, self.sender.last.events
        sample = self.stage.sample(self.worker.url, pid, at, events)
        if sample is not None:
            self.evidence.samples.append(sample)
            self.evidence.quarantined = max(self.evidence.quarantined, sample.quarantined)

    def _tell(self) -> None:
        sample, probe = self.evidence.samples[-1], self.evidence.probes[-1]
        self.say(
            f"{sample.at / 60:5.1f} min {sample.events:>12,} events {self.evidence.achieved:8,.0f}/s"
            f"  {sample.rss_mb:.0f} MB  {sample.series:,} series and {sample.folded:,} folded"
            f"  pending {sample.pending:,}  lag {sample.lag_s:.1f} s  state {sample.state_mb:.0f} MB on disk,"
            f" {probe.live:,} live records of {probe.live_mb:.1f} MB, restored in {probe.restore_s:.1f} s"
        )

    def _note_worker(self) -> None:
        """Whether it is still the one that was started, and nobody ever took a partition from it."""
        evidence, scrape = self.evidence, self._figures()
        assert scrape is not None, "the worker does not answer"
        evidence.same_worker = self.worker.process.poll() is None
        evidence.restores = int(scrape.total("streamer_restores_total"))
        evidence.fenced = int(scrape.total("streamer_fenced_total"))
        evidence.kept_from = self.stage.kept_from()

    def _crash(self) -> None:
        """Kill it under load, and a new worker that has to find its way back to the head."""
        self.say("kill -9, and a restart")
        began = time.monotonic()
        self.worker.kill()
        self.worker = self.stage.worker()
        diary = Diary(self.worker.log)
        wait_until(
            lambda: self._alive() and len(diary.read().restored) == PARTITIONS,
            self.patience,
            "it is restored",
        )
        self.evidence.restarted_s = tuple(diary.seconds)
        try:
            wait_until(self._at_head, self.patience, "the new worker is at the head")
            self.evidence.at_head_s = round(time.monotonic() - began, 2)
        except AssertionError as error:  # what was sent can be counted all the same
            self.evidence.problems.append(f"{error}")

    def _at_head(self) -> bool:
        scrape = self._figures() if self.worker.ready() else None
        if scrape is None:
            return False
        lags = [value for _, value in scrape.matching("streamer_lag_seconds")]
        return len(lags) == 2 * PARTITIONS and max(lags) < LAG_S

    def _figures(self) -> Scrape | None:
        """Not too often: each answer takes something of the core that the worker needs to catch up."""
        time.sleep(POLL_SECONDS)
        text = fetch(f"{self.worker.url}/metrics")
        return None if text is None else own_figures(text)

    def _finish(self) -> None:
        """No more is sent; all of it has to be consumed and accounted for."""
        assert self.sender
        evidence = self.evidence
        evidence.sent = self.sender.finish()

        def settled() -> bool:
            scrape = self._figures()
            if scrape is None:
                return False
            evidence.counters = counters_of([scrape])
            evidence.dead = {
                f"{labels['topic']}/{labels['reason']}": 0
                for labels, _ in scrape.matching("streamer_dead_letters_total")
            }
            for labels, value in scrape.matching("streamer_dead_letters_total"):
                evidence.dead[f"{labels['topic']}/{labels['reason']}"] += int(value)
            quarantined = int(scrape.total("streamer_partitions_quarantined"))
            evidence.quarantined = max(evidence.quarantined, quarantined)
            consumed = tuple(evidence.counters[topic]["consumed"] for topic in TOPICS)
            return consumed >= evidence.sent.sent

        try:
            wait_until(settled, self.patience, "all is consumed")
        except AssertionError:
            self.say("not all that was sent is consumed")  # the judge says how many
        evidence.fired, evidence.resolved = self.stage.alerts()
