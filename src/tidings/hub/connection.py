"""A node's connection, as the hub sees it: frames in, frames out, and whether the node is still there.

All that the hub has to say to a node in one turn of its event loop goes out in one write.

Bounds. A node that does not take what it is sent is asked for nothing more and, after `STALLED_S`,
cut off; of publications to it at most `WAITING_BYTES` wait, and those beyond are lost. While more
than `IN_FLIGHT` of its requests are unanswered nothing more is read from it.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import msgspec
from structlog.typing import FilteringBoundLogger

from tidings.bus.contract import WAITING_BYTES
from tidings.hub.clocks import Clocks
from tidings.hub.desk import Desk, Line
from tidings.hub.framing import HEAD_BYTES, Malformed, Splitter, decoded, encode, framed, in_frames
from tidings.hub.wire import (
    VERSION,
    Answer,
    Done,
    Failed,
    Fault,
    Greeting,
    Hello,
    Item,
    News,
    Ping,
    Pong,
    Publish,
    Published,
    Refusal,
    Request,
    Said,
    Worker,
)

IN_FLIGHT = 16_384
"""requests of a node that are unanswered before nothing more is read from it"""
HIGH_WATER_BYTES = 1 << 20
"""what waits for a node before it counts as not taking it"""
STALLED_S = 5.0
PING_EVERY_S = 1.0
SOCKET_BYTES = 1 << 20
"""of the kernel's buffers; it gives what it allows"""

_PEER = struct.Struct("3i")
_hello = msgspec.msgpack.Decoder(Hello).decode
_said = msgspec.msgpack.Decoder(list[Said]).decode


class Terms(NamedTuple):
    """What a hub bears with."""

    ping_every_s: float = PING_EVERY_S
    stalled_s: float = STALLED_S
    """how long a node may take nothing at all of what it is sent"""


USUAL = Terms()


class Front(Protocol):
    """What a connection needs of its hub."""

    terms: Terms
    clocks: Clocks
    log: FilteringBoundLogger
    incarnation: bytes
    tables: list[str]
    uid: int

    @property
    def is_full(self) -> bool:
        """Whether there are too many connections."""

    def open_desk(self, connection: "Connection", link: bytes) -> Desk:
        """The desk of a connection whose node has said Hello."""

    def flush_soon(self, connection: "Connection") -> None:
        """Have `flush` called at the end of this turn."""

    def gone(self, connection: "Connection") -> None:
        """It has ended."""


class Connection(asyncio.Protocol, Line):
    """One connection, from its being accepted to its end."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._desk: Desk | None = None
        self._items: list[Item] = []
        self._done: list[int] = []
        """numbers in the last item"""
        self._hearing_bytes = 0
        """of publications that are among the items"""
        self._room: asyncio.Future[None] | None = None
        """ends when the node takes what it is sent again"""
        self._stalled: asyncio.TimerHandle | None = None
        self._sent_bytes = 0
        self._reads = True
        self.link = b""
        self.pid = 0
        self.missed = 0
        """pings since it was heard last"""
        self.unanswered = 0
        self.on_settled: Callable[[], None] | None = None
        """called when nothing is unanswered any more"""

    @property
    def worker(self) -> Worker:
        """What is told of it."""
        return Worker(self.pid, self.missed * self._front.terms.ping_every_s)

    # --- the socket -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What uvloop gives is one in all but name.
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(HIGH_WATER_BYTES)
        peer = transport.get_extra_info("socket")
        self.pid, uid, _ = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        for kind in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            peer.setsockopt(socket.SOL_SOCKET, kind, SOCKET_BYTES)
        if uid != self._front.uid:
            self._refuse(f"user {uid} may not connect")
        elif self._front.is_full:
            self._refuse("too many connections")

    def data_received(self, data: bytes) -> None:
        self.missed = 0
        try:
            for frame in self._splitter.feed(data):
                if self._transport is None:
                    return
                self._take(frame)
        except Malformed as error:
            self._front.log.warning("a worker sent what is no frame", pid=self.pid, reason=str(error))
            self.abort()

    def pause_writing(self) -> None:
        if self._transport is None:
            return
        self._room = asyncio.get_running_loop().create_future()
        self._watch(self._taken_bytes())
        self._read_if_it_may()

    def resume_writing(self) -> None:
        self._free()
        self._read_if_it_may()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.end()

    def end(self) -> None:
        """Do nothing more for this node."""
        if self._transport is None:
            return
        self._transport = None
        self._free()
        self._items = []
        if self._desk is not None:
            self._desk.leave()
        self._front.gone(self)
        if self.on_settled is not None:
            self.on_settled()

    def abort(self) -> None:
        """Break it off."""
        if self._transport is not None:
            self._transport.abort()
            self.end()

    def close(self) -> None:
        """Send what waits, then close."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def _free(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _taken_bytes(self) -> int:
        """How much the node has taken so far."""
        assert self._transport is not None
        return self._sent_bytes - self._transport.get_write_buffer_size()

    def _watch(self, taken_bytes: int) -> None:
        stalled_s = self._front.terms.stalled_s
        self._stalled = asyncio.get_running_loop().call_later(stalled_s, self._cut_off, taken_bytes)

    def _cut_off(self, taken_bytes: int) -> None:
        if self._taken_bytes() > taken_bytes:
            self._watch(self._taken_bytes())
            return
        self._front.log.warning("a worker takes nothing that it is sent: cut off", pid=self.pid)
        self.abort()

    # --- what comes -----------------------------------------------------------------------

    def _take(self, frame: memoryview) -> None:
        desk = self._desk
        if desk is None:
            self._greet(decoded(_hello, frame))
            return
        for said in decoded(_said, frame):
            if isinstance(said, Request):
                self.unanswered += 1
                desk.take(said)
            elif type(said) is Publish:
                desk.publish(said)
            else:
                assert type(said) is Pong
        if self.unanswered > IN_FLIGHT:
            self._read_if_it_may()

    def _greet(self, hello: Hello) -> None:
        if hello.version != VERSION or hello.tables != self._front.tables:
            self._refuse("the hub is of another version than this worker: stop all of them and start anew")
            return
        self.link = hello.link
        self._desk = self._front.open_desk(self, hello.link)
        self._send(encode(Greeting(self._front.incarnation)))

    def _refuse(self, reason: str) -> None:
        self._front.log.warning("a connection to the hub was refused", pid=self.pid, reason=reason)
        self._send(encode(Refusal(reason)))
        assert self._transport is not None
        self._transport.close()
        self.end()

    def wind_down(self) -> None:
        """Take no more requests, and end those that may take long."""
        self._reads = False
        self._read_if_it_may()
        if self._desk is not None:
            self._desk.interrupt()

    def _read_if_it_may(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._reads and self._room is None and self.unanswered <= IN_FLIGHT:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # --- what goes ------------------------------------------------------------------------

    def done(self, number: int) -> None:
        if not self._done:
            self._say(Done(self._done))
        self._done.append(number)
        self._answered()

    def answer(self, answer: Answer) -> None:
        self._say(answer)
        self._answered()

    def hear(self, published: Published) -> None:
        size = len(published.data)
        if self._transport is not None:
            waiting = self._transport.get_write_buffer_size() + self._hearing_bytes
            if waiting + size <= WAITING_BYTES:
                self._hearing_bytes += size
                self._say(published)

    def ping(self) -> None:
        """Ask whether the node is there, and tell it the time."""
        if self._desk is not None:
            # One that is not read from cannot be heard.
            self.missed += self._reads and self.unanswered <= IN_FLIGHT
            self._say(Ping())

    async def room(self) -> None:
        if self._room is not None:
            await asyncio.shield(self._room)

    def _say(self, item: Item) -> None:
        if self._transport is None:
            return
        if not self._items:
            self._front.flush_soon(self)
        self._items.append(item)

    def _answered(self) -> None:
        self.unanswered -= 1
        if self.unanswered == IN_FLIGHT:
            self._read_if_it_may()
        if not self.unanswered and self.on_settled is not None:
            self.on_settled()

    def flush(self) -> None:
        """Send what there is to be said."""
        items, self._items, self._done, self._hearing_bytes = self._items, [], [], 0
        if items and self._transport is not None:
            clocks = self._front.clocks
            wall_ns, machine_ns = clocks.wall_ns(), clocks.machine_ns()
            for body in in_frames(
                items, lambda some: encode(News(wall_ns, machine_ns, some)), self._refuse_item
            ):
                self._send(body)

    def _refuse_item(self, item: Item, error: Exception) -> None:
        number = item.number  # type: ignore[union-attr]  # nothing else grows so large
        self._say(Failed(number, Fault.UNAVAILABLE, f"ask for less at once: {error}"))

    def _send(self, body: bytes) -> None:
        if self._transport is not None:
            self._sent_bytes += len(body) + HEAD_BYTES
            self._transport.writelines(framed(body))
