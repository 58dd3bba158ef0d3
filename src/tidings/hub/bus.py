"""The bus over the hub: see `tidings.bus.contract.Bus`.

While there is no hub, publications are lost. Once there is one again it is asked for all that was
subscribed to, and only when it has confirmed that is a loss told of: whoever then reads anew misses nothing.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from tidings.bus.contract import PUBLICATION_BYTES, TOPIC_CHARS, BusUnavailable, Receive, Topic
from tidings.hub.link import HubLink, Manner
from tidings.hub.wire import Subscribe, Unsubscribe

AGAIN_S = 1.0
"""from a subscribing anew that the hub did not confirm to the next"""

_MANNER = Manner(BusUnavailable)


class HubBus:
    """A node's end of the hub's bus. A link has one; the caller closes the link."""

    def __init__(self, link: HubLink) -> None:
        self._link = link
        self._receivers: dict[Topic, Receive] = {}
        self._lost: list[Callable[[], None]] = []
        self._closed = False
        self._returns = 0
        link.on_publication(self._hear)
        link.on_return(self._subscribe_again)

    def publish(self, topic: Topic, data: bytes) -> None:
        assert len(topic) <= TOPIC_CHARS, topic
        assert topic.isascii(), topic
        assert len(data) <= PUBLICATION_BYTES, len(data)
        if not self._closed:
            self._link.publish(topic, data)

    async def subscribe(self, topic: Topic, receive: Receive) -> None:
        if self._closed:
            raise BusUnavailable("the bus is closed")
        self._receivers[topic] = receive
        try:
            await self._link.done(Subscribe(0, [topic]), _MANNER)
        except BaseException:
            if self._receivers.get(topic) is receive:
                del self._receivers[topic]
            raise

    async def unsubscribe(self, topic: Topic) -> None:
        if self._receivers.pop(topic, None) is not None:
            await self._link.done(Unsubscribe(0, [topic]), _MANNER)

    def on_loss(self, lost: Callable[[], None]) -> None:
        self._lost.append(lost)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        topics = list(self._receivers)
        self._receivers.clear()
        # What was published goes before this, so the answer says that it has arrived.
        try:
            await self._link.done(Unsubscribe(0, topics), _MANNER)
        except BusUnavailable:
            return  # nobody is there to hand anything to

    def _hear(self, topic: Topic, data: bytes) -> None:
        receive = self._receivers.get(topic)
        if receive is not None:
            receive(data)

    def _subscribe_again(self) -> None:
        self._returns += 1
        self._resubscribe(self._returns)

    def _resubscribe(self, returned: int) -> None:
        if not self._closed and returned == self._returns:
            again = self._link.asked(Subscribe(0, list(self._receivers)), _MANNER)
            again.add_done_callback(partial(self._subscribed_again, returned))

    def _subscribed_again(self, returned: int, again: "asyncio.Future[None]") -> None:
        if again.exception() is not None:
            # Also where the hub did it after all, the loss is to be told.
            asyncio.get_running_loop().call_later(AGAIN_S, self._resubscribe, returned)
        elif not self._closed and returned == self._returns:
            for lost in self._lost:
                lost()
