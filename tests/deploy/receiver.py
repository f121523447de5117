"""A webhook's target: a real HTTP server that remembers what it was sent."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


class Receiver:
    """Takes everything. ``got``: path and JSON of each request, in order."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((self.path, orjson.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def notified(self, status: str) -> set[tuple[str, str, str]]:
        """Path, name and rule of each alert that was told with this status."""
        return {
            (path, alert["labels"]["alertname"], alert["labels"].get("rule", ""))
            for path, body in list(self.got)
            for alert in body["alerts"]
            if alert["status"] == status
        }
