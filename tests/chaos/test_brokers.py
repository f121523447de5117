"""Brokers and network fail under load, in short; ``make chaos BROKERS=1`` has every trouble, for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.brokers import FULL, NODES, SHORT, Siege, Trouble
from tests.chaos.proxy import ProxiedKafka


@pytest.mark.timeout(400)
def test_workers_wait_for_brokers_and_network_and_come_back_and_nothing_is_lost(tmp_path: Path) -> None:
    with ProxiedKafka(NODES) as kafka:
        survival = Siege(kafka, tmp_path, print).run(SHORT)
    verdict = survival.verdict
    assert verdict.problems == []
    assert (verdict.lost, verdict.twice, verdict.alert_differences, verdict.alerts_twice) == (0, 0, 0, 0)
    assert verdict.fired > 0


def test_the_full_form_has_every_trouble() -> None:
    assert {bout.trouble for bout in FULL} == set(Trouble)
    assert {bout.trouble for bout in SHORT} < set(Trouble)
