"""The log of a conversation: its messages as rows, in buckets of time.

A message stands in the bucket of its id for ever. What was deleted or has expired keeps its
place: its row stays, with an empty content.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing

import msgspec

from tidings.domain.conversation import Conversation
from tidings.protocol import ids
from tidings.protocol.frames import Message, Relation
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.contract import Store
from tidings.store.schema import BUCKETS, MESSAGES, BucketRow, MessageRow

CHUNK_ROWS = 64
"""rows read at once: large ones must not come by the hundred"""
BUCKETS_SCANNED = 64
"""buckets that one page of history looks into"""


class Log:
    """Finds messages and walks along them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, conversation: Conversation, message_id: MessageId) -> MessageRow | None:
        """The message that stands there, erased or not; None where none ever stood."""
        bucket = await self.bucket_at(conversation, message_id)
        if bucket is None:
            return None
        return await self._store.get(MESSAGES, (conversation.conversation_id, bucket, message_id))

    async def bucket_at(self, conversation: Conversation, message_id: MessageId) -> int | None:
        """The bucket that an id of this conversation belongs to; None where there is none."""
        if not conversation.has_bucket:
            return None
        if _starts(conversation.bucket) <= message_id:
            return conversation.bucket
        for bucket in await self._buckets(conversation.conversation_id):
            if _starts(bucket.bucket) <= message_id < _ends(bucket):
                return bucket.bucket
        return None

    def walk(
        self, conversation_id: ConversationId, *, before: MessageId | None, after: MessageId | None
    ) -> AbstractAsyncContextManager[AsyncIterator[MessageRow]]:
        """Entered: rows from the newest (or `before`) back, or from `after` onwards; closed where left."""
        return aclosing(self._walk(conversation_id, before, after))

    async def _walk(
        self, conversation_id: ConversationId, before: MessageId | None, after: MessageId | None
    ) -> AsyncGenerator[MessageRow, None]:
        onwards = after is not None
        buckets = await self._buckets(conversation_id)
        if onwards:
            buckets = [bucket for bucket in buckets if _ends(bucket) > (after or 0)]
            buckets.reverse()
        for bucket in buckets:
            # The table's own order is newest first: what is older comes after.
            older = None if before is None else (before,)
            newer = None if after is None else (after,)
            while True:
                rows = await self._store.range(
                    MESSAGES,
                    (conversation_id, bucket.bucket),
                    after=older,
                    before=newer,
                    limit=CHUNK_ROWS,
                    backwards=onwards,
                )
                for row in rows:
                    yield row
                if len(rows) < CHUNK_ROWS:
                    break
                if onwards:
                    newer = (rows[-1].message_id,)
                else:
                    older = (rows[-1].message_id,)

    async def _buckets(self, conversation_id: ConversationId) -> list[BucketRow]:
        return await self._store.range(BUCKETS, (conversation_id,), limit=BUCKETS_SCANNED)


def row_of(message: Message, bucket: int, hidden_from: list[UserId]) -> MessageRow:
    """A message as it stands in the log."""
    return MessageRow(
        message.conversation_id,
        bucket,
        message.message_id,
        message.sender_id,
        message.sender_device,
        message.client_id,
        message.version,
        message.scheme,
        message.content_type,
        message.content,
        message.created_at,
        message.relates_to,
        message.expires_at,
        message.silent,
        hidden_from,
        relation=message.relation,
        target=message.target,
    )


def message_of(row: MessageRow) -> Message:
    """The inverse of `row_of`."""
    return Message(
        row.message_id,
        row.conversation_id,
        row.sender_id,
        row.sender_device,
        row.client_id,
        row.version,
        row.scheme,
        row.content_type,
        row.content,
        row.created_at,
        row.relates_to,
        row.expires_at,
        row.silent,
        row.relation,
        row.target,
    )


def erased(row: MessageRow) -> MessageRow:
    """The row without what it said."""
    return msgspec.structs.replace(row, content_type="", content=b"", envelopes={})


def is_erased(row: MessageRow) -> bool:
    """Whether a message was deleted or has expired."""
    return not row.content_type


def is_to_be_told(row: MessageRow) -> bool:
    """Whether devices that catch up are sent it: a deletion has no content, what is deleted goes without."""
    return not is_erased(row) or row.relation == Relation.DELETE


def has_expired(row: MessageRow, now_ms: int) -> bool:
    """Whether a message's time is over, erased already or not."""
    return row.expires_at is not None and row.expires_at <= now_ms


def entry_ids(row: MessageRow) -> list[int]:
    """Where the message stands in inboxes."""
    return [row.message_id, *row.entry_ids]


def _starts(bucket: int) -> int:
    return ids.first_at(ids.EPOCH_MS + bucket * 1000)


def _ends(bucket: BucketRow) -> int:
    """The first id that no longer belongs to a bucket."""
    return ids.first_at(ids.EPOCH_MS + (bucket.bucket + bucket.length_s) * 1000)
