"""``streamer dead-letters``: records that could not be used; look at them, send them back once mended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streamer import terminal
from streamer.adapters.dead_letters import Address, LetterLog, Wanted, address_of, listing
from streamer.adapters.redrive import Plan, Redriver, Sent, outcomes, plan
from streamer.cli.letter_tables import (
    as_values,
    counts_as_values,
    letter_lines,
    letter_table,
    outcome_lines,
    plan_lines,
    summary_table,
)
from streamer.cli.options import (
    FAILED,
    INTERRUPTED,
    Bootstrap,
    Config,
    Group,
    Prefix,
    agreed,
    duration_ms,
    interruptible,
    settings_of,
)
from streamer.config import Settings
from streamer.config.durations import parse_duration
from streamer.domain.events import Reason


class Kind(StrEnum):
    """Of which topic a letter came."""

    PREDICTIONS = "predictions"
    LABELS = "labels"


ReasonOption = Annotated[
    Reason | None, typer.Option("--reason", help="Only of this reason.", show_default=False)
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Only of this model, as the record names it.")
]
TopicOption = Annotated[Kind | None, typer.Option("--topic", help="Only records of this topic.")]
Since = Annotated[
    str | None,
    typer.Option(help="Only records from then on: 2026-11-24T09:00 (UTC), or 2h for 2 hours ago."),
]
Until = Annotated[str | None, typer.Option(help="Only records that came earlier; as --since.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def dead_letters_list(
    reason: ReasonOption = None,
    model: ModelOption = None,
    topic: TopicOption = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 100,
    as_json: AsJson = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Only how many, by reason and topic, of all that match.")
    ] = False,
    bootstrap: Bootstrap = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """List records that could not be used: each with its reason, and whether it was redriven.

    Oldest first, by the time at which the broker had them. The first column is a letter's address,
    PARTITION:OFFSET in the dead-letters topic. One that was redriven names the record it has become.

        streamer dead-letters list --summary
        streamer dead-letters list --reason misplaced --model churn --since 2h
        streamer dead-letters list --json | jq .source
    """
    wanted = _wanted(reason, model, topic, since, until)
    log, _ = _opened(bootstrap, topic_prefix, config)
    found = listing(log, wanted, limit)
    if as_json:
        for values in counts_as_values(found) if summary else map(as_values, found.rows):
            print(terminal.json_line(values))
        return
    out, total = terminal.console(), found.found.total()
    if not total:
        terminal.console(stderr=True).print("There are no such dead letters.", style="dim")
        return
    out.print(summary_table(found) if summary else letter_table(found.rows))
    if not summary and total > len(found.rows):
        terminal.console(stderr=True).print(
            f"The newest {len(found.rows):,} of {total:,}: --limit shows more.", style="dim"
        )


def dead_letters_show(
    letter: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Its address, as listed.")],
    bootstrap: Bootstrap = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Show one letter: what was wrong, the cure, where it came from, and its bytes.

    JSON is laid out, other text is escaped, anything else is shown in hexadecimal: nothing in it
    reaches the terminal as it is.

        streamer dead-letters show 3:17
    """
    [address] = _addresses([letter])
    log, _ = _opened(bootstrap, topic_prefix, config)
    found, mark = log.find(address)
    for line in letter_lines(found, mark, log.obstacle(found)):
        terminal.console().print(line)


def dead_letters_redrive(
    letters: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARTITION:OFFSET", help="These letters. [default: all that match]"),
    ] = None,
    reason: ReasonOption = None,
    model: ModelOption = None,
    topic: TopicOption = None,
    since: Since = None,
    until: Until = None,
    every: Annotated[bool, typer.Option("--all", help="Every letter that was not redriven yet.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also letters that came of a redrive: the cure has changed since.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[
        str, typer.Option(help="How long to wait for workers to take them; 0s: not at all.")
    ] = "30s",
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
) -> None:
    """Send the original bytes back to the topic they came from, each letter once; asks first.

    Mend the cause before. A letter is sent and marked in one transaction: it is never sent twice,
    whenever this is interrupted and however often it runs. Misplaced ones go to their model's home.
    Then it waits until the workers have taken them: exit status 1 if any is a dead letter again,
    which is a new letter with an address of its own, or if no worker came.

        streamer dead-letters redrive --reason misplaced --dry-run
        streamer dead-letters redrive --reason unknown_class --model churn --since 2d
        streamer dead-letters redrive 3:17 3:21 --yes
    """
    addresses = _addresses(letters or [])
    asked = _wanted(reason, model, topic, since, until, addresses)
    if not (addresses or every) and not any((reason, model, topic, since, until)):
        raise typer.BadParameter("say which: PARTITION:OFFSET, --reason, --model, --topic, --since, or --all")
    patience = duration_ms(wait, "--wait") / 1000
    log, settings = _opened(bootstrap, topic_prefix, config, group)
    out = terminal.console(stderr=True)
    found = plan(log, asked, again)
    for line in plan_lines(found):
        out.print(line)
    if dry_run or not found.chosen:
        raise typer.Exit(FAILED if addresses and found.hopeless else 0)
    if not yes and not agreed(f"Send {len(found.chosen):,} letters back?"):
        out.print("Nothing was sent.")
        raise typer.Exit(FAILED)
    raise typer.Exit(_redrive(settings, log, found, patience))


def _redrive(settings: Settings, log: LetterLog, found: Plan, patience: float) -> int:
    """Send, wait, say what became of them; answers the exit status."""
    base, out = settings.client_config(), terminal.console(stderr=True)
    redriver = Redriver(base, log, settings.partitioner)
    sent: list[Sent] = []
    with interruptible() as stopped:
        try:
            redriver.open(found)
            for batch in redriver.send(found, lambda: not stopped.is_set()):
                sent += batch
        finally:
            redriver.close()
        out.print(f"{len(sent):,} letters were sent.")
        if len(sent) < len(found.chosen) and not stopped.is_set():
            out.print(f"{len(found.chosen) - len(sent):,} were not there any more: their time is over.")
        if not (sent and patience):
            return INTERRUPTED if stopped.is_set() else 0
        became = outcomes(base, settings.group, log, sent, found.ends, patience, lambda: not stopped.is_set())
        for line in outcome_lines(became, settings.group):
            out.print(line)
        if stopped.is_set():
            return INTERRUPTED
    return FAILED if became.dead or became.waiting else 0


def _opened(
    bootstrap: str | None, prefix: str | None, config: Path | None, group: str | None = None
) -> tuple[LetterLog, Settings]:
    settings = settings_of(config, bootstrap=bootstrap, topic_prefix=prefix, group=group)
    return LetterLog(settings.client_config(), settings.topics), settings


def _wanted(
    reason: Reason | None,
    model: str | None,
    topic: Kind | None,
    since: str | None,
    until: str | None,
    addresses: Sequence[Address] = (),
) -> Wanted:
    return Wanted(
        None if reason is None else reason.value,
        model,
        None if topic is None else topic.value,
        _moment(since, "--since"),
        _moment(until, "--until"),
        frozenset(addresses),
    )


def _addresses(texts: Sequence[str]) -> list[Address]:
    try:
        return [address_of(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _moment(text: str | None, option: str) -> int | None:
    """Epoch ms of a date with or without a time, UTC where it names no zone, or of a duration ago."""
    if text is None:
        return None
    now = datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return int(now.timestamp() * 1000) - parse_duration(text)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is neither a time, as in 2026-11-24T09:00, nor how long ago, as in 2h",
                param_hint=option,
            ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
