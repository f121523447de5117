"""``streamer relay`` and ``streamer alerts test``: alerts on their way to people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from streamer import terminal
from streamer.adapters.relay import Relay
from streamer.adapters.relay_metrics import serve
from streamer.cli.options import (
    FAILED,
    Bootstrap,
    Config,
    Group,
    LogFormat,
    LogLevel,
    MetricsHost,
    Prefix,
    interruptible,
    settings_of,
)
from streamer.config.targets import IN_A_FILE, targets_of

AlertmanagerOption = Annotated[
    str | None,
    typer.Option("--alertmanager", help="Alertmanager's address, http://HOST:PORT[,…]; all of a cluster."),
]
WebhookOption = Annotated[
    list[str] | None,
    typer.Option(
        "--webhook",
        help="NAME=FILE: a webhook whose address stands in FILE; may be repeated."
        " [variable: STREAMER_WEBHOOK__NAME, the address itself]",
        show_default=False,
    ),
]
TemplateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--webhook-template",
        help="NAME=json, NAME=slack or NAME=FILE: what that webhook is sent. [default: json]",
        show_default=False,
    ),
]


def relay(
    alertmanager: AlertmanagerOption = None,
    webhook: WebhookOption = None,
    webhook_template: TemplateOption = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Port of /metrics and /healthz. [default: none is served]", min=0, max=65535),
    ] = None,
    metrics_host: MetricsHost = None,
    bootstrap: Bootstrap = None,
    group: Group = None,
    topic_prefix: Prefix = None,
    config: Config = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Tell Alertmanager and webhooks of alerts, as they are committed; Ctrl-C or SIGTERM ends it.

    An Alertmanager is told every minute of all that fires, and at once of what changes. A webhook gets
    each transition at least once, in order; while it is away they wait. docs/alerting.md says which way
    to a pager to take, so that nobody is told twice. A webhook's address is a secret: it has no flag.

        streamer relay --alertmanager http://alertmanager:9093
        streamer relay --webhook slack=/run/secrets/slack --webhook-template slack=slack
        streamer alerts test --alertmanager http://alertmanager:9093
    """
    settings = settings_of(
        config,
        bootstrap=bootstrap,
        group=group,
        topic_prefix=topic_prefix,
        metrics_host=metrics_host,
        log_level=log_level,
        log_format=log_format,
        **_target_flags(alertmanager, webhook, webhook_template),
    )
    targets = targets_of(settings)
    work = Relay(settings.client_config(), settings.topics.alerts, settings.group, settings.instance_id)
    for name, target in targets.alertmanagers.items():
        work.add_alertmanager(name, target)
    for name, hook in targets.webhooks.items():
        work.add_webhook(name, hook)
    server = None
    if metrics_port is not None:
        server = serve(work.attempts, settings.metrics_host, metrics_port, settings.certificate)
        terminal.console(stderr=True).print(f"metrics on {server.url}/metrics", markup=False)
    try:
        with interruptible() as stopped:
            work.run(stopped)
    finally:
        if server is not None:
            server.close()


def alerts_test(
    severity: Annotated[str, typer.Option(help="What your routes go by: page or ticket.")] = "page",
    alertmanager: AlertmanagerOption = None,
    webhook: WebhookOption = None,
    webhook_template: TemplateOption = None,
    config: Config = None,
) -> None:
    """Send a test alert to every target of `streamer relay`, and print what each says.

    It is of model `streamer-test` and says that nothing is wrong. An Alertmanager also tells to which
    receiver it goes; there it fires for five minutes. A webhook gets it firing and resolved. No broker
    is asked. Exit status 1 if a target did not take it.

        streamer alerts test --severity page --alertmanager http://alertmanager:9093
        STREAMER_WEBHOOK__SLACK=https://… streamer alerts test
    """
    flags = _target_flags(alertmanager, webhook, webhook_template)
    targets = targets_of(settings_of(config, **flags))
    # River, which comes with alerts, takes a second: only who needs it waits.
    from streamer.adapters.trial import ask_alertmanager, ask_webhook, incident

    transitions = incident(severity, datetime.now(UTC))
    answers = [ask_alertmanager(*each, transitions[0]) for each in targets.alertmanagers.items()]
    answers += [ask_webhook(*each, transitions) for each in targets.webhooks.items()]
    for answer in answers:
        style = "green" if answer.taken else "bold red"
        terminal.console().print(f"{answer.target}: {terminal.clean(answer.said)}", style=style, markup=False)
    if not all(answer.taken for answer in answers):
        raise typer.Exit(FAILED)


def _target_flags(
    alertmanager: str | None, webhook: list[str] | None, template: list[str] | None
) -> dict[str, Any]:
    files = _pairs(webhook, "--webhook", "FILE, which holds the address")
    return {
        "alertmanager": alertmanager,
        "webhook": {name: f"{IN_A_FILE}{file}" for name, file in files.items()} or None,
        "webhook_template": _pairs(template, "--webhook-template", "json, slack or FILE") or None,
    }


def _pairs(given: list[str] | None, option: str, what: str) -> dict[str, str]:
    """NAME=VALUE, as often as the option was given; what is no pair is not repeated, it may be a secret."""
    found = {}
    for each in given or ():
        name, _, value = each.partition("=")
        if not (name and value) or ":" in name or "/" in name:
            raise typer.BadParameter(f"it takes NAME={what}", param_hint=option)
        if value.startswith(("http:", "https:")):
            raise typer.BadParameter(
                "an address is a secret: set STREAMER_WEBHOOK__NAME, or put it into a file and name that",
                param_hint=option,
            )
        found[name] = value
    return found
