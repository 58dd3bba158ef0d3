"""The hub: serves one store, one bus and one directory to the nodes of a machine, on a Unix socket.

```
 node: HubStore, HubBus, HubDirectory ── HubLink ══ socket ══ Connection ── Desk ── Shelf (store)
                                                                             ├──── Topics (bus)
                                                                             └──── Places (directory)
```

Only processes of the same user are served. The socket's file is put in the place of one that an
earlier hub left; that no other hub is alive is what the lock of the store's files says.

Silence. Each second every node is pinged, which also tells it the time. One that has answered none of
the last pings is `silent_s`: counted in pings, so that a hub that was stopped itself blames nobody.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from tidings.directory.memory import Places
from tidings.hub.clocks import MACHINE, Clocks
from tidings.hub.connection import USUAL, Connection, Terms
from tidings.hub.desk import Desk, Services
from tidings.hub.shelf import shelf_of
from tidings.hub.wire import INCARNATION_BYTES, Worker
from tidings.store.contract import Store, Table

BACKLOG = 128
CONNECTIONS = 1024
"""at most, at once"""
SETTLE_S = 10.0
"""at a stop: for what is under way to be done and answered"""
CLOSE_S = 2.0
"""then for the nodes to take what they were sent"""
SILENT_S = 5.0
"""A worker that has answered no ping for so long hangs or is stopped."""


class HubServer:
    """Serves until it is stopped. The store is the caller's, and stays open."""

    def __init__(
        self,
        store: Store,
        tables: Sequence[Table[Any]],
        log: FilteringBoundLogger,
        *,
        incarnation: bytes,
        clocks: Clocks = MACHINE,
        uid: int | None = None,
        terms: Terms = USUAL,
    ) -> None:
        assert len(incarnation) == INCARNATION_BYTES
        self.clocks = clocks
        self.terms = terms
        self.log = log
        self.incarnation = incarnation
        self.tables = [table.name for table in tables]
        self.uid = os.geteuid() if uid is None else uid
        self.places = Places(lambda: clocks.wall_ns() // 1_000_000)
        self._services = Services(shelf_of(store, tables), self.places, self, log)
        self._connections: set[Connection] = set()
        """of nodes that have said Hello"""
        self._accepted: set[Connection] = set()
        """all"""
        self._emptied = asyncio.Event()
        """set while there are none"""
        self._emptied.set()
        self._unflushed: list[Connection] = []
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._pings: asyncio.TimerHandle | None = None

    async def listen(self, path: Path) -> None:
        """Begin to serve. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, sock=_bound(path), backlog=BACKLOG)
        self._path = path
        self._pings = loop.call_later(self.terms.ping_every_s, self._ping)

    @property
    def workers(self) -> list[Worker]:
        """The processes that are connected. One that is silent for `SILENT_S` hangs or is stopped."""
        return [connection.worker for connection in self._connections]

    async def stop(self) -> None:
        """Answer what is under way, then end all connections. May be called once it listens."""
        assert self._server is not None
        assert self._path is not None
        self._server.close()
        # What connects from now on finds nobody, rather than somebody who does not answer.
        self._path.unlink(missing_ok=True)
        if self._pings is not None:
            self._pings.cancel()
        self._services.stop()
        await asyncio.gather(*(self._settle(connection) for connection in self._accepted))
        for connection in tuple(self._accepted):
            connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._emptied.wait()
        for connection in tuple(self._accepted):
            connection.abort()

    async def _settle(self, connection: Connection) -> None:
        connection.wind_down()
        settled = asyncio.Event()
        connection.on_settled = settled.set
        if connection.unanswered:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    await settled.wait()

    def _ping(self) -> None:
        self._pings = asyncio.get_running_loop().call_later(self.terms.ping_every_s, self._ping)
        for connection in self._connections:
            connection.ping()

    # --- for connections ------------------------------------------------------------------

    def _accept(self) -> Connection:
        connection = Connection(self)
        self._accepted.add(connection)
        self._emptied.clear()
        return connection

    @property
    def is_full(self) -> bool:
        """Whether there are too many connections."""
        return len(self._accepted) > CONNECTIONS

    def open_desk(self, connection: Connection, link: bytes) -> Desk:
        """The desk of a connection whose node has said Hello."""
        for earlier in [other for other in self._connections if other.link == link]:
            # Whatever of it has not been read must never be done: the node has sent it again.
            earlier.abort()
        self._connections.add(connection)
        return Desk(self._services, connection)

    def flush_soon(self, connection: Connection) -> None:
        """Have `flush` called at the end of this turn."""
        if not self._unflushed:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unflushed.append(connection)

    def gone(self, connection: Connection) -> None:
        """It has ended."""
        self._accepted.discard(connection)
        self._connections.discard(connection)
        if not self._accepted:
            self._emptied.set()

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for connection in unflushed:
            connection.flush()


def _bound(path: Path) -> socket.socket:
    """A listening socket at a path, for this user only, in the place of what was there."""
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        listener.bind(str(new))
        new.chmod(0o600)
        listener.listen(BACKLOG)
        # Only now: whoever connects finds it either not there or listening.
        new.rename(path)
    except OSError:
        listener.close()
        raise
    return listener
