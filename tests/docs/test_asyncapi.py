"""The AsyncAPI document of the package says what the code does; CI holds it against AsyncAPI's own tool."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import jsonschema
import orjson
import pytest
import yaml

from streamer import __version__
from streamer.adapters.topics import CONFIGS, Topics
from streamer.checkpoint import KINDS
from streamer.domain.events import Reason
from tests.docs.pages import ROOT

SCHEMAS = files("streamer") / "schemas"
DOCUMENT: dict[str, Any] = yaml.safe_load((SCHEMAS / "asyncapi.yml").read_text())
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


def at(reference: str) -> Any:
    """What ``#/a/b`` stands for."""
    found: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_every_topic_of_the_contract_has_a_channel_with_its_settings() -> None:
    names = Topics().by_role()
    contract = {role: name for role, name in names.items() if role != "state"}
    assert set(DOCUMENT["channels"]) == set(contract.values())
    for role, name in contract.items():
        channel = DOCUMENT["channels"][name]
        assert channel["address"] == name
        wanted, said = CONFIGS[role], channel["bindings"]["kafka"]["topicConfiguration"]
        assert said["cleanup.policy"] == [wanted.get("cleanup.policy", "delete")]
        if "retention.ms" in wanted:
            assert str(said["retention.ms"]) == wanted["retention.ms"]
    acted = {operation["channel"]["$ref"] for operation in DOCUMENT["operations"].values()}
    assert acted == {f"#/channels/{name}" for name in DOCUMENT["channels"]}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_a_schema_of_the_package_which_its_examples_fit(name: str) -> None:
    message = MESSAGES[name]
    if name == "letter":
        assert "payload" not in message, "any bytes"
        return
    file = message["payload"]["$ref"].removeprefix("./")
    schema = orjson.loads((SCHEMAS / file).read_bytes())
    for example in message.get("examples", ()):
        jsonschema.validate(example["payload"], schema)


def test_references_within_lead_somewhere_and_every_message_is_on_a_channel() -> None:
    text = (SCHEMAS / "asyncapi.yml").read_text()
    for reference in re.findall(r"\$ref: '(#/[^']+)'", text):
        assert at(reference)
    used = {
        each["$ref"] for channel in DOCUMENT["channels"].values() for each in channel["messages"].values()
    }
    assert used == {f"#/components/messages/{name}" for name in MESSAGES}


def test_a_dead_letter_has_the_headers_and_the_reasons_of_the_code() -> None:
    headers = MESSAGES["letter"]["headers"]
    assert headers["properties"]["reason"]["enum"] == [reason.value for reason in Reason]
    assert headers["properties"]["kind"]["enum"] == list(KINDS)
    code = (ROOT / "streamer" / "checkpoint.py").read_text().partition("def _dead_letter")[2]
    written = re.findall(r'\("([\w-]+)", ', code.partition("return OutRecord")[0])
    assert set(headers["properties"]) == set(written)
    assert set(headers["required"]) == set(written[: len(headers["required"])])


def test_the_version_is_that_of_the_package() -> None:
    assert DOCUMENT["info"]["version"] == __version__
