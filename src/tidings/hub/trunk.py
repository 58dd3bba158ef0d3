"""One connection of a link to the hub: its frames in and out, its beginning and its end."""

import asyncio
import socket
from typing import Protocol, cast

import msgspec

from tidings.hub.framing import Malformed, Splitter, decoded, encode, framed
from tidings.hub.wire import Greeting, Hello, News, Refusal

CLOSE_S = 1.0
"""for the hub to take what it was sent, when the link is closed"""
SOCKET_BYTES = 1 << 20
"""of the kernel's buffers; it gives what it allows"""

_first = msgspec.msgpack.Decoder(Greeting | Refusal).decode
_news = msgspec.msgpack.Decoder(News).decode


class Owner(Protocol):
    """The link."""

    hello: Hello

    def connected(self, trunk: "Trunk", greeting: Greeting) -> None:
        """The hub has greeted."""

    def take(self, news: News) -> None:
        """What the hub says."""

    def disconnected(self, reason: str) -> None:
        """The connection is gone."""


class HubRefused(Exception):
    """The hub was reached, and does not serve this link."""


class Trunk(asyncio.Protocol):
    """One connection of a link."""

    def __init__(self, link: Owner) -> None:
        self._link = link
        loop = asyncio.get_running_loop()
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._is_greeted = False
        self.greeted: asyncio.Future[None] = loop.create_future()
        """ends when the hub has greeted, or raises HubRefused"""
        self.lost: asyncio.Future[None] = loop.create_future()
        """ends when the connection has"""

    @property
    def waiting_bytes(self) -> int:
        """What the hub has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, body: bytes) -> None:
        """Send a frame, if there is a connection still."""
        if self._transport is not None:
            self._transport.writelines(framed(body))

    def abort(self) -> None:
        """Break it off."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Send what waits and close."""
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait([self.lost], timeout=CLOSE_S)
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What uvloop gives is one in all but name.
        self._transport = transport = cast(asyncio.Transport, transport)
        hub = transport.get_extra_info("socket")
        for kind in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            hub.setsockopt(socket.SOL_SOCKET, kind, SOCKET_BYTES)
        self.send(encode(self._link.hello))

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._splitter.feed(data):
                if self._is_greeted:
                    self._link.take(decoded(_news, frame))
                else:
                    self._begin(decoded(_first, frame))
        except Malformed as error:
            self._lose(f"the hub sent what is no frame: {error}")
            self.abort()

    def _begin(self, first: Greeting | Refusal) -> None:
        if isinstance(first, Refusal):
            self._lose(first.reason)
        elif not self.greeted.done():
            self._is_greeted = True
            self.greeted.set_result(None)
            self._link.connected(self, first)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lose(str(exc or "the hub closed it"))
        if not self.lost.done():
            self.lost.set_result(None)

    def _lose(self, reason: str) -> None:
        if not self.greeted.done():
            self.greeted.set_exception(HubRefused(reason))
            self.greeted.exception()  # the link may be closing, and not listen any more
        elif self._is_greeted:
            self._link.disconnected(reason)
