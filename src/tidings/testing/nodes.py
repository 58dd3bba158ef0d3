"""Nodes that are killed and started again, all in this process.

What a killed node does from then on reaches nobody: its store refuses, its links are torn, and what
it shares with others is closed. That is all that a process's death is to the rest of the world.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx
import structlog
from litestar import Litestar

from tidings.client.errors import Unreachable
from tidings.domain.clock import Clock
from tidings.protocol.api import Health, ServerInfo
from tidings.protocol.frames import ClientFrame
from tidings.server import http
from tidings.server.cluster import Shared
from tidings.server.config import Config
from tidings.server.node import wire
from tidings.server.services import Services
from tidings.server.upkeep import Upkeep
from tidings.store.contract import Batch, Key, Put, R, Row, Store, StoreUnavailable, Table
from tidings.store.schema import MESSAGES
from tidings.testing.pace import PATIENCE_S
from tidings.testing.sockets import NodeSocket
from tidings.testing.world import PlainPasswords


class Backends(NamedTuple):
    """What one node is started on."""

    store: Store
    shared: Shared | None
    """None: it is the only one"""
    close: Callable[[], Awaitable[None]]
    """ends it all, as a process's end does"""


OpenBackends = Callable[[], Awaitable[Backends]]
"""Opens the same data for a node, or for one that takes its place."""


class Ground(NamedTuple):
    """What is under the nodes of a scene."""

    backends: Sequence[OpenBackends]
    """of each node"""
    restart: Callable[[], Awaitable[None]] | None = None
    """ends what serves the store to the nodes, and starts it again; None: the nodes have it in themselves"""


class MortalStore:
    """Implements `Store` on another one, which its node may lose at any moment."""

    def __init__(self, inner: Store) -> None:
        self._inner: Store | None = inner
        self._flows = asyncio.Event()
        self._flows.set()
        self.has_stalled = asyncio.Event()
        """a message waits to be written"""

    def stall(self) -> None:
        """Messages wait from now on; those that wait when it vanishes were never written."""
        self._flows.clear()

    def vanish(self) -> None:
        """Answer nobody any more."""
        self._inner = None
        self._flows.set()

    async def write(self, batch: Batch) -> None:
        if not self._flows.is_set() and any(isinstance(row, Put) and row.table is MESSAGES for row in batch):
            self.has_stalled.set()
            await self._flows.wait()
        await self._there.write(batch)

    async def get(self, table: Table[R], key: Key) -> R | None:
        return await self._there.get(table, key)

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        return await self._there.get_many(table, keys)

    async def range(self, table: Table[R], partition: Key, **bounds: Any) -> list[R]:
        return await self._there.range(table, partition, **bounds)

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        return await self._there.compare_and_set(table, expected, row, also)

    async def scan(self, table: Table[R], *, after: Key | None = None, limit: int) -> list[R]:
        return await self._there.scan(table, after=after, limit=limit)

    async def time_ms(self) -> int:
        return await self._there.time_ms()

    async def expire(self, now_ms: int) -> int:
        return await self._there.expire(now_ms)

    async def checkpoint(self, path: Path) -> None:
        await self._there.checkpoint(path)

    async def close(self) -> None:
        self.vanish()

    @property
    def _there(self) -> Store:
        if self._inner is None:
            raise StoreUnavailable("the node was killed")
        return self._inner


class Node:
    """A node of a server; down until it is started."""

    def __init__(self, name: str, open_backends: OpenBackends, config: Config, clock: Clock) -> None:
        self.name = name
        self.is_up = asyncio.Event()
        self.happened: Callable[[str], None] = lambda _: None
        """is told what becomes of it"""
        self.complaints: list[object] = []
        """what it logged as an error while it was alive"""
        self._open_backends = open_backends
        self._config = config
        self._clock = clock
        self._incarnation = 0
        self._sockets: list[NodeSocket] = []

    async def starts(self) -> None:
        """Come up on what was left."""
        self._note("starts")
        self._incarnation += 1
        self._backends = await self._open_backends()
        self._store = MortalStore(self._backends.store)
        random = Random(f"{self.name} {self._incarnation}")  # noqa: S311 - a run is like another
        self.services: Services = await wire(
            self._config,
            self._store,
            self._clock,
            PlainPasswords(),
            random.randbytes,
            self._log(),
            shared=self._backends.shared,
        )
        application: Any = self._application()  # Litestar's own idea of ASGI's types is narrower
        self._http = httpx.ASGITransport(application, raise_app_exceptions=False)
        if self.services.cluster is not None:
            self.services.cluster.start()
        self._upkeep = Upkeep(self.services, self._store)
        self._upkeep.start()
        self.is_up.set()

    async def dies(self) -> None:
        """End from one moment to the next."""
        self._note("dies")
        self.is_up.clear()
        self._store.vanish()
        await self._backends.close()
        for socket in self._sockets:
            socket.tear()
        self._sockets.clear()
        # Its timers are as dead as it is: else they would go on as long as the loop does.
        self.services.messages.stop()
        self.services.tellers.stop()
        self.services.commit.close()
        await self._upkeep.stop()

    def waits_for_its_disk(self) -> None:
        """Write no message, and so acknowledge none, any more."""
        self._note("waits for its disk")
        self._store.stall()

    async def has_a_message_to_write(self) -> None:
        """Wait until a message waits for the disk."""
        async with asyncio.timeout(PATIENCE_S):
            await self._store.has_stalled.wait()
        self._note("has a message to write")

    def connect(self, loses: Callable[[ClientFrame], bool] = lambda _: False) -> NodeSocket:
        """A connection to it."""
        self._sockets.append(NodeSocket(self.services, loses))
        return self._sockets[-1]

    async def request(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Implements `tidings.client.surroundings.Request`; who dies meanwhile has answered nothing."""
        incarnation = self._incarnation
        async with httpx.AsyncClient(transport=self._http) as client:
            answer = await client.request(method, url, content=body, headers=headers)
        if incarnation != self._incarnation or not self.is_up.is_set():
            raise Unreachable(f"cannot reach {self.name}: it died")
        return answer.status_code, answer.content

    def _application(self) -> Litestar:
        config, limits = self._config, self.services.limits
        about = ServerInfo("0", config.registration, phone=bool(config.phone_hook))
        health = Health("ok", "0", "memory", 0)
        log = self.services.log
        return http.application(self.services, self._clock, limits, about, lambda: health, log)

    def _note(self, happened: str) -> None:
        self.happened(f"  {self.name} {happened}")

    def _log(self) -> Any:
        incarnation = self._incarnation

        def note(_: object, method: str, event: structlog.typing.EventDict) -> str:
            is_alive = self.is_up.is_set() and incarnation == self._incarnation
            if is_alive and method in {"error", "exception", "critical"}:
                self.complaints.append(event)
            return str(event)

        return structlog.wrap_logger(structlog.ReturnLogger(), processors=[note])
