"""Ports in a row, as `streamer worker --processes N` takes them."""

from __future__ import annotations

import socket

from streamer.local import free_ports


def adjacent_ports(count: int) -> int:
    """The first of so many ports in a row that were free a moment ago."""
    for first in free_ports(40):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError(f"no {count} free ports in a row")
