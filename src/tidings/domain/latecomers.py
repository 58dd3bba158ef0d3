"""Latecomers: messages that became durable too late, when readers had passed them.

They are voided where they stand, and taken again under another id, here or on the node that was sent a
repeat. Some devices may have got such a message before. Where the id that counts in the end is smaller than
the one that they have, whoever may have it is given the message once more, as an entry of its own: an
entry whose id is not the message's says where the message stands, whatever was said before.

spec §6.3
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from tidings.domain.accepting import entry_of as made_of
from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.inboxes import Entry, bucket_of, entry_of, inbox_row
from tidings.domain.log import Log, erased, is_to_be_told, message_of, row_of
from tidings.domain.relations import voided_row
from tidings.domain.router import Router
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import Message
from tidings.protocol.ids import DeviceId, EntryId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, Write
from tidings.store.schema import INBOX, MESSAGES, InboxRow, MessageRow

VOID_TRIES = 3600
"""how often it is tried to void what came too late, one `store_retry_s` apart"""
NOBODY = DeviceId(0)
"""As the sender's device of an entry: it goes to all devices, also to the one that wrote the message."""


class Latecomer(NamedTuple):
    """A message, and where it stands."""

    message: Message
    bucket: int
    entry: Entry
    recipients: list[UserId]
    """in whose inboxes"""
    members: tuple[UserId, ...]
    """from whom it may have to be hidden"""
    target_bucket: int | None
    """of a change: in which bucket the row beside its target stands"""


class Latecomers:
    """See the module's text."""

    def __init__(
        self, store: Store, commit: GroupCommit, ids: IdClock, log: Log, router: Router, limits: Limits
    ) -> None:
        self._store = store
        self._log = log
        self._commit = commit
        self._ids = ids
        self._router = router
        self._limits = limits

    async def void(self, late: Latecomer) -> None:
        """Leave nothing to be seen of it. Raises ProtocolError (store_…)."""
        message, entry = late.message, late.entry
        cause = message.message_id + 1  # this node's clock may be why it was late
        row = erased(row_of(message, late.bucket, list(late.members)))
        rows: list[Write] = [Put(MESSAGES, row, cause)]
        for member in late.recipients:
            written = inbox_row(member, entry, message.expires_at)
            rows.append(Put(INBOX, msgspec.structs.replace(written, payload=b"", envelopes={}), cause))
        if late.target_bucket is not None:
            rows.append(voided_row(message, late.target_bucket, cause))
        await self._commit.write(rows)

    async def void_some_time(self, late: Latecomer) -> None:
        """The sender repeats it, maybe on another node: what stands of it must go all the same."""
        for _ in range(VOID_TRIES):
            try:
                await self.void(late)
            except ProtocolError:
                await asyncio.sleep(self._limits.store_retry_s)
            else:
                return

    async def give_anew(self, conversation: Conversation, late: Latecomer, message_id: MessageId) -> None:
        """Give it once more to whoever may have it, as it was accepted elsewhere under a smaller id.

        Under the conversation's lock. Raises ProtocolError, StoreError.
        """
        places = [(member, bucket_of(message_id), message_id) for member in late.recipients]

        async def copies(_: MessageRow) -> list[InboxRow]:
            entries = await self._store.get_many(INBOX, places)
            return [entry for entry in entries if entry is not None and entry.payload]

        await self._tell(conversation, message_id, copies)

    async def tell_author(self, conversation: Conversation, message_id: MessageId) -> None:
        """Have an author's devices told where a message stands; none of them needs it for anything else.

        Under the conversation's lock. Raises ProtocolError, StoreError.
        """
        if conversation.pending:
            return  # what a log names is taken for given to who has not let the author in yet

        async def own(row: MessageRow) -> list[InboxRow]:
            return [inbox_row(row.sender_id, made_of(message_of(row), {}), row.expires_at)]

        await self._tell(conversation, message_id, own)

    async def _tell(
        self,
        conversation: Conversation,
        message_id: MessageId,
        copies: Callable[[MessageRow], Awaitable[list[InboxRow]]],
    ) -> None:
        """Put copies of a message into inboxes as entries of their own, in time for readers."""
        in_time = False
        while not in_time:
            # Before it is read: whatever erases it after that, on whichever node, has the greater cause.
            entry_id = EntryId(self._ids.next())
            row = await self._log.find(conversation, message_id)
            if row is None or not is_to_be_told(row):
                return
            anew = [
                msgspec.structs.replace(
                    copy, bucket=bucket_of(entry_id), entry_id=entry_id, sender_device=NOBODY
                )
                for copy in await copies(row)
            ]
            if not anew:
                return
            named = msgspec.structs.replace(row, entry_ids=[*row.entry_ids, entry_id])
            rows = [Put(MESSAGES, named, entry_id), *(Put(INBOX, copy, entry_id) for copy in anew)]
            in_time = await self._commit.write(rows)
            for copy in anew:
                self._router.deliver(entry_of(copy), [copy.user_id])
