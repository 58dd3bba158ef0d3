"""The backends of the directory that the suite runs over.

A further backend is one more function in `BACKENDS`: an asynchronous context with one directory whose
time is the clock that it is given. Whoever opens an end closes it.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

from hub.rig import clocks_of, running_hub, silent_log
from redis.clocks import ShownClock
from redis.servers import Server, ToldCluster
from tidings.directory.contract import Directory
from tidings.directory.memory import MemoryDirectory, Places
from tidings.directory.redis import RedisDirectory
from tidings.hub.directory import HubDirectory
from tidings.redis.config import RedisConfig
from tidings.store.memory import MemoryStore
from tidings.testing.clock import FakeClock


class Shared(NamedTuple):
    """One directory, as its nodes and its operator see it."""

    join: Callable[[], Awaitable[Directory]]
    """opens one more node's end"""
    forget: Callable[[], None]
    """loses everything, which a directory may do at any time"""
    interrupt: Callable[[], Awaitable[None]]
    """breaks all connections, where there are any; they are made again"""
    held: Callable[[], int]
    """how many places take memory"""


@contextlib.asynccontextmanager
async def memory(place: Path, clock: FakeClock) -> AsyncIterator[Shared]:
    """One process."""
    places = Places(clock.wall_ms)

    async def join() -> Directory:
        return MemoryDirectory(places)

    async def interrupt() -> None:
        """There are no connections."""

    yield Shared(join, places.forget, interrupt, lambda: len(places))


@contextlib.asynccontextmanager
async def hub(place: Path, clock: FakeClock) -> AsyncIterator[Shared]:
    """A link to one hub for each node."""
    async with running_hub(place, MemoryStore(), clocks=clocks_of(clock)) as running:

        async def join() -> Directory:
            return HubDirectory(await running.link())

        def forget() -> None:
            running.server.places.forget()

        yield Shared(join, forget, running.restart, lambda: len(running.server.places))


@contextlib.asynccontextmanager
async def redis(place: Path, clock: FakeClock) -> AsyncIterator[Shared]:
    """Connections to one Redis, whose clock is this one."""
    shown = ShownClock(place, clock.wall_ms())
    server = Server(place, clock=shown.environment)
    server.start()
    try:
        with following(clock, shown):
            yield shared_by([server], RedisConfig(addresses=(server.address,)))
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def redis_cluster(place: Path, clock: FakeClock) -> AsyncIterator[Shared]:
    """Connections to all masters of one Redis Cluster, whose clock is this one."""
    cluster, shown = ToldCluster.lasting()
    with following(clock, shown):
        shared = shared_by(cluster.masters, RedisConfig(mode="cluster", addresses=cluster.addresses))
        shared.forget()
        yield shared


@contextlib.contextmanager
def following(clock: FakeClock, shown: ShownClock) -> Iterator[None]:
    """What the first one is advanced by, the other one shows."""

    advance = clock.advance

    def advance_both(seconds: float) -> None:
        advance(seconds)
        shown.show(clock.wall_ms())

    shown.show(clock.wall_ms())
    clock.advance = advance_both  # type: ignore[method-assign]
    yield


def shared_by(servers: Sequence[Server], config: RedisConfig) -> Shared:
    """What these servers hold together."""

    async def join() -> Directory:
        return await RedisDirectory.open(config, silent_log())

    def forget() -> None:
        for server in servers:
            server.run("FLUSHALL")

    async def interrupt() -> None:
        for server in servers:
            server.interrupt()

    def held() -> int:
        return sum(map(places_of, servers))

    return Shared(join, forget, interrupt, held)


def places_of(server: Server) -> int:
    """How many places a server holds."""
    control = server.control()
    places = sum(control("HLEN", key) for key in control("KEYS", "*"))
    control.close()
    return places


BACKENDS: dict[str, Callable[[Path, FakeClock], AbstractAsyncContextManager[Shared]]] = {
    "memory": memory,
    "hub": hub,
    "redis": redis,
    "redis cluster": redis_cluster,
}
