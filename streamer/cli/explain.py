"""``streamer explain``: one alert, in plain words and with what it rests on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from streamer import terminal
from streamer.adapters.alert_log import Alert, AlertLog
from streamer.adapters.topics import Topics
from streamer.cli.options import Bootstrap, Config, Prefix, settings_of, write_page
from streamer.errors import StreamerError
from streamer.explanation.words import explain as read

LATEST = "latest"
MOST_NAMED = 5
LARGEST_FILE = 16 << 20


class NoSuchAlert(StreamerError):
    """Nothing to explain; the message names the cure."""


def explain(
    alert_id: Annotated[
        str | None,
        typer.Argument(
            metavar="ALERT_ID", help="Its `alert_id`, the beginning of one, or `latest`.", show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Explain the alert in this file, - for standard input; no Kafka is asked."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page of HTML instead, which needs nothing else and can be sent around."),
    ] = None,
    bootstrap: Bootstrap = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Explain an alert: what happened, since when, how bad, how sure, and what to look at first.

    Then what it rests on, with small plots: changed columns, segments, versions, alarms, labels, examples.
    It is looked for in the topics alerts and reports.

        streamer explain latest
        streamer explain 5d0c1f0a --html incident.html
        streamer alerts --firing --json | tail -1 | streamer explain --file -
    """
    if (alert_id is None) == (file is None):
        raise typer.BadParameter("name an alert (`latest` is one), or a file with --file")
    if file is not None:
        alert = in_file(file)
    else:
        assert alert_id is not None
        settings = settings_of(config, bootstrap=bootstrap, topic_prefix=topic_prefix)
        alert = on_topics(settings.client_config(), settings.topics, alert_id)
    found = read(alert)
    if html is None:
        from streamer.explanation.text import explanation_parts

        out = Console(highlight=False)
        for part in explanation_parts(found, out.width):
            out.print(part)
        return
    from streamer.explanation.page import page_of

    write_page(html, page_of(found))


def on_topics(client: dict[str, object], topics: Topics, wanted: str) -> Alert:
    """The alert of this id, or the beginning of one, or the latest. Raises NoSuchAlert.

    ``alerts`` loses what is over in time, ``reports`` keeps all: it is only asked for what the other has not.
    """
    for topic in (topics.alerts, topics.reports):
        log = AlertLog(client, topic)
        try:
            found = pick(log.so_far(), wanted)
        finally:
            log.close()
        if found is not None:
            return found
    if wanted == LATEST:
        raise NoSuchAlert("there have been no alerts: `streamer alerts --follow` shows the first one")
    raise NoSuchAlert(
        f"there is no alert {terminal.clean(wanted)[:40]} in the topics {topics.alerts} and {topics.reports}:"
        " `streamer alerts --json` prints those that there are, each with its alert_id; what is over"
        " is kept there for 7 and for 400 days; --bootstrap and --topic-prefix say where to look"
    )


def pick(alerts: list[Alert], wanted: str) -> Alert | None:
    """The last one with this id, of those in order of their time; None where there is none.

    Raises NoSuchAlert where several ids begin like that.
    """
    alerts = [each for each in alerts if "alert_id" in each]  # there is more than alerts in ``reports``
    if wanted == LATEST:
        return alerts[-1] if alerts else None
    # One that was told anew, after its partition began anew, has the id that it had.
    by_id = {str(each.get("alert_id")): each for each in alerts}
    if wanted in by_id:
        return by_id[wanted]
    close = [name for name in by_id if name.startswith(wanted)] if wanted else []
    if len(close) > 1:
        named = ", ".join(terminal.clean(name)[:40] for name in close[-MOST_NAMED:])
        raise NoSuchAlert(f"{len(close)} alerts begin like that; the last ones are {named}: say more of it")
    return by_id[close[0]] if close else None


def in_file(file: Path) -> Alert:
    """The alert in a file. Raises NoSuchAlert."""
    name = "standard input" if str(file) == "-" else terminal.clean(file)
    try:
        data = sys.stdin.buffer.read(LARGEST_FILE) if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise NoSuchAlert(f"{name} cannot be read: {error.strerror}") from error
    try:
        alert = orjson.loads(data)
    except orjson.JSONDecodeError:
        alert = None
    if not isinstance(alert, dict):
        raise NoSuchAlert(f"{name} is no alert: one JSON object, as a line of `streamer alerts --json`")
    return alert
