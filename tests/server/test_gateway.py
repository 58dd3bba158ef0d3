"""Who gets a WebSocket and who does not, the listening socket, and the end of a server."""

import asyncio
import errno
import signal
import socket
from typing import Any

import httpx
import msgspec
import pytest

from server.rig import ACCEPT, BINARY, CLOSE, Echo, Recorder, Rig, application, frame, upgrade
from tidings.protocol.api import Problem
from tidings.protocol.close import CloseCode
from tidings.protocol.codec import CODECS, JSON, JSON_SUBPROTOCOL, MSGPACK, MSGPACK_SUBPROTOCOL
from tidings.protocol.limits import Limits
from tidings.server.gateway import Gateway, listen

WEBSITE = "https://web.example"


def problem(body: bytes) -> Problem:
    return msgspec.json.decode(body, type=Problem)


# --- the answer -------------------------------------------------------------------------------


async def test_the_answer_is_the_sample_of_the_rfc(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(upgrade())
    head = await peer.head()
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n" in head
    assert b"sec-websocket-protocol" not in head.lower()
    assert b"sec-websocket-extensions" not in head.lower()


@pytest.mark.parametrize("path", [b"/", b"/v1/ws/", b"/v1/wss", b"/v1/WS", b"/v1/../v1/ws"])
async def test_any_other_path_is_not_found(rig: Rig, path: bytes) -> None:
    await rig.start()
    assert (await rig.refused(upgrade(path=path)))[0] == 404


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"OPTIONS", b"DELETE"])
async def test_any_other_method_is_not_found(rig: Rig, method: bytes) -> None:
    await rig.start()
    assert (await rig.refused(upgrade(method=method)))[0] == 404


async def test_a_query_does_not_matter(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(upgrade(path=b"/v1/ws?agent=x"))
    assert b" 101 " in await peer.head()


# --- origins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://chat.example", "chat.example"),
        ("https://Chat.Example", "chat.example"),
        ("https://chat.example", "chat.example:443"),
        ("http://chat.example:80", "chat.example"),
        ("http://chat.example:8080", "CHAT.example:8080"),
        ("http://[::1]:9000", "[::1]:9000"),
        (WEBSITE, "chat.example"),
        (WEBSITE.upper(), "chat.example"),
    ],
)
async def test_origins_that_may_connect(rig: Rig, origin: str, host: str) -> None:
    await rig.start(origins=frozenset({WEBSITE}))
    await rig.connect(b"Origin: " + origin.encode(), b"Host: " + host.encode())


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"https://evil.example",
        b"http://chat.example:8080",
        b"https://chat.example.evil.example",
        b"ftp://chat.example",
        b"chat.example",
        b"https://chat.example, https://evil.example",
        b"\xe4\xf6\xfc",
    ],
)
async def test_origins_that_may_not(rig: Rig, origin: bytes) -> None:
    await rig.start(origins=frozenset({WEBSITE}))
    status, _, body = await rig.refused(upgrade(b"Origin: " + origin))
    assert (status, problem(body).message) == (403, "this origin may not connect")


# --- subprotocols -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        ([MSGPACK_SUBPROTOCOL], MSGPACK),
        ([JSON_SUBPROTOCOL], JSON),
        ([f"{JSON_SUBPROTOCOL}, {MSGPACK_SUBPROTOCOL}"], MSGPACK),
        (["chat,tidings.v9 ", f" ,{JSON_SUBPROTOCOL}"], JSON),
    ],
)
async def test_our_preference_among_what_is_offered(rig: Rig, offers: list[str], chosen: object) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(upgrade(*(b"Sec-WebSocket-Protocol: " + offer.encode() for offer in offers)))
    head = await peer.head()
    handler = await rig.opened.get()
    assert handler.codec is chosen
    assert f"Sec-WebSocket-Protocol: {handler.codec.subprotocol}\r\n".encode() in head


async def test_no_offer_means_msgpack(rig: Rig) -> None:
    await rig.start()
    _, handler = await rig.connect()
    assert handler.codec is MSGPACK


@pytest.mark.parametrize("offer", [b"chat", b"tidings.v9.msgpack, chat", b",", b"\xff"])
async def test_only_unknown_offers_are_refused(rig: Rig, offer: bytes) -> None:
    await rig.start()
    status, _, body = await rig.refused(upgrade(b"Sec-WebSocket-Protocol: " + offer))
    assert status == 400
    assert all(name in problem(body).message for name in CODECS)


# --- the handshake ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        upgrade(without=b"Sec-WebSocket-Key"),
        upgrade(b"Sec-WebSocket-Key: short"),
        upgrade(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
        upgrade(b"Sec-WebSocket-Key: \xe4GhlIHNhbXBsZSBub25jZQ=="),
        upgrade(
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        ),
        upgrade(without=b"Host"),
        upgrade(b"Content-Length: 3") + b"abc",
        upgrade(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["no key", "short key", "unpadded key", "not ASCII", "two keys", "no host", "body", "chunks", "1.0"],
)
async def test_a_bad_handshake(rig: Rig, request_: bytes) -> None:
    await rig.start()
    assert (await rig.refused(request_))[0] == 400


@pytest.mark.parametrize("version", [b"8", b"14", b"13, 8", b"x"])
async def test_another_version_of_the_protocol(rig: Rig, version: bytes) -> None:
    await rig.start()
    status, head, _ = await rig.refused(upgrade(b"Sec-WebSocket-Version: " + version))
    assert status == 426
    assert b"sec-websocket-version: 13\r\n" in head


# --- how many ---------------------------------------------------------------------------------


async def test_a_full_gateway_says_when_to_come_back(rig: Rig) -> None:
    await rig.start(limits=Limits(connections=2))
    first, handler = await rig.connect()
    await rig.connect()
    assert rig.gateway.connections == 2
    status, head, body = await rig.refused(upgrade())
    assert (status, problem(body).name) == (503, "overloaded")
    assert b"retry-after: 5\r\n" in head
    first.send(frame(CLOSE))
    await handler.ended.wait()
    await rig.connect()


async def test_an_address_has_its_share(rig: Rig) -> None:
    await rig.start(limits=Limits(sessions_per_address=1))
    first, handler = await rig.connect()
    status, head, body = await rig.refused(upgrade())
    assert (status, problem(body).name) == (429, "rate_limited")
    assert b"retry-after: 5\r\n" in head
    first.writer.transport.abort()
    await handler.ended.wait()
    await rig.connect()


async def test_files_in_reserve_are_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    gateway = Gateway(limits=Limits(), open_session=Echo)
    assert (gateway.capacity, gateway.sockets) == (512, 768)
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    assert Gateway(limits=Limits(), open_session=Echo).capacity == 0


# --- the listening socket ---------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "", "::", "::1"])
def test_listen(host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with listen(host, 0, Limits()) as sock:
        target = {"": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)
        with socket.create_connection((target, sock.getsockname()[1]), timeout=1):
            accepted, _ = sock.accept()
            with accepted:
                received = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                assert received == 2 * (Limits().frame_bytes // 2)


def test_a_port_in_use_is_told_in_a_sentence() -> None:
    with listen("127.0.0.1", 0, Limits()) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(OSError, match="cannot bind") as error:
            listen("127.0.0.1", port, Limits())
    assert error.value.errno == errno.EADDRINUSE
    assert error.value.strerror == f"cannot bind 127.0.0.1:{port}: address already in use"


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError, match=r"cannot bind 192\.0\.2\.1:9000: cannot assign requested address"):
        listen("192.0.2.1", 9000, Limits())


def test_processes_may_share_a_port() -> None:
    with listen("127.0.0.1", 0, Limits(), reuse_port=True) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port, Limits(), reuse_port=True) as second:
            assert second.getsockname()[1] == port


# --- the server -------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_server_sees_everybody_off_when_it_stops(caplog: pytest.LogCaptureFixture) -> None:
    handlers: list[Recorder] = []

    def open_session(link: object, codec: object) -> Recorder:
        handlers.append(Echo(link, codec))  # type: ignore[arg-type]
        return handlers[-1]

    gateway = Gateway(limits=Limits(), open_session=open_session)
    sock = listen("127.0.0.1", 0, Limits())
    port = sock.getsockname()[1]
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    server = gateway.server(application)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    async with asyncio.timeout(10), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/x")).text == "GET /x 0"
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upgrade() + frame(BINARY, b"x"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(3) == b"\x82\x01x"
        server.should_exit = True
        assert await reader.readexactly(7) == b"\x88\x05" + CloseCode.GOING_AWAY.to_bytes(2, "big") + b"bye"
        writer.write(frame(CLOSE, b"\x03\xe9"))
        assert await reader.read() == b""
        writer.close()
        await serving
    assert gateway.connections == 0
    assert [handler.losses for handler in handlers] == [1]
    assert caplog.get_records("call") == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


async def test_nobody_comes_in_while_the_server_stops(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await peer.answer())[0] == 200
    rig.gateway._drain()
    peer.send(upgrade())
    status, head, body = await peer.answer()
    assert (status, problem(body).name) == (503, "draining")
    assert b"retry-after: 5\r\n" in head


@pytest.mark.slow
async def test_an_application_that_does_not_end_is_given_up_after_a_while() -> None:
    gateway = Gateway(limits=Limits(close_s=30), open_session=Recorder)
    sock = listen("127.0.0.1", 0, Limits())
    port = sock.getsockname()[1]
    server = gateway.server(application, drain_s=0)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upgrade())
        await reader.readuntil(b"\r\n\r\n")
        server.should_exit = True
        await serving
    writer.transport.abort()
    while gateway.connections:
        await asyncio.sleep(0)


@pytest.mark.parametrize(("proxies", "expected"), [([], "127.0.0.1"), (["127.0.0.0/8"], "192.0.2.7")])
async def test_only_a_known_proxy_is_believed_about_addresses(proxies: list[str], expected: str) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    gateway = Gateway(limits=Limits(), open_session=Echo)
    config = gateway.server(app, proxies=proxies).config
    config.load()
    scope = {
        "type": "http",
        "client": ("127.0.0.1", 5),
        "scheme": "http",
        "headers": [(b"x-forwarded-for", b"203.0.113.9, 192.0.2.7")],
    }
    await config.loaded_app(scope, None, None)  # type: ignore[arg-type]
    assert seen == [expected]
