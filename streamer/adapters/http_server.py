"""A small HTTP server for machines: whatever its clients do, they hold up neither it nor the worker.

At most ``MOST`` connections are open: the oldest goes when one more comes, so that a client that
asks and reads is served among a thousand that do not. Each has ``DEADLINE`` seconds for all of it,
from the TLS handshake to the last byte. Clients that come faster than that are accepted slowly.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from streamer.errors import StreamerError

log = logging.getLogger("streamer.http")

MOST = 64
MOST_THREADS = 4 * MOST
DEADLINE = 10.0
CROWDED_PAUSE = 0.002
LOOK_SECONDS = 5.0
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    status: HTTPStatus
    body: bytes
    kind: str = PLAIN


Page = Callable[[str], Answer]  # what the client accepts → the answer


class CannotServe(StreamerError):
    """The port, the address or the certificate cannot be had; the message names the cure."""


class Certificate:
    """A TLS certificate with its key, read anew when its files change: they are renewed while we run.

    ``key`` None: it is in the certificate's file.

    Raises:
        CannotServe: the files cannot be used.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._files = (certificate, key or certificate)
        self._seen = self._changed_at()
        self._looked_at = time.monotonic()
        self._context = self._load()

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection; one that cannot be read is not taken, the last good one stays."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_SECONDS:
            self._looked_at = now
            found = self._changed_at()
            if found != self._seen:
                self._seen = found
                try:
                    self._context = self._load()
                except CannotServe as error:
                    log.warning("%s; the one from before stays in use", error)
        return self._context

    def _changed_at(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in self._files)

    def _load(self) -> ssl.SSLContext:
        # A new one each time: a key that does not fit would spoil the one in use.
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(*self._files, password=_no_password)
        except (OSError, ValueError) as error:
            names = " and ".join(dict.fromkeys(map(str, self._files)))
            why = getattr(error, "strerror", None) or error
            raise CannotServe(
                f"cannot serve TLS with {names} ({why}): metrics_tls_cert and metrics_tls_key name PEM"
                " files, the certificate with its chain, and its key without a password"
            ) from error
        return context


def _no_password() -> str:
    """Else OpenSSL would ask for one, at the terminal, and wait."""
    raise ValueError("the key wants a password")


class HttpServer:
    """Runs in threads of its own until ``close``. ``port``: the real one where 0 was asked for.

    Raises:
        CannotServe: nothing is served; the message names the cure.
    """

    def __init__(
        self, host: str, port: int, pages: Mapping[str, Page], certificate: Certificate | None = None
    ) -> None:
        try:
            self._server = _Server(host, port, pages, certificate)
        except OSError as error:
            raise CannotServe(
                f"cannot serve metrics on {host}:{port} ({error.strerror}): choose another with"
                " --metrics-port, or another address with --metrics-host"
            ) from error
        self.port = int(self._server.server_address[1])
        named = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if certificate else 'http'}://{named}:{self.port}"
        thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="http", daemon=True)
        thread.start()

    def close(self) -> None:
        """Stop listening, and cut whoever is still connected."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_all()


class _Server(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, pages: Mapping[str, Page], certificate: Certificate | None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages, self.certificate = pages, certificate
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}  # → when its time is over; the oldest first
        self._threads = 0
        super().__init__((host, port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = self.socket.accept()
        connection.settimeout(DEADLINE)
        if self.certificate is None:
            return connection, address
        try:
            # The handshake is the client's to take its time over: not in this thread.
            context = self.certificate.context
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address
        except BaseException:
            connection.close()
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        crowded = self._admit(request)
        if self._threads < MOST_THREADS:
            threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()
            with self._lock:
                self._threads += 1
        else:
            self.shutdown_request(request)
        if crowded:
            time.sleep(CROWDED_PAUSE)

    def _admit(self, request: socket.socket) -> bool:
        """Make room for it; True where somebody had to go."""
        with self._lock:
            self._open[request] = time.monotonic() + DEADLINE
            crowd = list(self._open)[:-MOST]
        for each in crowd:
            self._cut(each)
        return bool(crowd)

    def _serve(self, request: Any, address: Any) -> None:
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
            self.finish_request(request, address)
        except (OSError, ValueError):
            pass  # the client went away, or was cut
        except Exception:
            log.exception("answering a client")
        finally:
            self.shutdown_request(request)
            with self._lock:
                self._threads -= 1

    def service_actions(self) -> None:
        """Called several times a second: cut those whose time is over."""
        now = time.monotonic()
        with self._lock:
            late = [each for each, until in self._open.items() if until < now]
        for each in late:
            self._cut(each)

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        request.close()

    def cut_all(self) -> None:
        with self._lock:
            everybody = list(self._open)
        for each in everybody:
            self._cut(each)

    def _cut(self, connection: socket.socket) -> None:
        """Wake its thread up, whatever it waits for; the thread closes it."""
        with self._lock:
            self._open.pop(connection, None)
        try:
            # Not the method of a TLS socket, which takes the session away under its thread.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        except OSError:
            pass

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Only what keeps a request from getting a thread comes here."""
        log.warning("a client could not be served: there is no thread for it")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = DEADLINE
    server_version, sys_version = "streamer", ""

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            known = ", ".join(self.server.pages)
            self._say(Answer(HTTPStatus.NOT_FOUND, f"there are {known}\n".encode()))
        else:
            self._say(page(self.headers.get("Accept", "")))

    do_HEAD = do_GET

    def refuse(self) -> None:
        self._say(Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET\n"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse

    def _say(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no HTTP, or too much of it; nothing of it is repeated."""
        status = HTTPStatus(code)
        self.close_connection = True
        self._say(Answer(status, f"{status.phrase}\n".encode()))

    def log_message(self, format: str, *arguments: object) -> None:
        """Scrapes are not news."""
