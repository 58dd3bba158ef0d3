"""Every check that picows leaves to us, the order of what goes out, and how a connection ends."""

import asyncio
import contextlib
import gc
import socket
import weakref
from typing import Any

import pytest
import websockets

from server.rig import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PATIENCE_S,
    PING,
    PONG,
    TEXT,
    Echo,
    Frame,
    Peer,
    Recorder,
    Rig,
    frame,
    open_files,
    upgrade,
)
from tidings.protocol.close import CloseCode
from tidings.protocol.codec import JSON, JSON_SUBPROTOCOL, MSGPACK, Codec
from tidings.protocol.limits import KiB, Limits
from tidings.server.connection import Connection, Shared
from tidings.server.link import Link
from tidings.server.outbox import Outbox

OFFER_JSON = b"Sec-WebSocket-Protocol: " + JSON_SUBPROTOCOL.encode()


async def closed_with(peer: Peer, code: int) -> str:
    """The peer gets this close frame and then the end, without answering, and hangs up."""
    received = await peer.frame()
    assert (received.opcode, received.code) == (CLOSE, code)
    assert await peer.rest() == b""
    peer.writer.close()
    return received.reason


async def gone(handler: Recorder) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await handler.ended.wait()


# --- messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 128 * KiB])
async def test_messages_go_there_and_back(rig: Rig, size: int) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    peer.send(frame(BINARY, b"x" * size))
    assert await peer.frame() == (BINARY, b"x" * size)
    assert handler.received == [b"x" * size]


class Stranger(Echo):
    """Who never says who they are."""

    greets = False


async def test_a_stranger_may_not_send_much(rig: Rig) -> None:
    await rig.start(handler=Stranger, limits=Limits(hello_bytes=4 * KiB))
    peer, _ = await rig.connect()
    peer.send(frame(BINARY, b"x" * 1500))
    assert await peer.frame() == (BINARY, b"x" * 1500)
    peer.send(frame(BINARY, b"x" * 1500))
    assert await peer.frame() == (BINARY, b"x" * 1500)
    peer.send(frame(BINARY, b"x" * 1500))
    assert await closed_with(peer, CloseCode.TOO_BIG) == "too much before a Hello"


async def test_text_goes_to_the_json_codec(rig: Rig) -> None:
    await rig.start()
    peer, handler = await rig.connect(OFFER_JSON)
    peer.send(frame(TEXT, "grüß".encode()))
    assert await peer.frame() == (TEXT, "grüß".encode())
    assert handler.codec is JSON


async def test_fragments_are_joined_around_control_frames(rig: Rig) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    peer.send(
        frame(BINARY, b"a", fin=False),
        frame(PING, b"?"),
        frame(CONTINUATION, b"", fin=False),
        frame(CONTINUATION, b"b"),
        frame(BINARY, b"c"),
    )
    assert [await peer.frame() for _ in range(3)] == [(PONG, b"?"), (BINARY, b"ab"), (BINARY, b"c")]
    assert handler.received == [b"ab", b"c"]


async def test_a_character_may_be_split_between_fragments(rig: Rig) -> None:
    await rig.start()
    peer, _ = await rig.connect(OFFER_JSON)
    peer.send(frame(TEXT, b"\xc3", fin=False), frame(CONTINUATION, b"\xa4"))
    assert await peer.frame() == (TEXT, "ä".encode())


async def test_an_independent_client_agrees(rig: Rig) -> None:
    await rig.start()
    async with dial_websockets(rig) as client:
        for size in (0, 125, 126, 70_000, 128 * KiB):
            await client.send(b"y" * size)
            assert await client.recv() == b"y" * size
        await client.send([b"in ", b"three ", b"parts"])
        assert await client.recv() == b"in three parts"
        await (await client.ping(b"there?"))
    assert (client.close_code, client.close_reason) == (1000, "")


def dial_websockets(rig: Rig, **options: Any) -> websockets.connect:
    return websockets.connect(f"ws://127.0.0.1:{rig.port}/v1/ws", proxy=None, **options)


# --- what is refused --------------------------------------------------------------------------

PROTOCOL_ERRORS = {
    "rsv1": frame(BINARY, b"x", rsv=4),
    "rsv2": frame(PING, b"x", rsv=2),
    "rsv3": frame(CLOSE, b"\x03\xe8", rsv=1),
    "continuation of nothing": frame(CONTINUATION, b"x"),
    "message inside a message": frame(BINARY, b"x", fin=False) + frame(BINARY, b"y"),
    "text on a binary subprotocol": frame(TEXT, b"x"),
    "fragment of text on a binary subprotocol": frame(TEXT, b"x", fin=False),
    "unknown opcode": frame(0x3, b"x"),
    "unknown control opcode": frame(0xB, b"x"),
    "unmasked": frame(BINARY, b"x", masked=False),
    "fragmented ping": frame(PING, b"x", fin=False),
    "long ping": frame(PING, b"x" * 126),
    "length not minimal": b"\x82\xfe\x00\x01aaaax",
    "negative length": b"\x82\xff" + b"\xff" * 8 + b"aaaa",
    "close of one byte": frame(CLOSE, b"\x03"),
}
PROTOCOL_ERRORS |= {
    f"close code {code}": frame(CLOSE, code.to_bytes(2, "big"))
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
}


@pytest.mark.parametrize("bad", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS.keys())
async def test_a_protocol_error_is_closed_as_one(rig: Rig, bad: bytes) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    peer.send(bad)
    assert await closed_with(peer, 1002) != ""
    await gone(handler)
    assert handler.received == []


async def test_binary_on_a_text_subprotocol_is_a_protocol_error(rig: Rig) -> None:
    await rig.start()
    peer, _ = await rig.connect(OFFER_JSON)
    peer.send(frame(BINARY, b"{}"))
    assert await closed_with(peer, 1002) == "the subprotocol takes text messages only"


@pytest.mark.parametrize(
    "bad",
    [
        frame(TEXT, b"\xff"),
        frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\xc3"),
        frame(CLOSE, b"\x03\xe8\xff"),
    ],
    ids=["message", "fragments", "close reason"],
)
async def test_text_that_is_not_utf8(rig: Rig, bad: bytes) -> None:
    await rig.start()
    peer, handler = await rig.connect(OFFER_JSON)
    peer.send(bad)
    await closed_with(peer, 1007)
    assert handler.received == []


async def test_a_frame_is_refused_at_its_head_if_it_is_too_big(rig: Rig) -> None:
    await rig.start()
    peer, _ = await rig.connect()
    peer.send(frame(BINARY, b"x" * (128 * KiB + 1))[:14])
    await closed_with(peer, 1009)


async def test_a_client_in_the_middle_of_a_big_message_still_learns_why(rig: Rig) -> None:
    await rig.start()
    async with dial_websockets(rig) as client:
        with contextlib.suppress(websockets.ConnectionClosedError):  # here or below
            await client.send(b"x" * (8 << 20))
        with pytest.raises(websockets.ConnectionClosedError, match="received 1009"):
            await client.recv()


async def test_a_refused_peer_that_goes_on_sending_still_learns_why(rig: Rig) -> None:
    """Closing a socket with unread input would reset it, and the close frame would be lost."""
    await rig.start()
    for bad in (frame(BINARY, b"x" * (4 << 20)), frame(BINARY, b"x", rsv=1) + b"x" * (4 << 20)):
        peer, _ = await rig.connect()
        peer.send(bad)
        async with asyncio.timeout(PATIENCE_S):
            await peer.writer.drain()
        received = await peer.frame()
        assert received.code in (1002, 1009)
        assert await peer.rest() == b""


async def test_fragments_are_bounded_together(rig: Rig) -> None:
    await rig.start(limits=Limits(frame_bytes=100))
    peer, handler = await rig.connect()
    peer.send(frame(BINARY, b"x" * 60, fin=False), frame(CONTINUATION, b"x" * 40))
    assert await peer.frame() == (BINARY, b"x" * 100)
    peer.send(frame(BINARY, b"x" * 60, fin=False), frame(CONTINUATION, b"x" * 41, fin=False))
    await closed_with(peer, 1009)
    assert len(handler.received) == 1


async def test_what_came_before_a_fault_is_delivered_and_answered(rig: Rig) -> None:
    """picows parses one frame ahead, so it reports the fault before it delivers `good`."""
    await rig.start()
    for fault in (frame(0x3), frame(BINARY, b"x", rsv=1)):
        peer, handler = await rig.connect()
        peer.send(frame(BINARY, b"fine"), frame(BINARY, b"good"), fault, frame(BINARY, b"late"))
        assert [await peer.frame() for _ in range(2)] == [(BINARY, b"fine"), (BINARY, b"good")]
        await closed_with(peer, 1002)
        assert handler.received == [b"fine", b"good"]


# --- pings ------------------------------------------------------------------------------------


async def test_pings_have_a_budget(rig: Rig) -> None:
    await rig.start(limits=Limits(pings_per_s=5))
    peer, _ = await rig.connect()
    peer.send(*(frame(PING, b"%d" % number) for number in range(6)))
    assert [await peer.frame() for _ in range(5)] == [(PONG, b"%d" % number) for number in range(5)]
    assert await closed_with(peer, 1008) == "too many pings"


@pytest.mark.parametrize(
    "nothing", [frame(PONG, b"x"), frame(CONTINUATION, b"", fin=False)], ids=["pong", "empty fragment"]
)
async def test_other_frames_that_carry_nothing_share_it(rig: Rig, nothing: bytes) -> None:
    await rig.start(limits=Limits(pings_per_s=5))
    peer, _ = await rig.connect()
    peer.send(frame(BINARY, b"x", fin=False), nothing * 6)
    await closed_with(peer, 1008)


@pytest.mark.slow
async def test_the_budget_is_a_second_s(rig: Rig) -> None:
    await rig.start(limits=Limits(pings_per_s=5))
    peer, _ = await rig.connect()
    peer.send(frame(PING) * 5)
    assert [await peer.frame() for _ in range(5)] == [(PONG, b"")] * 5
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(peer.reader.read(1), 1.01)
    peer.send(frame(PING) * 5)
    assert [await peer.frame() for _ in range(5)] == [(PONG, b"")] * 5


# --- closing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0f\xa1bye", b"\x03\xf6"])
async def test_a_close_is_answered_with_its_code(rig: Rig, payload: bytes) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    peer.send(frame(CLOSE, payload))
    assert await peer.frame() == (CLOSE, payload[:2])
    assert await peer.rest() == b""
    await gone(handler)


async def test_nothing_is_heard_after_the_peer_s_close(rig: Rig) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    peer.send(frame(BINARY, b"1"), frame(CLOSE), frame(BINARY, b"2"))
    assert [await peer.frame() for _ in range(2)] == [(BINARY, b"1"), (CLOSE, b"")]
    await gone(handler)
    assert handler.received == [b"1"]


async def test_what_was_sent_before_a_close_goes_out_before_it(rig: Rig) -> None:
    await rig.start(handler=Recorder)
    peer, handler = await rig.connect()
    handler.link.send(b"1")
    handler.link.send(b"2")
    handler.link.close(CloseCode.DRAIN, "in 5 s")
    handler.link.send(b"3")
    handler.link.close(CloseCode.NORMAL)
    received = [await peer.frame() for _ in range(3)]
    assert received == [(BINARY, b"1"), (BINARY, b"2"), (CLOSE, b"\x0f\xa1in 5 s")]
    peer.send(frame(BINARY, b"late"), frame(PING), frame(CLOSE, b"\x0f\xa1"))
    assert await peer.rest() == b""
    await gone(handler)
    assert handler.received == []


async def test_a_peer_that_answers_no_close_is_dropped(rig: Rig) -> None:
    await rig.start(limits=Limits(close_s=0.05))
    peer, handler = await rig.connect()
    handler.link.close(CloseCode.HEARTBEAT_TIMEOUT)
    assert (await peer.frame()).code == CloseCode.HEARTBEAT_TIMEOUT
    await gone(handler)


async def test_a_close_is_answered_also_where_reading_was_paused(rig: Rig) -> None:
    await rig.start(limits=Limits(close_s=30))
    peer, handler = await rig.connect()
    handler.link.pause_reading()
    handler.link.close(CloseCode.NORMAL)
    assert (await peer.frame()).code == 1000
    peer.send(frame(CLOSE, b"\x03\xe8"))
    await gone(handler)


async def test_garbage_instead_of_an_answer_to_a_close(rig: Rig) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    handler.link.close(CloseCode.NORMAL)
    assert (await peer.frame()).code == 1000
    peer.send(b"\xff" * 5000)
    assert await peer.rest() == b""
    peer.writer.close()
    await gone(handler)


async def test_a_refused_peer_that_does_not_hang_up_is_dropped(rig: Rig) -> None:
    await rig.start(limits=Limits(close_s=0.05))
    peer, handler = await rig.connect()
    peer.send(frame(0x3))
    assert (await peer.frame()).code == 1002
    assert await peer.rest() == b""
    await gone(handler)


async def test_a_peer_that_hangs_up_without_a_close_is_gone(rig: Rig) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    peer.writer.write_eof()
    await gone(handler)
    peer, handler = await rig.connect()
    peer.writer.transport.abort()
    await gone(handler)


async def test_a_peer_that_shuts_its_side_still_gets_its_answers(rig: Rig) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    peer.send(frame(BINARY, b"last"))
    peer.writer.write_eof()
    assert await peer.frame() == (BINARY, b"last")
    assert await peer.rest() == b""
    await gone(handler)


async def test_a_peer_that_shuts_its_side_but_reads_nothing_is_dropped(rig: Rig) -> None:
    """A graceful close of it would never end."""
    await rig.start(limits=Limits(close_s=0.05), handler=Recorder)
    peer, handler = await rig.connect()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(8):
        handler.link.send(b"x" * 100 * KiB)
    peer.writer.write_eof()
    await gone(handler)


async def test_links_of_the_gone_ignore_everything(rig: Rig) -> None:
    await rig.start()
    peer, handler = await rig.connect()
    peer.writer.transport.abort()
    await gone(handler)
    for _ in range(2):
        handler.link.send(b"x")
        handler.link.pause_reading()
        handler.link.resume_reading()
        handler.link.close(CloseCode.NORMAL)
        await asyncio.sleep(0)
    assert handler.losses == 1


# --- slow readers -----------------------------------------------------------------------------


async def test_a_slow_reader_is_cut_off_within_its_bound(rig: Rig) -> None:
    await rig.start(handler=Recorder)
    peer, handler = await rig.connect()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    transport = handler.link._transport  # type: ignore[attr-defined]
    sent = most = 0
    while not handler.ended.is_set():
        handler.link.send(b"x" * 50_000)
        sent += 50_000
        await asyncio.sleep(0)
        most = max(most, transport.get_write_buffer_size())
    # All beyond the bound is in the kernel's buffers, ours and the peer's.
    assert 512 * KiB < most <= Limits().write_buffer_bytes
    assert sent < 16 << 20


async def test_one_turn_cannot_queue_more_either(rig: Rig) -> None:
    await rig.start(handler=Recorder, limits=Limits(write_buffer_bytes=100_000))
    peer, handler = await rig.connect()
    for _ in range(1000):
        handler.link.send(b"x" * 1000)
    assert await peer.rest() == b""
    await gone(handler)


async def test_a_flood_of_pings_from_a_peer_that_does_not_read_is_bounded(rig: Rig) -> None:
    await rig.start(limits=Limits(pings_per_s=1 << 30, write_buffer_bytes=10_000))
    peer, handler = await rig.connect()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    while not handler.ended.is_set():
        peer.send(frame(PING, b"x" * 125) * 100)
        await asyncio.sleep(0)


# --- pausing ----------------------------------------------------------------------------------


async def test_paused_reading_fills_the_peer_s_window(rig: Rig) -> None:
    class Pausing(Recorder):
        def receive(self, data: bytes) -> None:
            super().receive(data)
            self.link.pause_reading()

    await rig.start(handler=Pausing)
    peer, handler = await rig.connect()
    message = frame(BINARY, b"x" * 64 * KiB)
    peer.send(message)
    async with asyncio.timeout(PATIENCE_S):
        await handler.news.get()
    peer.send(message * 100)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(handler.received) == 1
    for _ in range(100):
        handler.link.resume_reading()
        async with asyncio.timeout(PATIENCE_S):
            await handler.news.get()
    assert handler.received == [b"x" * 64 * KiB] * 101
    handler.link.resume_reading()


# --- handlers ---------------------------------------------------------------------------------


class Raising(Recorder):
    """Fails at what its message says."""

    def receive(self, data: bytes) -> None:
        super().receive(data)
        if data == b"receive":
            raise RuntimeError(data)

    def lost(self) -> None:
        super().lost()
        if self.received[-1:] == [b"lost"]:
            raise RuntimeError("lost")

    def shutdown(self) -> None:
        raise RuntimeError("shutdown")


async def test_a_handler_that_raises_is_closed(rig: Rig) -> None:
    await rig.start(handler=Raising)
    rig.expected_complaints = ["a session failed at a message"]
    peer, handler = await rig.connect()
    peer.send(frame(BINARY, b"fine"), frame(BINARY, b"receive"), frame(BINARY, b"late"))
    assert (await peer.frame()).code == 1011
    assert handler.received == [b"fine", b"receive"]


async def test_a_handler_that_raises_when_it_is_lost(rig: Rig) -> None:
    await rig.start(handler=Raising)
    rig.expected_complaints = ["a session failed at the loss of its connection"]
    peer, handler = await rig.connect()
    peer.send(frame(BINARY, b"lost"), frame(CLOSE))
    assert await peer.frame() == (CLOSE, b"")
    await gone(handler)
    peer, _ = await rig.connect()


async def test_a_handler_that_raises_at_shutdown_is_closed(rig: Rig) -> None:
    await rig.start(handler=Raising)
    rig.expected_complaints = ["a session failed to shut down"]
    peer, _ = await rig.connect()
    for connection in rig.server.server_state.connections:
        connection.shutdown()
    assert (await peer.frame()).code == 1011


async def test_a_session_that_cannot_be_opened_is_closed(rig: Rig) -> None:
    def fail(link: Link, codec: Codec) -> Recorder:
        raise RuntimeError("no")

    await rig.start(handler=fail)
    rig.expected_complaints = ["a session could not be opened"]
    peer = await rig.dial()
    peer.send(upgrade(), frame(BINARY, b"x"))
    assert b" 101 " in await peer.head()
    assert (await peer.frame()).code == 1011
    for connection in rig.server.server_state.connections:
        connection.shutdown()


async def test_a_handler_may_close_at_once(rig: Rig) -> None:
    class Closing(Recorder):
        def __init__(self, link: Link, codec: Codec) -> None:
            super().__init__(link, codec)
            link.send(b"no room")
            link.close(CloseCode.UNAVAILABLE)

    await rig.start(handler=Closing)
    peer, handler = await rig.connect()
    assert await peer.frame() == (BINARY, b"no room")
    assert (await peer.frame()).code == CloseCode.UNAVAILABLE
    peer.send(frame(BINARY, b"late"), frame(CLOSE))
    await gone(handler)
    assert handler.received == []


async def test_a_bug_of_ours_is_logged_and_closes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: Connection, data: bytes) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Connection, "_deliver", fail)
    await rig.start()
    rig.expected_complaints = ["Initiate disconnect because of exception from WSListener.on_ws_frame"]
    peer, _ = await rig.connect()
    peer.send(frame(BINARY, b"x"))
    await closed_with(peer, 1011)


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
async def test_the_address_is_the_peer_s(rig: Rig, host: str) -> None:
    if host == "::" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    await rig.start(host=host)
    _, handler = await rig.connect()
    assert handler.link.address == "127.0.0.1"


# --- writes and memory ------------------------------------------------------------------------


class Transport(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_all_of_a_turn_goes_out_in_one_write() -> None:
    transport = Transport()
    shared = Shared(Limits(), Outbox(), Echo, lambda _: None)
    connection = Connection(shared, transport, MSGPACK, "somewhere")
    for number in range(32):
        connection.send(b"%d" % number)
    connection.close(CloseCode.NORMAL)
    assert transport.writes == []
    await asyncio.sleep(0)
    expected = b"".join(b"\x82%c%d" % (len(b"%d" % number), number) for number in range(32))
    assert transport.writes == [expected + b"\x88\x02\x03\xe8"]
    connection.lost()


async def test_the_end_of_what_the_peer_sends_writes_what_is_queued() -> None:
    transport = Transport()
    connection = Connection(Shared(Limits(), Outbox(), Echo, lambda _: None), transport, MSGPACK, "somewhere")
    connection.send(b"x")
    connection.ended()  # the transport closes next, before the turn is over
    assert transport.writes == [b"\x82\x01x"]
    connection.lost()


async def test_connections_and_their_files_are_freed_at_once(rig: Rig) -> None:
    """Without waiting for the collector: sessions come and go by the thousand."""
    await rig.start()
    before = open_files()
    gc.collect()
    gc.disable()
    try:
        peer, handler = await rig.connect()
        link = weakref.ref(handler.link)
        transport = weakref.ref(handler.link._transport)  # type: ignore[attr-defined]
        peer.send(frame(CLOSE))
        assert await peer.frame() == Frame(CLOSE, b"")
        assert await peer.rest() == b""
        await gone(handler)
        del handler.link
        peer.writer.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert link() is None
        assert transport() is None
        assert open_files() == before
    finally:
        gc.enable()
