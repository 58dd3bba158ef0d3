"""The end of a connection that we refuse while its peer is still talking.

Closing a socket with unread input makes the kernel send a reset, and the peer may then never see
the answer or close frame that says why. So: our side is shut, whatever still comes is thrown away,
and the peer gets a bounded time to hang up.

RFC 6455 §7.1.1, RFC 9112 §9.6
"""

import asyncio


class Linger(asyncio.Protocol):
    """Takes over a transport that has nothing more to say; its former owner still gets `connection_lost`."""

    def __init__(self, transport: asyncio.Transport, linger_s: float) -> None:
        self._former = transport.get_protocol()
        self._timer = asyncio.get_running_loop().call_later(linger_s, transport.abort)
        transport.set_protocol(self)
        transport.resume_reading()
        if transport.can_write_eof():  # TLS cannot; there the timer ends it
            transport.write_eof()

    def data_received(self, data: bytes) -> None:
        """Throw it away."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the former owner."""
        self._timer.cancel()
        self._former.connection_lost(exc)
