"""A gateway on a real port, handlers that record, and a peer that sends raw bytes."""

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from tidings.protocol.close import CloseCode
from tidings.protocol.codec import Codec
from tidings.protocol.limits import Limits
from tidings.server.gateway import Gateway, listen
from tidings.server.link import Link

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
PATIENCE_S = 5
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the sample of RFC 6455 §1.3


class Recorder:
    """A handler that keeps what it gets, and does what the test wants with it."""

    greets = True
    """whether it knows at once who the peer is"""

    def __init__(self, link: Link, codec: Codec) -> None:
        self.link = link
        if self.greets:
            link.greeted()
        self.codec = codec
        self.received: list[bytes] = []
        self.losses = 0
        self.after_loss = 0
        self.news: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = asyncio.Event()

    def receive(self, data: bytes) -> None:
        assert type(data) is bytes
        self.after_loss += self.losses
        self.received.append(data)
        self.news.put_nowait(data)

    def lost(self) -> None:
        self.losses += 1
        self.ended.set()

    def shutdown(self) -> None:
        self.link.close(CloseCode.GOING_AWAY, "bye")


class Echo(Recorder):
    """Sends everything back."""

    def receive(self, data: bytes) -> None:
        super().receive(data)
        self.link.send(data)


class Frame(NamedTuple):
    """One frame of a server."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big")

    @property
    def reason(self) -> str:
        return self.payload[2:].decode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A client's frame."""
    first = (fin << 7) | (rsv << 4) | opcode
    size, mask_bit = len(payload), masked << 7
    if size < 126:
        head = struct.pack(">BB", first, mask_bit | size)
    elif size < 65536:
        head = struct.pack(">BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, mask_bit | 127, size)
    if not masked:
        return head + payload
    mask = b"\x5a\x00\xff\x13"
    repeated = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + mixed.to_bytes(size, "big")


def upgrade(*headers: bytes, path: bytes = b"/v1/ws", method: bytes = b"GET", without: bytes = b"-") -> bytes:
    """A client's request for a WebSocket. `headers` replace the usual ones of their names."""
    usual = [
        b"Host: chat.example",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + KEY,
    ]
    names = {header.partition(b":")[0].lower() for header in headers} | {without.lower()}
    lines = [line for line in usual if line.partition(b":")[0].lower() not in names]
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", *lines, *headers, b"", b""])


class Peer:
    """A client that sends what it is told to, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    def send(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    async def head(self) -> bytes:
        """The head of an HTTP answer."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body of an HTTP answer that has a Content-Length."""
        head = await self.head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
        return int(head.split()[1]), head, await self.reader.readexactly(length)

    async def frame(self) -> Frame:
        """The next frame, which must be whole and unmasked."""
        async with asyncio.timeout(PATIENCE_S):
            first, size = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return Frame(first & 0xF, await self.reader.readexactly(size))

    async def rest(self) -> bytes:
        """All that comes until the server hangs up; a reset takes with it what was not read."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the method, the path and the size of the body; waits on `/hold`."""
    if scope["type"] != "http":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    size, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            scope["state"]["disconnected"].set()
            return
        size, more = size + len(event["body"]), event["more_body"]
    if scope["path"] == "/hold":
        await scope["state"]["release"].wait()
    body = f"{scope['method']} {scope['path']} {size}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Rig:
    """Start a gateway, get peers to it. When it stops it checks what must hold of every handler."""

    def __init__(self) -> None:
        self.handlers: list[Recorder] = []
        self.opened: asyncio.Queue[Recorder] = asyncio.Queue()
        self.release = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.expected_complaints: list[str] = []
        self._peers = contextlib.AsyncExitStack()

    async def start(
        self,
        *,
        limits: Limits | None = None,
        handler: Callable[[Link, Codec], Recorder] = Echo,
        origins: frozenset[str] = frozenset(),
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        def open_session(link: Link, codec: Codec) -> Recorder:
            recorder = handler(link, codec)
            self.handlers.append(recorder)
            self.opened.put_nowait(recorder)
            return recorder

        limits = limits or Limits()
        self.gateway = Gateway(limits=limits, open_session=open_session, origins=origins)
        sock = listen(host, 0, limits)
        self.port = sock.getsockname()[1]
        self.server = self.gateway.server(application, tls=tls)
        # What `serve` does before and after its loop, without the tenths of seconds that it waits.
        self.server.config.load()
        self.server.lifespan = self.server.config.lifespan_class(self.server.config)
        self.server.lifespan.state.update(release=self.release, disconnected=self.disconnected)
        await self.server.startup(sockets=[sock])

    async def stop(self) -> None:
        await self._peers.aclose()
        for server in self.server.servers:
            server.close()
        self.release.set()
        async with asyncio.timeout(PATIENCE_S):
            while self.server.server_state.connections:
                await asyncio.sleep(0)
        await self.server.lifespan.shutdown()
        assert self.gateway.connections == 0
        assert [handler.losses for handler in self.handlers] == [1] * len(self.handlers)
        assert not any(handler.after_loss for handler in self.handlers)

    async def dial(self) -> Peer:
        """A TCP connection."""
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20))
        return await self._peers.enter_async_context(peer)

    async def connect(self, *headers: bytes) -> tuple[Peer, Recorder]:
        """A WebSocket, and its handler."""
        peer = await self.dial()
        peer.send(upgrade(*headers))
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        async with asyncio.timeout(PATIENCE_S):
            return peer, await self.opened.get()

    async def refused(self, request: bytes) -> tuple[int, bytes, bytes]:
        """The answer to a request that gets no WebSocket; the server hangs up after it."""
        peer = await self.dial()
        peer.send(request)
        answer = await peer.answer()
        assert await peer.rest() == b""
        return answer


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
