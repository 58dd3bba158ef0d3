"""The gateway: one port for HTTP (uvicorn, httptools, an ASGI app) and WebSockets (picows).

It decides who may have a WebSocket, counts those who have one, and builds the socket and the
server. What is said on a WebSocket it does not know: `open_session` gives each one its handler.

spec §2, §10
"""

import asyncio
import base64
import binascii
import contextlib
import functools
import os
import resource
import socket
import ssl
from asyncio import Transport
from collections.abc import Callable, Generator, Sequence
from http import HTTPStatus
from typing import Any

import uvicorn

from tidings.protocol.codec import CODECS, MSGPACK, Codec
from tidings.protocol.errors import DRAINING, INVALID, OVERLOADED, RATE_LIMITED
from tidings.protocol.limits import KiB, Limits
from tidings.server.connection import Connection, Shared
from tidings.server.handover import Http, Refused, Upgrade
from tidings.server.link import Handler, Link
from tidings.server.outbox import Outbox
from tidings.server.upgraded import Accepted

PATH = b"/v1/ws"
BACKLOG = 2048
"""connections that the kernel holds for us until they are accepted (it may hold fewer)"""
LEAST_BUFFER_BYTES = 16 * KiB
"""the smallest buffer to ask the kernel for"""
FULL_RETRY_S = 5.0
"""when to come back to a gateway that is full"""


class Gateway:
    """Who may have a WebSocket. Wire it up with `listen` and `server`."""

    def __init__(
        self,
        *,
        limits: Limits,
        open_session: Callable[[Link, Codec], Handler],
        origins: frozenset[str] = frozenset(),
    ) -> None:
        """`origins` are those of web clients from another host (`https://chat.example`)."""
        self.limits = limits
        self._origins = frozenset(origin.lower() for origin in origins)
        self._shared = Shared(limits, Outbox(), open_session, self._gone)
        self._addresses: dict[str, int] = {}
        self._connections = 0
        self._draining = False
        self._files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    @property
    def connections(self) -> int:
        """How many WebSockets are open."""
        return self._connections

    @property
    def capacity(self) -> int:
        """How many may be: `limits.connections`, or what the limit of open files leaves. May be 0."""
        return max(0, min(self.limits.connections, self._files - self.limits.reserved_files))

    @property
    def sockets(self) -> int:
        """How many connections there may be, HTTP included; half the reserved files stay for the store."""
        return max(0, self._files - self.limits.reserved_files // 2)

    def server(
        self,
        app: Callable[..., Any],
        *,
        drain_s: int | None = None,
        tls: ssl.SSLContext | None = None,
        proxies: Sequence[str] = (),
    ) -> uvicorn.Server:
        """A server; `await serve(sockets=[listen(...)])` runs it until its `should_exit` is set.

        It takes no signals and configures no logging. When it stops, each WebSocket's handler is
        told (`Handler.shutdown`); after `drain_s`, if given, it waits no longer for them. The
        address of an HTTP request is what one of `proxies` says of it; of a WebSocket it is the peer's.
        """
        config = uvicorn.Config(
            app,
            http=functools.partial(Http, entrance=self),  # type: ignore[arg-type]  # only ever called
            ws="none",
            loop="none",
            lifespan="auto",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=drain_s,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
        return _Server(config, self._drain, self.limits.http_head_s)

    def admit(self, upgrade: Upgrade) -> Accepted:
        """Whether this request may become a WebSocket. Raises Refused."""
        if upgrade.method != "GET" or upgrade.target.partition(b"?")[0] != PATH:
            raise Refused(HTTPStatus.NOT_FOUND, INVALID, "WebSockets are at GET /v1/ws")
        self._check_origin(upgrade)
        _check_handshake(upgrade)
        accepted = _choose_codec(upgrade)
        self._check_room(upgrade.address)
        return accepted

    def connect(self, transport: Transport, codec: Codec, address: str) -> Connection:
        """Make and count the connection that was admitted."""
        self._connections += 1
        self._addresses[address] = self._addresses.get(address, 0) + 1
        return Connection(self._shared, transport, codec, address)

    def _gone(self, address: str) -> None:
        self._connections -= 1
        left = self._addresses.pop(address) - 1
        if left:
            self._addresses[address] = left

    def _drain(self) -> None:
        self._draining = True

    def _check_origin(self, upgrade: Upgrade) -> None:
        """Only browsers send an Origin, and one may be on a stranger's page (RFC 6455 §10.2)."""
        origin = upgrade.header(b"origin").decode("latin-1").lower()
        if not origin or origin in self._origins:
            return
        host = upgrade.header(b"host").decode("latin-1").lower()
        scheme, _, netloc = origin.partition("://")
        port = {"http": ":80", "https": ":443"}.get(scheme)
        if port is None or netloc.removesuffix(port) != host.removesuffix(port):
            raise Refused(HTTPStatus.FORBIDDEN, INVALID, "this origin may not connect")

    def _check_room(self, address: str) -> None:
        if self._draining:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, DRAINING, DRAINING.meaning, FULL_RETRY_S)
        if self._connections >= self.capacity:
            message = "the server has as many connections as it may"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED, message, FULL_RETRY_S)
        if self._addresses.get(address, 0) >= self.limits.sessions_per_address:
            message = "too many connections from this address"
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, RATE_LIMITED, message, FULL_RETRY_S)


def listen(host: str, port: int, limits: Limits, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket. `::` serves IPv4 too; `reuse_port` lets several processes share the port.

    Raises OSError whose `strerror` is a sentence for people ("cannot bind :443: permission denied").
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_bind(where, error) from None
    try:
        _set_options(sock, limits.frame_bytes, reuse_port=reuse_port)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _cannot_bind(where, error) from None
    return sock


def _set_options(sock: socket.socket, frame_bytes: int, *, reuse_port: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # One message of the largest size, since Linux doubles what it is asked for; accepted sockets
    # inherit it. picows' read buffer grows to what one read may bring and never shrinks: 1.8 MB
    # after a flood where the kernel chooses.
    size = max(LEAST_BUFFER_BYTES, frame_bytes // 2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _cannot_bind(where: str, error: OSError) -> OSError:
    reason = error.strerror or os.strerror(error.errno or 0)
    return OSError(error.errno, f"cannot bind {where}: {reason.lower()}")


def _check_handshake(upgrade: Upgrade) -> None:
    """RFC 6455 §4.2.1, as far as HTTP has not seen to it."""
    if upgrade.http_version != "1.1" or len(upgrade.header(b"host")) == 0:
        raise Refused(HTTPStatus.BAD_REQUEST, INVALID, "a WebSocket needs HTTP/1.1 and a Host header")
    if upgrade.header(b"sec-websocket-version") != b"13":
        raise Refused(HTTPStatus.UPGRADE_REQUIRED, INVALID, "Sec-WebSocket-Version must be 13")
    if not _is_key(upgrade.header(b"sec-websocket-key")):
        raise Refused(HTTPStatus.BAD_REQUEST, INVALID, "Sec-WebSocket-Key must be 16 bytes in base64")


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def _choose_codec(upgrade: Upgrade) -> Accepted:
    """The first of ours that the client offers; with no offer at all, MessagePack."""
    offer = upgrade.header(b"sec-websocket-protocol")
    if not offer:
        return Accepted(MSGPACK, None)
    offered = {name.strip() for name in offer.decode("latin-1").split(",")}
    for name, codec in CODECS.items():
        if name in offered:
            return Accepted(codec, name)
    raise Refused(HTTPStatus.BAD_REQUEST, INVALID, f"offer one of these subprotocols: {', '.join(CODECS)}")


class Quiet(uvicorn.Server):
    """uvicorn's server, whose owner decides about signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the process's signal handlers alone."""
        yield


class _Server(Quiet):
    """The gateway's server."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None], handshake_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._handshake_s = handshake_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, with a time for the TLS handshake, of which uvicorn's protocols know nothing."""
        if self.config.ssl is None or sockets is None:
            return await super().startup(sockets)
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise RuntimeError("the application did not start")
        self.servers = []
        for sock in sockets:
            server = await asyncio.get_running_loop().create_server(
                self._protocol,
                sock=sock,
                ssl=self.config.ssl,
                backlog=BACKLOG,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=self._handshake_s,
            )
            self.servers.append(server)
        self.started = True
        return None

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; first, nobody may come in any more."""
        self._drain()
        await super().shutdown(sockets)
