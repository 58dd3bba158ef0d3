"""The bus on Redis' publications: see `tidings.bus.contract.Bus`.

A topic is a channel; in a Redis Cluster one of sharded publications, which the master of its slot alone
passes on. One connection to each master carries both ways, so that what one turn of the event loop publishes
goes out in one write.

A publication carries who published it and a counter: what comes late or twice is left out. For a master
that was frozen until its replica had taken over passes on to that one what it then finds in its sockets.

Redis keeps nothing for who is away. So whenever a connection had to be made again, all subscriptions are
made anew, and once Redis has confirmed them a loss is told of: whoever then reads anew misses nothing.
"""

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from functools import partial
from struct import Struct
from typing import Any

from structlog.typing import FilteringBoundLogger

from tidings.bus.contract import (
    PUBLICATION_BYTES,
    TOPIC_CHARS,
    WAITING_BYTES,
    BusUnavailable,
    Receive,
    Topic,
)
from tidings.redis.config import RedisConfig
from tidings.redis.dial import Dialer
from tidings.redis.link import Link, Random
from tidings.redis.masters import UNABLE, Masters
from tidings.redis.reach import reach
from tidings.redis.wire import RedisUnavailable, Reply, Wire

GIVE_UP_S = 4.0
"""How long a subscription waits to be confirmed, reconnecting included."""
PUBLISHERS = 4096
"""of so many the last publication to a topic is remembered; nodes that were started anew are others"""
AGAIN_S = 0.5
"""from a subscribing anew that failed to the next"""


_STAMP = Struct(">8sQ")
"""before each publication: the bus that it came from, and how many that had published by then"""


class _Receiver:
    """Who is given a channel's publications."""

    __slots__ = ("_newest", "receive")

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self._newest: dict[bytes, int] = {}
        """of each publisher: the counter of its last publication"""

    def is_news(self, publisher: bytes, count: int) -> bool:
        """Whether nothing that was published later, nor this, has come yet."""
        if count <= self._newest.get(publisher, 0):
            return False
        self._newest[publisher] = count
        if len(self._newest) > PUBLISHERS:
            del self._newest[next(iter(self._newest))]
        return True


class _Held:
    """A channel's subscription on a connection."""

    __slots__ = ("confirmed", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class RedisBus:
    """A node's end. Make one with `open`."""

    def __init__(
        self,
        dialer: Dialer,
        log: FilteringBoundLogger,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
        jitter: Random = random.random,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._log = log
        self._give_up_s = give_up_s
        self._prefix = dialer.config.prefix
        self._loop = asyncio.get_running_loop()
        self._masters: Masters = reach(dialer, self, jitter, log)
        sharded = self._masters.is_cluster
        self._publish = b"SPUBLISH" if sharded else b"PUBLISH"
        self._subscribe = b"SSUBSCRIBE" if sharded else b"SUBSCRIBE"
        self._unsubscribe = b"SUNSUBSCRIBE" if sharded else b"UNSUBSCRIBE"
        self._message = b"smessage" if sharded else b"message"
        self._publisher = random_bytes(8)
        self._count = 0
        """publications so far"""
        self._receivers: dict[bytes, _Receiver] = {}
        """by channel"""
        self._held: dict[bytes, _Held] = {}
        """by channel"""
        self._lost: list[Callable[[], None]] = []
        self._torn = False
        """whether channels may be subscribed to where their slots are no more"""
        self._mending: asyncio.Task[None] | None = None
        self._refused = ""
        """why publications were refused last"""
        self._is_open = False
        self._closed = False

    @classmethod
    async def open(cls, config: RedisConfig, log: FilteringBoundLogger, **options: Any) -> "RedisBus":
        """Connect. Raises RedisMisconfigured, and BusUnavailable if Redis cannot be used.

        `options` are those of `RedisBus`.
        """
        bus = cls(Dialer(config), log, **options)
        try:
            await bus._masters.open()
        except BaseException as error:
            await bus.close()
            if isinstance(error, RedisUnavailable):
                raise BusUnavailable(str(error)) from None
            raise
        bus._is_open = True
        return bus

    def publish(self, topic: Topic, data: bytes) -> None:
        assert len(topic) <= TOPIC_CHARS, topic
        assert topic.isascii(), topic
        assert len(data) <= PUBLICATION_BYTES, len(data)
        channel = self._channel(topic)
        link = self._masters.of(channel)
        wire = link.wire if link is not None else None
        if wire is not None and not self._closed and wire.waiting_bytes + len(data) <= WAITING_BYTES:
            self._count += 1
            stamped = _STAMP.pack(self._publisher, self._count) + data
            wire.send((self._publish, channel, stamped), self._published)

    async def subscribe(self, topic: Topic, receive: Receive) -> None:
        if self._closed:
            raise BusUnavailable("the bus is closed")
        channel = self._channel(topic)
        receiver = self._receivers[channel] = _Receiver(receive)
        try:
            async with asyncio.timeout(self._give_up_s):
                await self._have_confirmed(channel)
        except BaseException as error:
            if self._receivers.get(channel) is receiver:
                del self._receivers[channel]
                held = self._held.pop(channel, None)
                if held is not None:  # Redis may have been asked already
                    held.wire.send_channel(self._unsubscribe, channel, _ignore)
            if isinstance(error, TimeoutError):
                raise BusUnavailable(f"Redis did not confirm within {self._give_up_s:g} s") from None
            if isinstance(error, RedisUnavailable):
                raise BusUnavailable(str(error)) from None
            raise

    async def unsubscribe(self, topic: Topic) -> None:
        channel = self._channel(topic)
        if self._receivers.pop(channel, None) is None:
            return
        held = self._held.pop(channel, None)
        if held is not None:
            done: asyncio.Future[None] = self._loop.create_future()
            # Whether it is confirmed or the connection is gone: it holds no more.
            held.wire.send_channel(self._unsubscribe, channel, partial(_end, done))
            await done

    def on_loss(self, lost: Callable[[], None]) -> None:
        self._lost.append(lost)

    async def close(self) -> None:
        self._closed = True
        self._receivers.clear()
        if self._mending is not None:
            self._mending.cancel()
        await self._masters.close()

    # --- for the masters (Keeper) -----------------------------------------------------------

    async def greet(self, link: Link, wire: Wire) -> None:
        """Have everything confirmed that belongs to this master, before the connection is used."""
        channels = [channel for channel in self._receivers if self._masters.of(channel) is link]
        for held in [self._hold(channel, wire) for channel in channels]:
            try:
                await asyncio.shield(held.confirmed)
            except _Moved:
                self._mend_soon()
            except RedisUnavailable as error:
                if not wire.is_open:
                    raise
                self._log.error("Redis refuses a subscription", reason=str(error))

    def connected(self, link: Link, *, forgotten: bool) -> None:  # noqa: ARG002 - it never knew anything
        self._refused = ""
        if self._is_open:
            self._tell_lost()

    def disconnected(self, link: Link) -> None:
        """What is published now is lost; it is told when somebody hears again."""

    def moved(self) -> None:
        self._mend_soon()

    def pushed(self, push: Sequence[Any]) -> None:
        kind, channel, data = push
        if kind == self._message:
            receiver = self._receivers.get(channel)
            if receiver is not None:
                self._pass_on(receiver, data)
        elif self._held.pop(channel, None) is not None:
            self._mend_soon()  # its slot has moved away

    # --- inside -----------------------------------------------------------------------------

    def _pass_on(self, receiver: _Receiver, data: bytes) -> None:
        try:
            if receiver.is_news(*_STAMP.unpack_from(data)):
                receiver.receive(data[_STAMP.size :])
        except Exception as bug:
            self._log.error("a publication could not be taken", exc_info=bug)

    def _channel(self, topic: Topic) -> bytes:
        return (self._prefix + topic).encode()

    def _published(self, reply: Reply) -> None:
        if isinstance(reply, Exception) and not isinstance(reply, RedisUnavailable):
            if str(reply).startswith("MOVED "):
                self._mend_soon()
            elif str(reply) != self._refused and not str(reply).startswith(UNABLE):
                self._refused = str(reply)
                self._log.error("Redis refuses publications", reason=self._refused)

    async def _have_confirmed(self, channel: bytes) -> None:
        """Wait until a channel is subscribed to. Raises RedisUnavailable."""
        while True:
            link = self._masters.of(channel)
            if link is None:
                raise RedisUnavailable("the Cluster is not complete: some slots have no server")
            wire = await link.ready(self._give_up_s)
            held = self._hold(channel, wire)
            try:
                await asyncio.shield(held.confirmed)
                return
            except _Moved:
                await self._masters.look()
                await asyncio.sleep(AGAIN_S * (self._masters.of(channel) is link))
            except RedisUnavailable:
                if wire.is_open:
                    raise

    def _hold(self, channel: bytes, wire: Wire) -> _Held:
        """The subscription on a connection, which is made if it is not there yet."""
        held = self._held.get(channel)
        if held is None or held.wire is not wire:
            held = self._held[channel] = _Held(wire)
            wire.send_channel(self._subscribe, channel, partial(self._confirm, channel, held))
        return held

    def _confirm(self, channel: bytes, held: _Held, reply: Reply) -> None:
        if not isinstance(reply, Exception):
            held.confirmed.set_result(None)
            return
        if self._held.get(channel) is held:
            del self._held[channel]
        if str(reply).startswith("MOVED "):
            reply = _Moved(str(reply))
        elif not isinstance(reply, RedisUnavailable):
            reply = RedisUnavailable(str(reply))
        held.confirmed.set_exception(reply)
        held.confirmed.exception()  # nobody may wait for it any more

    def _mend_soon(self) -> None:
        self._torn = True
        if self._mending is None and not self._closed:
            self._mending = self._loop.create_task(self._mend())

    async def _mend(self) -> None:
        """Subscribe where slots are now, to what is subscribed to where they were; then a loss is told of."""
        try:
            while self._torn:
                self._torn = False
                await self._masters.look()
                held = [
                    self._hold(channel, link.wire)
                    for channel in self._receivers
                    if (link := self._masters.of(channel)) is not None and link.wire is not None
                ]  # the others are subscribed to when their link connects
                confirmed = [asyncio.shield(one.confirmed) for one in held]
                for failed in await asyncio.gather(*confirmed, return_exceptions=True):
                    self._torn = self._torn or isinstance(failed, _Moved)
                await asyncio.sleep(AGAIN_S * self._torn)
        finally:
            self._mending = None
        self._tell_lost()

    def _tell_lost(self) -> None:
        if not self._closed:
            for lost in self._lost:
                lost()


class _Moved(RedisUnavailable):
    """The channel is another master's."""


def _end(done: "asyncio.Future[None]", _reply: Reply) -> None:
    if not done.done():
        done.set_result(None)


def _ignore(_reply: Reply) -> None:
    """Whatever it is."""
