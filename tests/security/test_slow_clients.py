"""The HTTP endpoints under clients that are slow, many, or up to no good."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from streamer.adapters import http_server
from streamer.adapters.exposition import _Text
from streamer.adapters.http_server import Answer, CannotServe, Certificate, HttpServer
from streamer.adapters.scrape import fetch
from streamer.config import Settings, SettingsError, load_settings
from tests.deadline import wait_until
from tests.security.certificates import Authority

ServerFactory = Callable[..., HttpServer]


@pytest.fixture
def server() -> Iterator[ServerFactory]:
    """``server(page)``: one that serves ``page`` (bytes) at /metrics."""
    with ExitStack() as running:

        def make(page: bytes = b"fine\n", certificate: Certificate | None = None) -> HttpServer:
            made = HttpServer(
                "127.0.0.1", 0, {"/metrics": lambda _: Answer(HTTPStatus.OK, page)}, certificate
            )
            running.callback(made.close)
            return made

        yield make


def connect(to: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", to.port), 10)


def ask(to: HttpServer, words: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    with connect(to) as connection:
        connection.sendall(words)
        with suppress(OSError):  # the server may have closed it before all of it was said
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def is_over(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(65_536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_it_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    assert Settings().metrics_host == "127.0.0.1"
    assert load_settings({"metrics_host": "0.0.0.0"}).metrics_host == "0.0.0.0"


def test_what_is_not_there_is_404_and_what_does_not_only_look_is_405(server: ServerFactory) -> None:
    made = server()
    for path in ("/", "/metrics/", "/metrics/../healthz", "/%2e%2e/etc/passwd", "/METRICS"):
        assert b" 404 " in ask(made, f"GET {path} HTTP/1.0\r\n\r\n".encode()).splitlines()[0], path
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert b" 405 " in ask(made, f"{method} /metrics HTTP/1.0\r\n\r\n".encode()).splitlines()[0]
    assert b" 200 " in ask(made, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n").splitlines()[0]
    head = ask(made, b"HEAD /metrics HTTP/1.0\r\n\r\n")
    assert b" 200 " in head
    assert b"fine" not in head


@pytest.mark.parametrize(
    "words",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,  # TLS where none is spoken
        b"GET /metrics\x1b[31m HTTP/9.9\r\n\r\n",
        b"CANARY /metrics HTTP/1.0\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
        b"GET / HTTP/1.0\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /canary\r\nSet-Cookie: canary HTTP/1.0\r\n\r\n",
        b"\r\n\r\n",
        b"",
    ],
)
def test_nothing_that_a_client_says_is_repeated(
    words: bytes, server: ServerFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    made = server()
    try:
        answer = ask(made, words)
    except ConnectionError:
        answer = b""  # it was cut before it had said everything
    assert not {b"CANARY", b"canary", b"\x1b", b"Python", b"aaaa"} & {
        word for word in (b"CANARY", b"canary", b"\x1b", b"Python", b"aaaa") if word in answer
    }
    assert fetch(f"{made.url}/metrics") == "fine\n"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("behaviour", "many"), [("silent", 1000), ("slow", 200), ("never reads", 200)])
def test_a_thousand_clients_that_hold_on_keep_nobody_from_an_answer(
    behaviour: str, many: int, server: ServerFactory
) -> None:
    made = server(b"x" * 20_000_000 if behaviour == "never reads" else b"fine\n")
    said = {"silent": b"", "slow": b"GET /met", "never reads": b"GET /metrics HTTP/1.0\r\n\r\n"}[behaviour]
    before = threading.active_count()
    with ExitStack() as held:
        crowd = []
        for _ in range(many):
            crowd.append(held.enter_context(connect(made)))
            crowd[-1].sendall(said)
        assert len(fetch(f"{made.url}/metrics") or "") >= 5
        wait_until(
            lambda: threading.active_count() - before <= http_server.MOST + 1, 20, "threads were given back"
        )
        assert fetch(f"{made.url}/nonsense") is None


def test_time_is_over_for_who_sends_a_byte_now_and_then(
    server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "DEADLINE", 1.0)
    made = server()
    with connect(made) as connection:

        def drip() -> bool:
            try:
                connection.sendall(b"x: y\r\n")
            except OSError:
                return True
            return is_over(connection)

        connection.sendall(b"GET /metrics HTTP/1.0\r\n")
        wait_until(drip, 20, "the server had enough")


def test_time_is_over_for_who_does_not_shake_hands(
    server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "DEADLINE", 1.0)
    made = server(certificate=certificate(tmp_path)[0])
    with connect(made) as connection:
        wait_until(lambda: is_over(connection), 20, "the server had enough")


def test_a_closed_server_cuts_whoever_is_connected(server: ServerFactory) -> None:
    made = server()
    with connect(made) as connection:
        connection.sendall(b"GET")
        made.close()
        wait_until(lambda: is_over(connection), 5, "the connection was over")
        with pytest.raises(ConnectionRefusedError):
            connect(made)


def test_a_page_that_fails_is_one_log_line_and_the_server_goes_on(
    server: ServerFactory, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: str) -> Answer:
        raise KeyError("a bug")

    made = server()
    made._server.pages = {"/broken": broken, **made._server.pages}
    assert ask(made, b"GET /broken HTTP/1.0\r\n\r\n") == b""
    assert fetch(f"{made.url}/metrics") == "fine\n"
    [record] = caplog.records
    assert record.getMessage() == "answering a client"


def test_however_many_scrape_the_text_is_made_for_a_fifth_of_a_core_at_most() -> None:
    made = 0

    def slowly(_: object) -> bytes:
        nonlocal made
        made += 1
        threading.Event().wait(0.05)
        return b"text"

    text = _Text(slowly, "text/plain", CollectorRegistry())
    began = time.monotonic()
    threads = [threading.Thread(target=text.answer) for _ in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert 1 <= made <= 1 + (time.monotonic() - began) / 0.25
    wait_until(lambda: text.answer() and made >= 2, 5, "it is made anew")


# -- TLS ---------------------------------------------------------------------------------------


def certificate(scratch: Path) -> tuple[Certificate, Path]:
    """A certificate as settings would name it, and the file of its authority."""
    authority = Authority.new(scratch / "ca.pem")
    authority.issue(scratch / "cert.pem", scratch / "key.pem")
    return Certificate(scratch / "cert.pem", scratch / "key.pem"), authority.file


def serial_of(made: HttpServer, authority: Path) -> str:
    """The serial number of the certificate that it shows, verified."""
    context = ssl.create_default_context(cafile=str(authority))
    with connect(made) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as secured:
        return str((secured.getpeercert() or {})["serialNumber"])


def test_metrics_by_tls_are_for_who_knows_the_authority(server: ServerFactory, tmp_path: Path) -> None:
    shown, authority = certificate(tmp_path)
    made = server(certificate=shown)
    assert made.url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(authority))
    assert fetch(f"{made.url}/metrics", trusting) == "fine\n"
    assert fetch(f"{made.url}/metrics") is None
    with pytest.raises((http.client.HTTPException, OSError)):
        urllib.request.urlopen(f"http://127.0.0.1:{made.port}/metrics", timeout=10)
    assert shown.context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_renewed_certificate_is_taken_without_a_restart_and_a_broken_one_is_not(
    server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_server, "LOOK_SECONDS", 0.0)
    authority = Authority.new(tmp_path / "ca.pem")
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue(*files)
    made = server(certificate=Certificate(*files))
    first = serial_of(made, authority.file)
    authority.issue(*files)
    second = serial_of(made, authority.file)
    assert second != first
    files[1].write_text("-----BEGIN PRIVATE KEY-----\n")
    assert serial_of(made, authority.file) == second
    assert "stays in use" in caplog.text
    authority.issue(*files)
    assert serial_of(made, authority.file) not in (first, second)


def test_a_certificate_that_cannot_be_used_is_one_line_with_the_cure(tmp_path: Path) -> None:
    authority = Authority.new(tmp_path / "ca.pem")
    authority.issue(tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.issue(tmp_path / "other.pem", tmp_path / "other-key.pem")
    authority.issue(tmp_path / "locked.pem", tmp_path / "locked-key.pem", password=b"canary")
    for cert, key in [
        ("nowhere.pem", "key.pem"),
        ("cert.pem", "nowhere.pem"),
        ("cert.pem", "other-key.pem"),
        ("cert.pem", None),
        ("locked.pem", "locked-key.pem"),
    ]:
        with pytest.raises(CannotServe, match="metrics_tls_cert and metrics_tls_key name PEM") as caught:
            Certificate(tmp_path / cert, key and tmp_path / key)
        assert "\n" not in str(caught.value)


def test_a_key_without_a_certificate_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(SettingsError, match=r"variable STREAMER_METRICS_TLS_KEY: .*metrics_tls_cert"):
        load_settings({}, {"STREAMER_METRICS_TLS_KEY": "key.pem"})
