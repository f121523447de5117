"""One POST to a target of the relay, and what came of it; the address is a secret and never shows."""

from __future__ import annotations

import base64
import http.client
import random
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

TIMEOUT_SECONDS = 10.0
READ_BYTES = 2000
SHOWN_CHARACTERS = 200
SECRET_CHARACTERS = 6  # a part of an address that is shorter keeps no secret
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LONGEST_WISH = 600.0  # seconds that a Retry-After may ask for
# These say that this body is wrong, whoever sends it. All others may be put right at the target's end.
ABOUT_THE_BODY = frozenset({400, 413, 422})


class Outcome(StrEnum):
    TAKEN = "taken"
    AWAY = "away"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Reply:
    """``why``: for a person. ``wish``: seconds that it asks to be left alone for. ``body``: of a GET."""

    outcome: Outcome
    why: str
    wish: float = 0.0
    body: bytes = b""

    @property
    def taken(self) -> bool:
        return self.outcome is Outcome.TAKEN


class BadAddress(ValueError):
    """No address of a target; the message does not repeat it."""


class Address:
    """An http or https URL. Its text, ``NAME``'s secret, shows nowhere; a user and a password in it are sent.

    Raises:
        BadAddress: it is none.
    """

    def __init__(self, url: str) -> None:
        # urlsplit would take line breaks out of the middle.
        try:
            if not url.isascii() or not url.isprintable() or " " in url:
                raise ValueError
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise ValueError
        except ValueError:
            raise BadAddress("is no address: it has to be http://… or https://…, in ASCII") from None
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._headers = _authorization(parts)

    def under(self, path: str) -> Address:
        """The address of what lies below, ``/api/v2/alerts``."""
        found = object.__new__(Address)
        found._url, found._headers = self._url.rstrip("/") + path, self._headers
        return found

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> Reply:
        """Send JSON; ``TIMEOUT_SECONDS`` of silence end it. Whatever a target does, it raises nothing."""
        every = {"Content-Type": "application/json", **(headers or {}), **self._headers}
        return self._open(urllib.request.Request(self._url, body, every, method="POST"), 0)

    def get(self) -> Reply:
        return self._open(urllib.request.Request(self._url, headers=self._headers), None)

    def __repr__(self) -> str:
        return "Address(…)"

    def _open(self, request: urllib.request.Request, limit: int | None) -> Reply:
        try:
            with _opener().open(request, timeout=TIMEOUT_SECONDS) as answer:
                return Reply(Outcome.TAKEN, f"{answer.status}", body=answer.read(limit))
        except urllib.error.HTTPError as error:
            with error:
                return self._refusal(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = getattr(error, "reason", error)
            why = getattr(cause, "strerror", None) or type(cause).__name__
            return Reply(Outcome.AWAY, f"nobody answers ({why})")

    def _refusal(self, error: urllib.error.HTTPError) -> Reply:
        try:
            body = error.read(READ_BYTES)
        except (OSError, http.client.HTTPException):
            body = b""
        said = self._without_address(body.decode("utf-8", "replace")).strip()[:SHOWN_CHARACTERS]
        outcome = Outcome.REFUSED if error.code in ABOUT_THE_BODY else Outcome.AWAY
        wish = _wish(error.headers.get("Retry-After")) if error.code in (429, 503) else 0.0
        return Reply(outcome, f"{error.code} {said}".strip(), wish)

    def _without_address(self, text: str) -> str:
        """Some targets say what they were asked for, as in "cannot POST /services/…"."""
        parts = re.split(r"[/?&=]", self._url.partition("://")[2])[1:]
        for part in sorted({*parts, *map(unquote, parts)}, key=len, reverse=True):
            if len(part) >= SECRET_CHARACTERS:
                text = text.replace(part, "…")
        return text


def pause_after(tries: int, wish: float = 0.0) -> float:
    """Seconds to wait after so many tries in vain: twice as long each time, not all at one moment."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries - 1, 10))
    return max(min(wish, LONGEST_WISH), random.uniform(0.5, 1.0) * longest)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would turn a POST into a GET and call it delivered."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)


def _authorization(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _wish(text: str | None) -> float:
    """Seconds of a Retry-After: a number, or a date."""
    if not text:
        return 0.0
    try:
        return max(0.0, float(text)) if text.strip().isdigit() else _until(text)
    except (ValueError, OverflowError):
        return 0.0


def _until(date: str) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
