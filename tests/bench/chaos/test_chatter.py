"""A device that chats keeps the rules that a client must keep, and notes what the server does wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
import pytest

from bench.chaos.rig import until
from bench.scripted import Caller, Scripted, scripted
from tidings.bench.chaos.book import Book, Kind
from tidings.bench.chaos.chatter import Chatter
from tidings.bench.chaos.side import Side
from tidings.bench.link import Link
from tidings.bench.load import local
from tidings.client.backoff import Backoff
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import GROUP_CHANGED, NO_SUCH_CONVERSATION, OVERLOADED, STORE_FULL
from tidings.protocol.frames import (
    CHANGE_TYPE,
    Ack,
    Conversation,
    Deliver,
    Describe,
    Error,
    GroupAction,
    GroupChange,
    InboxExpired,
    Message,
    MessageTally,
    Ok,
    Read,
    Receipt,
    Send,
    Sent,
    Stale,
    Sync,
    Synced,
    Tallies,
)
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId

WHERE = ConversationId(b"conversation no1")
ELSEWHERE = ConversationId(b"conversation no2")
ME, PEER = UserId(1), UserId(2)
MINE, THEIRS = DeviceId(7), DeviceId(8)
SOON_S = 0.05


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as made:
        yield made


class Rig:
    """A device in one conversation, and its book."""

    def __init__(self) -> None:
        self.book = Book()
        link = Link("token", Backoff(Random(1)), heartbeat_s=10.0)
        self.chatter = Chatter("me/1", ME, MINE, link, self.book, 50)
        self.side: Side = self.chatter.join(WHERE)

    @property
    def found(self) -> list[Kind]:
        return [finding.kind for finding in self.book.findings]

    def write(self) -> None:
        self.chatter.write(Random(1), 1)


@asynccontextmanager
async def connected(server: Scripted) -> AsyncIterator[tuple[Rig, Caller]]:
    """Such a device, once it is up."""
    rig = Rig()
    running = asyncio.create_task(rig.chatter.run(local(server.port)))
    try:
        yield rig, await come(server, rig)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def come(server: Scripted, rig: Rig) -> Caller:
    caller = await server.caller()
    await caller.drained()
    await until(rig.chatter.is_up.is_set)
    return caller


def deliver(place: int, *, entry: int | None = None, where: ConversationId = WHERE, **fields: Any) -> Deliver:
    message = Message(
        MessageId(place),
        where,
        PEER,
        THEIRS,
        ClientId(place.to_bytes(16, "big")),
        1,
        0,
        "text",
        bytes(8),
        0,
    )
    return Deliver(EntryId(entry or place), msgspec.structs.replace(message, **fields))


def change(place: int, version: int, action: GroupAction, user: UserId) -> Deliver:
    content = msgspec.msgpack.encode(GroupChange(version, action, [user]))
    return deliver(
        place, sender_device=DeviceId(0), content_type=CHANGE_TYPE, content=content, version=version
    )


# --- writing --------------------------------------------------------------------------------


async def test_what_was_not_answered_is_repeated_after_a_reconnect_and_once_answered_is_done(
    server: Scripted,
) -> None:
    async with connected(server) as (rig, caller):
        rig.write()
        rig.write()  # one of a conversation is on its way at a time
        first = await caller.hears_of(Send)
        assert (first.attempt, int.from_bytes(first.content[:8], "big")) == (1, 0)
        assert not rig.chatter.is_idle
        await caller.close()
        next_one = await come(server, rig)
        again = await next_one.hears_of(Send)
        assert (again.client_id, again.attempt) == (first.client_id, 2)
        await next_one.tell(Sent(first.client_id, MessageId(10)), Sent(first.client_id, MessageId(10)))
        await until(lambda: rig.chatter.is_idle)
        assert rig.side.written == len(rig.book.answer_s) == 1
        assert (rig.book.broken, rig.book.troubles) == (1, {"closed with 1000": 1})


async def test_what_was_written_without_a_connection_is_a_first_try_later(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        await caller.close(CloseCode.DRAIN, "0.1")
        await until(lambda: not rig.chatter.is_up.is_set())
        rig.write()
        assert rig.side.send is not None
        next_one = await come(server, rig)
        assert (await next_one.hears_of(Send)).attempt == 1


async def test_a_refusal_for_now_is_repeated_and_counted(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        rig.write()
        first = await caller.hears_of(Send)
        await caller.tell(Error(OVERLOADED.code, "", client_id=first.client_id, retry_after=SOON_S))
        again = await caller.hears_of(Send)
        assert (again.client_id, again.attempt) == (first.client_id, 2)
        assert (rig.book.refusals, rig.found) == ({"overloaded": 1}, [])


async def test_a_refusal_for_good_is_a_finding_unless_there_was_a_reason(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        for may_be_refused in (False, True):
            rig.chatter.may_be_refused = lambda *_, answer=may_be_refused: answer  # type: ignore[misc]
            rig.write()
            send = await caller.hears_of(Send)
            await caller.tell(Error(NO_SUCH_CONVERSATION.code, "", client_id=send.client_id))
            await until(lambda: rig.chatter.is_idle)
            assert rig.found == [Kind.REFUSED_FOR_GOOD]
        assert rig.book.said == {}


async def test_who_is_behind_a_removal_asks_and_writes_again(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        rig.write()
        send = await caller.hears_of(Send)
        await caller.tell(Error(GROUP_CHANGED.code, "", client_id=send.client_id))
        asked = await caller.hears_of(Describe)
        await caller.tell(Conversation(asked.request_id, WHERE, 2, 5, []))
        again = await caller.hears_of(Send)
        assert (again.client_id, again.attempt, again.version) == (send.client_id, 2, 5)
        assert rig.found == []


async def test_a_message_must_stand_after_what_its_writer_had(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        await caller.tell(deliver(50))
        await caller.hears_of(Ack)
        rig.write()
        send = await caller.hears_of(Send)
        assert send.after == 50
        await caller.tell(Sent(send.client_id, MessageId(49)))
        await until(lambda: rig.chatter.is_idle)
        assert rig.found == [Kind.BEFORE_ITS_CAUSE]


# --- hearing --------------------------------------------------------------------------------


async def test_what_comes_again_is_shown_once(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        await caller.tell(deliver(10), deliver(10), deliver(20))
        while (await caller.hears_of(Ack)).up_to < 3:
            pass
        assert (len(rig.side.shown.lines), rig.book.received, rig.book.again) == (2, 2, 1)


async def test_a_conversation_that_one_was_never_in_is_a_finding(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        await caller.tell(deliver(10, where=ELSEWHERE))
        await caller.hears_of(Ack)
        assert rig.found == [Kind.FOREIGN]
        rig.chatter.takes_new = True
        await caller.tell(deliver(11, where=ELSEWHERE))
        await caller.hears_of(Ack)
        assert rig.found == [Kind.FOREIGN]


async def test_who_is_removed_writes_no_more_until_added(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        await caller.tell(change(10, 3, GroupAction.REMOVE, ME))
        await caller.hears_of(Ack)
        rig.write()
        assert rig.side.send is None
        await caller.tell(change(9, 2, GroupAction.ADD, ME), change(11, 4, GroupAction.ADD, ME))
        while rig.side.version < 4:
            await caller.hears_of(Ack)
        rig.write()
        assert (await caller.hears_of(Send)).version == 4


async def test_an_inbox_that_expired_is_a_finding(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        await caller.tell(InboxExpired(EntryId(1), EntryId(2)))
        await until(lambda: rig.found == [Kind.INBOX_EXPIRED])


async def test_who_is_sent_away_for_good_says_so(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        await caller.close(CloseCode.NOT_ALLOWED, "gone")
        await until(lambda: rig.chatter.is_gone)
        assert rig.found == [Kind.CLOSED_FOR_GOOD]
        assert rig.chatter.is_idle


# --- reading and receipts -------------------------------------------------------------------


async def test_a_read_is_said_until_it_is_answered(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        await caller.tell(deliver(10))
        await caller.hears_of(Ack)
        rig.chatter.read_all()
        first = await caller.hears_of(Read)
        assert (first.conversation_id, first.up_to) == (WHERE, 10)
        await caller.tell(Error(STORE_FULL.code, "", request_id=first.request_id, retry_after=SOON_S))
        await caller.hears_of(Read)
        await caller.close()
        next_one = await come(server, rig)
        again = await next_one.hears_of(Read)
        assert (again.up_to, rig.side.read) == (10, 0)
        await next_one.tell(Ok(again.request_id))
        await until(lambda: rig.side.read == 10)
        assert rig.chatter.is_idle


async def test_it_asks_what_moved_after_each_connection_and_when_told_to(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        first = await caller.hears_of(Sync)
        assert first.since == 0
        receipt = Receipt(WHERE, PEER, MessageId(20), MessageId(10), 0)
        await caller.tell(Synced(first.request_id, 77, [receipt]))
        await until(lambda: (WHERE, PEER) in rig.chatter.marks)
        await caller.tell(Stale())
        assert (await caller.hears_of(Sync)).since == 77
        marks = rig.chatter.marks[WHERE, PEER]
        assert (marks.delivered, marks.read) == (20, 10)


async def test_who_asks_waits_on_if_the_connection_is_lost_as_soon_as_it_stands() -> None:
    rig = Rig()
    asking = asyncio.create_task(rig.chatter.ask(lambda request: Sync(request, 0)))
    await asyncio.sleep(0)
    rig.chatter.is_up.set()
    rig.chatter.is_up.clear()
    await asyncio.sleep(SOON_S)
    assert not asking.done()
    asking.cancel()


async def test_the_greatest_watermarks_count_and_read_implies_delivered(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        for delivered, read in ((20, 10), (15, 15), (5, 30)):
            await caller.tell(Receipt(WHERE, PEER, MessageId(delivered), MessageId(read), 0))
        await until(lambda: rig.chatter.marks.get((WHERE, PEER)) is not None and bool(rig.found))
        marks = rig.chatter.marks[WHERE, PEER]
        assert (marks.delivered, marks.read) == (20, 30)
        assert rig.found == [Kind.READ_NOT_DELIVERED]


async def test_tallies_count_no_more_than_there_are(server: Scripted) -> None:
    async with connected(server) as (rig, caller):
        good, bad = MessageTally(MessageId(1), 3, 2, 3), MessageTally(MessageId(2), 4, 2, 3)
        await caller.tell(Tallies(WHERE, [good, bad]))
        await until(lambda: bool(rig.found))
        assert rig.found == [Kind.READ_NOT_DELIVERED]
        await caller.tell(Tallies(WHERE, [MessageTally(MessageId(1), 1, 3, 3)]))
        await until(lambda: rig.side.tallies[MessageId(1)].read == 3)
        assert rig.side.tallies[MessageId(1)].delivered == 3
