"""The bus in memory: for one process that holds several nodes, for the hub, and for tests.

`Topics` are the broker; each node has a `MemoryBus` of its own on it. What a turn of the event loop
publishes is handed over in the next one, in order. Nothing else is lost than what goes beyond
`WAITING_BYTES` in one turn.
"""

import asyncio
from collections.abc import Callable

from tidings.bus.contract import (
    PUBLICATION_BYTES,
    TOPIC_CHARS,
    WAITING_BYTES,
    BusUnavailable,
    Receive,
    Topic,
)


class Topics:
    """Who is subscribed to what."""

    def __init__(self) -> None:
        self.receivers: dict[Topic, dict[MemoryBus, Receive]] = {}

    def pass_on(self, topic: Topic, data: bytes) -> None:
        """Give a publication to all that are subscribed."""
        for receive in tuple(self.receivers.get(topic, {}).values()):
            receive(data)


class MemoryBus:
    """A node's end. See `tidings.bus.contract.Bus`."""

    def __init__(self, topics: Topics | None = None) -> None:
        self._topics = topics or Topics()
        self._subscribed: set[Topic] = set()
        self._waiting: list[tuple[Topic, bytes]] = []
        """what this turn of the loop has published"""
        self._waiting_bytes = 0
        self._closed = False

    def publish(self, topic: Topic, data: bytes) -> None:
        assert len(topic) <= TOPIC_CHARS, topic
        assert topic.isascii(), topic
        assert len(data) <= PUBLICATION_BYTES, len(data)
        if self._closed or self._waiting_bytes + len(data) > WAITING_BYTES:
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._waiting.append((topic, data))
        self._waiting_bytes += len(data)

    async def subscribe(self, topic: Topic, receive: Receive) -> None:
        if self._closed:
            raise BusUnavailable("the bus is closed")
        self._subscribed.add(topic)
        self._topics.receivers.setdefault(topic, {})[self] = receive

    async def unsubscribe(self, topic: Topic) -> None:
        receivers = self._topics.receivers.get(topic, {})
        receivers.pop(self, None)
        if not receivers:
            self._topics.receivers.pop(topic, None)
        self._subscribed.discard(topic)

    def on_loss(self, lost: Callable[[], None]) -> None:
        """Nothing is ever lost all at once."""

    async def close(self) -> None:
        for topic in tuple(self._subscribed):
            await self.unsubscribe(topic)
        self._hand_over()
        self._closed = True

    def _hand_over(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._waiting_bytes = 0
        for topic, data in waiting:
            self._topics.pass_on(topic, data)
