"""What a target answers, and that its address shows nowhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from streamer.adapters import http_post
from streamer.adapters.http_post import LONGEST_PAUSE, Address, BadAddress, Outcome, pause_after
from tests.relay.receiver import Receiver, Unwell

SOON = "in five minutes"  # written as a date when the test begins


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "taken"), (204, "taken"), (301, "away"), (307, "away"), (400, "refused"), (401, "away"),
     (403, "away"), (404, "away"), (408, "away"), (410, "away"), (413, "refused"), (422, "refused"),
     (429, "away"), (500, "away"), (503, "away")],
)  # fmt: skip
def test_only_what_is_about_the_body_is_a_refusal(status: int, outcome: str, receiver: Receiver) -> None:
    receiver.unwell.append(Unwell(status, {"Location": receiver.url}))
    reply = Address(receiver.url).post(b"{}")
    assert reply.outcome == outcome
    assert str(status) in reply.why
    assert len(receiver.tries) == 1, "nothing was followed"


def test_nobody_and_silence_are_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_post, "TIMEOUT_SECONDS", 0.3)
    receiver = Receiver()
    assert Address(receiver.url).post(b"{}").outcome is Outcome.AWAY
    receiver.open()
    try:
        receiver.unwell.append(Unwell(hang=True))
        assert Address(receiver.url).post(b"{}").outcome is Outcome.AWAY
    finally:
        receiver.close()


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7), (SOON, 200, 300), ("soon", 0, 0), ("-1", 0, 0), ("9" * 400, 0, float("inf"))],
)
def test_how_long_to_leave_it_alone_is_asked_in_seconds_or_by_a_date(
    header: str, least: float, most: float, receiver: Receiver
) -> None:
    if header == SOON:
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    receiver.unwell.append(Unwell(429, {"Retry-After": header}))
    assert least <= Address(receiver.url).post(b"{}").wish <= most


def test_pauses_grow_to_a_minute_and_a_wish_is_kept_within_reason() -> None:
    assert 0.5 <= pause_after(1) <= 1
    assert 4 <= pause_after(4) <= 8
    assert LONGEST_PAUSE / 2 <= pause_after(10_000) <= LONGEST_PAUSE
    assert pause_after(1, 30) == 30
    assert pause_after(1, 1e9) == http_post.LONGEST_WISH


def test_a_user_and_a_password_in_the_address_are_sent_as_such(receiver: Receiver) -> None:
    address = Address(receiver.url.replace("http://", "http://me:p%40ss@") + "/hook?key=canary")
    assert address.under("/x").post(b"{}").taken
    [(path, headers, _)] = receiver.tries
    assert path == "/hook?key=canary/x"
    assert headers["Authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize(
    "url",
    ["", "canary", "ftp://canary/", "http://", "http://can ary/", "http://canary\r\n/", "http://a:99999/canary",
     "file:///etc/canary", "http://cänary/"],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadAddress) as caught:
        Address(url)
    assert "canary" not in str(caught.value)


def test_neither_the_address_nor_what_comes_of_it_shows_it(receiver: Receiver) -> None:
    address = Address(f"{receiver.url}/hook/canary-1?key=canary%2F2")
    receiver.always = Unwell(403)
    assert address.post(b"{}").why == "403 cannot POST /hook/…?key=…"
    assert "canary" not in repr(address)
    assert "canary" not in Address("http://127.0.0.1:1/canary").post(b"{}").why
