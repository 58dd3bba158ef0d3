"""Light clients: as little as a client can do and still be one, so that load costs little CPU.

They speak the real protocol over real sockets, acknowledge, mark as read, repeat what was not
answered and resume after a break. What a device must keep on disk they keep in memory: it is the
server that is measured and killed, not they.
"""

import asyncio
import os
from collections.abc import Callable

import picows

from tidings.bench.spread import Address
from tidings.protocol import frames, ids
from tidings.protocol.codec import MSGPACK, MSGPACK_SUBPROTOCOL
from tidings.protocol.frames import (
    Ack,
    Bundles,
    ConversationList,
    Deliver,
    DeviceLists,
    Drained,
    Error,
    HeartbeatOk,
    InboxExpired,
    Page,
    Read,
    Receipt,
    Sent,
    Synced,
    Tallies,
)
from tidings.protocol.ids import ConversationId, EntryId, MessageId

BINARY = picows.WSMsgType.BINARY
CONNECT_TIMEOUT_S = 60.0
BROKEN = 1006
"""RFC 6455 §7.4.1: there was no close frame"""
CLOSE_CODE_BYTES = 2
PASSING = frozenset({frames.Welcome, frames.Stale, frames.Changed, frames.Presence, frames.Typed})
"""what a light client has no use for"""
ANSWERS = frozenset(
    {frames.Ok, frames.Conversation, DeviceLists, Bundles, Page, Tallies, Synced, ConversationList}
)
"""what it may have asked for"""


class Refusal(RuntimeError):
    """The server refused what was asked for."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"the server refused: {error}")
        self.error = error


def local(port: int) -> str:
    """Where a server on this machine lets WebSockets in."""
    return f"ws://127.0.0.1:{port}/v1/ws"


class Device(picows.WSListener):
    """One connection of one device. Hooks say what happens; by default nothing does."""

    def __init__(self, token: str, *, have: EntryId | None = None) -> None:
        self._token = token
        self._have = have
        self.loop = asyncio.get_running_loop()
        self.drained: asyncio.Future[None] = self.loop.create_future()
        """done once the inbox was sent, or the connection is gone"""
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.close_code = BROKEN
        self.close_reason = ""
        self.complete_to = EntryId(0)
        """up to here the device has all; 0 with a lone node"""
        self.unanswered_heartbeats = 0
        self.on_sent: Callable[[Sent], None] = lambda _: None
        self.on_deliver: Callable[[Deliver], None] = lambda _: None
        self.on_receipt: Callable[[Receipt], None] = lambda _: None
        self.on_page: Callable[[Page], None] = lambda _: None
        self.on_tallies: Callable[[Tallies], None] = lambda _: None
        self.on_error: Callable[[Error], None] = _unexpected
        self.on_passing: Callable[[frames.Frame], None] = lambda _: None
        """told what a light client has no use for"""
        self.on_expired: Callable[[InboxExpired], None] = _never
        """it was away for longer than an inbox is kept"""
        self.marks_read = False
        self.holds_back = False
        """nothing is acknowledged but by `acknowledge` and `acknowledge_one`"""
        self._transport: picows.WSTransport | None = None
        self._delivered = 0
        self._acknowledged = 0
        self._to_read: dict[ConversationId, MessageId] = {}
        self._requests = 0
        self._asked: dict[int, asyncio.Future[object]] = {}
        self.prefix = os.urandom(8)
        self._counter = 0

    async def connect(
        self, port: int, *, timeout_s: float = CONNECT_TIMEOUT_S, source: str | None = None
    ) -> "Device":
        """As `connect_to`, on this machine."""
        return await self.connect_to(local(port), timeout_s=timeout_s, source=source)

    async def connect_to(
        self, url: str, *, timeout_s: float = CONNECT_TIMEOUT_S, source: str | None = None
    ) -> "Device":
        """Connect and say Hello; `drained` is done once the inbox was sent. Raises OSError, WSError.

        `source` is the address to come from: one address has about 28,000 ports for one server.
        """
        connecting = asyncio.ensure_future(
            picows.ws_connect(
                lambda: self,
                url,
                extra_headers={"Sec-WebSocket-Protocol": MSGPACK_SUBPROTOCOL},
                websocket_handshake_timeout=timeout_s,
                local_addr=None if source is None else (source, 0),
            )
        )
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # Cancelled in the middle of a handshake picows would leave the socket open.
            await asyncio.gather(connecting, return_exceptions=True)
            await self.gone()
            raise
        if self._transport is None:
            # picows returns as if all were well where the server dies in the middle of a handshake.
            raise ConnectionResetError("the connection broke during the handshake")
        return self

    @property
    def address(self) -> Address:
        """Our end's."""
        assert self._transport is not None
        host, port = self._transport.underlying_transport.get_extra_info("sockname")
        return Address(host, port)

    def say(self, frame: frames.Frame) -> None:
        """Send a frame, unless the connection is gone."""
        assert self._transport is not None
        if not self.closed.done():
            self._transport.send(BINARY, MSGPACK.encode(frame))

    def message(self, conversation: ConversationId, content: bytes) -> frames.Send:
        """A message to be sent, named by this connection."""
        self._counter += 1
        name = ids.client_id(self.prefix, self._counter)
        return frames.Send(name, 1, conversation, 1, ids.EntryId(0), frames.Scheme.PLAIN, "text", content)

    async def ask(self, make: Callable[[int], frames.Frame]) -> object:
        """Ask for something, and wait for the answer. Raises Refusal, ConnectionResetError."""
        return await self.asking(make)

    def asking(self, make: Callable[[int], frames.Frame]) -> "asyncio.Future[object]":
        """As `ask`: it is said at once, and the answer is to be waited for."""
        request_id = self.next_request()
        asked = self.loop.create_future()
        if self.closed.done():
            asked.set_exception(ConnectionResetError("the connection is gone"))
            return asked
        self._asked[request_id] = asked
        self.say(make(request_id))
        return asked

    def next_request(self) -> int:
        """The number of another request."""
        self._requests += 1
        return self._requests

    def beat(self) -> None:
        """Send a heartbeat."""
        self.unanswered_heartbeats += 1
        self.say(frames.Heartbeat())

    def acknowledge(self) -> None:
        """Say (once more) that all that came is stored."""
        self._acknowledged = self._delivered
        self.say(Ack(self._delivered))

    def acknowledge_one(self) -> None:
        """Say that one more is stored."""
        self._acknowledged += 1
        assert self._acknowledged <= self._delivered
        self.say(Ack(self._acknowledged))

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        self.say(frames.Hello(self._token, "bench", self._have))

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        for waiting in (self.drained, self.closed):
            if not waiting.done():
                waiting.set_result(None)
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the connection broke"))

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type != BINARY:
            if frame.msg_type == picows.WSMsgType.CLOSE:
                self._read_close(frame.get_payload_as_bytes())
                transport.disconnect()
            return
        received = MSGPACK.decode_server(frame.get_payload_as_memoryview())
        kind = type(received)
        if kind is Deliver:
            self._deliver(received)  # type: ignore[arg-type]
        elif kind is Sent:
            self.on_sent(received)  # type: ignore[arg-type]
        elif kind is Receipt:
            self.on_receipt(received)  # type: ignore[arg-type]
        elif isinstance(received, Drained | HeartbeatOk):
            self._complete(received)
        elif kind is Error:
            self._refused(received)  # type: ignore[arg-type]
        elif kind in ANSWERS:
            self._answered(received)
        elif kind is InboxExpired:
            self.on_expired(received)  # type: ignore[arg-type]
        else:
            assert kind in PASSING, received
            self.on_passing(received)

    def disconnect(self) -> None:
        """Drop the connection without a word, unless it is gone."""
        assert self._transport is not None
        if not self.closed.done():
            self._transport.disconnect(graceful=False)

    async def gone(self) -> None:
        """As `disconnect`, if there ever was a connection; returns once it is gone."""
        if self._transport is not None:
            self.disconnect()
            await asyncio.wait([self.closed])

    def _read_close(self, payload: bytes) -> None:
        if len(payload) >= CLOSE_CODE_BYTES:
            self.close_code = int.from_bytes(payload[:CLOSE_CODE_BYTES], "big")
            self.close_reason = payload[CLOSE_CODE_BYTES:].decode()

    def _answered(self, received: frames.Frame) -> None:
        asked = self._asked.pop(received.request_id, None)  # type: ignore[attr-defined]
        if asked is not None:
            if not asked.done():
                asked.set_result(received)
        elif isinstance(received, Page):
            self.on_page(received)
        elif isinstance(received, Tallies):
            self.on_tallies(received)
        # Else it is of something that is told again until it is answered.

    def _refused(self, error: Error) -> None:
        asked = self._asked.pop(error.request_id or 0, None)
        if asked is None:
            self.on_error(error)
        elif not asked.done():
            asked.set_exception(Refusal(error))

    def _complete(self, received: Drained | HeartbeatOk) -> None:
        self.complete_to = received.complete_to
        if isinstance(received, HeartbeatOk):
            self.unanswered_heartbeats = 0
        elif not self.drained.done():
            self.drained.set_result(None)

    def _deliver(self, received: Deliver) -> None:
        if not self._to_read and not self.holds_back:
            self.loop.call_soon(self._acknowledge)
        self._delivered += 1
        message = received.message
        self._to_read[message.conversation_id] = message.message_id
        self.on_deliver(received)

    def _acknowledge(self) -> None:
        """Stored: one Ack for what one turn of the loop brought; then somebody reads it."""
        to_read, self._to_read = self._to_read, {}
        self.acknowledge()
        if self.marks_read:
            self.loop.call_soon(self._mark_read, to_read)

    def _mark_read(self, to_read: dict[ConversationId, MessageId]) -> None:
        for conversation, up_to in to_read.items():
            self.say(Read(self.next_request(), conversation, up_to))


def _never(frame: frames.Frame) -> None:
    raise AssertionError(frame)


def _unexpected(error: Error) -> None:
    raise Refusal(error)
