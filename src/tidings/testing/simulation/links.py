"""The network between devices and nodes: connections that are in order until they are cut.

A `Wire` is one WebSocket. Its server's end is a `tidings.server.link.Link` of a real session, which runs
as its node; its other end is a device. Each direction is in order and loses nothing, except what is
under way when the wire is cut. Either side may fail to notice that.
"""

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Protocol

from tidings.protocol.close import CloseCode
from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.tally import Tally

if TYPE_CHECKING:
    from tidings.server.session import Session
    from tidings.testing.simulation.nodes import Node

PASS_S = (0.001, 0.03)
SLOW_S = (0.3, 4.0)
CLOSE_S = 3.0
"""how long a server waits for the answer to its close frame"""


class LinkFault(StrEnum):
    """What may go wrong."""

    TORN = "network: connection torn"
    HALF_OPEN = "network: torn, the server does not notice"
    DEAF = "network: torn, the device does not notice"
    SLOW = "network: frames late"
    FRAMES_LOST = "network: frames lost under way"
    REFUSED = "network: connecting is refused"


class Peer(Protocol):
    """The device's end."""

    def opened(self) -> None:
        """The connection stands."""

    def received(self, batch: list[bytes]) -> None:
        """Frames that came together."""

    def closed(self, code: int, reason: str) -> None:
        """The server has closed it."""


BROKEN = 1006
"""the code of a connection that ended without one"""


class _End:
    """That a side has closed: the last thing that it sends."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


Item = bytes | _End


class _Way:
    """One direction."""

    __slots__ = (
        "_arrive",
        "_arrives_s",
        "_batch",
        "_batch_s",
        "_loop",
        "_random",
        "flying",
        "is_cut",
        "slow_until_s",
    )

    def __init__(self, loop: Loop, random: Random, arrive: Callable[[list[Item]], None]) -> None:
        self._loop = loop
        self._random = random
        self._arrive = arrive
        self._arrives_s = 0.0
        self._batch: list[Item] | None = None
        self._batch_s = 0.0
        self.flying = 0
        """bytes that were sent and have not arrived"""
        self.is_cut = False
        self.slow_until_s = 0.0

    def send(self, item: Item) -> None:
        """What is sent at one moment arrives at one moment."""
        if self.is_cut:
            return
        loop = self._loop
        now_s = loop.now_s
        self.flying += len(item) if isinstance(item, bytes) else 1
        if self._batch is not None and self._batch_s == now_s:
            self._batch.append(item)
            return
        takes_s = self._random.uniform(*(SLOW_S if now_s < self.slow_until_s else PASS_S))
        self._arrives_s = max(self._arrives_s, now_s + takes_s)
        self._batch, self._batch_s = [item], now_s
        loop.at(self._arrives_s, self._deliver, self._batch)

    def _deliver(self, batch: list[Item]) -> None:
        if batch is self._batch:
            self._batch = None
        if self.is_cut:
            return
        for item in batch:
            self.flying -= len(item) if isinstance(item, bytes) else 1
        self._arrive(batch)


class Wire:
    """One connection of a device to a node. Implements `server.link.Link`."""

    address = "192.0.2.1"

    def __init__(self, loop: Loop, node: "Node", peer: Peer, random: Random, tally: Tally) -> None:
        self._loop = loop
        self._node = node
        self._process = node.process
        self._peer = peer
        self._tally = tally
        self._up = _Way(loop, random, self._arrive_up)
        self._down = _Way(loop, random, self._arrive_down)
        self._session: Session | None = None
        self._waiting: deque[Item] = deque()
        """what the server has not taken yet"""
        self._is_paused = False
        self._server_closed = False
        self._server_lost = False
        self.is_over = False
        """for the device"""

    # --- the device's end -------------------------------------------------------------------

    def connect(self) -> None:
        """Begin. `Peer.opened` or `Peer.closed` follows, unless the node does nothing at all."""
        if self._node.listens:
            self._loop.after(PASS_S[1], self._reach)
        else:
            self._loop.after(PASS_S[1], self._break)

    def say(self, data: bytes) -> None:
        """Send a frame."""
        if not self.is_over:
            self._up.send(data)

    def hang_up(self) -> None:
        """Close it; the peer hears nothing more of it."""
        if not self.is_over:
            self.is_over = True
            self._up.send(_End(CloseCode.NORMAL, ""))

    # --- the simulation's side ----------------------------------------------------------------

    def cut(self, fault: LinkFault) -> None:
        """The connection is torn, in one of three ways. What is under way is lost."""
        self._tally.count(fault)
        if self._up.flying or self._down.flying:
            self._tally.count(LinkFault.FRAMES_LOST)
        self._up.is_cut = self._down.is_cut = True
        if fault is not LinkFault.DEAF:
            self._loop.after(PASS_S[1], self._break)
        if fault is not LinkFault.HALF_OPEN:
            self._loop.post_after(PASS_S[1], self._process, self._lose)

    def slow_down(self, until_s: float) -> None:
        """Frames are late until then."""
        self._up.slow_until_s = self._down.slow_until_s = until_s

    def node_died(self) -> None:
        """The node's kernel says so to the device; what was sent before may have arrived."""
        self._up.is_cut = True
        self._server_lost = self._server_closed = True
        self._down.send(_End(BROKEN, "reset"))

    def stop(self) -> None:
        """The server is stopping, in the node's own turn."""
        if self._session is not None and not self._server_lost:
            self._session.shutdown()

    # --- the server's end (Link) --------------------------------------------------------------

    @property
    def unsent_bytes(self) -> int:
        return self._down.flying

    def send(self, data: bytes) -> None:
        if not self._server_closed:
            self._down.send(data)

    def close(self, code: CloseCode, reason: str = "") -> None:
        if not self._server_closed:
            self._server_closed = True
            self._down.send(_End(code, reason))
            self._loop.post_after(CLOSE_S, self._process, self._lose)

    def greeted(self) -> None:
        """Nothing is bounded here."""

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._loop.post(self._process, self._take)

    # --- inside -----------------------------------------------------------------------------

    def _reach(self) -> None:
        if self.is_over:
            return
        if self._process.machine.paused_at_s is not None:
            self._loop.after(1.0, self._reach)  # TCP tries again
            return
        if self._node.process is not self._process or not self._node.listens:
            self._break()
            return
        self._node.wires[self] = None
        self._loop.post(self._process, self._accept)
        self._peer.opened()

    def _accept(self) -> None:
        self._session = self._node.open_session(self)

    def _arrive_up(self, batch: list[Item]) -> None:
        self._loop.post(self._process, self._hear, batch)

    def _hear(self, batch: list[Item]) -> None:
        self._waiting.extend(batch)
        self._take()

    def _take(self) -> None:
        """In the node's turn."""
        waiting = self._waiting
        while waiting and not self._is_paused and not self._server_lost:
            item = waiting.popleft()
            if isinstance(item, _End):
                self._lose()
            elif not self._server_closed and self._session is not None:
                self._session.receive(item)

    def _lose(self) -> None:
        if not self._server_lost:
            self._server_closed = self._server_lost = True
            self._node.wires.pop(self, None)
            if self._session is not None:
                self._session.lost()

    def _arrive_down(self, batch: list[Item]) -> None:
        if self.is_over:
            return
        end = batch[-1]
        frames = [item for item in batch if isinstance(item, bytes)]
        if frames:
            self._peer.received(frames)
        if isinstance(end, _End) and not self.is_over:
            self.is_over = True
            self._up.send(_End(CloseCode.NORMAL, ""))
            self._peer.closed(end.code, end.reason)

    def _break(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._peer.closed(BROKEN, "broken")
