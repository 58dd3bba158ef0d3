"""What supervisor and processes say to each other, and what becomes of nonsense."""

import socket

import pytest

from tidings.server.config import Config
from tidings.server.workers.channel import IDLE_BYTES, LENGTH_BYTES, Channel
from tidings.server.workers.failures import error_of, failed
from tidings.server.workers.orders import (
    DOWN,
    MESSAGE_BYTES,
    UP,
    Answer,
    Ask,
    Beat,
    Down,
    Failed,
    Order,
    Start,
    Stop,
    Up,
)
from tidings.store.contract import StoreError, StoreFull, StoreUnavailable


async def pair() -> tuple[Channel[Up], Channel[Down]]:
    ours, theirs = socket.socketpair()
    return await Channel[Up].open(ours, UP), await Channel[Down].open(theirs, DOWN)


async def test_what_is_said_arrives_in_order_and_whole() -> None:
    supervisor, process = await pair()
    orders: list[Order] = [
        Start("worker1", "0.1", Config(phone_hook="smtp://me:secret@host"), "/path"),
        Ask(1, "PUT", "/x", b"a=1", bytes(range(256)) * 1000),
        Stop(),
    ]
    for order in orders:
        supervisor.send(order)
    assert [await process.receive() for _ in orders] == orders
    answer = Answer(1, 200, "text/plain", b"x" * 1_000_000)
    process.send(answer)
    assert await supervisor.receive() == answer
    await supervisor.close()
    assert await process.receive() is None
    process.send(Beat())  # to nobody
    await process.close()


@pytest.mark.parametrize(
    "nonsense",
    [b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x09half", (MESSAGE_BYTES + 1).to_bytes(LENGTH_BYTES, "big")],
)
async def test_nonsense_is_the_end(nonsense: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = await Channel[Up].open(ours, UP)
    with theirs:
        theirs.sendall(nonsense)
    assert await channel.receive() is None
    await channel.close()


async def test_beats_to_somebody_who_does_not_read_are_bounded() -> None:
    ours, theirs = socket.socketpair()
    channel = await Channel[Up].open(ours, UP)
    beat = Answer(1, 200, "", bytes(1000))
    with theirs:
        for _ in range(10_000):
            channel.beat(beat)
        assert IDLE_BYTES <= channel.waiting_bytes < IDLE_BYTES + 2000
    await channel.close()


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (StoreFull("no room"), StoreFull, "no room"),
        (type("Odd", (StoreUnavailable,), {})("away"), StoreUnavailable, "away"),
        (StoreError("other"), StoreError, "other"),
        (
            PermissionError(13, "cannot bind :80: permission denied"),
            OSError,
            "cannot bind :80: permission denied",
        ),
    ],
)
def test_an_error_comes_out_as_it_went_in(error: Exception, kind: type[Exception], message: str) -> None:
    told = failed(error)
    assert told is not None
    found = error_of(told)
    assert type(found) is kind
    assert (found.strerror if isinstance(found, OSError) else str(found)) == message


def test_a_bug_is_not_told_as_an_error_of_the_operator() -> None:
    assert failed(ValueError("bug")) is None
    assert str(error_of(Failed("Unheard", "of"))) == "of"
