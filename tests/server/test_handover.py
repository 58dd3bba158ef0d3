"""From HTTP to WebSocket on one connection, and the bounds of HTTP itself."""

import asyncio
import gc

import httpx
import pytest

from server.rig import BINARY, CLOSE, PATIENCE_S, PING, PONG, Rig, frame, upgrade
from tidings.protocol.limits import KiB, Limits
from tidings.server.handover import Http

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
HOLD = b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"


async def turns() -> None:
    """Let the server read what was sent."""
    for _ in range(5):
        await asyncio.sleep(0)


# --- the hand-over ----------------------------------------------------------------------------


async def test_bytes_after_the_upgrade_are_the_websocket_s(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(upgrade(), frame(PING, b"1"), frame(BINARY, b"2" * 70_000), frame(BINARY, b"3")[:4])
    assert b" 101 " in await peer.head()
    assert [await peer.frame() for _ in range(2)] == [(PONG, b"1"), (BINARY, b"2" * 70_000)]
    peer.send(frame(BINARY, b"3")[4:])
    assert await peer.frame() == (BINARY, b"3")


async def test_much_may_follow_the_last_piece_of_an_upgrade(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(upgrade()[:-2])
    await turns()
    peer.send(upgrade()[-2:], frame(BINARY, b"1" * 100_000))
    assert b" 101 " in await peer.head()
    assert await peer.frame() == (BINARY, b"1" * 100_000)


async def test_a_refused_upgrade_is_answered_once(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    refused = upgrade(path=b"/elsewhere")
    peer.send(refused[:-2])
    await turns()
    peer.send(refused[-2:], b"x" * 100_000)
    assert (await peer.answer())[0] == 404
    assert await peer.rest() == b""


async def test_the_upgrade_may_come_byte_by_byte(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    for byte in upgrade() + frame(BINARY, b"x"):
        peer.send(bytes([byte]))
        await asyncio.sleep(0)
    assert b" 101 " in await peer.head()
    assert await peer.frame() == (BINARY, b"x")


@pytest.mark.parametrize(
    "headers",
    [
        [b"Connection: keep-alive, Upgrade"],
        [b"Connection: upgrade", b"Connection: keep-alive"],
        [b"Connection: keep-alive", b"Connection: Upgrade"],
        [b"Connection:   UPGRADE  "],
        [b"Upgrade: WebSocket"],
        [b"Upgrade: h2c, websocket"],
    ],
    ids=["Firefox", "first", "second", "blanks", "capitals", "list"],
)
async def test_ways_to_ask_for_it(rig: Rig, headers: list[bytes]) -> None:
    await rig.start()
    await rig.connect(*headers)


async def test_headers_that_are_not_ascii_do_no_harm(rig: Rig) -> None:
    await rig.start()
    await rig.connect(b"X-Name: \xff\xfe\xe4", b"Cookie: \x80=\x81")


async def test_a_large_head_leaves_no_large_buffer(rig: Rig) -> None:
    await rig.start()
    peer, _ = await rig.connect(b"Cookie: " + b"x" * 10 * KiB)
    (upgraded,) = rig.server.server_state.connections
    assert len(upgraded.get_buffer(-1)) < 2 * KiB  # type: ignore[union-attr]
    assert not upgraded.transport.request.headers  # type: ignore[attr-defined]
    peer.send(frame(BINARY, b"x"))
    assert await peer.frame() == (BINARY, b"x")


async def test_http_then_a_websocket_on_one_connection(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    for _ in range(3):
        peer.send(GET)
        assert (await peer.answer())[2] == b"GET /x 0"
    peer.send(upgrade(), frame(BINARY, b"x"))
    assert b" 101 " in await peer.head()
    assert await peer.frame() == (BINARY, b"x")


async def test_http_and_websockets_share_the_port(rig: Rig) -> None:
    await rig.start()
    peer, _ = await rig.connect()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{rig.port}") as http:
        for number in range(3):
            assert (
                await http.post("/post", content=b"x" * number * 50_000)
            ).text == f"POST /post {number * 50_000}"
            peer.send(frame(BINARY, b"%d" % number))
            assert await peer.frame() == (BINARY, b"%d" % number)


async def test_an_upgrade_behind_an_unanswered_request_is_not_answered(rig: Rig) -> None:
    """A 101 now would be taken for the answer to the request before."""
    await rig.start()
    peer = await rig.dial()
    peer.send(HOLD, GET, upgrade(), frame(BINARY, b"x"))
    await asyncio.sleep(0)
    peer.send(upgrade())
    rig.release.set()
    assert (await peer.answer())[2] == b"GET /hold 0"
    status, head, body = await peer.answer()
    assert (status, body) == (200, b"GET /x 0")
    assert b"connection: close\r\n" in head
    assert await peer.rest() == b""
    assert rig.handlers == []


async def test_an_offer_of_another_protocol_is_ignored(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nHost: x\r\n"
    peer.send(b"GET /b HTTP/1.1\r\n" + offer + b"\r\n", GET)
    assert (await peer.answer())[2] == b"GET /b 0"
    assert (await peer.answer())[2] == b"GET /x 0"
    # The parser would read the body as a request of its own.
    status, _, _ = await rig.refused(b"POST /a HTTP/1.1\r\nContent-Length: 37\r\n" + offer + b"\r\n" + GET)
    assert status == 400


async def test_the_http_side_of_a_websocket_is_freed(rig: Rig) -> None:
    """4 kB a connection, else."""
    await rig.start()
    gc.collect()
    gc.disable()
    try:
        peer = await rig.dial()
        peer.send(GET)
        await peer.answer()
        peer.send(upgrade())
        await peer.head()
        await asyncio.sleep(0)
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Http)]
    finally:
        gc.enable()


# --- heads ------------------------------------------------------------------------------------


async def test_a_connection_that_sends_nothing_is_closed(rig: Rig) -> None:
    await rig.start(limits=Limits(http_head_s=0.05))
    peer = await rig.dial()
    assert await peer.rest() == b""


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\n", upgrade()[:-2], b"\r\n"])
async def test_a_slow_head_is_told_so(rig: Rig, start: bytes) -> None:
    await rig.start(limits=Limits(http_head_s=0.05))
    peer = await rig.dial()
    peer.send(start)
    assert (await peer.answer())[0] == 408
    assert await peer.rest() == b""


async def test_a_slow_body_is_told_so(rig: Rig) -> None:
    await rig.start(limits=Limits(http_body_s=0.05))
    peer = await rig.dial()
    peer.send(b"POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert (await peer.answer())[0] == 408
    assert await peer.rest() == b""


async def test_blank_lines_do_not_keep_a_connection(rig: Rig) -> None:
    await rig.start(limits=Limits(http_head_s=0.05))
    peer = await rig.dial()
    peer.send(GET)
    await peer.answer()
    peer.send(b"\r\n")
    assert (await peer.answer())[0] == 408


@pytest.mark.parametrize("last", [b"keep-alive", b"close"])
async def test_who_does_not_read_the_answers_is_cut_off(rig: Rig, last: bytes) -> None:
    await rig.start(limits=Limits(http_body_s=0.2))
    peer = await rig.dial()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    request = b"GET /%b HTTP/1.1\r\nHost: x\r\n" % (b"x" * 8000)
    peer.send((request + b"\r\n") * 200, request + b"Connection: %b\r\n\r\n" % last)
    connections = rig.server.server_state.connections
    async with asyncio.timeout(PATIENCE_S):
        while not connections:
            await asyncio.sleep(0)
        while connections:
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_second_head_has_its_own_time(rig: Rig) -> None:
    await rig.start(limits=Limits(http_head_s=0.5))
    peer = await rig.dial()
    for _ in range(3):
        peer.send(GET[:10])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.2)
        peer.send(GET[10:])
        assert (await peer.answer())[0] == 200


async def test_a_slow_head_behind_an_unanswered_request_waits_for_its_answer(rig: Rig) -> None:
    await rig.start(limits=Limits(http_head_s=0.05))
    peer = await rig.dial()
    peer.send(HOLD, GET[:10])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(peer.reader.read(1), 0.1)
    rig.release.set()
    assert (await peer.answer())[2] == b"GET /hold 0"
    assert await peer.rest() == b""


def head_of(size: int) -> bytes:
    """An upgrade whose headers and target count exactly `size` bytes."""
    bare = len(upgrade(b"X: ")) - len(b"GET  HTTP/1.1\r\n\r\n")
    # Names, values and target, and 4 a header for ": " and the end of the line.
    return upgrade(b"X: " + b"x" * (size - bare))


async def test_a_head_may_be_as_large_as_the_limit(rig: Rig) -> None:
    await rig.start(limits=Limits(http_head_bytes=1000))
    peer = await rig.dial()
    peer.send(head_of(1000))
    assert b" 101 " in await peer.head()
    assert (await rig.refused(head_of(1001)))[0] == 431


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * 300 * KiB,
        b"GET /" + b"x" * 300 * KiB,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50 * KiB,
        b"\r\n" * 150 * KiB,
    ],
    ids=["value", "target", "many", "blank lines"],
)
async def test_a_head_without_end(rig: Rig, head: bytes) -> None:
    await rig.start()
    assert (await rig.refused(head))[0] == 431


@pytest.mark.parametrize(
    "body",
    [b"5;" + b"x" * 300 * KiB, b"0\r\n" + b"X: y\r\n" * 50 * KiB, b"0\r\nX: " + b"y" * 300 * KiB],
    ids=["chunk extension", "trailers", "trailer"],
)
async def test_a_body_cannot_hide_one(rig: Rig, body: bytes) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert (await peer.rest()).startswith(b"HTTP/1.1 431")


async def test_large_bodies_in_small_chunks_are_not_mistaken_for_one(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20):
        peer.send(b"1\r\nx\r\n" * 1000)
        await turns()
    peer.send(b"0\r\nX-Trailer: 1\r\n\r\n", GET)
    assert (await peer.answer())[2] == b"POST /x 20000"
    assert (await peer.answer())[2] == b"GET /x 0"


async def test_pipelined_requests_in_one_piece_are_not_one_head(rig: Rig) -> None:
    await rig.start(limits=Limits(http_head_bytes=100))
    peer = await rig.dial()
    peer.send(GET * 50, GET[:5])
    for _ in range(50):
        assert (await peer.answer())[0] == 200
    peer.send(GET[5:])
    assert (await peer.answer())[0] == 200


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01", b"GET /\xff HTTP/1.1\r\n\r\n", b"\x00", b"NO SUCH\r\n\r\n"]
)
async def test_what_is_not_http_is_told_so(rig: Rig, garbage: bytes) -> None:
    await rig.start()
    assert (await rig.refused(garbage))[0] == 400


async def test_garbage_behind_an_unanswered_request(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(HOLD, b"\x00\x00\x00\x00")
    rig.release.set()
    assert (await peer.answer())[2] == b"GET /hold 0"
    assert await peer.rest() == b""


async def test_garbage_inside_a_body(rig: Rig) -> None:
    await rig.start(limits=Limits(close_s=30))
    peer = await rig.dial()
    peer.send(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n")
    assert (await peer.answer())[0] == 400
    async with asyncio.timeout(PATIENCE_S):
        await rig.disconnected.wait()  # the application knows, though the peer has not hung up
    assert await peer.rest() == b""


async def test_a_refused_peer_that_goes_on_sending_still_gets_its_answer(rig: Rig) -> None:
    """Closing a socket with unread input would reset it, and the answer would be lost."""
    await rig.start()
    peer = await rig.dial()
    peer.send(b"GET /" + b"x" * 1000 * KiB)
    async with asyncio.timeout(PATIENCE_S):
        await peer.writer.drain()
    peer.send(b"x" * 4000 * KiB)
    assert (await peer.answer())[0] == 431


async def test_too_many_connections_of_any_kind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    await rig.start(limits=Limits(reserved_files=2044))
    first, _ = await rig.dial(), await rig.dial()
    status, head, _ = await rig.refused(b"")
    assert status == 503
    assert b"retry-after: 5\r\n" in head
    first.send(GET)
    assert (await first.answer())[0] == 200


async def test_a_websocket_ends_also_where_its_close_comes_with_the_upgrade(rig: Rig) -> None:
    await rig.start()
    peer = await rig.dial()
    peer.send(upgrade(), frame(CLOSE, b"\x03\xe8"))
    assert b" 101 " in await peer.head()
    assert await peer.frame() == (CLOSE, b"\x03\xe8")
    assert await peer.rest() == b""
