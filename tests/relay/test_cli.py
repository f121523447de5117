"""`streamer alerts test` says what each target said; `streamer relay` says what it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import load_settings
from streamer.local import free_ports
from tests.relay.processes import AlertmanagerProcess
from tests.relay.receiver import Receiver, Unwell
from tests.security.calls import called
from tests.security.secured import environ_with


def test_a_test_alert_says_to_which_receiver_it_goes_and_what_stops_it(
    alertmanager: AlertmanagerProcess, receiver: Receiver
) -> None:
    environ = environ_with(
        {"STREAMER_ALERTMANAGER": alertmanager.url, "STREAMER_WEBHOOK__HOOK": receiver.url}
    )
    done = called(environ, "alerts", "test")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "alertmanager: taken, goes to pager",
        "hook: firing and resolved taken",
    ]
    assert {"firing", "resolved"} <= {each["status"] for each in receiver.taken if "status" in each}
    assert "goes to people" in called(environ, "alerts", "test", "--severity", "ticket").stdout
    alertmanager.silence("model", "streamer-test")
    assert "silenced: it would go to pager" in called(environ, "alerts", "test").stdout


def test_a_target_that_does_not_take_it_is_exit_status_1(receiver: Receiver, tmp_path: Path) -> None:
    receiver.unwell.append(Unwell(403))
    file = tmp_path / "hook"
    file.write_text(f"{receiver.url}/canary\n")
    [port] = free_ports(1)
    arguments = ["--alertmanager", f"http://127.0.0.1:{port}/canary", "--webhook", f"hook={file}"]
    done = called(environ_with({}), "alerts", "test", *arguments)
    assert done.returncode == 1
    assert "alertmanager: not taken: nobody answers" in done.stdout
    assert "hook: firing not taken: 403" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_alerts_without_a_command_still_reads_alerts() -> None:
    done = called(environ_with({}), "alerts", "--firing", "--follow")
    assert done.returncode == 2
    assert "--firing is a look at now" in done.stderr
    assert "test" in called(environ_with({}), "alerts", "--help").stdout


@pytest.mark.parametrize(
    ("environ", "arguments", "said"),
    [
        ({}, [], "there is no target"),
        ({"STREAMER_ALERTMANAGER": "canary:9093"}, [], "alertmanager: is no address"),
        ({"STREAMER_WEBHOOK__SLACK": "canary"}, [], "webhook.slack: is no address"),
        ({"STREAMER_WEBHOOK__SLACK": "file:/nowhere"}, [], "/nowhere cannot be read"),
        ({"STREAMER_WEBHOOK__ALERTMANAGER": "http://canary"}, [], "STREAMER_WEBHOOK__ALERTMANAGER: a name"),
        ({"STREAMER_WEBHOOK_TEMPLATE__SLACK": "slack"}, [], "there is no webhook slack"),
        ({"STREAMER_WEBHOOK__A": "http://canary"}, ["--webhook-template", "a=/nowhere"], "/nowhere"),
        ({}, ["--webhook", "https://canary/x=y"], "it takes NAME=FILE"),
        ({}, ["--webhook", "slack=https://canary/x"], "an address is a secret"),
    ],
)
@pytest.mark.parametrize("command", [["relay"], ["alerts", "test"]])
def test_what_cannot_be_used_is_named_and_never_repeated(
    command: list[str], environ: dict[str, str], arguments: list[str], said: str
) -> None:
    done = called(environ_with(environ), *command, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_no_representation_of_the_settings_shows_an_address() -> None:
    settings = load_settings(
        {}, {"STREAMER_WEBHOOK__SLACK": "https://canary", "STREAMER_ALERTMANAGER": "https://canary"}
    )
    assert "canary" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_relay_without_a_broker_says_how_to_get_one() -> None:
    where = ["--bootstrap", f"127.0.0.1:{free_ports(1)[0]}", "--alertmanager", "http://127.0.0.1:1"]
    done = called(environ_with({}), "relay", *where)
    assert done.returncode == 1
    assert "streamer broker" in done.stderr
