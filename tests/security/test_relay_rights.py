"""The relay works with the rights that `streamer topics acls --relay` prints, and needs each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.adapters.rights import Role
from tests.deadline import wait_until
from tests.relay.processes import RelayProcess
from tests.relay.receiver import Receiver
from tests.relay.story import AlertsTopic, Story
from tests.security.secured import GROUP, PREFIX, Secured, bindings_of


def test_the_relay_delivers_with_the_least_rights(secured: Secured, tmp_path: Path) -> None:
    settings = {f"kafka__{key.replace('.', '_')}": value for key, value in secured.client(Role.RELAY).items()}
    receiver = Receiver().open()
    # What an Alertmanager would get, and what a webhook gets: both ways of reading the topic.
    settings |= {"webhook__hook": receiver.url, "alertmanager": f"{receiver.url}/canary", "group": GROUP}
    relay = RelayProcess(secured.kafka.secured_bootstrap, PREFIX, tmp_path, **settings).start()
    alert = Story("churn").fire()
    AlertsTopic(secured.kafka.bootstrap, secured.topics.alerts).write(alert)
    try:
        wait_until(lambda: alert in receiver.taken, 90, "the webhook has it")
        posted = "/canary/api/v2/alerts"
        wait_until(lambda: posted in [path for path, *_ in receiver.tries], 90, "Alertmanager has it")
        assert relay.stop() == 0
        assert "uthoriz" not in relay.said()
        assert "canary" not in relay.said()
    finally:
        relay.kill()
        receiver.close()


@pytest.mark.parametrize(
    ("kind", "said"), [("--topic", "may not be seen"), ("--group", "Group authorization")]
)
def test_a_relay_that_lacks_a_right_ends_with_a_line_that_says_which(
    kind: str, said: str, secured: Secured
) -> None:
    [line] = [each for each in secured.command_list if f"User:{Role.RELAY} " in each and kind in each]
    [binding] = bindings_of(line)
    with secured.without(binding):
        done = secured.call(Role.RELAY, "relay", "--webhook", f"hook={secured.scratch / 'hook'}")
        assert done.returncode == 2, "a file that is missing is told first"
        (secured.scratch / "hook").write_text("http://127.0.0.1:1/canary")
        done = secured.call(Role.RELAY, "relay", "--webhook", f"hook={secured.scratch / 'hook'}")
        (secured.scratch / "hook").unlink()
    assert done.returncode == 1
    [line] = [each for each in done.stderr.splitlines() if each.startswith("streamer: ")]
    assert said in line
    assert "streamer topics acls" in line
    assert "canary" not in done.stdout + done.stderr
