"""What Prometheus scrapes: the reference's names, committed figures, a bound on series."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from streamer.adapters.exposition import Exposition, ProcessorStats, serve
from streamer.adapters.http_server import CannotServe
from streamer.adapters.metric_names import MODEL, PROCESSOR
from streamer.adapters.scrape import Scrape, fetch
from streamer.domain.objectives import Objectives
from streamer.domain.readings import read_partition
from tests.domain.feed import Log, build, feed
from tests.domain.traffic import objectives, traffic


def exposed(max_series: int = 10_000) -> Exposition:
    pipeline = build(objectives())
    feed(pipeline, traffic(random.Random(4), 3000).steps)
    exposition = Exposition(ProcessorStats(), max_series)
    exposition.publish(3, read_partition(pipeline.partition, None))
    return exposition


def test_every_name_is_in_the_reference_and_its_labels_are_those_declared() -> None:
    text = generate_latest(exposed().registry).decode()
    families = {**MODEL, **PROCESSOR}
    for name, labels, _ in Scrape(text)._samples:
        stems = (name, *(name.removesuffix(end) for end in ("_bucket", "_sum", "_count")))
        base = next((stem for stem in stems if stem in families), None)
        assert base is not None, name
        assert set(labels) - {"le"} == set(families[base].labels), name


def test_promtool_finds_nothing_to_complain_about() -> None:
    promtool = shutil.which("promtool")
    if promtool is None and "CI" not in os.environ:
        pytest.skip("promtool is not installed here; on Debian and Ubuntu: apt-get install prometheus")
    assert promtool, "CI installs promtool: see .ci/run"
    text = generate_latest(exposed().registry)
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_the_number_of_series_is_bounded_and_what_is_left_out_is_counted() -> None:
    everything = Scrape(generate_latest(exposed().registry).decode())
    few = Scrape(generate_latest(exposed(400).registry).decode())
    assert len(everything._samples) > 600
    assert len(few._samples) <= 400
    assert few.value("streamer_series_dropped")
    assert everything.value("streamer_series_dropped") == 0
    assert few.total("model_predictions_total") == everything.total("model_predictions_total")
    assert few.value("model_predictions_total", model="other")


def test_a_model_that_is_really_called_other_is_not_there_twice() -> None:
    log = Log()
    for number in range(40):
        for model in ("other", f"model {number}"):
            log.predict(number, model=model)
    pipeline = build(Objectives())
    feed(pipeline, log.steps)
    exposition = Exposition(ProcessorStats(), 500)
    exposition.publish(0, read_partition(pipeline.partition, None))
    samples = Scrape(generate_latest(exposition.registry).decode())
    [(_, count)] = samples.matching("model_predictions_total", model="other")
    assert count > 40
    assert samples.total("model_predictions_total") == 80
    series = [(name, *sorted(labels.items())) for name, labels, _ in samples._samples]
    assert len(series) == len(set(series)) <= 500


@pytest.fixture
def url() -> Iterator[str]:
    state = {"/healthz": (True, "alive"), "/readyz": (False, "restoring")}
    server = serve(exposed(), "127.0.0.1", 0, lambda: state["/healthz"], lambda: state["/readyz"])
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def test_health_and_readiness_are_answers_with_reasons(url: str) -> None:
    assert fetch(f"{url}/healthz") == "alive\n" or fetch(f"{url}/healthz") == "alive"
    with pytest.raises(urllib.error.HTTPError, match="503") as caught:
        urllib.request.urlopen(f"{url}/readyz", timeout=5)
    assert "restoring" in caught.value.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/nonsense", timeout=5)


def test_a_port_that_is_taken_is_an_error_that_names_the_cure(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(CannotServe, match="--metrics-port"):
        serve(exposed(), "127.0.0.1", port, lambda: (True, ""), lambda: (True, ""))
