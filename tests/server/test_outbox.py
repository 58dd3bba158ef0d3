"""Frames as an independent implementation makes them, and one flush a turn."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from server.rig import Rig
from tidings.protocol.limits import Limits, MiB
from tidings.server.outbox import BINARY, CLOSE, PONG, TEXT, Outbox, close_payload, frame_head


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_frame_is_what_websockets_makes_of_it(opcode: int, size: int) -> None:
    payload = b"x" * size
    assert frame_head(opcode, size) + payload == Frame(Opcode(opcode), payload).serialize(mask=False)


@pytest.mark.parametrize("opcode", [CLOSE, PONG])
@pytest.mark.parametrize("size", [0, 125])
def test_control_frames_too(opcode: int, size: int) -> None:
    payload = b"x" * size
    assert frame_head(opcode, size) + payload == Frame(Opcode(opcode), payload).serialize(mask=False)


@given(code=st.integers(1000, 4999), reason=st.text())
def test_a_close_payload_fits_and_is_text(code: int, reason: str) -> None:
    payload = close_payload(code, reason)
    assert len(payload) <= 125
    assert int.from_bytes(payload[:2], "big") == code
    printable = reason.encode("utf-8", "replace").decode()
    assert printable.startswith(payload[2:].decode())


def test_a_long_reason_is_cut_between_characters() -> None:
    assert close_payload(1000, "ä" * 62) == b"\x03\xe8" + "ä".encode() * 61


class Sender:
    """Counts its flushes."""

    def __init__(self, on_flush: Callable[[], None] = lambda: None) -> None:
        self.flushes = 0
        self.aborts = 0
        self.on_flush = on_flush

    def flush(self) -> None:
        self.flushes += 1
        self.on_flush()

    def abort(self) -> None:
        self.aborts += 1


async def test_what_is_marked_in_a_turn_is_flushed_in_the_next() -> None:
    outbox, first, second = Outbox(), Sender(), Sender()
    outbox.mark(first)
    outbox.mark(second)
    assert first.flushes == second.flushes == 0
    await asyncio.sleep(0)
    assert first.flushes == second.flushes == 1
    await asyncio.sleep(0)
    assert first.flushes == 1


async def test_a_mark_made_while_flushing_waits_for_the_next_turn() -> None:
    outbox, second = Outbox(), Sender()
    outbox.mark(Sender(lambda: outbox.mark(second)))
    await asyncio.sleep(0)
    assert second.flushes == 0
    await asyncio.sleep(0)
    assert second.flushes == 1


async def test_a_broken_connection_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    outbox, broken, sound = Outbox(), Sender(fail), Sender()
    outbox.mark(broken)
    outbox.mark(sound)
    await asyncio.sleep(0)
    assert (broken.aborts, sound.flushes, sound.aborts) == (1, 1, 0)
    assert "given up" in caplog.text


async def test_frames_survive_back_pressure(rig: Rig) -> None:
    """picows' own `send` corrupts the heads of more than half of these."""
    await rig.start(limits=Limits(write_buffer_bytes=64 * MiB))
    peer, handler = await rig.connect()
    sizes = [9000 + 61 * number for number in range(1000)]
    for number, size in enumerate(sizes):
        handler.link.send(number.to_bytes(4, "big") + bytes([number % 251]) * (size - 4))
        if number % 3:
            await asyncio.sleep(0)  # several turns, and several frames in some
    for number, size in enumerate(sizes):
        received = await peer.frame()
        assert received == (BINARY, number.to_bytes(4, "big") + bytes([number % 251]) * (size - 4))
