"""The network of a device that speaks as the SDK does: WebSockets and HTTP requests to simulated nodes.

Both go to a node of the cluster's choosing, and break as the nodes and the links do.
"""

import asyncio
from collections import deque
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tidings.client.errors import ConnectionLost, Unreachable
from tidings.client.socket import BROKEN, OPEN_S, Socket
from tidings.client.surroundings import ANSWER_S
from tidings.protocol.api import Health, ServerInfo
from tidings.server import http
from tidings.server.services import Services
from tidings.testing.simulation.links import PASS_S, Wire
from tidings.testing.simulation.machines import MachineClock

if TYPE_CHECKING:
    from tidings.testing.simulation.nodes import Node
    from tidings.testing.simulation.sealed.run import Sealed


class RequestFault(StrEnum):
    """What may go wrong with a request, beside the node that it goes to."""

    LOST = "request: lost"
    UNANSWERED = "request: done, its answer lost"


class Tap:
    """Hears what a device says and is told, frame by frame."""

    def said(self, data: bytes) -> None:
        """It has sent a frame."""

    def told(self, data: bytes) -> None:
        """A frame has reached it."""

    def asked(self, method: str, path: str) -> None:
        """It makes a request."""


class Network:
    """What a device reaches the cluster by."""

    def __init__(self, simulation: "Sealed", random: Random, tap: Tap) -> None:
        self._simulation = simulation
        self._random = random
        self._tap = tap
        self.is_up = True
        self.socket: WireSocket | None = None
        """the one that was opened last"""

    def go_down(self) -> None:
        """The device is out of reach of everything."""
        self.is_up = False
        if self.socket is not None:
            self.socket.vanish()

    async def dial(self, url: str) -> Socket:  # noqa: ARG002 - there is but one server
        """Implements `surroundings.Dial`."""
        if not self.is_up:
            raise ConnectionLost(BROKEN, "offline")
        node = self._random.choice(self._simulation.nodes)
        self.socket = socket = WireSocket(self._simulation, node, self._random, self._tap)
        await socket.open()
        return socket

    async def request(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Implements `surroundings.Request`."""
        simulation, random = self._simulation, self._random
        parts = urlsplit(url)
        self._tap.asked(method, parts.path)
        await asyncio.sleep(random.uniform(*PASS_S))
        fault = self._fault()
        node = random.choice(simulation.nodes)
        if not self.is_up or not node.listens or fault is RequestFault.LOST:
            raise Unreachable("cannot reach the server")
        exchange = _Exchange(simulation, node, (method, parts.path, body or b"", headers))
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await exchange.answer
        except TimeoutError:
            raise Unreachable("the server does not answer") from None
        await asyncio.sleep(random.uniform(*PASS_S))
        if not self.is_up or fault is RequestFault.UNANSWERED:
            raise Unreachable("the connection broke")
        return answer

    def _fault(self) -> RequestFault | None:
        if self._random.random() >= self._simulation.requests_lost:
            return None
        fault = self._random.choice(list(RequestFault))
        self._simulation.tally.count(fault)
        return fault


class WireSocket:
    """Implements `socket.Socket` and `links.Peer`: a WebSocket of a device, whose program may be killed."""

    def __init__(self, simulation: "Sealed", node: "Node", random: Random, tap: Tap) -> None:
        self.wire = Wire(simulation.loop, node, self, random, simulation.tally)
        self.is_welcome = False
        """whether anything came yet"""
        self._tap = tap
        self._frames: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._is_open = False
        self._end: ConnectionLost | None = None

    async def open(self) -> None:
        """Connect. Raises ConnectionLost."""
        self.wire.connect()
        try:
            async with asyncio.timeout(OPEN_S):
                while not self._is_open:
                    await self._next_news()
        except TimeoutError:
            await self.close(BROKEN, "")
            raise ConnectionLost(BROKEN, "no answer") from None

    def vanish(self) -> None:
        """The program, or the way to the server, is gone."""
        self.wire.hang_up()
        self._over(ConnectionLost(BROKEN, "gone"))

    # --- as a socket --------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        if self._end is not None:
            raise self._end
        self._tap.said(data)
        self.wire.say(data)

    async def receive(self) -> bytes:
        while not self._frames:
            await self._next_news()
        return self._frames.popleft()

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - the wire knows one way
        self.wire.hang_up()
        self._over(ConnectionLost(BROKEN, "closed"))

    # --- as a peer ----------------------------------------------------------------------------

    def opened(self) -> None:
        self._is_open = True
        self._news.set()

    def received(self, batch: list[bytes]) -> None:
        for data in batch:
            self._tap.told(data)
        self.is_welcome = True
        self._frames.extend(batch)
        self._news.set()

    def closed(self, code: int, reason: str) -> None:
        self._over(ConnectionLost(code, reason))

    # --- inside -----------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether the device knows that it has ended."""
        return self._end is not None

    async def _next_news(self) -> None:
        if self._end is not None:
            raise self._end
        self._news.clear()
        await self._news.wait()

    def _over(self, lost: ConnectionLost) -> None:
        self._end = self._end or lost
        self._news.set()


Asked = tuple[str, str, bytes, dict[str, str]]


class _Exchange:
    """One request at a node. Implements `nodes.Caller`."""

    def __init__(self, simulation: "Sealed", node: "Node", asked: Asked) -> None:
        self.answer: asyncio.Future[tuple[int, bytes]] = simulation.loop.create_future()
        self._simulation = simulation
        self._node = node
        node.wires[self] = None
        task = node.call(lambda services: self._ask(services, asked))
        task.add_done_callback(self._done, context=simulation.loop.world.context)

    def node_died(self) -> None:
        self._fail("reset")

    def stop(self) -> None:
        """It is answered as long as the node is there."""

    async def _ask(self, services: Services, asked: Asked) -> tuple[int, bytes]:
        return await answer(self._simulation.application(self._node, services), *asked)

    def _done(self, task: "asyncio.Task[tuple[int, bytes]]") -> None:
        self._node.wires.pop(self, None)
        if task.cancelled():
            self._fail("broken")
        elif task.exception() is not None:
            self._fail("broken")
            context = {"message": "a request failed", "exception": task.exception()}
            self._simulation.loop.call_exception_handler(context)
        elif not self.answer.done():
            self.answer.set_result(task.result())

    def _fail(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(Unreachable(f"cannot reach the server: {reason}"))
            self.answer.exception()  # whoever asked may be gone


def application(node: "Node", services: Services) -> Any:
    """The HTTP side of a node."""
    shared = node.shared
    about = ServerInfo("0", "open", phone=False)
    health = Health("ok", "0", "memory", 3)
    limits = shared.config.limits
    clock = MachineClock(shared.loop, node.machine)
    return http.application(services, clock, limits, about, lambda: health, services.log)


async def answer(app: Any, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Have an ASGI application answer a request, without a network."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        + [(b"content-length", str(len(body)).encode())],
        "client": ("192.0.2.1", 1),
        "server": ("simulation", 80),
        "state": {},
    }
    sent: list[dict[str, Any]] = []
    left = deque([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return left.popleft() if left else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
