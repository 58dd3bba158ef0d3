"""The backends of the directory that the suite runs over.

A further backend is one more function in `BACKENDS`: an asynchronous context with one directory whose
time is the clock that it is given. Whoever opens an end closes it.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

from hub.rig import clocks_of, running_hub
from tidings.directory.contract import Directory
from tidings.directory.memory import MemoryDirectory, Places
from tidings.hub.directory import HubDirectory
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


BACKENDS: dict[str, Callable[[Path, FakeClock], AbstractAsyncContextManager[Shared]]] = {
    "memory": memory,
    "hub": hub,
}
