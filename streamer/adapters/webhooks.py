"""One transition as the body of a webhook: as it is on the topic, as Slack's text, or by a template file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any

import orjson

from streamer.adapters.alert_log import Alert
from streamer.adapters.http_post import Address, Reply
from streamer.adapters.logs import one_line

Body = Callable[[Alert], bytes]
SIGNS = {"firing": ":red_circle:", "updated": ":large_orange_circle:", "resolved": ":large_green_circle:"}
FIELDS = (
    "alert_id", "fingerprint", "incident", "change", "status", "reason", "kind", "model", "version",
    "segment", "rule", "severity", "summary", "signal", "direction", "detector", "value", "threshold",
    "window", "started_at", "updated_at", "resolved_at", "runbook",
)  # fmt: skip
_SAFE_ID = re.compile(r"[\w-]{1,100}", re.ASCII)


class BadTemplate(ValueError):
    """The template cannot be used; the message names the cure."""


class Webhook:
    """Where transitions go, and in which form."""

    def __init__(self, address: Address, body: Body) -> None:
        self._address, self._body = address, body

    def post(self, alert: Alert) -> Reply:
        """Send one. The header Idempotency-Key is its ``alert_id``: the same again is the same transition."""
        name = str(alert.get("alert_id"))
        headers = {"Idempotency-Key": name} if _SAFE_ID.fullmatch(name) else {}
        return self._address.post(self._body(alert), headers)


def template_of(name: str) -> Body:
    """``json``, ``slack``, or the path of a file. Raises BadTemplate."""
    match name:
        case "json":
            return orjson.dumps
        case "slack":
            return slack
        case _:
            return _of_file(Path(name))


def slack(alert: Alert) -> bytes:
    """``{"text": …}`` with who, what and the sentence for a person; nothing in it can call a channel."""

    def said(key: str) -> str:
        text = one_line(str(alert.get(key) or ""))
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    status = said("status")
    who = " ".join(filter(None, (said("model"), said("version"))))
    line = f"{SIGNS.get(status, '')} *{status.upper()}* {said('severity')}: {who}, {said('rule')}"
    line += f"\n{said('summary')}"
    if said("reason"):
        line += f" ({said('reason')})"
    if said("runbook"):
        line += f"\n{said('runbook')}"
    return orjson.dumps({"text": line})


def _of_file(file: Path) -> Body:
    """JSON in which ``${summary}`` stands for a field's text, between quotes.

    A field that is null is an empty text. What a text may hold of quotes and breaks is escaped.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadTemplate(f"{file} cannot be read ({why}): a template is json, slack or a file") from None
    template = Template(text)
    if not template.is_valid():
        raise BadTemplate(f"{file}: a $ that is no ${{field}} is written $$")
    unknown = [name for name in template.get_identifiers() if name not in FIELDS]
    if unknown:
        raise BadTemplate(f"{file}: an alert has no field {unknown[0]}; it has {', '.join(FIELDS)}")
    try:
        orjson.loads(_filled(template, dict.fromkeys(FIELDS, '"\n')))
    except orjson.JSONDecodeError as error:
        raise BadTemplate(
            f"{file}: filled in, this is not JSON ({error}): each field stands between quotes, as in"
            ' "text": "${summary}"'
        ) from None
    return lambda alert: _filled(template, alert).encode()


def _filled(template: Template, alert: Mapping[str, Any]) -> str:
    values = {name: "" if alert.get(name) is None else str(alert[name]) for name in FIELDS}
    return template.substitute({name: orjson.dumps(text).decode()[1:-1] for name, text in values.items()})
