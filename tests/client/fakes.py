"""A clock that tests move, and a server's side of a socket that they speak for."""

import asyncio
import heapq
import itertools

from tidings.client.errors import ConnectionLost
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import ClientFrame, Frame, Hello, Welcome
from tidings.protocol.ids import DeviceId, UserId


class FakeClock:
    """Implements `surroundings.Clock`: whoever sleeps wakes when the test says so."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._now_s = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def wall_ms(self) -> int:
        return 1_800_000_000_000 + round(self._now_s * 1000)

    def monotonic_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._count), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Time passes; returns when everybody who woke has gone as far as it can."""
        end_s = self._now_s + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self._now_s, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await settle()
        self._now_s = end_s


async def settle() -> None:
    """Let all tasks go on until they wait for something outside."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeSocket:
    """Implements `socket.Socket`; the test is the server."""

    def __init__(self) -> None:
        self.sent: list[ClientFrame] = []
        self.closed: int | None = None
        self._incoming: asyncio.Queue[bytes | ConnectionLost] = asyncio.Queue()
        self._lost: ConnectionLost | None = None

    async def send(self, data: bytes) -> None:
        if self._lost is not None:
            raise self._lost
        frame = MSGPACK.decode_client(data)
        self.sent.append(frame)
        if isinstance(frame, Hello):
            self.answer(Welcome(UserId(1), DeviceId(2), "alice", 0, 30.0, 10.0, 256, 65536))

    async def receive(self) -> bytes:
        item = await self._incoming.get()
        if isinstance(item, ConnectionLost):
            raise item
        return item

    async def close(self, code: int, reason: str) -> None:
        self.closed = code

    def answer(self, frame: Frame) -> None:
        """The server sends a frame."""
        self._incoming.put_nowait(MSGPACK.encode(frame))

    def answer_bytes(self, data: bytes) -> None:
        """The server sends anything."""
        self._incoming.put_nowait(data)

    def lose(self, code: int, reason: str = "") -> None:
        """The connection ends."""
        self._lost = ConnectionLost(code, reason)
        self._incoming.put_nowait(self._lost)
