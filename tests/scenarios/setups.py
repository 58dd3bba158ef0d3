"""The set-ups that every scenario is played on.

A further one is one more function in `SETUPS`: given a folder and a clock, an asynchronous context
with what is under its nodes.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from hub.rig import running_hub, silent_log
from redis.clocks import ShownClock
from redis.servers import Server
from tidings.bus.redis import RedisBus
from tidings.directory.redis import RedisDirectory
from tidings.hub.bus import HubBus
from tidings.hub.clocks import Clocks
from tidings.hub.directory import HubDirectory
from tidings.hub.store import HubStore
from tidings.redis.config import RedisConfig
from tidings.server.cluster import Shared
from tidings.store.memory import MemoryStore, Tables
from tidings.store.rocks import RocksStore
from tidings.store.schema import TABLES
from tidings.testing.nodes import Backends, Ground
from tidings.testing.pace import PACE, PacedClock


@contextlib.asynccontextmanager
async def memory(folder: Path, clock: PacedClock) -> AsyncIterator[Ground]:
    """One node; what is stored outlives it in memory."""
    tables = Tables(clock.wall_ms)

    async def open_backends() -> Backends:
        store = MemoryStore(tables)
        return Backends(store, None, store.close)

    yield Ground([open_backends])


@contextlib.asynccontextmanager
async def rocks(folder: Path, clock: PacedClock) -> AsyncIterator[Ground]:
    """One node on RocksDB."""

    async def open_backends() -> Backends:
        store = RocksStore.open(folder / "store", min_free_bytes=0)
        return Backends(store, None, store.close)

    yield Ground([open_backends])


@contextlib.asynccontextmanager
async def hub(folder: Path, clock: PacedClock) -> AsyncIterator[Ground]:
    """Three nodes over a hub on RocksDB."""
    store = RocksStore.open(folder / "store", min_free_bytes=0)
    async with running_hub(folder, store, clocks=Clocks(clock.wall_ns, clock.monotonic_ns)) as running:

        async def open_backends() -> Backends:
            link = await running.link()
            return Backends(HubStore(link, TABLES), Shared(HubBus(link), HubDirectory(link)), link.close)

        yield Ground([open_backends] * 3, running.restart)
    await store.close()


@contextlib.asynccontextmanager
async def redis(folder: Path, clock: PacedClock) -> AsyncIterator[Ground]:
    """Three nodes whose bus and directory are in Redis, on a store in memory. What restarts is Redis."""
    tables = Tables(clock.wall_ms)
    shown = ShownClock(folder, clock.wall_ms())
    server = Server(folder, clock=shown.environment)
    # Time goes fast: so many of its seconds are a few of the server's.
    config = RedisConfig(addresses=(server.address,), timeout_s=5.0 * PACE)

    async def open_backends() -> Backends:
        store = MemoryStore(tables)
        bus = await RedisBus.open(config, silent_log())
        directory = await RedisDirectory.open(config, silent_log())

        async def close() -> None:
            await bus.close()
            await directory.close()
            await store.close()

        return Backends(store, Shared(bus, directory), close)

    async def restart() -> None:
        server.kill()
        server.start()

    with shown.following(clock.wall_ms):
        server.start()
        try:
            yield Ground([open_backends] * 3, restart)
        finally:
            server.stop()


SETUPS: dict[str, Callable[[Path, PacedClock], AbstractAsyncContextManager[Ground]]] = {
    "memory": memory,
    "rocks": rocks,
    "hub": hub,
    "redis": redis,
}
