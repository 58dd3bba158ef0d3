"""A WebSocket of a rival's client: text frames, keepalive answered, hooks that do nothing until set."""

import asyncio
from collections.abc import Callable
from typing import Self

import picows

from tidings.bench.load import CONNECT_TIMEOUT_S

CLOSE_S = 5.0


def content(name: str, content_bytes: int) -> str:
    """Text of that size which begins with a message's name."""
    return f"{name}|".ljust(content_bytes, "x")


def name_of(text: str) -> str:
    """The name at the beginning of a message's text."""
    return text.partition("|")[0]


class TextSocket(picows.WSListener):
    """One connection; a protocol overrides `heard`."""

    def __init__(self) -> None:
        self.on_taken: Callable[[str], None] = lambda _: None
        self.on_message: Callable[[str], None] = lambda _: None
        self.on_receipt: Callable[[str], None] = lambda _: None
        self.gives_receipts = True
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: picows.WSTransport | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        return self.closed.done()

    def heard(self, text: str) -> None:
        """A text message of the server."""
        raise NotImplementedError

    async def open(self, url: str, subprotocol: str = "") -> Self:
        """Connect. Raises OSError, WSError."""
        headers = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol else None
        await picows.ws_connect(
            lambda: self, url, extra_headers=headers, websocket_handshake_timeout=CONNECT_TIMEOUT_S
        )
        if self._transport is None:
            raise ConnectionResetError("the connection broke during the handshake")
        return self

    def write(self, text: str) -> None:
        """Send a text message, unless the connection is gone."""
        assert self._transport is not None
        if not self.is_closed:
            self._transport.send(picows.WSMsgType.TEXT, text.encode())

    async def close(self) -> None:
        """Close, and wait until it is."""
        assert self._transport is not None
        if not self.is_closed:
            self._transport.send_close(picows.WSCloseCode.OK)
            try:
                await asyncio.wait_for(asyncio.shield(self.closed), CLOSE_S)
            except TimeoutError:
                self.drop()

    def drop(self) -> None:
        """Hang up without a word."""
        if self._transport is not None and not self.is_closed:
            self._transport.disconnect(graceful=False)

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        if not self.closed.done():
            self.closed.set_result(None)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if kind == picows.WSMsgType.TEXT:
            self.heard(frame.get_payload_as_utf8_text())
        elif kind == picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == picows.WSMsgType.CLOSE:
            transport.disconnect()
