"""Nodes on a real Redis, as the tests of its failures see them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from hub.rig import Line, listening_log
from tidings.bus.redis import RedisBus
from tidings.directory.contract import DirectoryUnavailable, Place
from tidings.directory.redis import RedisDirectory
from tidings.protocol.ids import DeviceId, UserId
from tidings.redis.config import RedisConfig

PATIENCE_S = 30.0
SHORT_S = 0.3
"""for a server that answers within a millisecond, to be taken for gone"""
TOPIC = "node:7"
ALICE = UserId(1)


def place(session: int = 1, node: int = 5, user: int = ALICE, device: int = 11) -> Place:
    return Place(UserId(user), DeviceId(device), session, node)


class Node:
    """Both ends of one node, and what they tell it."""

    def __init__(self, bus: RedisBus, directory: RedisDirectory, lines: list[Line]) -> None:
        self.bus = bus
        self.directory = directory
        self.lines = lines
        """of its log"""
        self.heard: list[bytes] = []
        self.gaps = 0
        """losses that the bus told of"""
        self.forgets = 0
        """losses that the directory told of"""
        bus.on_loss(self._note_gap)
        directory.on_loss(self._note_forgetting)

    def _note_gap(self) -> None:
        self.gaps += 1

    def _note_forgetting(self) -> None:
        self.forgets += 1

    async def listen(self, *topics: str) -> None:
        for topic in topics:
            await self.bus.subscribe(topic, self.heard.append)

    async def finds(self, user: UserId = ALICE) -> list[Place]:
        return (await self.directory.look_up([user]))[0]

    async def is_lost(self) -> bool:
        """Whether the directory says that it cannot be reached."""
        try:
            await self.directory.look_up([ALICE])
        except DirectoryUnavailable:
            return True
        return False


@contextlib.asynccontextmanager
async def nodes(config: RedisConfig, count: int = 2) -> AsyncIterator[list[Node]]:
    """So many nodes."""
    joined: list[Node] = []
    try:
        for _ in range(count):
            log, lines = listening_log()
            bus = await RedisBus.open(config, log)
            joined.append(Node(bus, await RedisDirectory.open(config, log), lines))
        yield joined
    finally:
        for node in joined:
            await node.bus.close()
            await node.directory.close()


async def until(holds: Callable[[], Any]) -> None:
    """Let the event loop run until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.005)


async def arrives(sender: Node, receiver: Node, topic: str = TOPIC) -> None:
    """Publish until something arrives: what is published while there is no connection is lost."""
    news = b"news %d" % time.monotonic_ns()
    async with asyncio.timeout(PATIENCE_S):
        while news not in receiver.heard:
            sender.bus.publish(topic, news)
            await asyncio.sleep(0.005)


async def reaches(node: Node) -> list[Place]:
    """Ask until the directory answers again."""
    async with asyncio.timeout(PATIENCE_S):
        while await node.is_lost():
            await asyncio.sleep(0.005)
    return await node.finds()
