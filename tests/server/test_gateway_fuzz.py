"""Whatever bytes follow an upgrade: documented closes, nothing else, and no complaint in the log."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import pytest
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.rig import BINARY, CLOSE, CONTINUATION, PATIENCE_S, PING, PONG, TEXT, Rig, frame, upgrade
from tidings.protocol.codec import JSON_SUBPROTOCOL, MSGPACK_SUBPROTOCOL
from tidings.protocol.limits import Limits

OURS = {1002, 1007, 1008, 1009}

frames = st.builds(
    frame,
    st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG]) | st.integers(0, 15),
    st.binary(max_size=140) | st.sampled_from([b"\x03\xe8", b"\x03\xee", b"\xff", b"x" * 600, b"x" * 70_000]),
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 4]),
    masked=st.sampled_from([True] * 9 + [False]),
)
broken = st.tuples(frames, st.integers(0, 20), st.integers(0, 255)).map(
    lambda made: made[0][: made[1]] + bytes([made[2]]) + made[0][made[1] + 1 :]
)
cut = st.tuples(frames, st.integers(0, 20)).map(lambda made: made[0][: made[1]])
streams = st.lists(frames | frames | broken | cut | st.binary(max_size=300), max_size=8)


class Fuzzed:
    """A gateway on a loop that runs only while an example does."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.log = log
        self.loop = uvloop.new_event_loop()
        self.rig = Rig()
        self.loop.run_until_complete(self.rig.start(limits=Limits(frame_bytes=1000)))

    def send(self, subprotocol: str, pieces: list[bytes], *, at_once: bool) -> bytes:
        """All that the server answers to an upgrade and these pieces."""
        return self.loop.run_until_complete(self._send(subprotocol, pieces, at_once=at_once))

    async def _send(self, subprotocol: str, pieces: list[bytes], *, at_once: bool) -> bytes:
        async with await self.rig.dial() as peer:
            peer.send(upgrade(b"Sec-WebSocket-Protocol: " + subprotocol.encode()))
            answer = b"" if at_once else await peer.head()
            # The server may hang up meanwhile; a peer that talks on after a close gets a reset.
            with contextlib.suppress(RuntimeError, ConnectionError):
                for piece in pieces:
                    peer.send(piece)
                    if not at_once:
                        await asyncio.sleep(0)
                peer.writer.write_eof()
            answer += await peer.rest()
        async with asyncio.timeout(PATIENCE_S):
            while self.rig.gateway.connections:
                await asyncio.sleep(0)
        return answer

    def stop(self) -> None:
        self.loop.run_until_complete(self.rig.stop())
        self.loop.close()


@pytest.fixture
def fuzzed(caplog: pytest.LogCaptureFixture) -> Iterator[Fuzzed]:
    caplog.set_level(logging.INFO)
    fuzzed = Fuzzed(caplog)
    yield fuzzed
    fuzzed.stop()


def judge(answer: bytes) -> None:
    """Whole frames that a server may send, a close only at the end, and a code that is due."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    closed = False
    while rest:
        assert not closed
        size, start = rest[1], 2
        if size == 126:
            size, start = int.from_bytes(rest[2:4], "big"), 4
        assert size < 126 or start == 4
        payload, opcode = rest[start : start + size], rest[0]
        assert len(payload) == size
        assert opcode in (0x80 | TEXT, 0x80 | BINARY, 0x80 | PONG, 0x80 | CLOSE)
        if opcode == 0x80 | CLOSE:
            closed = True
            code = int.from_bytes(payload[:2], "big")
            assert code in OURS or not payload or 1000 <= code <= 1014 or 3000 <= code <= 4999
            payload[2:].decode("utf-8", "strict" if code in OURS else "replace")
        rest = rest[start + size :]


@pytest.mark.slow
@given(
    pieces=streams,
    at_once=st.booleans(),
    subprotocol=st.sampled_from([MSGPACK_SUBPROTOCOL, JSON_SUBPROTOCOL]),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(pieces=[frame(BINARY, b"x")] * 3, at_once=True, subprotocol=MSGPACK_SUBPROTOCOL)
@example(pieces=[frame(CLOSE), frame(CLOSE)], at_once=True, subprotocol=MSGPACK_SUBPROTOCOL)
def test_any_bytes(fuzzed: Fuzzed, pieces: list[bytes], at_once: bool, subprotocol: str) -> None:
    answer = fuzzed.send(subprotocol, pieces, at_once=at_once)
    if answer:  # else a reset overtook it
        judge(answer)
    assert fuzzed.log.get_records("call") == []
    assert fuzzed.rig.gateway.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oops\r\n\r\n",
        b"HTTP/1.1 101 Yes\r\n\r\n\x88\x00\x82\x00",
        b"HTTP/1.1 101 Yes\r\n\r\n\x82\x05x",
        b"HTTP/1.1 101 Yes\r\n\r\n\x88\x02\x03\xf7",
        b"HTTP/1.1 101 Yes\r\n\r\n\x02\x00",
    ],
)
def test_the_judge_has_eyes(answer: bytes) -> None:
    with pytest.raises(AssertionError):
        judge(answer)
