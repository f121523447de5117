"""What a Logstash filter does to an event, for the few plugins that deploy/elk uses.

There is no Logstash to be had from the registries that CI reaches; its parser is.
Semantics: the reference pages of the plugins json, date, drop and mutate.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
from logstash_pipeline_parser import Pipeline

Event = dict[str, Any]


class Dropped(Exception):
    """The event is no more."""


def parsed(file: Path) -> dict[str, list[Any]]:
    """The sections of a pipeline: input, filter and output."""
    return dict(Pipeline(file.read_text()).parse())


def settings(plugin: list[Any]) -> dict[str, Any]:
    """Of one plugin: its settings by name, each a value or a list of several."""
    return {name: values[0] if len(values) == 1 else values for name, values in plugin[1]}


def filtered(section: list[Any], event: Event) -> Event | None:
    """The event after these filters; None where it was dropped."""
    event = orjson.loads(orjson.dumps(event))
    try:
        _run(section, event)
    except Dropped:
        return None
    return event


def _run(section: list[Any], event: Event) -> None:
    taken = False
    for name, body in section:
        if name == "if":
            *condition, branch = body
            taken = _true(condition, event)
            if taken:
                _run(branch[0] if isinstance(branch[0][0], list) else branch, event)
        elif name == "else":
            if not taken:
                _run(body, event)
        else:
            _PLUGINS[name](event, settings([name, body]))


def _true(condition: list[Any], event: Event) -> bool:
    while len(condition) == 1 and isinstance(condition[0], list):
        condition = condition[0]
    if "or" in condition:
        at = condition.index("or")
        return _true(condition[:at], event) or _true(condition[at + 1 :], event)
    if condition[0] == "!":
        return not _true(condition[1:], event)
    if "==" in condition:
        return bool(_get(event, condition[0]) == condition[2])
    [field] = condition
    return _get(event, field) not in (None, False)


def _names(field: str) -> list[str]:
    return re.findall(r"\[([^\]]+)\]", field) or [field]


def _get(event: Event, field: str) -> Any:
    found: Any = event
    for name in _names(field):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


def _set(event: Event, field: str, value: Any) -> None:
    *above, last = _names(field)
    for name in above:
        event = event.setdefault(name, {})
    event[last] = value


def _pop(event: Event, field: str) -> Any:
    *above, last = _names(field)
    for name in above:
        event = event.get(name, {})
    return event.pop(last, None) if isinstance(event, dict) else None


def _json(event: Event, given: dict[str, Any]) -> None:
    try:
        _set(event, given["target"], orjson.loads(event[given["source"]]))
    except orjson.JSONDecodeError:
        event.setdefault("tags", []).append("_jsonparsefailure")


def _date(event: Event, given: dict[str, Any]) -> None:
    field, form = given["match"]
    assert form == "ISO8601"
    event["@timestamp"] = _get(event, field)


def _mutate(event: Event, given: dict[str, Any]) -> None:
    """Renames come first, then what all filters can do."""
    assert set(given) <= {"rename", "add_field", "remove_field"}
    for old, [new] in given.get("rename", ()):
        if _get(event, old) is not None:
            _set(event, new, _pop(event, old))
    for field, [value] in given.get("add_field", ()):
        _set(event, field, value)
    for field in given.get("remove_field", ()):
        _pop(event, field)


def _drop(event: Event, given: dict[str, Any]) -> None:
    raise Dropped


_PLUGINS = {"json": _json, "date": _date, "mutate": _mutate, "drop": _drop}
