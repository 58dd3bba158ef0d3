"""Latecomers: messages that became durable too late, when readers had passed them.

They are voided where they stand, and taken again under another id, here or on the node that was sent a
repeat. Some devices may have got such a message before. Where the id that counts in the end is smaller than
the one that they have, whoever may have it is given the message once more, as an entry of its own: an
entry whose id is not the message's says where the message stands, whatever was said before.

spec §6.3
"""

import asyncio
from typing import NamedTuple

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.inboxes import Entry, bucket_of, entry_of, inbox_row
from tidings.domain.log import erased, is_erased, row_of
from tidings.domain.relations import voided_row
from tidings.domain.router import Router
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import Message
from tidings.protocol.ids import DeviceId, EntryId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, Write
from tidings.store.schema import INBOX, MESSAGES, InboxRow

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
        self, store: Store, commit: GroupCommit, ids: IdClock, router: Router, limits: Limits
    ) -> None:
        self._store = store
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

    async def give_anew(self, late: Latecomer, message_id: MessageId) -> None:
        """Give it once more to whoever may have it, as it was accepted elsewhere under a smaller id.

        Under the conversation's lock. Raises ProtocolError, StoreError.
        """
        conversation_id = late.message.conversation_id
        in_time = False
        while not in_time:
            row = await self._store.get(MESSAGES, (conversation_id, late.bucket, message_id))
            places = [(member, bucket_of(message_id), message_id) for member in late.recipients]
            entries = await self._store.get_many(INBOX, places)
            found = [entry for entry in entries if entry is not None and entry.payload]
            if row is None or is_erased(row) or not found:
                return
            entry_id = EntryId(self._ids.next())
            named = msgspec.structs.replace(row, entry_ids=[*row.entry_ids, entry_id])
            copies = [_copy(entry, entry_id) for entry in found]
            rows = [Put(MESSAGES, named, entry_id), *(Put(INBOX, copy, entry_id) for copy in copies)]
            in_time = await self._commit.write(rows)
            for copy in copies:
                self._router.deliver(entry_of(copy), [copy.user_id])


def _copy(row: InboxRow, entry_id: EntryId) -> InboxRow:
    return msgspec.structs.replace(row, bucket=bucket_of(entry_id), entry_id=entry_id, sender_device=NOBODY)
