"""Filling: what the inbox cannot bring any more is taken from the server's history.

A new device gets the newest messages of each conversation, as the past. A device that was away for
longer than an inbox is kept, or than groups go on writing to it, gets all that it missed, as news. Both
begin again from the start if they are cut off, and what is there already changes nothing; only when all is
stored is that noted.

spec §6.4, §6.5
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, TypeVar

from tidings.client import contents, inbox, receipts, transcript
from tidings.client.connection import Connection
from tidings.client.conversations import Conversations
from tidings.client.errors import Refused
from tidings.client.grouping import Grouping
from tidings.client.outbox import Posting
from tidings.client.sealing.opener import is_open, open_unsealed
from tidings.client.stream import Stream
from tidings.client.surroundings import Clock
from tidings.client.tables import FILLED
from tidings.client.transcript import Origin, Self
from tidings.client.vault import Job, Vault
from tidings.protocol import frames
from tidings.protocol.frames import (
    CHANGES,
    ConversationList,
    ConversationSummary,
    Frame,
    History,
    Page,
    Reference,
    Status,
)
from tidings.protocol.ids import EPOCH_MS, ConversationId, MessageId, first_at, unix_ms

T = TypeVar("T")

PAST_MESSAGES = 100
"""newest messages of a conversation that a new device gets"""
CONVERSATIONS_MAX = 2000
"""conversations that a new device fills; further ones are there once somebody writes"""
PAGE = 256
"""messages of a gap that are asked for at once"""
MARGIN_MS = 10_000
"""before and after a gap: a message's place and its entry's may differ by so much"""


class Gap(NamedTuple):
    """Between these two places something may be missing."""

    since: MessageId
    until: MessageId


class Filling:
    """See the module's text."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        grouping: Grouping,
        stream: Stream,
        posting: Posting,
        me: Self,
        clock: Clock,
        now_ms: Callable[[], int],
    ) -> None:
        self._now_ms = now_ms
        self._vault = vault
        self._conversations = conversations
        self._grouping = grouping
        self._stream = stream
        self._posting = posting
        self._me = me
        self._clock = clock
        self._turn = asyncio.Lock()

    async def fill(self, connection: Connection) -> None:
        """Fill what is missing, if anything is. Raises ConnectionLost, Refused.

        A gap that has ended just now stays noted: what was on its way then is looked for when this is called
        again.
        """
        async with self._turn:
            await self._fill(connection)

    async def _fill(self, connection: Connection) -> None:
        gap = await self._vault.read(_gap)
        is_new = not await self._vault.read(lambda database: receipts.mark(database, FILLED))
        if gap is None and not is_new:
            return
        async for summary in self._listed(connection, is_gap=gap is not None):
            await self._conversations.noted(summary, lambda make: connection.ask_patiently(make, self._clock))
            await self._vault.write(self._noting_read(summary))
            if not summary.newest:
                continue
            if gap is not None:
                await self._bridge(connection, summary.conversation_id, gap)
            if is_new:
                await self._look_back(connection, summary.conversation_id)
        is_over = gap is None or gap.until < first_at(self._now_ms())
        await self._vault.write(lambda database: _close(database, gap if is_over else None))
        self._stream.wake()

    async def _listed(self, connection: Connection, *, is_gap: bool) -> AsyncIterator[ConversationSummary]:
        after: ConversationId | None = None
        count = 0
        while True:
            answer = await self._ask(connection, ConversationList, _listing(after))
            for item in answer.items:
                yield item
            count += len(answer.items)
            if not answer.more or not answer.items or (count >= CONVERSATIONS_MAX and not is_gap):
                return
            after = answer.items[-1].conversation_id

    async def _bridge(self, connection: Connection, conversation_id: ConversationId, gap: Gap) -> None:
        """All that was said in a gap, the oldest first."""
        after = gap.since
        while True:
            page = await self._page(connection, conversation_id, after=after, limit=PAGE)
            await self._store(connection, page, Origin.INBOX)
            reached = page.next or (page.items[-1].message.message_id if page.items else after)
            if not page.more or reached <= after or reached > gap.until:
                return
            after = reached

    async def _look_back(self, connection: Connection, conversation_id: ConversationId) -> None:
        """The newest messages, as the past."""
        before: MessageId | None = None
        left = PAST_MESSAGES
        while left > 0:
            page = await self._page(connection, conversation_id, before=before, limit=left)
            await self._store(connection, page, Origin.HISTORY)
            left -= len(page.items)
            if not page.more or not page.next or (before is not None and page.next >= before):
                return
            before = page.next

    async def _store(self, connection: Connection, page: Page, origin: Origin) -> None:
        said = [*(item.message for item in page.items), *page.relations]
        await self._grouping.understand(connection, said)
        posting = self._posting
        now_ms = self._now_ms()
        newest = await self._vault.write(
            lambda database: _add(database, page, self._me, origin, posting, now_ms)
        )
        self._stream.stored(newest)

    async def _page(
        self,
        connection: Connection,
        conversation_id: ConversationId,
        *,
        limit: int,
        before: MessageId | None = None,
        after: MessageId | None = None,
    ) -> Page:
        try:
            return await self._ask(
                connection,
                Page,
                lambda request_id: History(request_id, conversation_id, before, after, min(limit, PAGE)),
            )
        except Refused:
            # Not a member any more, say: nothing is to be had there.
            return Page(0, [], False)

    async def _ask(self, connection: Connection, kind: type[T], make: Callable[[int], Frame]) -> T:
        answer = await connection.ask_patiently(make, self._clock)
        assert isinstance(answer, kind)
        return answer

    def _noting_read(self, summary: ConversationSummary) -> Job[None]:
        where, read = summary.conversation_id, summary.read_up_to
        return lambda database: receipts.raise_watermark(database, where, self._me.user_id, read, read)


def _listing(after: ConversationId | None) -> Callable[[int], Frame]:
    return lambda request_id: frames.Conversations(request_id, after)


def _add(
    database: sqlite3.Connection, page: Page, me: Self, origin: Origin, posting: Posting, now_ms: int
) -> int:
    is_past = origin == Origin.HISTORY
    for item in page.items:
        consumed = is_past and item.message.relation in CHANGES
        status = Status(item.status)
        _add_one(database, item.message, me, origin, posting, now_ms, consumed=consumed, status=status)
    for change in page.relations:
        # Of what is told as the past they are a part; of what the program knows already they are news.
        consumed = is_past and not transcript.is_known(database, change.relates_to)
        _add_one(database, change, me, origin, posting, now_ms, consumed=consumed)
    return transcript.newest_seq(database)


def _add_one(
    database: sqlite3.Connection,
    message: frames.Message,
    me: Self,
    origin: Origin,
    posting: Posting,
    now_ms: int,
    *,
    consumed: bool,
    status: Status = Status.SENT,
) -> None:
    name = Reference(message.sender_device, message.client_id)
    if contents.is_notice(message):
        inbox.notice(database, message, me, origin, consumed=consumed)
    elif transcript.is_stored(database, name):
        transcript.add(database, message, me, origin, consumed=consumed, status=status)
    elif is_open(message):
        opened = open_unsealed(database, message)
        transcript.add(
            database, opened.message, me, origin, consumed=consumed, status=status, fault=opened.fault
        )
    elif origin == Origin.INBOX:
        inbox.miss(database, message, me, posting, now_ms)
    # What was sealed before this device was there was sealed for others.


def _gap(database: sqlite3.Connection) -> Gap | None:
    row = database.execute("SELECT since, until FROM gap").fetchone()
    if row is None:
        return None
    since_ms, until_ms = unix_ms(row[0]) - MARGIN_MS, unix_ms(row[1]) + MARGIN_MS
    return Gap(MessageId(first_at(max(since_ms, EPOCH_MS))), MessageId(first_at(until_ms)))


def _close(database: sqlite3.Connection, gap: Gap | None) -> None:
    if gap is not None:
        database.execute("DELETE FROM gap")
    receipts.raise_mark(database, FILLED, 1)
