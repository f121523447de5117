"""What the pages on security promise is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamer.adapters import http_server, logs
from streamer.adapters.rights import Role, rights_of
from streamer.adapters.topics import CONFIGS, DAY_MS, Topics
from tests.docs.pages import page, quoted, table
from tests.security.commands import PRESENT

ROOT = Path(__file__).parents[2]
POLICY = (ROOT / "SECURITY.md").read_text()
PAGE = page("security.md")
EVERY = Topics(trace="trace").repartitioned()
KINDS = {"topic": "topic", "group": "group", "transactional": "transactional-id"}


def kept() -> dict[str, str]:
    """Role of a topic → how long the page says that it is kept."""
    rows = {quoted(row[0])[0]: row[2] for row in table(POLICY, "where") if row[0].startswith("topic")}
    return {role: rows[name] for role, name in EVERY.by_role().items()}


@pytest.mark.parametrize("role", sorted(CONFIGS))
def test_how_long_personal_data_is_kept_is_what_the_topics_are_made_with(role: str) -> None:
    config, said = CONFIGS[role], kept()[role]
    if "retention.ms" in config:
        assert said == f"{int(config['retention.ms']) // DAY_MS} days"
    elif role == "alerts":
        assert f"at least {int(config['min.compaction.lag.ms']) // DAY_MS} days" in said
    else:
        assert f"({int(config['max.compaction.lag.ms']) // 60_000} minutes)" in said


def test_every_topic_has_a_row_with_what_its_writer_can_do() -> None:
    written = {name for row in table(POLICY, "may write to") for name in quoted(row[0])}
    assert set(EVERY.by_role().values()) <= written


def test_the_rights_on_the_page_are_those_of_the_commands() -> None:
    found: dict[str, set[tuple[str, str, str]]] = {}
    for row in table(PAGE, "role"):
        [role] = quoted(row[0])
        names = [*Topics(trace="trace").by_role().values()] if row[2] == "topics, all" else quoted(row[2])
        [word] = re.findall(r"^(topic|group|transactional)", row[2])
        resource = KINDS[word]
        found.setdefault(role, set()).update(
            (resource, name, operation) for name in names for operation in row[3].split(", ")
        )
    for role in Role:
        rights = rights_of(role, Topics(trace="trace"), "streamer")
        wanted = {(r.resource, name, each) for r in rights for name in r.names for each in r.operations}
        assert found[role] == wanted, role


def test_what_a_router_changes_is_said_of_each_role() -> None:
    def rights(topics: Topics, role: Role) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for each in rights_of(role, topics, "streamer"):
            for name in each.names:
                found.setdefault(name, set()).update(each.operations)
        return found

    said: dict[str, dict[str, set[str]]] = {}
    for row in table(PAGE, "with `repartition`"):
        [role] = quoted(row[0])
        said.setdefault(role, {}).update({name: set(row[2].split(", ")) for name in quoted(row[1])})
    for role in Role:
        with_it, without = rights(EVERY, role), rights(Topics(trace="trace"), role)
        changed = {name: each for name, each in with_it.items() if each != without.get(name)}
        assert without.keys() <= with_it.keys()
        assert changed == said.get(role, {}), role


def test_every_command_of_a_role_exists_and_has_a_role() -> None:
    named = {
        name if name in PRESENT else next(each for each in PRESENT if each.endswith(name))
        for row in table(PAGE, "role")
        for text in quoted(row[1])
        for name in [text.removeprefix("streamer ")]
    }
    talking = {name for name, options in PRESENT.items() if "--bootstrap" in options}
    assert named == talking - {"topics acls"}


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"at most {http_server.MOST} connections" in text
    assert f"has {http_server.DEADLINE:.0f} seconds" in text
    assert f"at most {logs.LONGEST:,} characters" in text


def test_every_link_and_command_of_the_policy_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", POLICY):
        assert (ROOT / target).exists(), target
    for words in (text.split()[1:] for text in quoted(POLICY) if text.startswith("streamer ")):
        command = " ".join(word for word in words if not word.startswith("-"))
        assert command in PRESENT
        assert {word for word in words if word.startswith("-")} <= PRESENT[command]
