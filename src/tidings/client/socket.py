"""A WebSocket as the SDK sees it: whole messages in and out, and why it ended.

The one module that knows the websockets library.
"""

from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from tidings import __version__
from tidings.client.errors import ConnectionLost
from tidings.protocol.codec import MSGPACK_SUBPROTOCOL

OPEN_S = 10.0
"""how long TCP, TLS and the upgrade may take"""
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""the largest frame that is taken: a page of history, with room to spare"""
BROKEN = 1006
"""RFC 6455 §7.4.1: there was no close frame"""


class Socket(Protocol):
    """A WebSocket that stands."""

    async def send(self, data: bytes) -> None:
        """Send one message. Raises ConnectionLost."""

    async def receive(self) -> bytes:
        """The next message. Raises ConnectionLost."""

    async def close(self, code: int, reason: str) -> None:
        """End it; waits for the peer for a moment at most."""


class WebSocket:
    """Implements `Socket` on a connection of the websockets library."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        try:
            await self._connection.send(data)
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def receive(self) -> bytes:
        try:
            data = await self._connection.recv()
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        return data.encode() if isinstance(data, str) else data

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)


async def dial(url: str) -> Socket:
    """Open a WebSocket. Raises ConnectionLost if that cannot be done now."""
    try:
        connection = await connect(
            url,
            subprotocols=[Subprotocol(MSGPACK_SUBPROTOCOL)],
            user_agent_header=f"tidings/{__version__}",
            compression=None,
            open_timeout=OPEN_S,
            # The protocol has heartbeats of its own.
            ping_interval=None,
            close_timeout=1,
            max_size=MESSAGE_BYTES_MAX,
        )
    except (OSError, TimeoutError, WebSocketException) as error:
        raise ConnectionLost(BROKEN, _reason(error)) from None
    return WebSocket(connection)


def _lost(closed: ConnectionClosed) -> ConnectionLost:
    if closed.rcvd is None:
        return ConnectionLost(BROKEN, "the connection broke")
    return ConnectionLost(closed.rcvd.code, closed.rcvd.reason)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        # asyncio's own text names the call and the address as a tuple.
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
