"""What the page on alerting promises is what the relay does."""

from __future__ import annotations

import re
from datetime import timedelta

from streamer.adapters import alertmanager, http_post, relay, transitions
from streamer.adapters.firing import ENDS_TOLD_FOR, LAPSES_AFTER, labels_of, row_of
from streamer.adapters.relay_metrics import RELAY
from streamer.adapters.topics import CONFIGS, DAY_MS
from streamer.adapters.trial import FIRES_FOR, MODEL
from streamer.adapters.webhooks import FIELDS
from streamer.domain.runbooks import NAMES
from tests.docs.pages import page, quoted, table
from tests.relay.story import Story

PAGE = page("alerting.md")
TEXT = " ".join(PAGE.split())


def test_the_metrics_of_the_relay_are_those_of_the_code() -> None:
    rows = {quoted(row[0])[0]: row[1:] for row in table(PAGE, "metric of a relay")}
    assert rows == {name: [each.kind, "`target`", each.help] for name, each in RELAY.items()}


def test_labels_annotations_and_names_are_those_of_the_code() -> None:
    alert = Story("churn", runbook="https://example.org").fire()
    labels = quoted(TEXT.partition("Labels are ")[2].partition(", the same from")[0])
    assert set(labels) == set(labels_of(alert))
    assert set(row_of(alert).annotations) <= set(quoted(TEXT.partition("Annotations are ")[2]))
    named = quoted(TEXT.partition("the same names on both ways")[2].partition(")")[0])
    assert set(named) == set(NAMES.values())


def test_fields_in_an_example_of_a_template_exist() -> None:
    assert set(re.findall(r"\$\{(\w+)\}", PAGE)) <= set(FIELDS)


def test_times_and_limits_are_those_of_the_code() -> None:
    minutes = int(LAPSES_AFTER.total_seconds() // 60)
    assert (LAPSES_AFTER, minutes) == (ENDS_TOLD_FOR, 15)
    assert TEXT.count("15 minutes") == 2
    assert (http_post.LONGEST_PAUSE, http_post.LONGEST_WISH, http_post.FIRST_PAUSE) == (60, 600, 1)
    assert (alertmanager.AGAIN_SECONDS, relay.REFUSALS) == (60, 3)
    assert timedelta(seconds=alertmanager.OLD_SECONDS) > LAPSES_AFTER + ENDS_TOLD_FOR
    assert transitions.SESSION_MS == 10_000
    assert "within 10 s" in TEXT
    assert int(CONFIGS["alerts"]["min.compaction.lag.ms"]) == 7 * DAY_MS
    assert FIRES_FOR.total_seconds() == 300
    assert f"`{MODEL}`" in PAGE
    refused = TEXT.partition("Only ")[2].partition(" say that")[0]
    assert set(map(int, re.findall(r"\d+", refused))) == http_post.ABOUT_THE_BODY
    assert relay.group_of("<group>", "<name>") in PAGE
