"""A real HTTP server that takes webhooks, and can be away, unwell or slow."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from streamer.local import free_ports


@dataclass(frozen=True)
class Unwell:
    """What it answers instead of 200. ``hang``: it says nothing until it is closed."""

    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


class Receiver:
    """``taken``: bodies that it said 200 to. ``tries``: all that came. ``unwell``: what becomes of the next.

    ``always``: what it does to all of them.
    """

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.taken: list[Any] = []
        self.tries: list[tuple[str, dict[str, str], bytes]] = []
        self.unwell: list[Unwell] = []
        self.always: Unwell | None = None
        self._server: ThreadingHTTPServer | None = None
        self._closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> Receiver:
        self._closing.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def close(self) -> None:
        """Go away: nobody listens any more."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def ids(self) -> list[str]:
        return [each["alert_id"] for each in self.taken]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.tries.append((self.path, dict(self.headers), body))
                how = receiver.unwell.pop(0) if receiver.unwell else receiver.always
                if how is None:
                    receiver.taken.append(orjson.loads(body))
                    how = Unwell(200)
                if how.hang:
                    receiver._closing.wait(60)
                    return
                self.send_response(how.status)
                for name, value in how.headers.items():
                    self.send_header(name, value)
                said = f"cannot POST {self.path}".encode() if how.status >= 400 else b""
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def do_GET(self) -> None:
                receiver.taken.append("GET")
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None: ...

        return Handler
