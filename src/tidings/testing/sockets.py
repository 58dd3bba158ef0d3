"""A WebSocket without a network: the SDK on one side, a session of a node in this process on the other."""

from collections.abc import Callable

from tidings.client.errors import ConnectionLost
from tidings.client.socket import BROKEN
from tidings.protocol.close import CloseCode
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import ClientFrame
from tidings.server.services import Services
from tidings.server.session import Session
from tidings.testing.world import MemoryLink


class NodeSocket:
    """Implements `tidings.client.socket.Socket`."""

    def __init__(self, services: Services, loses: Callable[[ClientFrame], bool] = lambda _: False) -> None:
        """`loses` says of each frame that the client sends whether it gets lost on its way."""
        self.is_deaf = False
        """true: nothing arrives any more of what the node sends"""
        self._loses = loses
        self._link = MemoryLink()
        self._session = Session(services, self._link, MSGPACK)
        self._torn = False

    async def send(self, data: bytes) -> None:
        self._raise_if_over()
        if not self._loses(MSGPACK.decode_client(data)):
            self._session.receive(data)

    async def receive(self) -> bytes:
        while self.is_deaf or not self._link.sent:
            self._raise_if_over()
            await self._link.news()
        return self._link.sent.pop(0)

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - nobody is told
        self.tear()

    def tear(self) -> None:
        """The connection breaks; what was on its way is gone, in both directions."""
        if self._torn:
            return
        self._torn = True
        self._link.sent.clear()
        self._link.close(CloseCode.GOING_AWAY, "torn")
        self._session.lost()

    def _raise_if_over(self) -> None:
        if self._torn:
            raise ConnectionLost(BROKEN, "torn")
        if self._link.closed is not None:
            raise ConnectionLost(*self._link.closed)
