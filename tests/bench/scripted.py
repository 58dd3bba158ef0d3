"""A server that says what a test wants it to say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tidings.protocol.codec import MSGPACK, MSGPACK_SUBPROTOCOL
from tidings.protocol.frames import Drained, Frame, Heartbeat, HeartbeatOk, Hello
from tidings.protocol.ids import EntryId

PATIENCE_S = 10.0


class Caller:
    """A client's connection, seen from the server; Hello was heard, and heartbeats are answered."""

    def __init__(self, connection: ServerConnection, hello: Hello) -> None:
        self._connection = connection
        self.hello = hello

    async def says(self) -> Any:
        """The next frame that is no heartbeat; None: it has hung up."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    frame = MSGPACK.decode_client(await self._connection.recv())
            except ConnectionClosed:
                return None
            if not isinstance(frame, Heartbeat):
                return frame
            await self.tell(HeartbeatOk(0))

    async def hears_of(self, kind: type[Frame]) -> Any:
        """The next frame of a kind; others before it do not matter."""
        while (frame := await self.says()) is not None:
            if isinstance(frame, kind):
                return frame
        raise AssertionError(f"it has hung up, and sent no {kind.__name__}")

    async def tell(self, *frames: Frame) -> None:
        for frame in frames:
            await self._connection.send(MSGPACK.encode(frame))

    async def drained(self, complete_to: int = 0) -> None:
        await self.tell(Drained(0, EntryId(complete_to)))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._connection.close(code, reason)


class Scripted:
    """A server; each connection waits for the test to take it."""

    def __init__(self) -> None:
        self.port = 0
        self._callers: asyncio.Queue[Caller] = asyncio.Queue()

    async def caller(self) -> Caller:
        """The next client that has said Hello."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._callers.get()

    async def answer(self, connection: ServerConnection) -> None:
        hello = MSGPACK.decode_client(await connection.recv())
        assert isinstance(hello, Hello)
        self._callers.put_nowait(Caller(connection, hello))
        await connection.wait_closed()


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    """Such a server on a port of its own."""
    server = Scripted()
    subprotocols = [Subprotocol(MSGPACK_SUBPROTOCOL)]
    async with serve(server.answer, "127.0.0.1", 0, subprotocols=subprotocols, compression=None) as listening:
        (socket,) = listening.sockets
        server.port = socket.getsockname()[1]
        yield server
