"""The proxy that stands for a bad network does what it says, and no more."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from streamer.local import HOST, free_ports
from tests.chaos.proxy import Proxy

BRIEF = 0.3


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Before a server that sends everything back."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((HOST, 0)))

        def echo(peer: socket.socket) -> None:
            with peer:
                try:
                    while data := peer.recv(1000):
                        peer.sendall(data)
                except OSError:
                    pass

        def accept() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield stack.enter_context(Proxy(free_ports(1)[0], server.getsockname()[1]))


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, proxy.port), 10) as client:
        yield client


def said(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(1000)


def ended(client: socket.socket) -> bool:
    """Closed or reset by the other side; the client waits for it."""
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_it_lets_everything_through(client: socket.socket) -> None:
    assert said(client, b"one") == b"one"
    assert said(client, b"two") == b"two"


def test_latency_is_there_in_both_directions(proxy: Proxy, client: socket.socket) -> None:
    proxy.latency = 0.1
    began = time.monotonic()
    assert said(client, b"slow") == b"slow"
    assert time.monotonic() - began >= 0.2


def test_what_is_held_arrives_when_it_is_released_and_not_before(proxy: Proxy, client: socket.socket) -> None:
    proxy.hold()
    client.settimeout(BRIEF)
    with pytest.raises(TimeoutError):
        said(client, b"held")
    with socket.create_connection((HOST, proxy.port), BRIEF) as other:
        other.settimeout(BRIEF)
        with pytest.raises(TimeoutError):
            said(other, b"a new one is taken, and held too")
    proxy.release()
    client.settimeout(10)
    assert client.recv(1000) == b"held"


def test_a_cut_breaks_what_stands_and_lets_new_connections_through(
    proxy: Proxy, client: socket.socket
) -> None:
    assert said(client, b"one") == b"one"
    proxy.cut()
    assert ended(client)
    with socket.create_connection((HOST, proxy.port), 10) as again:
        assert said(again, b"three") == b"three"


def test_a_server_that_is_gone_is_gone_through_the_proxy_too() -> None:
    port, nowhere = free_ports(2)
    with Proxy(port, nowhere), socket.create_connection((HOST, port), 10) as client:
        assert ended(client)
