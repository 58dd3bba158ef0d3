"""A WebSocket's end of the transport: picows as the protocol, behind a facade of its transport.

picows parses what comes in and answers the handshake; everything else that goes out is ours (see
`outbox`). Made by `handover` once the gateway has said yes.

RFC 6455
"""

import asyncio
import logging
from typing import Any, NamedTuple

from picows import WSAutoPingStrategy, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # missing from its stub

from tidings.protocol.codec import Codec
from tidings.protocol.limits import Limits
from tidings.server.connection import Connection

log = logging.getLogger(__name__)

# `super()` costs more than all else that is done here for a read.
_parse = WSProtocol.buffer_updated

READ_BUFFER_BYTES = 2048
"""what picows starts with; its buffer grows with need and never shrinks"""


class Accepted(NamedTuple):
    """The gateway's yes. `subprotocol` is what the answer names, if anything."""

    codec: Codec
    subprotocol: str | None


class Wire:
    """What picows takes for the transport.

    After the handshake picows writes only where its parser fails: a close frame, straight to the
    socket, past all that is queued. Here that becomes `Connection.fail`, which keeps the order.
    """

    __slots__ = ("_connection", "_transport")

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport = transport
        self._connection = connection

    def get_extra_info(self, name: str) -> Any:
        """picows needs the socket; the names of its ends it would only log."""
        return self._transport.get_extra_info(name) if name in ("socket", "ssl_object") else None

    @staticmethod
    def get_write_buffer_size() -> int:
        """Never 0, for then picows writes to the socket itself."""
        return 1

    def write(self, data: bytes) -> None:
        """The answer to the handshake, or a close frame."""
        if data.startswith(b"HTTP"):
            self._transport.write(data)
        else:
            # Later in this turn, since picows parses one frame ahead: the frame before the faulty
            # one has not been delivered yet.
            code, reason = int.from_bytes(data[2:4], "big"), data[4:].decode("utf-8", "replace")
            asyncio.get_running_loop().call_soon(self._connection.fail, code, reason)

    def close(self) -> None:
        """picows would close 10 ms after a fault; the connection ends in its own way."""

    abort = close


class Upgraded(WSProtocol):  # type: ignore[misc]  # untyped, see the import
    """picows' protocol, in uvicorn's set of connections."""

    __slots__ = ("_accepted", "_connection", "_open")

    def __init__(self, connection: Connection, accepted: Accepted, open_: set[Any], limits: Limits) -> None:
        super().__init__(
            None,  # host and path are a client's
            None,
            False,
            self._accept,
            _RETICENT,
            True,
            None,  # the handshake is complete when it gets here
            False,  # no auto-ping: a task a connection; sessions have heartbeats
            20,
            20,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # pongs go through our outbox
            limits.frame_bytes,
            None,
            READ_BUFFER_BYTES,
        )
        self._connection = connection
        self._accepted = accepted
        self._open = open_
        open_.add(self)  # else a shutdown of the server would not know of it

    def data_received(self, data: bytes) -> None:
        """The handshake and what came with it. Later on uvloop fills picows' buffer itself.

        Without this method uvloop would go on holding that of the protocol before, and with it
        all of that protocol (4 kB).
        """
        view = memoryview(data)
        while view:
            buffer = self.get_buffer(-1)
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            self.buffer_updated(size)
            view = view[size:]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes are in picows' buffer."""
        connection = self._connection
        if connection.is_greeted or connection.takes(nbytes):
            _parse(self, nbytes)

    def eof_received(self) -> bool:
        """The peer will send no more: close the transport."""
        self._connection.ended()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._open.discard(self)
        super().connection_lost(exc)
        self._connection.lost()

    def shutdown(self) -> None:
        """Called by uvicorn when it stops."""
        self._connection.shutdown()

    def _accept(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:  # noqa: ARG002
        subprotocol = self._accepted.subprotocol
        headers = None if subprotocol is None else {"Sec-WebSocket-Protocol": subprotocol}
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), self._connection)


class _Reticent:
    """A logger for picows, which makes one a connection of a real one and tells of every stranger's fault."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802, ARG002
        return False

    def exception(self, message: str, *args: object) -> None:
        """Our listener or picows' parser failed: that is a bug, and the connection is closed for it."""
        log.exception(message, *args)

    def _ignore(self, *args: object, **kwargs: object) -> None:
        pass

    debug = info = warning = error = log = _ignore


_RETICENT = _Reticent()
