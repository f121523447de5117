"""Each transition reaches a webhook at least once, in order, whatever happens to it or to the relay."""

from __future__ import annotations

import orjson

from tests.deadline import wait_until
from tests.relay.conftest import RelayFactory
from tests.relay.receiver import Receiver, Unwell
from tests.relay.story import Alert, AlertsTopic, Story

SECONDS = 90.0


def unique(ids: list[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def ids_of(alerts: list[Alert]) -> list[str]:
    return [each["alert_id"] for each in alerts]


def test_nothing_is_lost_and_order_is_kept_while_the_target_and_the_relay_come_and_go(
    alerts: AlertsTopic, relay: RelayFactory, receiver: Receiver
) -> None:
    story = Story("churn")
    first = [story.fire()]
    alerts.write(*first)
    process = relay(webhook__hook=receiver.url).start()
    wait_until(lambda: receiver.ids() == ids_of(first), SECONDS, "what fires is told")

    # It answers, but with no yes; then with a yes.
    receiver.unwell += [
        Unwell(500),
        Unwell(429, {"Retry-After": "1"}),
        Unwell(302, {"Location": receiver.url}),
    ]
    second = [story.update(), story.resolve()]
    alerts.write(*second)
    wait_until(lambda: unique(receiver.ids()) == ids_of(first + second), SECONDS, "it is told after all")
    assert "GET" not in receiver.taken, "a redirect was followed"

    # Nobody listens, and meanwhile the relay is killed.
    receiver.close()
    third = [story.fire(), story.update()]
    alerts.write(*third)
    wait_until(lambda: process.total("streamer_relay_failed_total") > 3, SECONDS, "it tries in vain")
    assert process.total("streamer_relay_waiting_seconds", target="hook") > 0
    process.kill()
    fourth = [story.resolve()]
    alerts.write(*fourth)
    receiver.open()
    process.start()
    everything = first + second + third + fourth
    wait_until(lambda: unique(receiver.ids()) == ids_of(everything), SECONDS, "nothing was lost")

    # Killed in the middle of a request that the target has, but has not answered.
    receiver.unwell.append(Unwell(hang=True))
    seen = len(receiver.tries)
    fifth = [story.fire()]
    alerts.write(*fifth)
    wait_until(lambda: len(receiver.tries) > seen, SECONDS, "it asks")
    process.kill()
    process.start()
    everything += fifth
    wait_until(lambda: unique(receiver.ids()) == ids_of(everything), SECONDS, "it asks again")
    wait_until(lambda: process.total("streamer_relay_waiting_seconds") == 0, SECONDS, "nothing waits")
    assert process.stop() == 0
    assert receiver.url not in process.said(), "the address is a secret"
    assert "hook does not take alerts: nobody answers" in process.said()
    # Twice at the most where a kill came between the answer and the commit.
    assert len(receiver.ids()) - len(everything) <= 2
    assert [orjson.loads(body) for _, _, body in receiver.tries][-1] == fifth[0], "it is as on the topic"
    assert receiver.tries[-1][1]["Idempotency-Key"] == fifth[0]["alert_id"]


def test_a_new_target_is_told_what_fires_and_from_then_on_everything(
    alerts: AlertsTopic, relay: RelayFactory, receiver: Receiver
) -> None:
    past, now, moved = Story("past"), Story("now"), Story("moved")
    alerts.write(past.fire(), past.resolve())
    told = [now.fire(), now.update()]
    alerts.write(*told, partition=1)
    alerts.write(moved.fire())
    alerts.put(moved.fingerprint, None)
    alerts.put("who", b"\xff no alert")
    # A restart in the middle of it makes no difference.
    receiver.unwell.append(Unwell(500))
    process = relay(webhook__hook=receiver.url).start()
    wait_until(lambda: receiver.tries, SECONDS, "it asks")
    news = [past.fire()]
    process.kill()
    alerts.write(*news)
    process.start()
    expected = set(ids_of(told[1:] + news))
    wait_until(lambda: set(receiver.ids()) >= expected, SECONDS, "it is told")
    wait_until(lambda: process.total("streamer_relay_waiting_seconds") == 0, SECONDS, "nothing waits")
    assert set(receiver.ids()) == expected, "the past is left alone"
    # Known by now: a restart repeats nothing.
    assert process.stop() == 0
    told_so_far = receiver.ids()
    news = [past.resolve()]
    alerts.write(*news)
    process.start()
    wait_until(lambda: receiver.ids() == told_so_far + ids_of(news), SECONDS, "only the news is told")


def test_one_target_that_is_away_holds_up_no_other_and_what_it_refuses_for_good_is_left_out(
    alerts: AlertsTopic, relay: RelayFactory, receiver: Receiver
) -> None:
    story = Story("churn")
    hostile = Story("<!channel> & co")
    nowhere = Receiver()
    picky = Receiver().open()
    settings = {
        "webhook__away": nowhere.url,
        "webhook__picky": picky.url,
        "webhook__slack": receiver.url,
        "webhook_template__slack": "slack",
    }
    process = relay(**settings).start()
    try:
        wait_until(lambda: "→" in process.said(), SECONDS, "it has begun")
        first, second = story.fire(), hostile.fire()
        picky.unwell += [Unwell(400)] * 3
        alerts.write(first)
        # What is not committed is no alert.
        alerts.abort(Story("aborted").fire())
        alerts.write(second)
        wait_until(lambda: len(receiver.taken) == 2, SECONDS, "the others are told")
        wait_until(lambda: picky.ids() == ids_of([second]), SECONDS, "it goes on")
        assert process.total("streamer_relay_refused_total", target="picky") == 1
        assert f"refuses transition {first['alert_id']} for good" in process.said()
        texts = [each["text"] for each in receiver.taken]
        assert texts[0].splitlines() == [
            ":red_circle: *FIRING* page: churn 2026-11, accuracy",
            "it is too low",
            first["runbook"],
        ]
        assert "&lt;!channel&gt; &amp; co" in texts[1]
    finally:
        picky.close()


def test_it_ends_when_it_is_told_to_while_a_target_hangs(
    alerts: AlertsTopic, relay: RelayFactory, receiver: Receiver
) -> None:
    receiver.always = Unwell(hang=True)
    alerts.write(Story("churn").fire())
    process = relay(webhook__hook=receiver.url).start()
    wait_until(lambda: receiver.tries, SECONDS, "it asks")
    assert process.stop() == 0
    assert "hook is left in the middle of a request" in process.said()
