"""The schema: every table of Tidings, declared once.

RocksDB's keys come from here, and Cassandra's DDL will. A *bucket* is a span of time, named by
its first second since the epoch of ids; see `tidings.domain.conversations` for how one is chosen.
Rows of entitled tables hold opaque content; nothing here ever holds a password or a token in
the clear.

ARCHITECTURE.md has the picture.
"""

from tidings.protocol.frames import Reference
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.store.contract import Row, Table

FORMAT = 1
"""The number of this schema. A store of a greater number is refused, of a lesser one migrated."""

DAY_S = 86_400
INBOX_BUCKET_S = 2 * DAY_S
INBOX_KEEP_S = 45 * DAY_S
SENDS_KEEP_S = 30 * DAY_S


class MessageRow(Row):
    """A message in its conversation's log."""

    conversation_id: ConversationId
    bucket: int
    message_id: MessageId
    sender_id: UserId
    sender_device: DeviceId
    client_id: ClientId
    version: int
    """of the membership when the server accepted it"""
    scheme: int
    content_type: str
    content: bytes
    created_at: int
    """wall clock, Unix ms"""
    relates_to: Reference | None = None
    expires_at: int | None = None
    silent: bool = False
    hidden_from: list[UserId] = []
    """members who had blocked the sender; it stays hidden from them for ever"""
    entry_ids: list[EntryId] = []
    """of the inbox entries, where they differ from message_id"""


MESSAGES = Table(
    "messages",
    MessageRow,
    partition=("conversation_id", "bucket"),
    clustering=("message_id",),
    descending=True,
)


class BucketRow(Row):
    """A span of time that a conversation has messages in; durable before the first of them."""

    conversation_id: ConversationId
    bucket: int
    length_s: int


BUCKETS = Table("buckets", BucketRow, partition=("conversation_id",), clustering=("bucket",), descending=True)


class InboxRow(Row):
    """One entry of a user's inbox: what each of their devices is to be sent."""

    user_id: UserId
    bucket: int
    entry_id: EntryId
    kind: int
    conversation_id: ConversationId
    message_id: MessageId
    sender_id: UserId
    sender_device: DeviceId
    payload: bytes
    """an encoded `frames.Message`; empty once deleted or expired"""
    envelopes: dict[DeviceId, bytes] = {}


INBOX = Table(
    "inbox",
    InboxRow,
    partition=("user_id", "bucket"),
    clustering=("entry_id",),
    keep_s=INBOX_KEEP_S,
)


class CursorRow(Row):
    """Up to where a device has acknowledged its user's inbox."""

    device_id: DeviceId
    acked_up_to: EntryId


CURSORS = Table("cursors", CursorRow, partition=("device_id",), grows=("acked_up_to",))


class SendRow(Row):
    """That a Send was accepted; written after everything else of its message is durable."""

    sender_device: DeviceId
    connection: bytes
    """the random part of the client_id"""
    counter: int
    message_id: MessageId
    created_at: int


SENDS = Table(
    "sends",
    SendRow,
    partition=("sender_device", "connection"),
    clustering=("counter",),
    keep_s=SENDS_KEEP_S,
)


class WatermarkRow(Row):
    """How far a member has got in a conversation."""

    conversation_id: ConversationId
    user_id: UserId
    delivered_up_to: MessageId = MessageId(0)
    read_up_to: MessageId = MessageId(0)
    at_ms: int = 0
    """when a column of it last grew"""


WATERMARKS = Table(
    "watermarks",
    WatermarkRow,
    partition=("conversation_id",),
    clustering=("user_id",),
    grows=("delivered_up_to", "read_up_to", "at_ms"),
)


class ChangedRow(Row):
    """When a watermark of a direct conversation last moved, for `Sync`."""

    user_id: UserId
    conversation_id: ConversationId
    at_ms: int


CHANGED = Table(
    "changed",
    ChangedRow,
    partition=("user_id",),
    clustering=("conversation_id",),
    grows=("at_ms",),
)


class HeadRow(Row):
    """What only grows in a conversation, beside its messages."""

    conversation_id: ConversationId
    newest: MessageId = MessageId(0)
    receipts_at: int = 0
    removal_at: int = 0
    """the version of the last removal of a member or device; a Send behind it is refused"""


HEADS = Table("heads", HeadRow, partition=("conversation_id",), grows=("newest", "receipts_at", "removal_at"))

HEAD_MEMBER = UserId(0)
"""The user_id of the member row that holds what belongs to the conversation itself, so that it
changes in one partition with the members."""


class MemberRow(Row):
    """A member of a conversation; of HEAD_MEMBER, the conversation itself."""

    conversation_id: ConversationId
    user_id: UserId
    kind: int
    """`frames.ConversationKind`, on every row"""
    version: int = 1
    """on HEAD_MEMBER: of the membership as a whole"""
    role: int = 0
    joined_version: int = 1
    left_version: int | None = None


MEMBERS = Table("members", MemberRow, partition=("conversation_id",), clustering=("user_id",))


class MembershipRow(Row):
    """That a user is in a conversation; derived from `members`."""

    user_id: UserId
    conversation_id: ConversationId
    kind: int


MEMBERSHIPS = Table("memberships", MembershipRow, partition=("user_id",), clustering=("conversation_id",))


class UserRow(Row):
    """An account."""

    user_id: UserId
    handle: str
    password_hash: str
    """argon2id, in PHC format"""
    created_at: int


USERS = Table("users", UserRow, partition=("user_id",))


class HandleRow(Row):
    """Who has a handle."""

    handle: str
    user_id: UserId
    request_id: bytes


HANDLES = Table("handles", HandleRow, partition=("handle",), contested=True)


class DeviceRow(Row):
    """A device of a user, and the hash of its token."""

    user_id: UserId
    device_id: DeviceId
    token_hash: bytes
    """SHA-256"""
    name: str
    created_at: int
    keys_at: int = 0
    """the version of the device list that it came with"""


DEVICES = Table("devices", DeviceRow, partition=("user_id",), clustering=("device_id",))


class NodeRow(Row):
    """What a lone node remembers over a restart."""

    node: int
    ids_until: int
    """no id up to this one is given again"""


NODES = Table("nodes", NodeRow, partition=("node",), grows=("ids_until",))

TABLES: tuple[Table[Row], ...] = (  # type: ignore[assignment]
    MESSAGES,
    BUCKETS,
    INBOX,
    CURSORS,
    SENDS,
    WATERMARKS,
    CHANGED,
    HEADS,
    MEMBERS,
    MEMBERSHIPS,
    USERS,
    HANDLES,
    DEVICES,
    NODES,
)
