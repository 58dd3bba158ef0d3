"""One WebSocket: a `Link` for its session, and every check that picows leaves to its user.

picows parses (masks, opcodes, lengths, whole control frames); we join fragments, check RSV bits,
kinds and UTF-8, answer pings and closes, and see to it that a peer which misbehaves, does not
read or does not hang up is gone within a bounded time and memory.

There are thousands of these, so one holds no timer, task, list or dict while it is idle. What a
message means is the session's business; nothing here looks into one.

RFC 6455
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from picows import WSFrame, WSListener, WSTransport

from tidings.protocol.close import CloseCode
from tidings.protocol.codec import Codec
from tidings.protocol.limits import Limits
from tidings.server import outbox
from tidings.server.linger import Linger
from tidings.server.link import Handler, Link
from tidings.server.outbox import Outbox, close_payload, frame_head

log = logging.getLogger(__name__)

# picows hands out members of an IntEnum; plain integers compare faster.
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING = 0x0, 0x1, 0x2, 0x8, 0x9
_DATA = (_CONTINUATION, _TEXT, _BINARY)


@dataclass(slots=True)
class Shared:
    """What all connections of a gateway have in common."""

    limits: Limits
    outbox: Outbox
    open_session: Callable[[Link, Codec], Handler]
    gone: Callable[[str], None]
    """told the address of each connection that ended"""


class Connection(WSListener):
    """A WebSocket from its handshake to its end. Implements `Link`; see there."""

    __slots__ = (
        "_closing",
        "_codec",
        "_early_bytes",
        "_fragments",
        "_handler",
        "_opcode",
        "_parts",
        "_shared",
        "_spent",
        "_timer",
        "_transport",
        "_waiting_bytes",
        "_window_start",
        "address",
        "is_greeted",
    )

    def __init__(self, shared: Shared, transport: asyncio.Transport, codec: Codec, address: str) -> None:
        self.address = address
        self._shared = shared
        self._transport = transport
        self._codec = codec
        self._opcode = _BINARY if codec.binary else _TEXT
        self._handler: Handler | None = None
        self._closing = False
        self.is_greeted = False
        """whether it is known who this is"""
        self._early_bytes = 0
        """what came before"""
        self._timer: asyncio.TimerHandle | None = None
        # Made when the first frame of a turn is queued, gone when they are written.
        self._parts: list[bytes] | None = None
        self._waiting_bytes = 0
        self._fragments: bytearray | None = None
        self._spent = 0
        self._window_start = 0.0
        transport.set_write_buffer_limits(high=shared.limits.write_buffer_bytes)

    # --- what a session calls (Link) --------------------------------------------------------

    def send(self, data: bytes) -> None:
        """See `Link.send`."""
        if not self._closing:
            self._queue(self._opcode, data)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """See `Link.close`."""
        if self._closing:
            return
        self._queue(_CLOSE, close_payload(code, reason))
        self._begin_closing()
        # Where the session had stopped reading, the peer's answer would never be seen.
        self._transport.resume_reading()

    def greeted(self) -> None:
        """See `Link.greeted`."""
        self.is_greeted = True

    def pause_reading(self) -> None:
        """See `Link.pause_reading`; what was read before still arrives, at most a read buffer of it."""
        if not self._closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Link.resume_reading`."""
        if not self._closing:
            self._transport.resume_reading()

    # --- what the gateway calls -------------------------------------------------------------

    def takes(self, size: int) -> bool:
        """So many bytes have come before it is known who this is: whether they may be looked at.

        A stranger's message may be as large as anybody's, and would have to be kept until it is whole.
        """
        self._early_bytes += size
        if self._early_bytes <= self._shared.limits.hello_bytes:
            return True
        self.fail(CloseCode.TOO_BIG, "too much before a Hello")
        return False

    def shutdown(self) -> None:
        """The server is stopping: the session says goodbye in its own way."""
        if self._closing or self._handler is None:
            return
        try:
            self._handler.shutdown()
        except Exception:
            log.exception("a session failed to shut down")
            self.close(CloseCode.INTERNAL_ERROR)

    def ended(self) -> None:
        """The peer sends no more, without a close frame; its transport closes when all is written."""
        self.flush()
        self._begin_closing()

    def lost(self) -> None:
        """The connection is gone: tell the session, once."""
        self._closing = True
        self._parts = self._fragments = None
        if self._timer is not None:
            self._timer.cancel()
        handler, self._handler = self._handler, None
        self._shared.gone(self.address)
        if handler is None:
            return
        try:
            handler.lost()
        except Exception:
            log.exception("a session failed at the loss of its connection")

    def abort(self) -> None:
        """Drop the connection and all that waits for it."""
        self._closing = True
        self._parts = self._fragments = None
        self._transport.abort()

    def fail(self, code: int, reason: str) -> None:
        """End a connection whose peer broke the protocol: say why, then hear nothing more of it.

        The parser may be stuck, and closing at once would throw the close frame away (see
        `linger`), so no close frame is waited for: our side is shut and the peer hangs up.
        """
        if self._transport.is_closing():
            return
        if not self._closing:
            self._queue(_CLOSE, close_payload(code, reason))
        if not self._transport.is_closing():  # else too slow a reader even for that
            self._begin_closing()
            self.flush()
            Linger(self._transport, self._shared.limits.close_s)

    # --- going out --------------------------------------------------------------------------

    @property
    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._parts is None else self._waiting_bytes

    def flush(self) -> None:
        """Write what this turn queued, in one piece."""
        parts, self._parts = self._parts, None
        if parts is not None and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def _queue(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        head = frame_head(opcode, size)
        size += len(head)
        if self._parts is None:
            self._parts = [head, payload]
            # Nothing else writes to the transport, so its backlog need be asked for only once a turn.
            size += self._transport.get_write_buffer_size()
            self._shared.outbox.mark(self)
        else:
            self._parts += (head, payload)
            size += self._waiting_bytes
        self._waiting_bytes = size
        if size > self._shared.limits.write_buffer_bytes:
            self.pause_writing()

    def pause_writing(self) -> None:
        """More waits than a peer may leave unread: it is cut off (a close frame would never arrive)."""
        log.debug("%s reads too slowly; cut off", self.address)
        self.abort()

    def resume_writing(self) -> None:
        """A transport that was above its limit before the handshake has drained."""

    def _begin_closing(self) -> None:
        self._closing = True
        self._fragments = None
        if self._timer is None:
            # A peer that neither reads nor hangs up would keep a graceful close open for ever.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._shared.limits.close_s, self._transport.abort)

    # --- coming in --------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is answered: start the session."""
        # picows would keep both as long as the connection lives.
        transport.request.headers.clear()
        transport.response.headers.clear()
        try:
            self._handler = self._shared.open_session(self, self._codec)
        except Exception:
            log.exception("a session could not be opened")
            self.close(CloseCode.INTERNAL_ERROR)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # noqa: ARG002
        """One frame, checked by picows as far as picows checks (see `handover`)."""
        kind: int = frame.msg_type  # type: ignore[assignment]  # an IntEnum that the stub calls Enum
        if self._closing:
            if kind == _CLOSE:  # the answer to ours, or the two crossed
                self._hang_up()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.fail(CloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        elif kind == self._opcode and frame.fin and self._fragments is None:
            self._deliver(frame.get_payload_as_bytes())
        elif kind in _DATA:
            self._fragment(kind, frame)
        elif kind == _CLOSE:
            self._answer_close(frame)
        elif self._spend() and kind == _PING:
            self._queue(outbox.PONG, frame.get_payload_as_bytes())

    def _fragment(self, kind: int, frame: WSFrame) -> None:
        """A part of a message, or a frame that may not come here."""
        if kind == _CONTINUATION:
            if self._fragments is None:
                return self.fail(CloseCode.PROTOCOL_ERROR, "a continuation of nothing")
        elif self._fragments is not None:
            return self.fail(CloseCode.PROTOCOL_ERROR, "a new message inside another")
        elif kind != self._opcode:
            expected = "binary" if self._opcode == _BINARY else "text"
            return self.fail(CloseCode.PROTOCOL_ERROR, f"the subprotocol takes {expected} messages only")
        else:
            self._fragments = bytearray()
        return self._join(self._fragments, frame)

    def _join(self, fragments: bytearray, frame: WSFrame) -> None:
        if len(fragments) + frame.payload_size > self._shared.limits.frame_bytes:
            return self.fail(CloseCode.TOO_BIG, "the message is too big")
        fragments += frame.get_payload_as_memoryview()
        if frame.fin:
            self._fragments = None
            return self._deliver(bytes(fragments))
        if not frame.payload_size:
            # An empty part makes no progress towards the bound, so it is paid for like a ping.
            self._spend()
        return None

    def _deliver(self, data: bytes) -> None:
        if len(data) > self._shared.limits.frame_bytes:
            # picows looks at the size only of what does not fit into its buffer.
            return self.fail(CloseCode.TOO_BIG, "the message is too big")
        if self._opcode == _TEXT and not _is_utf8(data):
            return self.fail(CloseCode.INVALID_TEXT, "the text is not UTF-8")
        if self._handler is None:
            return None
        try:
            self._handler.receive(data)
        except Exception:
            log.exception("a session failed at a message")
            self.close(CloseCode.INTERNAL_ERROR)
        return None

    def _spend(self) -> bool:
        """Take one from the budget of frames that carry nothing: `pings_per_s`, counted as they arrive."""
        now = asyncio.get_running_loop().time()
        if now - self._window_start >= 1:
            self._window_start = now
            self._spent = 0
        self._spent += 1
        if self._spent <= self._shared.limits.pings_per_s:
            return True
        self.fail(CloseCode.POLICY_VIOLATION, "too many pings")
        return False

    def _answer_close(self, frame: WSFrame) -> None:
        # picows has seen to the length and the reason's UTF-8; it lets some reserved codes pass.
        payload = frame.get_payload_as_bytes()[:2]
        if payload and not _may_be_sent(int.from_bytes(payload, "big")):
            return self.fail(CloseCode.PROTOCOL_ERROR, "a close code that may not be sent")
        self._queue(_CLOSE, payload)
        return self._hang_up()

    def _hang_up(self) -> None:
        if not self._transport.is_closing():
            self._begin_closing()
            self.flush()
            self._transport.close()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_be_sent(code: int) -> bool:
    """Whether a peer may close with this code. RFC 6455 §7.4"""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
