"""One connection, against a socket that the test speaks for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from client.fakes import FakeClock, FakeSocket, settle
from tidings.client.connection import Connection
from tidings.client.errors import ConnectionLost, Refused
from tidings.protocol import errors
from tidings.protocol.frames import (
    Drained,
    Error,
    Heartbeat,
    HeartbeatOk,
    Hello,
    Ok,
    Read,
    Send,
    Sent,
    Sync,
    Synced,
)
from tidings.protocol.ids import ClientId, ConversationId, MessageId

NAME = ClientId(b"n" * 16)
SEND = Send(NAME, 1, ConversationId(b"c" * 16), 1, 0, 0, "text/plain", b"hello")


class Standing:
    """A connection that stands, its socket, its clock and its task."""

    def __init__(self, connection: Connection, socket: FakeSocket, clock: FakeClock) -> None:
        self.connection, self.socket, self.clock = connection, socket, clock
        self.task = asyncio.ensure_future(connection.run())


@contextlib.asynccontextmanager
async def standing() -> AsyncIterator[Standing]:
    socket, clock = FakeSocket(), FakeClock()
    made = Standing(await Connection.open(socket, Hello("token"), clock), socket, clock)
    await settle()
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_answers_find_their_requests_in_any_order() -> None:
    async with standing() as it:
        one = asyncio.ensure_future(it.connection.ask(lambda n: Sync(n, 7)))
        two = asyncio.ensure_future(
            it.connection.ask(lambda n: Read(n, ConversationId(b"c" * 16), MessageId(1)))
        )
        await settle()
        first, second = it.socket.sent[1:]
        assert isinstance(first, Sync)
        assert isinstance(second, Read)
        it.socket.answer(Ok(second.request_id))
        it.socket.answer(Synced(first.request_id, 9, []))
        assert await two == Ok(second.request_id)
        assert await one == Synced(first.request_id, 9, [])


async def test_a_refusal_says_whether_to_repeat() -> None:
    async with standing() as it:
        for kind, retry_after_s in ((errors.STORE_FULL, 3.0), (errors.TOO_LARGE, None)):
            sending = asyncio.ensure_future(it.connection.transmit(SEND))
            await settle()
            it.socket.answer(Error(kind.code, "no", None, NAME, retry_after_s))
            with pytest.raises(Refused) as refusal:
                await sending
            assert (refusal.value.name, refusal.value.retry_after_s) == (kind.name, retry_after_s)


async def test_what_waits_is_told_of_the_loss_and_so_is_what_comes_later() -> None:
    async with standing() as it:
        sending = asyncio.ensure_future(it.connection.transmit(SEND))
        await settle()
        it.socket.lose(4001, "2.5")
        with pytest.raises(ConnectionLost, match="4001"):
            await sending
        with pytest.raises(ConnectionLost):
            it.connection.post(Heartbeat())
        with pytest.raises(ConnectionLost):
            await it.task
        assert it.socket.closed == 1000


async def test_a_heartbeat_that_is_answered_keeps_it_and_one_that_is_not_ends_it() -> None:
    async with standing() as it:
        await it.clock.advance(30)
        assert isinstance(it.socket.sent[-1], Heartbeat)
        it.socket.answer(HeartbeatOk(0))
        await settle()
        await it.clock.advance(10)
        await it.clock.advance(30)
        assert not it.task.done()
        await it.clock.advance(10)
        with pytest.raises(ConnectionLost, match="heartbeat"):
            await it.task


async def test_frames_of_a_newer_server_are_ignored_and_broken_ones_end_it() -> None:
    async with standing() as it:
        it.socket.answer_bytes(msgspec.msgpack.encode([120, "news"]))
        it.socket.answer(Drained(5))
        assert await it.connection.arrivals() == [Drained(5)]
        it.socket.answer_bytes(b"\xc1")
        with pytest.raises(ConnectionLost, match="broken frame"):
            await it.task


async def test_what_arrives_together_is_taken_together() -> None:
    async with standing() as it:
        for moment in range(3):
            it.socket.answer(Drained(moment))
        it.socket.answer(Sent(NAME, MessageId(1)))
        await settle()
        assert await it.connection.arrivals() == [Drained(0), Drained(1), Drained(2)]


async def test_a_hello_that_is_refused_names_the_close_code() -> None:
    class Refusing(FakeSocket):
        async def send(self, data: bytes) -> None:
            self.answer(Error(errors.UNAUTHENTICATED.code, "who?"))
            self.lose(4401, "unauthenticated")

    with pytest.raises(ConnectionLost) as lost:
        await Connection.open(Refusing(), Hello("token"), FakeClock())
    assert lost.value.code == 4401
