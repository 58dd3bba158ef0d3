"""The backends of the bus that the suite runs over.

A further backend is one more function in `BACKENDS`: an asynchronous context with one broker. Whoever
opens an end of it closes that.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

from hub.rig import running_hub, silent_log
from redis.servers import Server, ToldCluster
from tidings.bus.contract import Bus, Receive, Topic
from tidings.bus.memory import MemoryBus, Topics
from tidings.bus.redis import RedisBus
from tidings.hub.bus import HubBus
from tidings.redis.config import RedisConfig
from tidings.redis.slots import SLOTS, slot_of
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


@contextlib.asynccontextmanager
async def redis(place: Path) -> AsyncIterator[Broker]:
    """Connections to one Redis."""
    server = Server(place)
    server.start()
    config = RedisConfig(addresses=(server.address,))

    async def join() -> Bus:
        return await RedisBus.open(config, silent_log())

    async def interrupt() -> None:
        server.interrupt()

    try:
        yield Broker(join, interrupt)
    finally:
        server.stop()


class ClusterBus(RedisBus):
    """Between topics of several masters there is no order, not even by chance.

    So what the suite publishes to learn that all before it has arrived goes to each master, and counts
    when it has come from all of them.
    """

    def publish(self, topic: Topic, data: bytes) -> None:
        for one in everywhere(topic):
            super().publish(one, data)

    async def subscribe(self, topic: Topic, receive: Receive) -> None:
        topics = everywhere(topic)
        came = Counter[bytes]()

        def take(data: bytes) -> None:
            came[data] += 1
            if came[data] % len(topics) == 0:
                receive(data)

        for one in topics:
            await super().subscribe(one, receive if one == topic else take)

    async def unsubscribe(self, topic: Topic) -> None:
        for one in everywhere(topic):
            await super().unsubscribe(one)


def everywhere(topic: Topic) -> list[Topic]:
    """For a topic that the suite hears last, one of each master; else the topic."""
    if not topic.startswith(("quiet:", "channel:")):
        return [topic]
    by_master: dict[int, Topic] = {}
    for number in range(100):
        one = f"{topic}:{number}"
        by_master.setdefault(slot_of(one.encode()) * 3 // SLOTS, one)
    assert len(by_master) == 3
    return list(by_master.values())


@contextlib.asynccontextmanager
async def redis_cluster(place: Path) -> AsyncIterator[Broker]:
    """Connections to all masters of one Redis Cluster."""
    cluster = ToldCluster.lasting().cluster
    config = RedisConfig(mode="cluster", addresses=cluster.addresses)

    async def join() -> Bus:
        return await ClusterBus.open(config, silent_log())

    async def interrupt() -> None:
        cluster.interrupt()

    yield Broker(join, interrupt)


BACKENDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Broker]]] = {
    "memory": memory,
    "hub": hub,
    "redis": redis,
    "redis cluster": redis_cluster,
}
