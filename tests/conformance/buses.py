"""The backends of the bus that the suite runs over.

A further backend is one more function in `BACKENDS`: an asynchronous context with one broker. Whoever
opens an end of it closes that.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

from hub.rig import running_hub
from tidings.bus.contract import Bus
from tidings.bus.memory import MemoryBus, Topics
from tidings.hub.bus import HubBus
from tidings.store.memory import MemoryStore


class Broker(NamedTuple):
    """One bus, as its nodes and its operator see it."""

    join: Callable[[], Awaitable[Bus]]
    """opens one more node's end"""
    interrupt: Callable[[], Awaitable[None]]
    """breaks all connections, where there are any; they are made again"""


@contextlib.asynccontextmanager
async def memory(place: Path) -> AsyncIterator[Broker]:
    """One process."""
    topics = Topics()

    async def join() -> Bus:
        return MemoryBus(topics)

    async def interrupt() -> None:
        """There are no connections."""

    yield Broker(join, interrupt)


@contextlib.asynccontextmanager
async def hub(place: Path) -> AsyncIterator[Broker]:
    """A link to one hub for each node."""
    async with running_hub(place, MemoryStore()) as running:

        async def join() -> Bus:
            return HubBus(await running.link())

        yield Broker(join, running.restart)


BACKENDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Broker]]] = {"memory": memory, "hub": hub}
