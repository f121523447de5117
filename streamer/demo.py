"""``streamer demo``: a real Kafka, a worker, four models; what is injected has to be found, nothing else.

traffic (PredictionLogger) ─▶ Kafka ─▶ worker (its own process) ─▶ alerts, /metrics ─▶ screen, verdict
"""

from __future__ import annotations

import math
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from streamer import terminal
from streamer.adapters.alert_log import Alert, AlertLog
from streamer.adapters.scrape import Scrape, fetch
from streamer.adapters.topics import Topics, create
from streamer.errors import StreamerError
from streamer.local import LocalKafka, free_ports
from streamer.sdk import PredictionLogger

OBJECTIVES = Path(__file__).with_name("demo.yml")
MODELS = ("churn", "search", "fraud", "credit")
SECONDS = 40.0
RATE = 300  # predictions a second and model
LABEL_DELAY_S = 1.5
LATE_LABELS = {"credit": 12.0}  # whether somebody pays back is known later
PARTITIONS = 4
START_SECONDS, SETTLE_SECONDS = 60.0, 45.0
LOOK_SECONDS = 0.5
FIGURES_SECONDS = 8.0
SEED = 7


class DemoError(StreamerError):
    """The demo cannot run; the message holds what the worker said last."""


@dataclass(slots=True)
class Injection:
    """Something that goes wrong, or right again, at one prediction of one model.

    ``must``: rules that have to fire because of it; ``may``: those that are
    no false alarm after it. ``found``: rule → how many predictions of the
    model later its alert arrived.
    """

    model: str
    at: float
    text: str
    must: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    prediction: int | None = None
    found: dict[str, int] = field(default_factory=dict)


CENTS = ("accuracy", "drift.error", "drift.score")  # what follows, once scores change and labels are there


def story() -> list[Injection]:
    """What happens, in order; ``at`` in seconds of traffic."""
    return [
        Injection("churn", 10.0, "customers begin to decide differently", ("drift.error", "accuracy")),
        Injection("search", 12.0, "answers become five times slower", ("latency_p95",)),
        Injection("credit", 14.0, "incomes are sent in cents; labels are 12 s late", ("drift.data",), CENTS),
        Injection("search", 21.0, "answers are fast again"),
        Injection("churn", 22.0, "customers are as they were", may=("drift.error",)),
        Injection("credit", 23.0, "incomes are sent in full again", may=CENTS),
    ]


class Traffic:
    """Four models that predict and, a little later, learn the truth; the same numbers in every run."""

    def __init__(self, logger: PredictionLogger) -> None:
        self.logger = logger
        self.chance = random.Random(SEED)
        self.story = story()
        self.sent: Counter[str] = Counter()
        self.labels_sent: Counter[str] = Counter()
        self.confused = self.slow = self.cents = False
        self._waiting: dict[str, deque[tuple[float, str, int]]] = {model: deque() for model in MODELS}

    def steps(self, seconds: float) -> Iterator[tuple[float, list[Injection]]]:
        """Play in real time; yields the seconds so far and what was injected just now."""
        began, done = time.monotonic(), 0
        while True:
            now = time.monotonic() - began
            injected = [each for each in self.story if each.prediction is None and each.at <= now]
            for each in injected:
                self._inject(each)
            due = int(min(now, seconds) * RATE)
            for _ in range(done, due):
                for model in MODELS:
                    self._predict(model, now)
            done = due
            self._label(now)
            yield min(now, seconds), injected
            if now >= seconds:
                break
            time.sleep(0.01)
        self._label(math.inf)

    def _inject(self, injection: Injection) -> None:
        injection.prediction = self.sent[injection.model]
        if injection.model == "churn":
            self.confused = not self.confused
        elif injection.model == "search":
            self.slow = not self.slow
        else:
            self.cents = not self.cents

    def _predict(self, model: str, now: float) -> None:
        chance = self.chance
        x, y = chance.gauss(0, 1), chance.gauss(0, 1)
        features = {"x": round(x, 4), "y": round(y, 4)}
        if model == "credit":
            income = 2500 * math.exp(x / 2) * (100 if self.cents else 1)
            features = {"income": round(income, 2), "y": round(y, 4)}
            x = 2 * math.log(income / 2500)  # what the model makes of it
        score = 1 / (1 + math.exp(-(3 * x - 2 * y)))
        turned = model == "churn" and self.confused
        if model == "credit" and self.cents:
            x -= 2 * math.log(100)  # nobody has become richer
        truth = chance.random() < 1 / (1 + math.exp(-4 * (3 * x + (2 * y if turned else -2 * y))))
        slow = model == "search" and self.slow
        prediction_id = self.logger.prediction(
            int(score > 0.5),
            model=model,
            version="v1",
            score=round(score, 6),
            features=features,
            latency_ms=round(chance.lognormvariate(math.log(40 * (5 if slow else 1)), 0.3), 3),
        )
        self.sent[model] += 1
        due = now + LATE_LABELS.get(model, LABEL_DELAY_S)
        self._waiting[model].append((due, prediction_id, int(truth)))

    def _label(self, now: float) -> None:
        for model, waiting in self._waiting.items():
            while waiting and waiting[0][0] <= now:
                _, prediction_id, truth = waiting.popleft()
                self.logger.label(prediction_id, truth, model=model)
                self.labels_sent[model] += 1


class Verdict:
    """Which alert belongs to which injection, and what is left over."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.alerts: list[Alert] = []
        self.false_alarms: list[Alert] = []
        self.open: dict[str, Alert] = {}

    def hear(self, alert: Alert) -> None:
        self.alerts.append(alert)
        if alert["status"] == "resolved":
            self.open.pop(alert["fingerprint"], None)
            return
        self.open[alert["fingerprint"]] = alert
        if alert["status"] != "firing":
            return
        model, rule = alert["model"], alert["rule"]
        for injection in reversed(self.traffic.story):
            if injection.model == model and injection.prediction is not None:
                if rule in injection.must or rule in injection.may:
                    injection.found.setdefault(rule, self.traffic.sent[model] - injection.prediction)
                    return
                if injection.must:
                    break
        self.false_alarms.append(alert)

    @property
    def missed(self) -> list[tuple[Injection, str]]:
        return [
            (injection, rule)
            for injection in self.traffic.story
            for rule in injection.must
            if rule not in injection.found
        ]

    def firing(self, model: str) -> int:
        return sum(alert["model"] == model for alert in self.open.values())


class Screen:
    """Live figures at the bottom, the story and the alerts above; plain lines where there is no terminal."""

    def __init__(self, out: Console, verdict: Verdict) -> None:
        self.out, self.verdict = out, verdict
        self.bar = Progress(
            TextColumn("traffic"), BarColumn(bar_width=40), TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(), console=out,
        )  # fmt: skip
        self.task = self.bar.add_task("traffic", total=SECONDS)
        moving = out.is_terminal and not out.record  # a picture would hold every frame
        self.live = Live(console=out, refresh_per_second=8, transient=True) if moving else None
        self._told = 0.0

    def __enter__(self) -> Screen:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def injected(self, injection: Injection) -> None:
        at = time.strftime("%H:%M:%S", time.gmtime())
        what = f"{injection.model}  {injection.text} (prediction {injection.prediction:,})"
        self.out.print(Text.assemble((at, "dim"), (" INJECTED ", "bold magenta"), (what, "magenta")))

    def alert(self, alert: Alert) -> None:
        self.out.print(terminal.alert_line(alert))

    def show(self, seconds: float, scrape: Scrape | None) -> None:
        self.bar.update(self.task, completed=seconds)
        if scrape is None:
            return
        if self.live is not None:
            self.live.update(Group(self.figures(scrape), self.bar))
        elif time.monotonic() - self._told > FIGURES_SECONDS:
            self._told = time.monotonic()
            for model in MODELS:
                self.out.print(self._line(scrape, model), markup=False)

    def figures(self, scrape: Scrape) -> Table:
        names = ("model", "predictions", "labels", "accuracy", "F1", "AUC", "p95", "per second")
        table = Table(*names, "lag", "firing", title="last 1000 labels, last 5 s of predictions")
        lag = _lag(scrape)
        for model in MODELS:
            firing = self.verdict.firing(model)
            mark = Text(str(firing), "bold red" if firing else "dim")
            table.add_row(model, *_figures(scrape, model), lag, mark)
        return table

    def _line(self, scrape: Scrape, model: str) -> str:
        titles = ("predictions", "labels", "accuracy", "F1", "AUC", "p95", "a second", "lag")
        pairs = zip(titles, (*_figures(scrape, model), _lag(scrape)), strict=True)
        return f"         figures  {model:<7} " + "  ".join(f"{name} {value}" for name, value in pairs)


def _lag(scrape: Scrape) -> str:
    """Records that the worker has not processed yet, as of its last look."""
    return f"{scrape.total('streamer_lag_records'):,.0f}"


def _figures(scrape: Scrape, model: str) -> list[str]:
    last = {"model": model, "window": "last 1000"}
    recent = {"model": model, "window": "last 5s"}
    latency = scrape.value("model_latency_percentile_seconds", percentile="p95", **recent)
    return [
        f"{scrape.total('model_predictions_total', model=model):,.0f}",
        f"{scrape.total('model_labels_total', model=model, outcome='joined'):,.0f}",
        *(terminal.figure(scrape.value(f"model_{name}", **last)) for name in ("accuracy", "f1", "auc_roc")),
        terminal.figure(None if latency is None else latency * 1000, ".0f") + " ms",
        terminal.figure(scrape.value("model_throughput_predictions_per_second", **recent), ".0f"),
    ]


# -- the run ----------------------------------------------------------------------------------------


def run_demo(keep: bool, port: int, metrics_port: int, picture: Path | None = None) -> int:
    """Run it; 0 only if everything injected was found, nothing else was, and every event is accounted for.

    ``picture``: also draw what was printed into this SVG file.
    """
    out = terminal.console() if picture is None else terminal.recorder()
    out.print("[bold]streamer demo[/]: four models; three go wrong at a known moment. Ctrl-C ends it.")
    with ExitStack() as stack:
        kafka = LocalKafka(port=port, say=lambda text: out.print(text, style="dim"))
        stack.enter_context(kafka)
        conf = {"bootstrap.servers": kafka.bootstrap}
        create(conf, Topics(), partitions=PARTITIONS)
        out.print(f"Kafka answers at {kafka.bootstrap}; starting a worker", style="dim")
        metrics_port = _usable(metrics_port, out)
        worker = stack.enter_context(_worker(kafka.bootstrap, metrics_port))
        url = f"http://127.0.0.1:{metrics_port}"
        _await_ready(worker, url)
        out.print(f"the worker is ready; its figures are at {url}/metrics\n", style="dim")
        logger = stack.enter_context(PredictionLogger(kafka.bootstrap))
        heard = stack.enter_context(_alerts(conf))
        traffic = Traffic(logger)
        verdict = Verdict(traffic)
        began = time.monotonic()
        with Screen(out, verdict) as screen:
            _play(traffic, verdict, screen, heard, worker, url)
        scrape = Scrape.of(f"{url}/metrics")
        if scrape is not None:
            out.print(screen.figures(scrape))
        fine = _summary(out, verdict, scrape, time.monotonic() - began)
        _next_steps(out, kafka.bootstrap, url, keep)
        if picture is not None:
            picture.write_text(terminal.picture_of(out, "make demo"))
        if keep:
            _until_told(worker)
    return 0 if fine else 1


def _play(
    traffic: Traffic,
    verdict: Verdict,
    screen: Screen,
    heard: queue.Queue[Alert],
    worker: _Worker,
    url: str,
) -> None:
    looked = 0.0
    scrape: Scrape | None = None
    for seconds, injected in traffic.steps(SECONDS):
        for injection in injected:
            screen.injected(injection)
        _hear(heard, verdict, screen)
        if time.monotonic() - looked > LOOK_SECONDS:
            worker.check()
            scrape, looked = Scrape.of(f"{url}/metrics"), time.monotonic()
            screen.show(seconds, scrape)
    traffic.logger.flush()
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        _hear(heard, verdict, screen)
        worker.check()
        scrape = Scrape.of(f"{url}/metrics")
        screen.show(SECONDS, scrape)
        if scrape is not None and _all_in(traffic, scrape) and not verdict.open:
            break
        time.sleep(LOOK_SECONDS)
    _hear(heard, verdict, screen)


def _hear(heard: queue.Queue[Alert], verdict: Verdict, screen: Screen) -> None:
    while not heard.empty():
        alert = heard.get()
        verdict.hear(alert)
        screen.alert(alert)


def _all_in(traffic: Traffic, scrape: Scrape) -> bool:
    """Has every event that was sent been counted, and every label met its prediction?"""
    return all(
        scrape.total("model_predictions_total", model=model) == traffic.sent[model]
        and scrape.total("model_labels_total", model=model, outcome="joined") == traffic.labels_sent[model]
        for model in MODELS
    )


def _summary(out: Console, verdict: Verdict, scrape: Scrape | None, seconds: float) -> bool:
    traffic = verdict.traffic
    table = Table("model", "injected", "at", "detected by", "predictions later", title="Summary")
    for injection in traffic.story:
        rules = (*injection.must, *(rule for rule in injection.may if rule in injection.found))
        found = [f"{injection.found[rule]:,}" if rule in injection.found else "MISSED" for rule in rules]
        names = "\n".join(rules) or "the alert resolved"
        at = "–" if injection.prediction is None else f"{injection.prediction:,}"
        table.add_row(injection.model, injection.text, at, names, "\n".join(found))
    out.print(table)
    events = sum(traffic.sent.values()) + sum(traffic.labels_sent.values())
    accounted = scrape is not None and _all_in(traffic, scrape)
    busy = 0.0 if scrape is None else scrape.total("streamer_busy_seconds_total")
    dropped = sum(traffic.logger.dropped.values())
    claims = [
        (not verdict.missed, "everything injected was detected"),
        (not verdict.false_alarms, f"false alarms: {len(verdict.false_alarms)}"),
        (not verdict.open, f"alerts still firing: {len(verdict.open)}"),
        (
            accounted and not dropped,
            f"events: {events:,} sent ({events / seconds:,.0f}/s, the worker was busy for {busy:.1f} s),"
            f" {'each counted once, each label joined' if accounted else 'NOT all accounted for'}",
        ),
    ]
    for true, text in claims:
        out.print(Text.assemble(("✓ ", "green") if true else ("✗ ", "bold red"), text))
    return all(true for true, _ in claims)


def _next_steps(out: Console, bootstrap: str, url: str, keep: bool) -> None:
    if keep:
        out.print("\n[bold]All of it is still running.[/] In another terminal:")
        out.print(f"  streamer alerts --bootstrap {bootstrap}", markup=False)
        out.print(f"  streamer status --bootstrap {bootstrap}", markup=False)
        out.print(f"  curl {url}/metrics", markup=False)
        out.print("Ctrl-C ends it.")
    else:
        out.print(
            "\nNext: `make demo KEEP=1` leaves it running for a look around; docs/objectives.md tells how to"
        )
        out.print("watch your own models, docs/producers.md how to log from your service.")


def _until_told(worker: _Worker) -> None:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    while not told.wait(1.0):
        worker.check()


# -- the parts ---------------------------------------------------------------------------------------


class _Worker:
    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def check(self) -> None:
        """Raises DemoError when it is gone."""
        if self.process.poll() is not None:
            said = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
            raise DemoError(f"the worker ended with status {self.process.returncode}; it said:\n{said}")


@contextmanager
def _worker(bootstrap: str, metrics_port: int) -> Iterator[_Worker]:
    """A worker as a user starts it, in a process of its own; it ends with us."""
    with tempfile.TemporaryDirectory(prefix="streamer-demo-") as scratch:
        log = Path(scratch) / "worker.log"
        command = [sys.executable, "-m", "streamer", "worker", str(OBJECTIVES), "--bootstrap", bootstrap]
        with log.open("wb") as file:
            # Its own session: Ctrl-C reaches us, and we end it after the last look.
            process = subprocess.Popen(
                [*command, "--metrics-port", str(metrics_port)],
                # The settings of the user's own cluster are not the demo's.
                env={name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            yield _Worker(process, log)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(worker: _Worker, url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while fetch(f"{url}/readyz") is None:
        worker.check()
        if time.monotonic() > deadline:
            raise DemoError(f"the worker was not ready within {START_SECONDS:.0f} s")
        time.sleep(0.1)


def _usable(port: int, out: Console) -> int:
    """The port, or a free one where another program has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return port
        except OSError:
            other = free_ports(1)[0]
            out.print(f"port {port} is in use: /metrics is on {other} instead", style="yellow")
            return other


@contextmanager
def _alerts(conf: dict[str, Any]) -> Iterator[queue.Queue[Alert]]:
    """A subscriber of the alerts topic in a thread."""
    heard: queue.Queue[Alert] = queue.Queue()
    going = threading.Event()
    going.set()
    log = AlertLog(conf, Topics().alerts)

    def listen() -> None:
        for alert in log.follow(going.is_set):
            heard.put(alert)

    thread = threading.Thread(target=listen, name="alerts", daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        going.clear()
        thread.join(5)
        log.close()
