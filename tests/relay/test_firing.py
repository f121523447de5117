"""The table tells each change once, and then what an Alertmanager needs to go on believing it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from streamer.adapters.firing import (
    ENDS_TOLD_FOR,
    LAPSES_AFTER,
    FiringTable,
    NoAlert,
    labels_of,
    row_of,
)
from streamer.domain.runbooks import NAMES, name_of, page_of
from tests.docs.pages import ROOT
from tests.relay.story import Story

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_what_was_told_is_no_news_until_it_changes() -> None:
    table, story = FiringTable(), Story("churn")
    table.apply(0, story.fire())
    [row] = table.to_tell(everything=False)
    table.told([row], NOW)
    assert table.to_tell(everything=False) == []
    assert table.to_tell(everything=True) == [row]
    table.apply(0, story.update())
    assert len(table.to_tell(everything=False)) == 1


def test_what_changes_while_it_is_being_told_stays_news() -> None:
    table, story = FiringTable(), Story("churn")
    table.apply(0, story.fire())
    rows = table.to_tell(everything=True)
    table.apply(0, story.resolve())
    table.told(rows, NOW)
    [row] = table.to_tell(everything=False)
    assert row.ended is not None


def test_an_end_is_told_for_some_minutes_once_it_was_taken_and_then_forgotten() -> None:
    table, story = FiringTable(), Story("churn")
    table.apply(0, story.fire())
    table.apply(0, story.resolve())
    at = NOW
    while rows := table.to_tell(everything=True):
        assert at <= NOW + ENDS_TOLD_FOR + timedelta(minutes=1)
        assert not table.firing
        table.told(rows, at)
        at += timedelta(minutes=1)
    assert at > NOW + ENDS_TOLD_FOR


def test_an_end_of_long_ago_is_nothing_to_tell() -> None:
    table, story = FiringTable(), Story("churn")
    table.apply(0, story.fire(), old=True)
    table.apply(0, story.resolve(), old=True)
    assert table.to_tell(everything=True) == []


def test_what_fires_lapses_by_itself_and_what_ended_has_its_end() -> None:
    story = Story("churn")
    firing = row_of(story.fire())
    assert datetime.fromisoformat(firing.posted(NOW)["endsAt"]) == max(NOW + LAPSES_AFTER, firing.started)
    resolved = story.resolve()
    ends = datetime.fromisoformat(row_of(resolved).posted(NOW)["endsAt"])
    assert ends == datetime.fromisoformat(resolved["resolved_at"])


def test_labels_are_the_same_from_firing_to_resolved_and_another_severity_ends_those_before() -> None:
    table, story = FiringTable(), Story("churn", severity="ticket")
    first = story.fire()
    table.apply(0, first)
    assert labels_of(first) == labels_of(story.update())
    louder = {**story.update(), "severity": "page"}
    table.apply(0, louder)
    found = {row.labels["severity"]: row.ended is None for row in table.to_tell(everything=True)}
    assert found == {"ticket": False, "page": True}


def test_an_alert_that_moves_to_another_partition_fires_on() -> None:
    table, story = FiringTable(), Story("churn")
    alert = story.fire()
    table.apply(0, alert)
    table.apply(1, alert)
    table.take_back(0, story.fingerprint)
    assert [row.ended for row in table.to_tell(everything=True)] == [None]
    table.take_back(1, story.fingerprint)
    assert table.to_tell(everything=True) == []
    table.take_back(1, "who")


def test_the_last_word_of_another_partition_does_not_end_what_fires() -> None:
    table, story = FiringTable(), Story("churn")
    past = [story.fire(), story.resolve()]
    table.apply(1, story.fire())
    for alert in past:
        table.apply(0, alert)
    assert [row.ended for row in table.to_tell(everything=True)] == [None]


def test_alerts_are_called_as_the_rules_of_prometheus_call_them_and_have_their_runbooks() -> None:
    text = (ROOT / "deploy" / "prometheus" / "rules" / "models.yml").read_text()
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    found = {each["alert"]: each["annotations"]["runbook_url"] for each in rules}
    assert {name: page_of(name) for name in NAMES.values()} == found
    patterns = set(re.findall(r'signal=~?"(.*?)"', text))
    assert patterns == set(NAMES) - {".*"}
    assert re.findall(r'signal!~"(.*?)"', text) == ["|".join(each for each in NAMES if each != ".*")]
    names = [name_of(signal) for signal in ("feature:late\nncy", "accuracy", "late\nncy")]
    assert names == ["ModelDrift", "ModelObjectiveBreached", "ModelObjectiveBreached"]


def test_an_alert_of_a_rule_with_a_name_of_its_own_is_called_by_what_it_watches() -> None:
    alert = {**Story("churn").fire(), "rule": "too slow", "signal": "latency_p95"}
    assert labels_of(alert)["alertname"] == "ModelSlow"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "?"},
        {"started_at": "yesterday"},
        {"model": None},
        {"fingerprint": ""},
        {"started_at": None},
    ],
)
def test_what_is_no_alert_is_said_to_be_none(change: dict[str, object]) -> None:
    with pytest.raises(NoAlert):
        FiringTable().apply(0, {**Story("churn").fire(), **change})
