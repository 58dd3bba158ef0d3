"""The benchmark's people keep the rules that a client must keep, whatever the server does."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from bench.scripted import Caller, Scripted, scripted
from tidings.bench.link import ClosedForGood, Link
from tidings.bench.load import local
from tidings.bench.person import Person, Side
from tidings.bench.process import free_port
from tidings.client.backoff import Backoff
from tidings.protocol.api import LoggedIn
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import INVALID, STORE_FULL
from tidings.protocol.frames import Ack, Deliver, Error, History, HistoryItem, Message, Page, Send, Sent
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId

WHERE = ConversationId(b"conversation no1")
ME, PEER = DeviceId(7), DeviceId(8)
SOON_S = 0.05


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as made:
        yield made


@asynccontextmanager
async def connected(server: Scripted) -> AsyncIterator[tuple[Person, Side, "asyncio.Task[None]"]]:
    """Somebody with one conversation, who comes by themselves."""
    link = Link("token", Backoff(Random(1)), heartbeat_s=SOON_S)
    person = Person(LoggedIn("1", str(ME), "me", "token"), link, 50)
    side = person.join(WHERE)
    running = asyncio.create_task(link.run(local(server.port)))
    try:
        yield person, side, running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def message(place: int, number: int = 0, *, by: DeviceId = PEER, name: int | None = None) -> Message:
    client_id = ClientId((number if name is None else name).to_bytes(16, "big"))
    content = number.to_bytes(8, "big")
    return Message(MessageId(place), WHERE, UserId(2), by, client_id, 1, 0, "text", content, 0)


def deliver(entry: int, place: int, number: int = 0) -> Deliver:
    return Deliver(EntryId(entry), message(place, number))


async def until_drained(server: Scripted, complete_to: int = 0) -> Caller:
    caller = await server.caller()
    await caller.drained(complete_to)
    return caller


# --- writing --------------------------------------------------------------------------------


async def test_one_message_of_a_conversation_is_on_its_way_at_a_time(server: Scripted) -> None:
    async with connected(server) as (person, side, _):
        caller = await until_drained(server)
        person.write()
        first = await caller.hears_of(Send)
        assert (first.attempt, first.content[:8]) == (1, bytes(8))
        await caller.tell(Sent(first.client_id, MessageId(10)))
        second = await caller.hears_of(Send)
        assert int.from_bytes(second.content[:8], "big") == 1
        assert side.acked == {first.client_id}
        assert side.shown.lines[ME, first.client_id].message_id == 10


async def test_what_was_not_answered_is_repeated_on_the_next_connection(server: Scripted) -> None:
    async with connected(server) as (person, side, _):
        caller = await until_drained(server)
        person.write()
        first = await caller.hears_of(Send)
        await caller.close()
        caller = await until_drained(server)
        again = await caller.hears_of(Send)
        assert (again.client_id, again.attempt) == (first.client_id, 2)
        person.rest()
        await caller.tell(Sent(first.client_id, MessageId(10)), Sent(first.client_id, MessageId(10)))
        await caller.tell(deliver(1, 20))
        await caller.hears_of(Ack)
        assert side.waiting is None
        assert (side.written, person.link.breaks) == (1, 1)


async def test_what_was_refused_for_now_is_repeated_when_it_was_asked_to(server: Scripted) -> None:
    async with connected(server) as (person, _, _):
        caller = await until_drained(server)
        person.write()
        first = await caller.hears_of(Send)
        began_s = time.monotonic()
        await caller.tell(Error(STORE_FULL.code, "full", client_id=first.client_id, retry_after=SOON_S))
        again = await caller.hears_of(Send)
        assert time.monotonic() - began_s >= SOON_S
        assert (again.client_id, again.attempt) == (first.client_id, 2)
        assert person.refused == {"store_full": 1}
        assert person.refused_for_good == []


async def test_a_refusal_for_good_is_kept_for_the_verdict(server: Scripted) -> None:
    async with connected(server) as (person, _, _):
        caller = await until_drained(server)
        person.write()
        first = await caller.hears_of(Send)
        refusal = Error(INVALID.code, "never", client_id=first.client_id)
        await caller.tell(refusal, deliver(1, 20))
        await caller.hears_of(Ack)
        assert person.refused_for_good == [refusal]


# --- hearing --------------------------------------------------------------------------------


async def test_what_comes_again_is_acknowledged_and_shown_once_at_the_greater_place(
    server: Scripted,
) -> None:
    async with connected(server) as (_, side, _):
        caller = await until_drained(server)
        await caller.tell(deliver(1, 30), deliver(2, 20, 1), deliver(3, 10), deliver(4, 40))
        while (await caller.hears_of(Ack)).up_to < 4:
            pass
        assert [side.shown.lines[name].message_id for name in side.shown.order()] == [20, 40]
        assert (side.shown.repeats, side.heard_up_to) == (2, 1)


async def test_an_ack_that_was_refused_is_said_again(server: Scripted) -> None:
    async with connected(server):
        caller = await until_drained(server)
        await caller.tell(deliver(1, 30))
        assert (await caller.hears_of(Ack)).up_to == 1
        await caller.tell(Error(STORE_FULL.code, "full", retry_after=SOON_S))
        assert (await caller.hears_of(Ack)).up_to == 1


@pytest.mark.slow
@pytest.mark.parametrize(("complete_to", "have"), [(0, 5), (3, 3)], ids=["lone node", "several nodes"])
async def test_it_says_what_it_has(server: Scripted, complete_to: int, have: int) -> None:
    async with connected(server):
        caller = await server.caller()
        assert caller.hello.have is None
        await caller.tell(deliver(5, 30))
        await caller.drained(complete_to)
        await caller.hears_of(Ack)
        await caller.close()
        caller = await server.caller()
        assert caller.hello.have == have
        await caller.close()
        assert (await server.caller()).hello.have == have


async def test_the_history_is_asked_for_page_by_page(server: Scripted) -> None:
    async with connected(server) as (person, _, _):
        caller = await until_drained(server)
        asked = asyncio.ensure_future(person.history(WHERE, MessageId(5)))
        first = await caller.hears_of(History)
        await caller.tell(Error(STORE_FULL.code, "", request_id=first.request_id, retry_after=0.0))
        first = await caller.hears_of(History)
        assert (first.conversation_id, first.after) == (WHERE, 5)
        await caller.tell(Page(first.request_id, [HistoryItem(message(10), 1)], more=True))
        second = await caller.hears_of(History)
        assert second.after == 10
        await caller.close()
        caller = await until_drained(server)
        third = await caller.hears_of(History)
        assert third.after == 10
        await caller.tell(Page(third.request_id, [HistoryItem(message(20), 1)], more=False))
        found = await asked
        assert [line.message_id for line in found.lines.values()] == [20]
        assert found.repeats == 1


# --- coming back ----------------------------------------------------------------------------


async def test_it_comes_back_at_its_appointed_time(server: Scripted) -> None:
    async with connected(server):
        caller = await until_drained(server)
        await caller.close(CloseCode.DRAIN, "0.2")
        began_s = time.monotonic()
        await server.caller()
        assert time.monotonic() - began_s >= 0.19


async def test_it_does_not_come_back_where_it_must_not(server: Scripted) -> None:
    async with connected(server) as (_, _, running):
        caller = await until_drained(server)
        await caller.close(CloseCode.NOT_ALLOWED, "gone")
        with pytest.raises(ClosedForGood, match="4401: gone"):
            await running


async def test_it_leaves_a_server_that_does_not_answer_heartbeats(server: Scripted) -> None:
    async with connected(server):
        await until_drained(server)  # and reads nothing from now on
        assert (await server.caller()).hello.token == "token"


async def test_it_leaves_when_told_to_and_that_is_no_break(server: Scripted) -> None:
    async with connected(server) as (person, _, _):
        await until_drained(server)
        while person.link.device is None:
            await asyncio.sleep(0)
        began_s = time.monotonic()
        person.link.leave(0.2)
        assert person.link.is_away
        await until_drained(server)
        assert time.monotonic() - began_s >= 0.19
        assert (person.link.breaks, person.link.is_away) == (0, False)


async def test_it_goes_to_the_next_address_when_one_does_not_answer(server: Scripted) -> None:
    link = Link("token", Backoff(Random(1)), heartbeat_s=SOON_S)
    troubles: list[str] = []
    link.on_trouble = troubles.append
    running = asyncio.create_task(link.run(local(free_port()), local(server.port)))
    try:
        caller = await until_drained(server)
        while link.device is None:
            await asyncio.sleep(0)
        assert troubles == ["connection refused"]
        await caller.close(CloseCode.UNAVAILABLE)
        await server.caller()  # it tried the first one before
        assert troubles == ["connection refused", "closed with 4006", "connection refused"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
