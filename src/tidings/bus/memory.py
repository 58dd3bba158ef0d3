"""The bus in memory: for one process that holds several nodes, for the hub, and for tests.

`Topics` are the broker; each node has a `MemoryBus` of its own on it. What a turn of the event loop
publishes is handed over in the next one, in order. Nothing else is lost than what goes beyond
`WAITING_BYTES` in one turn.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from tidings.bus.contract import (
    PUBLICATION_BYTES,
    TOPIC_CHARS,
    WAITING_BYTES,
    BusUnavailable,
    Receive,
    Topic,
)

P = TypeVar("P")


class Topics(Generic[P]):
    """Who is subscribed to what, and how a publication (`P`) is given to them."""

    def __init__(self) -> None:
        self.receivers: dict[Topic, dict[Hashable, Callable[[P], None]]] = {}
        """of the topics to which somebody is subscribed"""

    def subscribe(self, topic: Topic, who: Hashable, receive: Callable[[P], None]) -> None:
        """Have what is published to a topic from now on given to `receive`."""
        self.receivers.setdefault(topic, {})[who] = receive

    def unsubscribe(self, topic: Topic, who: Hashable) -> None:
        """Give them nothing more. Without effect where they were not subscribed."""
        receivers = self.receivers.get(topic, {})
        receivers.pop(who, None)
        if not receivers:
            self.receivers.pop(topic, None)

    def pass_on(self, topic: Topic, publication: P) -> None:
        """Give a publication to all that are subscribed."""
        receivers = self.receivers.get(topic)
        if receivers is not None:
            # A copy: who is given one may subscribe, or end a subscription.
            for receive in tuple(receivers.values()):
                receive(publication)


class MemoryBus:
    """A node's end. See `tidings.bus.contract.Bus`."""

    def __init__(self, topics: Topics[bytes] | None = None) -> None:
        self._topics = topics or Topics[bytes]()
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
        self._topics.subscribe(topic, self, receive)

    async def unsubscribe(self, topic: Topic) -> None:
        self._topics.unsubscribe(topic, self)
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
