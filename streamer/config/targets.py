"""Where `streamer relay` tells of alerts, as the settings have it; addresses are secrets and show nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamer.adapters.alertmanager import Alertmanager
from streamer.adapters.http_post import Address, BadAddress
from streamer.adapters.webhooks import BadTemplate, Webhook, template_of
from streamer.config.settings import Settings, SettingsError

IN_A_FILE = "file:"
NAME_ONE = (
    "there is no target: name an Alertmanager (--alertmanager http://…:9093), or a webhook"
    " (STREAMER_WEBHOOK__SLACK=https://…, or --webhook slack=FILE with a file that holds the address)"
)


@dataclass(frozen=True, slots=True)
class Targets:
    """By the name that logs and metrics have for them."""

    alertmanagers: dict[str, Alertmanager]
    webhooks: dict[str, Webhook]


def targets_of(settings: Settings) -> Targets:
    """All targets, at least one.

    Raises:
        SettingsError: names what cannot be used, never an address.
    """
    urls = settings.alertmanager.get_secret_value().split(",") if settings.alertmanager else []
    addresses = [_address("alertmanager", each.strip()) for each in urls if each.strip()]
    strangers = settings.webhook_template.keys() - settings.webhook.keys()
    if strangers:
        raise SettingsError(f"webhook_template: there is no webhook {min(strangers)}")
    found = Targets(
        {name: Alertmanager(each) for name, each in zip(_names(len(addresses)), addresses, strict=False)},
        {
            name: _webhook(name, url.get_secret_value(), settings.webhook_template.get(name, "json"))
            for name, url in settings.webhook.items()
        },
    )
    if not (found.alertmanagers or found.webhooks):
        raise SettingsError(NAME_ONE)
    return found


def _names(count: int) -> Iterator[str]:
    """``alertmanager``, or with a number each where there are several."""
    return iter(["alertmanager"] if count == 1 else [f"alertmanager-{number + 1}" for number in range(count)])


def _webhook(name: str, url: str, template: str) -> Webhook:
    try:
        return Webhook(_address(f"webhook.{name}", url), template_of(template))
    except BadTemplate as error:
        raise SettingsError(f"webhook_template.{name}: {error}") from None


def _address(setting: str, text: str) -> Address:
    if text.startswith(IN_A_FILE):
        file = Path(text.removeprefix(IN_A_FILE))
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise SettingsError(f"{setting}: {file} cannot be read: {why}") from None
    try:
        return Address(text)
    except BadAddress as error:
        raise SettingsError(f"{setting}: {error}") from None
