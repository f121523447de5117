"""What a webhook is sent: JSON always, whatever stands in an alert."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import orjson
import pytest

from streamer.adapters.webhooks import FIELDS, SIGNS, BadTemplate, slack, template_of
from streamer.domain.alerts import Status
from tests.relay.story import Story

HOSTILE = 'a"b\\c\n</script> $model ${rule} \x1b[0m \u2028 é'


def test_json_is_the_alert_as_it_is_on_the_topic() -> None:
    alert = Story(HOSTILE).fire()
    assert orjson.loads(template_of("json")(alert)) == alert


def test_slack_has_a_sentence_for_a_person_and_nothing_that_calls_or_links() -> None:
    text = orjson.loads(slack(Story("<!here> <http://x|y>", runbook="https://example.org/r").resolve()))[
        "text"
    ]
    assert "<" not in text
    assert text.startswith(":large_green_circle: *RESOLVED* page: &lt;!here&gt;")
    assert text.endswith("it is well (recovered)\nhttps://example.org/r")
    assert set(SIGNS) == set(get_args(Status))
    orjson.loads(slack({}))


def test_a_file_has_fields_between_quotes_and_stays_json(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text('{"title": "${model}: ${summary}", "price": "$$5", "why": "${reason}", "v": "$value"}')
    made = orjson.loads(template_of(str(file))(Story(HOSTILE).fire()))
    assert made == {"title": f"{HOSTILE}: it is too low", "price": "$5", "why": "", "v": "0.7"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": "${colour}"}', "no field colour"),
        ('{"a": ${value}}', "between quotes"),
        ('{"a": "5$ each"}', "$$"),
    ],
)
def test_a_template_that_cannot_work_is_refused_at_the_start(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(text)
    with pytest.raises(BadTemplate, match=r"t\.json") as caught:
        template_of(str(file))
    assert said in str(caught.value)


def test_a_template_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(BadTemplate, match="json, slack or a file"):
        template_of("slakc")


def test_the_fields_of_a_template_are_those_of_an_alert_that_are_texts_or_numbers() -> None:
    alert = Story("churn").fire()
    assert set(FIELDS) == {key for key, value in alert.items() if not isinstance(value, dict | int)} | {
        key for key in FIELDS if key in alert
    }
    assert set(alert) - set(FIELDS) == {"evidence", "source", "objectives_revision"}
