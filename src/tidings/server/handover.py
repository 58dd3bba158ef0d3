"""From HTTP to WebSocket: uvicorn's HTTP protocol with bounds, and picows put in its place.

uvicorn serves HTTP until a request asks for a WebSocket; then the gateway says yes or no, and on
yes the transport gets picows for its protocol. Stock uvicorn would not do: it drops the bytes that
follow the upgrade, does not know several `Connection` values, upgrades behind a request that it has
not answered, and bounds neither the size nor the time of a request's head.

Every statement here that looks odd is a trap that was met; the comment names it.

RFC 9112, RFC 6455 §4
"""

import asyncio
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tidings.protocol.api import Problem
from tidings.protocol.codec import Codec
from tidings.protocol.errors import INVALID, OVERLOADED, ErrorKind
from tidings.protocol.limits import Limits
from tidings.server.connection import Connection
from tidings.server.linger import Linger
from tidings.server.upgraded import Accepted, Upgraded, Wire


class Upgrade(NamedTuple):
    """A request for a WebSocket, as HTTP sees it."""

    method: str
    http_version: str
    target: bytes
    headers: dict[bytes, bytes]
    """names in lower case; several values of one joined, as RFC 9110 §5.3 says"""
    address: str

    def header(self, name: bytes) -> bytes:
        """The value of a header; empty if there is none."""
        return self.headers.get(name, b"")


class Refused(Exception):
    """The gateway's no, and all that the peer is told."""

    def __init__(
        self, status: HTTPStatus, kind: ErrorKind, message: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(kind.code, kind.name, message, retry_after_s)


class Entrance(Protocol):
    """What the hand-over needs of the gateway."""

    @property
    def limits(self) -> Limits:
        """The bounds of heads, frames and time."""

    @property
    def sockets(self) -> int:
        """How many connections there may be, HTTP included."""

    def admit(self, upgrade: Upgrade) -> Accepted:
        """Raise Refused, or say how to go on."""

    def connect(self, transport: asyncio.Transport, codec: Codec, address: str) -> Connection:
        """Count and make the connection."""


class Http(HttpToolsProtocol):
    """uvicorn's HTTP with a bounded head, and our upgrade in place of its own."""

    def __init__(self, *, entrance: Entrance, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._entrance = entrance
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._chunk_bytes = 0
        self._idle_bytes = 0
        self._heard = False
        self._deaf = False
        self._websocket: bool | None = None

    # --- bounds -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A peer; the time of its first head runs from now."""
        super().connection_made(transport)
        if len(self.connections) > self._entrance.sockets:
            self._refuse(Refused(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED, "too many connections", 5))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        self._head_ended()
        self._body_ended()
        self._read_on()
        if self._running is not None:
            # uvicorn tells the request that came last; the one being answered may be one before it.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server is stopping: nobody waits for the rest of a request."""
        if self._answering() and self.cycle.more_body:
            self.transport.abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """The peer does not read its answer: it has as long for each piece as for a body of its own."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """It reads on."""
        if not self.transport.is_closing():  # else it must read to the end
            self._read_on()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """An answer is whole; where it was the last one, it is not waited for without end."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for a while: hang up, also on a peer that has not read its answers."""
        super().timeout_keep_alive_handler()
        self._await_reading()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._websocket = None
        self._await_head()
        self._progress()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. Trailers come here too; nobody reads them, so nobody keeps them."""
        if self._head_timer is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: check its size to the byte, then go on as uvicorn does."""
        self._head_ended()
        self._progress()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._entrance.limits.http_head_bytes:
            raise _Refusal(_TOO_LARGE)
        if self.parser.should_upgrade() and _has_body(_joined(self.headers)):
            raise _Refusal(_UPGRADE_WITH_BODY)
        if self._body_timer is None:
            self._body_timer = self.loop.call_later(self._entrance.limits.http_body_s, self._body_late)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._body_ended()
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._progress()
        super().on_body(body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._entrance.limits.http_head_s, self._head_late)

    def _head_ended(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self._heard:
            self._refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, INVALID, "the request's head took too long"))
        else:
            self.transport.close()  # there is nothing to answer

    def _body_ended(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _body_late(self) -> None:
        self._body_timer = None
        self._refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, INVALID, "the request's body took too long"))

    def _await_reading(self) -> None:
        # Closing waits for what is queued to be taken, for ever if need be.
        if self._unread_timer is None and self.transport.get_write_buffer_size():
            self._unread_timer = self.loop.call_later(self._entrance.limits.http_body_s, self.transport.abort)

    def _read_on(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _progress(self) -> None:
        """Start counting anew; what is left of the chunk at hand is not counted."""
        self._idle_bytes = -self._chunk_bytes

    # --- feeding the parser -----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes of HTTP, and perhaps the first ones of a WebSocket behind them."""
        self._unset_keepalive_if_required()
        self._heard = True
        if self._deaf:
            return
        if not self._answering():
            # Also where the parser sees no request begin: blank lines, without end.
            self._await_head()
        self._chunk_bytes = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(_refusal(error))
        if self._deaf:  # refused, or a WebSocket now
            return
        # Bytes that are neither a body nor the start of something new: a head, blank lines, chunk
        # extensions, trailers. The parser keeps some of them, so they are bounded, whatever they are.
        self._idle_bytes += len(data)
        if self._idle_bytes > self._entrance.limits.http_head_bytes:
            self._refuse(_TOO_LARGE)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                return self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            # Outside of the `except`, or whatever fails from here on would seem to come from the parser.
            if self._should_upgrade():
                return self._upgrade(data)
            # Else an offer of something different (h2c), which RFC 9110 §7.8 lets us ignore.

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # --- the upgrade ------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        # uvicorn asks three times a request, and only once the head is whole.
        if self._websocket is None:
            self._websocket = self._get_upgrade() == b"websocket"
        return self._websocket

    def _get_upgrade(self) -> bytes | None:
        # uvicorn looks at the last Connection header alone; Firefox sends "keep-alive, Upgrade",
        # proxies send several.
        headers = _joined(self.headers)
        if b"upgrade" not in _tokens(headers.get(b"connection")):
            return None
        return b"websocket" if b"websocket" in _tokens(headers.get(b"upgrade")) else None

    def _upgrade(self, tail: bytes) -> None:
        if self._answering():
            return self._answer_then_close()
        upgrade = Upgrade(
            self.scope["method"],
            self.parser.get_http_version(),
            self.url,
            _joined(self.headers),
            _address(self.client),
        )
        try:
            accepted = self._entrance.admit(upgrade)
        except Refused as refused:
            return self._refuse(refused)
        return self._hand_over(accepted, upgrade, tail)

    def _hand_over(self, accepted: Accepted, upgrade: Upgrade, tail: bytes) -> None:
        transport = self.transport
        connection = self._entrance.connect(transport, accepted.codec, upgrade.address)
        upgraded = Upgraded(connection, accepted, self.connections, self._entrance.limits)
        self._retire()
        upgraded.connection_made(Wire(transport, connection))
        transport.set_protocol(upgraded)
        upgraded.data_received(_handshake(upgrade) + tail)

    def _retire(self) -> None:
        """Let go of everything, for what refers to itself is not freed before the next collection."""
        self._deaf = True
        self.connections.discard(self)
        self._head_ended()
        self._body_ended()
        self._read_on()
        self.parser = self.flow = self.transport = self.cycle = self._running = None  # type: ignore[assignment]

    # --- refusing ---------------------------------------------------------------------------

    def _refuse(self, refused: Refused) -> None:
        """Answer what the peer just sent with an error, and hear nothing more of it."""
        self._head_ended()
        if self.transport.is_closing():
            return None
        self._deaf = True
        if self._answering():
            if not self.cycle.more_body:
                return self._answer_then_close()
            # The fault is inside the body of the request being answered: take over from the application.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return self._await_reading()
        self.transport.write(_response(refused, self.server_state.default_headers))
        Linger(self.transport, self._entrance.limits.close_s)
        return None

    def _answer_then_close(self) -> None:
        """What came before gets its answer; what came now is never answered.

        An error or a `101 Switching Protocols` written now would be taken for that answer.
        """
        self._deaf = True
        self.cycle.keep_alive = False


class _Refusal(Exception):
    """Raised inside the parser, which passes it on as the context of its own error."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused)
        self.refused = refused


_TOO_LARGE = Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, INVALID, "the request's head is too large")
_NOT_HTTP = Refused(HTTPStatus.BAD_REQUEST, INVALID, "this is not HTTP")
# The parser would take the body for the next request, also where we ignore the upgrade.
_UPGRADE_WITH_BODY = Refused(HTTPStatus.BAD_REQUEST, INVALID, "a request for an upgrade must have no body")


def _refusal(error: httptools.HttpParserError) -> Refused:
    cause = error.__context__
    return cause.refused if isinstance(cause, _Refusal) else _NOT_HTTP


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _address(client: tuple[str, int] | None) -> str:
    # An IPv4 peer of an IPv6 socket is still the same peer.
    return client[0].removeprefix("::ffff:") if client else ""


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def _tokens(value: bytes | None) -> list[bytes]:
    return [token.strip() for token in (value or b"").lower().split(b",")]


def _handshake(upgrade: Upgrade) -> bytes:
    """The request as picows wants it: what the gateway has not judged yet, and nothing to keep.

    picows takes only "Connection: upgrade", fails on bytes that are not ASCII, keeps all headers
    as long as the connection lives, and its read buffer would stay as large as they were.
    """
    return (
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %b\r\n\r\n" % upgrade.header(b"sec-websocket-key")
    )


def _response(refused: Refused, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    body = msgspec.json.encode(refused.problem)
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if refused.problem.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(refused.problem.retry_after))))
    if refused.status == HTTPStatus.UPGRADE_REQUIRED:
        headers.append((b"sec-websocket-version", b"13"))  # RFC 6455 §4.4
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return STATUS_LINE[refused.status] + lines + b"\r\n" + body
