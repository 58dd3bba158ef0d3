"""Inboxes: a log a user, and a cursor into it for each of their devices.

An entry is written with the message that causes it and is never deleted one by one; whole
buckets of two days expire. A device reads from its stored cursor on; what it says it has can
only move the start back.
"""

import msgspec

from tidings.domain.commit import GroupCommit
from tidings.protocol import ids
from tidings.protocol.codec import MSGPACK, Codec
from tidings.protocol.frames import SealedDeliver
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.store.contract import Store
from tidings.store.schema import (
    CURSORS,
    INBOX,
    INBOX_BUCKET_S,
    INBOX_KEEP_S,
    CursorRow,
    InboxRow,
)

CHUNK_ROWS = 64
"""rows read at once: large ones must not come by the hundred"""

AHEAD_MS = 2000
"""Other nodes' ids are less far ahead."""
MESSAGE_ENTRY = 1
"""The kind of an entry that is a message."""
KEYS_ENTRY = 2
"""The kind of an entry in which devices speak about keys: it stands in no log, and no watermark passes it."""

FANOUT_ENTRY = 3
"""The kind of an entry that says that a group's messages come another way from here on: for sessions, not
for devices."""


class Entry:
    """What one inbox entry sends to devices: encoded once, written to many."""

    __slots__ = (
        "_frame",
        "conversation_id",
        "entry_id",
        "envelopes",
        "kind",
        "message_id",
        "payload",
        "sender_device",
        "sender_id",
        "size",
    )

    def __init__(
        self,
        entry_id: EntryId,
        conversation_id: ConversationId,
        message_id: MessageId,
        sender_id: UserId,
        sender_device: DeviceId,
        payload: bytes,
        envelopes: dict[DeviceId, bytes],
        kind: int = MESSAGE_ENTRY,
    ) -> None:
        self.entry_id = entry_id
        self.kind = kind
        self.conversation_id = conversation_id
        self.message_id = message_id
        self.sender_id = sender_id
        self.sender_device = sender_device
        self.payload = payload
        self.envelopes = envelopes
        self.size = len(payload) + (sum(map(len, envelopes.values())) if envelopes else 0)
        """about how many bytes it holds in memory"""
        self._frame: bytes | None = None

    def encoded(self, codec: Codec, device: DeviceId) -> bytes:
        """The Deliver frame for a device; the common form is kept for the next one."""
        if self.envelopes or codec is not MSGPACK:
            return codec.encode(self._sealed(self.envelopes.get(device)))
        if self._frame is None:
            self._frame = codec.encode(self._sealed(None))
        return self._frame

    def _sealed(self, envelope: bytes | None) -> SealedDeliver:
        return SealedDeliver(self.entry_id, msgspec.Raw(self.payload), envelope)


def bucket_of(entry_id: int) -> int:
    """The inbox bucket of an id: the first second of its two days, since the epoch of ids."""
    seconds = (entry_id >> ids.TIME_SHIFT) // 1000
    return seconds - seconds % INBOX_BUCKET_S


class Inboxes:
    """Reads inboxes and keeps cursors."""

    def __init__(self, store: Store, commit: GroupCommit) -> None:
        self._store = store
        self._commit = commit
        self._acked: dict[DeviceId, EntryId] = {}
        """cursors that moved, and were not named to the commit yet"""
        self.reads = 0
        """for the metrics"""

    async def cursor(self, device: DeviceId) -> EntryId:
        """Up to where a device has acknowledged; for one that never did, its own birth.

        A device id is a snowflake: entries before it are in the history.
        """
        row = await self._store.get(CURSORS, (device,))
        return EntryId(device) if row is None else row.acked_up_to

    async def newest(self, user: UserId, now_ms: int) -> EntryId:
        """The newest entry of an inbox, as far as the bucket of the present goes; else 0."""
        moments = (now_ms + AHEAD_MS, now_ms)
        for bucket in dict.fromkeys(bucket_of(ids.first_at(moment)) for moment in moments):
            rows = await self._store.range(INBOX, (user, bucket), limit=1, backwards=True)
            if rows:
                return rows[0].entry_id
        return EntryId(0)

    def expired(self, cursor: EntryId, now_ms: int) -> EntryId | None:
        """From where on the inbox is complete, if it no longer has all that comes after a cursor."""
        oldest = EntryId(ids.first_at(now_ms - INBOX_KEEP_S * 1000))
        return oldest if cursor < oldest else None

    def acknowledge(self, device: DeviceId, up_to: EntryId) -> None:
        """Move a device's cursor. Losing this costs a re-read."""
        if not self._acked:
            self._commit.name_soon(self._name_cursors)
        self._acked[device] = up_to

    def _name_cursors(self) -> None:
        acked, self._acked = self._acked, {}
        for device, up_to in acked.items():
            self._commit.raise_soon(CURSORS, CursorRow(device, up_to))

    async def read(
        self, user: UserId, after: EntryId, *, now_ms: int, limit: int, limit_bytes: int
    ) -> list[Entry]:
        """Entries that come after one, in order; empty means there are none.

        At most `limit`, and few beyond `limit_bytes` of payload (it is looked at a chunk at a time).
        """
        self.reads += 1
        oldest = ids.first_at(now_ms - INBOX_KEEP_S * 1000)
        newest_bucket = bucket_of(ids.first_at(now_ms + INBOX_BUCKET_S * 1000))
        bucket = bucket_of(max(after, oldest))
        found: list[Entry] = []
        size = 0
        while bucket <= newest_bucket and len(found) < limit and size < limit_bytes:
            chunk = min(CHUNK_ROWS, limit - len(found))
            rows = await self._store.range(INBOX, (user, bucket), after=(after,), limit=chunk)
            for row in rows:
                if not row.payload or (row.expires_at is not None and row.expires_at <= now_ms):
                    continue  # erased; what says so is an entry of its own
                entry = entry_of(row)
                found.append(entry)
                size += entry.size
            if len(rows) < chunk:
                bucket += INBOX_BUCKET_S
            else:
                after = rows[-1].entry_id
        return found


def inbox_row(
    user: UserId, entry: Entry, expires_at: int | None, envelopes: dict[DeviceId, bytes] | None = None
) -> InboxRow:
    """An entry as it stands in a user's inbox; `envelopes`: those for the user's devices, if it is known."""
    return InboxRow(
        user,
        bucket_of(entry.entry_id),
        entry.entry_id,
        entry.kind,
        entry.conversation_id,
        entry.message_id,
        entry.sender_id,
        entry.sender_device,
        entry.payload,
        entry.envelopes if envelopes is None else envelopes,
        expires_at,
    )


def entry_of(row: InboxRow) -> Entry:
    """What a row of an inbox sends to devices."""
    return Entry(
        row.entry_id,
        row.conversation_id,
        row.message_id,
        row.sender_id,
        row.sender_device,
        row.payload,
        row.envelopes,
        row.kind,
    )
