"""A server that lies: a proxy that understands what passes through it, and changes some of it.

Only WebSockets go through it. What it does to a frame on its way to the client is a function.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tidings.protocol.codec import MSGPACK, MSGPACK_SUBPROTOCOL
from tidings.protocol.frames import Ack, Deliver, Frame, Hello

Lie = Callable[[str, Frame], Sequence[Frame]]
"""Given a device's token and a frame for it; what it gets instead."""

SUBPROTOCOLS = [Subprotocol(MSGPACK_SUBPROTOCOL)]


@contextlib.asynccontextmanager
async def lying(port: int, lie: Lie) -> AsyncIterator[str]:
    """Where such a proxy before the server of a port lets WebSockets in."""

    async def carry(client: ServerConnection) -> None:
        hello = await client.recv()
        said = MSGPACK.decode_client(hello)
        assert isinstance(said, Hello)
        url = f"ws://127.0.0.1:{port}/v1/ws"
        came = 0
        passed = [0]
        """for each Deliver that the client has got: how many the server had sent by then"""

        async with connect(url, subprotocols=SUBPROTOCOLS, compression=None) as server:
            await server.send(hello)

            async def upwards() -> None:
                async for data in client:
                    frame = MSGPACK.decode_client(data)
                    if isinstance(frame, Ack):
                        frame = Ack(passed[frame.up_to])
                    await server.send(MSGPACK.encode(frame))

            async def downwards() -> None:
                nonlocal came
                async for data in server:
                    assert isinstance(data, bytes)
                    frame = MSGPACK.decode_server(data)
                    came += isinstance(frame, Deliver)
                    for told in lie(said.token, frame):
                        if isinstance(told, Deliver):
                            passed.append(came)
                        await client.send(MSGPACK.encode(told))

            tasks = [asyncio.create_task(upwards()), asyncio.create_task(downwards())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close(server.close_code or 1011)

    async with serve(
        carry, "127.0.0.1", 0, subprotocols=SUBPROTOCOLS, compression=None, ping_interval=None
    ) as listening:
        (socket,) = listening.sockets
        yield f"ws://127.0.0.1:{socket.getsockname()[1]}/v1/ws"
