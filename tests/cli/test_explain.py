"""`streamer explain`: the right alert is found, all that it carries is shown, and nothing else is."""

from __future__ import annotations

import copy
import io
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from streamer.cli.explain import NoSuchAlert, in_file, pick
from streamer.explanation import reading
from streamer.explanation.page import page_of
from streamer.explanation.text import bar, explanation_parts
from streamer.explanation.values import is_link, moment, percent, shown, span
from streamer.explanation.words import explain
from tests.cli.test_cli import streamer
from tests.conftest import TopicsFactory
from tests.docs.test_docs import schema
from tests.domain.feed import build, feed
from tests.domain.traffic import objectives, traffic
from tests.relay.story import AlertsTopic, Story
from tests.security.hostile import TEXTS

DATA = Path(__file__).parents[1] / "data" / "alerts"
FILES = sorted(DATA.glob("*.json"))
Alert = dict[str, Any]


def alert_of(name: str) -> Alert:
    found: Alert = orjson.loads((DATA / f"{name}.json").read_bytes())
    return found


def text_of(alert: Alert, width: int = 80) -> str:
    out = Console(file=io.StringIO(), highlight=False, width=width)
    for part in explanation_parts(explain(alert), width):
        out.print(part)
    return out.file.getvalue()  # type: ignore[attr-defined,no-any-return]


class Page(HTMLParser):
    """What a browser makes of a page: its tags, their attributes, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] != "style":
            self.words.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())


def both(alert: Alert) -> tuple[str, str]:
    """What the terminal and the page say, with the same spaces."""
    return " ".join(text_of(alert, 120).split()), Page(page_of(explain(alert))).said


# -- what is shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_alerts_that_these_tests_explain_are_alerts(file: Path) -> None:
    jsonschema.Draft202012Validator(schema("alert")).validate(orjson.loads(file.read_bytes()))


def test_the_top_says_what_happened_since_when_how_bad_how_sure_and_where_to_look() -> None:
    for said in both(alert_of("accuracy")):
        for part in (
            "firing",
            "fraud 2026-11",
            "accuracy is 0.8412 over last 5000; the objective is at least 0.9",
            "2026-11-26 22:14:31 UTC, 9 h 16 min before the alert",
            "0.8412 against 0.9: 0.0588 below the objective",
            "between 0.8325 and 0.8495 on 5,000 rows; even the upper end misses the objective",
            "version 2026-10, which does better on the same 4,870 predictions",
            "segment country=DE, 71.6 % of the change",
            "column feature:amount: all values look divided by 100",
            "docs/runbooks/model-objective-breached.md",
        ):
            assert part.lower() in said.lower(), part


def test_drift_and_an_end_are_told_in_words_of_their_own() -> None:
    for said in both(alert_of("drift")):
        assert "The error got worse: 0.1873 → 0.3021" in said
        assert "1.61 times what it was" in said
        assert "6 alarms: adwin 4×, page_hinkley 2×" in said
    for said in both(alert_of("resolved")):
        assert "It is over: mae is back at 6.91" in said
        assert "look first" not in said.lower()
    silence = {
        **alert_of("resolved"),
        "status": "firing",
        "kind": "silence",
        "signal": "silence",
        "value": 720000.0,
    }
    assert "No prediction for 12 min" in text_of(silence)


# Each key of the evidence, and words that only it brings.
MARKS = {
    "since": "since",
    "samples": "on 5,000 rows",
    "lower": "0.8325",
    "upper": "0.8495",
    "reference": "training-2026-10.parquet",
    "columns": "feature:amount",
    "segments": "channel=web",
    "versions": "challenger-x",
    "labels": "87.4 %",
    "examples": "tx-8814077",
}


@pytest.mark.parametrize("key", MARKS)
def test_what_an_alert_carries_is_shown_and_what_it_does_not_carry_is_not(key: str) -> None:
    alert = alert_of("accuracy")
    without = copy.deepcopy(alert)
    del without["evidence"][key]
    for said, left in zip(both(alert), both(without), strict=True):
        assert MARKS[key] in said
        assert MARKS[key] not in left


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [((-0.2, -0.1), "better"), ((0.1, 0.2), "worse"), ((-0.1, 0.1), "undecided"), ((None, None), "–")],
)
def test_another_version_is_called_better_only_where_that_is_sure(bounds: Any, verdict: str) -> None:
    alert = alert_of("accuracy")
    alert["evidence"]["versions"] = [{"version": "v0", "pairs": 9, "lower": bounds[0], "upper": bounds[1]}]
    [version] = explain(alert).versions
    assert version.verdict == verdict
    for said in both(alert):
        assert ("version v0, which does better on the same 9 predictions" in said) == (verdict == "better")
        assert verdict in said


def test_an_alert_without_evidence_says_what_it_knows() -> None:
    alert = {**alert_of("accuracy"), "evidence": {}}
    for said in both(alert):
        assert "accuracy is 0.8412" in said
        for heading in HEADINGS:
            assert heading not in said


def test_raw_values_of_a_feature_are_shown_where_the_alert_has_them() -> None:
    alert = alert_of("drift")
    alert["evidence"]["recent_values"] = [1.5, 2, 1234.25]
    for said in both(alert):
        assert "1.5, 2, 1,234" in said


def test_what_nobody_knows_yet_is_shown_at_the_end() -> None:
    alert = alert_of("accuracy")
    alert["evidence"]["weather"] = {"rain": [1, 2]}
    alert["evidence"]["columns"][0]["colour"] = "green-canary"
    alert["evidence"]["labels"]["mood"] = "mood-canary"
    alert["horoscope"] = "star-canary"
    for said in both(alert):
        assert '{"rain":[1,2]}' in said
        for canary in ("green-canary", "mood-canary", "star-canary"):
            assert canary in said


def test_every_key_of_the_contract_has_a_place() -> None:
    fields = schema("alert")["properties"]
    assert set(fields) == reading._FIELDS
    assert set(fields["evidence"]["properties"]) == set(reading._KINDS)


@pytest.mark.parametrize("width", [40, 80, 120, 300])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_line_is_wider_than_the_terminal(file: Path, width: int) -> None:
    for line in text_of(orjson.loads(file.read_bytes()), width).splitlines():
        assert len(line.rstrip()) <= width


def test_a_bar_is_as_long_as_its_share_and_never_hides_something() -> None:
    assert bar(0.5, 8) == "████    "
    assert bar(0.0, 8) == " " * 8
    assert bar(1e-9, 8) == "▏       "
    assert bar(7.0, 8) == "█" * 8


def test_figures_read_well() -> None:
    assert [shown(x) for x in (0.84123, 5000.0, 1e-9, 1234567.5, None)] == [
        "0.8412", "5,000", "1e-09", "1.235e+06", "–"
    ]  # fmt: skip
    assert [percent(x) for x in (0.0, 0.118, 0.0004, 1.0, None)] == ["0 %", "11.8 %", "0.04 %", "100 %", "–"]
    assert [span(x) for x in (0.2, 59, 5_400, 86_400, 90_061)] == [
        "0 s",
        "59 s",
        "1 h 30 min",
        "1 d",
        "1 d 1 h",
    ]


# -- the page ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_page_needs_nothing_else(file: Path) -> None:
    text = page_of(explain(orjson.loads(file.read_bytes())))
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert not [
        each for each in page.attributes if each[1] in ("src", "srcset", "style") or each[1].startswith("on")
    ]
    assert {value for _, name, value in page.attributes if name == "href"} <= {
        "https://wiki.example.org/ml/churn-drift"
    }
    assert "url(" not in text
    assert "@import" not in text
    for part in ("default-src 'none'", "prefers-color-scheme: dark", "width=device-width", "@media print"):
        assert part in text
    assert len(text) < 100_000


def test_only_what_begins_like_an_address_is_a_link() -> None:
    assert is_link("https://wiki.example.org/ml/churn?x=1#a")
    for text in (
        "javascript:alert(1)",
        "data:text/html,x",
        "docs/runbooks/x.md",
        "//x",
        'https://a"b',
        "http://a b",
        "",
    ):
        assert not is_link(text)
        alert = {**alert_of("accuracy"), "runbook": text}
        assert "href" not in {name for _, name, _ in Page(page_of(explain(alert))).attributes}


# -- what a hostile writer can do ---------------------------------------------------------------------


HEADINGS = ("Columns", "Segments", "Versions", "Alarms", "Labels", "Examples", "Also in the alert")


def poisoned(value: Any, text: str) -> Any:
    """The same shape with this text in every place that takes one, in names too."""
    if isinstance(value, dict):
        return {**{key: poisoned(each, text) for key, each in value.items()}, text: text}
    if isinstance(value, list):
        return [poisoned(each, text) for each in value]
    return text if isinstance(value, str) and moment(value) is None else value


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:20])
@pytest.mark.parametrize("name", ["accuracy", "drift"])
def test_no_text_in_an_alert_steers_a_terminal_or_becomes_markup(name: str, text: str) -> None:
    alert = poisoned(alert_of(name), text)
    shown_text = text_of(alert)
    assert not {each for each in shown_text if not each.isprintable() and each != "\n"}
    begins = {line.split("  ")[0] for line in shown_text.splitlines() if line and not line.startswith(" ")}
    assert begins <= {"ALERT", *HEADINGS}
    page = page_of(explain(alert))
    assert not {each for each in page if not each.isprintable() and each != "\n"}
    harmless = Page(page_of(explain(poisoned(alert_of(name), "harmless"))))
    assert sorted(Page(page).tags) == sorted(harmless.tags)
    assert {each[:2] for each in Page(page).attributes} == {each[:2] for each in harmless.attributes}


def test_markup_of_the_terminals_library_is_text() -> None:
    alert = poisoned(alert_of("accuracy"), "[bold red]canary[/]")
    assert "[bold red]canary[/]" in text_of(alert)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
ENTRIES = st.dictionaries(
    st.sampled_from(
        ["column", "segment", "version", "detector", "position", "before", "after", "cut", "cells",
         "missing", "middle", "findings", "distance", "unseen", "rows", "value", "mix", "rate", "share",
         "lower", "upper", "coverage", "settled", "lag_p50_s", "warnings", "made_of"]
    ),
    ANYTHING, max_size=8,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(sorted(reading._FIELDS)), ANYTHING),
    st.dictionaries(
        st.sampled_from(sorted(reading._KINDS)), ANYTHING | ENTRIES | st.lists(ENTRIES, max_size=4)
    ),
)
@settings(max_examples=300, deadline=None)
def test_a_document_of_any_shape_is_explained_as_far_as_it_can_be(alert: Alert, evidence: Alert) -> None:
    for each in ({**alert, "evidence": evidence}, {**alert_of("drift"), **alert, "evidence": evidence}):
        document = orjson.loads(orjson.dumps(each))  # as it would be read
        assert text_of(document)
        assert Page(page_of(explain(document))).tags


def test_a_document_without_end_is_cut() -> None:
    alert = alert_of("accuracy")
    for key in ("columns", "segments", "versions", "examples"):
        alert["evidence"][key] *= 5_000
    alert["evidence"]["columns"][0]["cells"] *= 5_000
    alert["evidence"] |= {f"key {at}": at for at in range(5_000)}
    alert["summary"] = "y" * 1_000_000
    assert len(text_of(alert)) < 100_000
    assert len(page_of(explain(alert))) < 400_000


def test_long_names_are_cut() -> None:
    alert = alert_of("accuracy")
    alert |= {"model": "m" * 200, "version": "v" * 100, "rule": "r" * 500, "runbook": "b" * 5_000}
    alert["evidence"]["segments"][0]["segment"] = "s" * 500
    alert["evidence"]["columns"][0]["cells"][0][0] = "c" * 500
    for said in both(alert):
        for letter, most in (("m", 60), ("v", 60), ("r", 60), ("s", 60), ("c", 24), ("b", 300)):
            longest = max(map(len, re.findall(f"{letter}+", said.replace(" ", ""))))
            assert longest <= most, letter


def test_every_alert_of_a_worker_can_be_explained() -> None:
    pipeline = build(objectives())
    feed(pipeline, traffic(random.Random(3), 2_500).steps)
    alerts = pipeline.take_effects().alerts
    assert len(alerts) > 100
    for alert in alerts:
        found = explain(orjson.loads(orjson.dumps(alert)))
        assert found.rest == []
        assert found.headline
        assert page_of(found)


# -- which one ---------------------------------------------------------------------------------------


def numbered(*ids: str) -> list[Alert]:
    return [{"alert_id": name, "at": at} for at, name in enumerate(ids)]


def test_an_alert_is_named_by_its_id_the_beginning_of_one_or_as_the_latest() -> None:
    alerts = numbered("abc1", "abd2", "abc1", "ff00")
    assert pick(alerts, "latest") == alerts[3]
    assert pick(alerts, "abc1") == alerts[2]  # told twice: the later word
    assert pick(alerts, "ff") == alerts[3]
    assert pick(alerts, "abd") == alerts[1]
    assert pick(alerts, "x") is None
    assert pick(alerts, "") is None
    assert pick([], "latest") is None
    assert pick([*alerts, {"type": "pane", "model": "m"}], "latest") == alerts[3]
    assert pick([{"type": "pane", "model": "m"}], "None") is None
    assert pick(numbered("ab", "abc"), "ab") == {"alert_id": "ab", "at": 0}


def test_a_beginning_that_several_have_is_answered_with_them() -> None:
    with pytest.raises(NoSuchAlert, match="2 alerts begin like that; the last ones are abc1, abd2"):
        pick(numbered("abc1", "abd2", "ff00"), "ab")


@pytest.mark.parametrize(
    ("content", "said"), [(b"{", "is no alert"), (b"[]", "is no alert"), (None, "cannot be read")]
)
def test_a_file_that_is_no_alert_is_one_line(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "alert.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NoSuchAlert, match=said):
        in_file(file)


def test_the_command_explains_a_file_in_the_terminal_and_as_a_page(tmp_path: Path) -> None:
    file, page = DATA / "drift.json", tmp_path / "drift.html"
    done = streamer("explain", "--file", str(file), COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("UPDATED  ticket  churn v7  drift.error\n  The error got worse")
    done = streamer("explain", "--file", str(file), "--html", str(page))
    assert (done.returncode, done.stdout) == (0, "")
    assert page.read_text() == page_of(explain(alert_of("drift")))
    done = streamer("explain", "--file", str(file), "--html", str(tmp_path / "no" / "where.html"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["latest", "--file", "x.json"]])
def test_exactly_one_alert_has_to_be_named(arguments: list[str]) -> None:
    done = streamer("explain", *arguments)
    assert done.returncode == 2
    assert "name an alert" in done.stderr


# -- from Kafka ----------------------------------------------------------------------------------------


def test_an_alert_is_found_on_its_topic_and_what_was_forgotten_there_in_the_reports(
    bootstrap: str, topics: TopicsFactory
) -> None:
    names = topics(2)
    prefix = names.alerts.removesuffix("alerts")
    where = ("--bootstrap", bootstrap, "--topic-prefix", prefix)
    done = streamer("explain", "latest", *where)
    assert done.returncode == 1
    assert "there have been no alerts" in done.stderr
    churn, fraud = Story("churn"), Story("fraud")
    forgotten, fired, updated, other = churn.fire(), fraud.fire(), fraud.update(), churn.update()
    AlertsTopic(bootstrap, names.alerts).write(fired, updated, other)
    reports = AlertsTopic(bootstrap, names.reports)
    reports.write(*({"type": "alert", **each} for each in (forgotten, fired, updated, other)))
    reports.put("churn", orjson.dumps({"type": "pane", "model": "churn"}))
    for wanted, said in (
        ("latest", "churn 2026-11"),
        (fired["alert_id"], "FIRING  page  fraud 2026-11"),
        (updated["alert_id"][:8], "UPDATED  page  fraud 2026-11"),
        (forgotten["alert_id"], "FIRING  page  churn 2026-11"),
    ):
        done = streamer("explain", wanted, *where)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert "Also in the alert" not in done.stdout
    done = streamer("explain", "no-such-alert", *where)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    for part in ("there is no alert no-such-alert", names.reports, "streamer alerts", "--topic-prefix"):
        assert part in line
