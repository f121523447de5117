"""A network that can fail: a TCP proxy before each broker, and brokers that send their clients through it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from streamer.local import HOST, LocalKafka, free_ports

CHUNK = 65_536
CALL_SECONDS = 10.0
LISTENER = "PROXIED"


class Proxy:
    """Forwards ``port`` to ``target``, both on the loopback address. Any thread may call its methods.

    ``latency``: seconds that every piece of data is on its way, in each direction.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.latency = 0.0
        self._streams: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{port}", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    def cut(self) -> None:
        """Break every connection, as a router does that was restarted; new ones are let through."""
        self._call(self._cut())

    def hold(self) -> None:
        """Half-open: connections stand, new ones are taken, and nothing gets through any more."""
        self._call(self._set(self._flowing.clear))

    def release(self) -> None:
        """What was held arrives after all."""
        self._call(self._set(self._flowing.set))

    # -- on the loop ------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(CALL_SECONDS)

    async def _open(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _set(self, change: Callable[[], None]) -> None:
        change()

    async def _cut(self) -> None:
        for stream in list(self._streams):
            stream.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until one of the two sides is gone."""
        try:
            onwards, back = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.transport.abort()
            return
        self._streams |= {writer, back}
        try:
            pumps = (self._pump(reader, back), self._pump(onwards, writer))
            _, left = await asyncio.wait(
                [asyncio.ensure_future(each) for each in pumps], return_when=asyncio.FIRST_COMPLETED
            )
            for each in left:
                each.cancel()
        finally:
            self._streams -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                if self.latency:
                    await asyncio.sleep(self.latency)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # broken: the other side will hear of it


class ProxiedKafka(LocalKafka):
    """Brokers with a second listener, whose address for clients is that of a proxy.

    ``proxies``: by node. Clients of ``proxied_bootstrap`` depend on them, the
    brokers among themselves and clients of ``bootstrap`` do not.
    """

    def __init__(self, nodes: int, heap: str = "320m") -> None:
        super().__init__(nodes=nodes, heap=heap)
        free = free_ports(2 * nodes)
        self.proxies = {node: Proxy(free[node - 1], free[-node]) for node in range(1, nodes + 1)}

    @property
    def proxied_bootstrap(self) -> str:
        return ",".join(f"{HOST}:{proxy.port}" for proxy in self.proxies.values())

    def __enter__(self) -> ProxiedKafka:
        super().__enter__()
        return self

    def start(self) -> None:
        for proxy in self.proxies.values():
            proxy.__enter__()
        super().start()

    def stop(self) -> None:
        super().stop()
        for proxy in self.proxies.values():
            proxy.__exit__(None, None, None)

    def restart_all(self) -> None:
        """Start every node that does not run, at once: one alone has no quorum to wait for."""
        for node in self.proxies.keys() - self._brokers.keys():
            self._launch(node)
        self._wait_until_all_answer()

    def signal(self, node: int, number: int) -> None:
        """Send a signal to a node's process."""
        self._brokers[node].process.send_signal(number)

    def _properties(self, node: int) -> Mapping[str, object]:
        found = dict(super()._properties(node))
        proxy = self.proxies[node]
        found["listeners"] = f"{found['listeners']},{LISTENER}://{HOST}:{proxy.target}"
        found["advertised.listeners"] = f"{found['advertised.listeners']},{LISTENER}://{HOST}:{proxy.port}"
        protocols = f"{found['listener.security.protocol.map']},{LISTENER}:PLAINTEXT"
        return found | {"listener.security.protocol.map": protocols}
