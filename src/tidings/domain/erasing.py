"""Erasing: what was deleted for everyone, or whose time is over, loses its content everywhere.

A payload is overwritten with an empty value in the log, in every inbox that has it, and where it
stands under its target; so are the edits of it, which say the same in other words. The rows stay:
order, receipts and the names of messages hold.

Expiry. `expires_at` of a message is noted in the table `expiries`, in the batch that brings the
message. Readers leave out what has expired from that moment on; a sweep erases it soon after.
"""

import asyncio

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.inboxes import bucket_of
from tidings.domain.log import Log, entry_ids, erased, is_erased
from tidings.domain.requests import Requests
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import Message, Relation
from tidings.store.contract import Erase, Put, Store, Write
from tidings.store.schema import (
    EXPIRIES,
    INBOX,
    MESSAGES,
    RELATIONS,
    ExpiryRow,
    MessageRow,
    RelationRow,
)

HOUR_MS = 3_600_000
LOOK_BACK_HOURS = 24 * 30
"""how far a node that was just started looks back: it may have been off for long"""
LATE_HOURS = 2
"""hours that are looked at again: a commit may have taken long"""
DUE_AT_ONCE = 256
"""rows read in one go"""


class Eraser:
    """Knows every place where a message's content stands."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        id_clock: IdClock,
        conversations: Conversations,
        log: Log,
        requests: Requests,
    ) -> None:
        self._store = store
        self._commit = commit
        self._ids = id_clock
        self._conversations = conversations
        self._log = log
        self._requests = requests
        self._swept_hour: int | None = None

    async def rows(self, conversation: Conversation, row: MessageRow) -> list[Write]:
        """What erases a message and what was said about it; written by who holds the conversation's lock."""
        cause = self._ids.next()
        writes = await self._one(conversation, row, cause)
        related = await self._related(row)
        for relation in related:
            if relation.payload and relation.relation != Relation.DELETE:
                writes.append(unrelated(relation, cause))
                said = await self._log.find(conversation, relation.message_id)
                if said is not None:
                    writes += await self._one(conversation, said, cause)
        return writes

    async def erase(self, conversation: Conversation, row: MessageRow) -> None:
        """Erase a message and what was said about it. Raises ProtocolError (store_…)."""
        await self._commit.write(await self.rows(conversation, row))

    async def sweep(self, now_ms: int) -> int:
        """Erase what has expired; how many messages. Raises ProtocolError (store_…).

        What cannot be erased stays noted, and the next sweep tries again.
        """
        hour = now_ms // HOUR_MS
        if self._swept_hour is None:
            self._swept_hour = hour - LOOK_BACK_HOURS
        count = 0
        # The last ones are looked at again and again: a note may be late for its own hour.
        for past in range(self._swept_hour, hour + 1):
            count += await self._sweep_hour(past, now_ms)
            await asyncio.sleep(0)
        self._swept_hour = hour - LATE_HOURS
        return count

    async def _sweep_hour(self, hour: int, now_ms: int) -> int:
        count = 0
        after = None
        failed: ProtocolError | None = None
        while True:
            due = await self._store.range(
                EXPIRIES, (hour,), after=after, before=(now_ms + 1, 0), limit=DUE_AT_ONCE
            )
            for row in due:
                try:
                    await self._expire(row)
                    count += 1
                except ProtocolError as error:
                    failed = error
            if len(due) < DUE_AT_ONCE:
                break
            after = (due[-1].expires_at, due[-1].message_id)
        if failed is not None:
            raise failed
        return count

    async def _expire(self, due: ExpiryRow) -> None:
        conversation = await self._conversations.find(due.conversation_id)
        if conversation is not None:
            async with conversation.lock:
                await self._commit.write(await self._expired(conversation, due))
                if conversation.pending:
                    await self._requests.withdrawn(conversation)
        # Only now: a batch may be torn between partitions.
        await self._commit.write([Erase(EXPIRIES, EXPIRIES.key_of(due), due.message_id)])

    async def _expired(self, conversation: Conversation, due: ExpiryRow) -> list[Write]:
        row = await self._log.find(conversation, due.message_id)
        if row is None or is_erased(row):
            return []
        writes = await self.rows(conversation, row)
        if row.target:
            target = await self._log.bucket_at(conversation, row.target)
            key = (due.conversation_id, target or 0, row.target, row.message_id)
            related = await self._store.get(RELATIONS, key)
            if related is not None:
                writes.append(unrelated(related, self._ids.next()))
        return writes

    async def _related(self, row: MessageRow) -> list[RelationRow]:
        found: list[RelationRow] = []
        after = (row.message_id, 0)
        while True:
            rows = await self._store.range(
                RELATIONS,
                (row.conversation_id, row.bucket),
                after=after,
                before=(row.message_id + 1, 0),
                limit=DUE_AT_ONCE,
            )
            found += rows
            if len(rows) < DUE_AT_ONCE:
                return found
            after = (row.message_id, rows[-1].message_id)

    async def _one(self, conversation: Conversation, row: MessageRow, cause: int) -> list[Write]:
        writes: list[Write] = [Put(MESSAGES, erased(row), cause)]
        keys = [
            (member, bucket_of(entry), entry) for member in conversation.everybody for entry in entry_ids(row)
        ]
        for entry in await self._store.get_many(INBOX, keys):
            if entry is not None and entry.payload:
                emptied = msgspec.structs.replace(entry, payload=b"", envelopes={})
                writes.append(Put(INBOX, emptied, cause))
        return writes


def expiry_of(message: Message) -> Put:
    """The note that a message will disappear."""
    assert message.expires_at is not None
    hour = message.expires_at // HOUR_MS
    row = ExpiryRow(hour, message.expires_at, message.message_id, message.conversation_id)
    return Put(EXPIRIES, row, message.message_id)


def unrelated(row: RelationRow, cause: int) -> Put:
    """A relation that says nothing any more; its row stays under its target."""
    return Put(RELATIONS, msgspec.structs.replace(row, payload=b""), cause)
