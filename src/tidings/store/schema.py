"""The schema: every table of Tidings, declared once.

RocksDB's keys come from here, and Cassandra's DDL will. A *bucket* is a span of time, named by
its first second since the epoch of ids; see `tidings.domain.conversations` for how one is chosen.
Rows of entitled tables hold opaque content; nothing here ever holds a password or a token in
the clear.

ARCHITECTURE.md has the picture.
"""

from typing import Annotated

import msgspec

from tidings.protocol.api import Kdf, SignedKey
from tidings.protocol.frames import GroupChange, GroupLink, GroupRules, Pin, Reference
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.store.contract import Row, Table

FORMAT = 5
"""The number of this schema. A store of a greater number is refused, of a lesser one migrated."""

UnixMs = Annotated[int, msgspec.Meta(description="Unix time, ms")]
"""A moment, which a backend may keep as one. A plain int holds any number."""

DAY_S = 86_400
INBOX_BUCKET_S = 2 * DAY_S
INBOX_KEEP_S = 45 * DAY_S
SENDS_KEEP_S = 30 * DAY_S
RECEIPT_LOG_KEEP_S = 90 * DAY_S
REPORTS_BUCKET_S = 30 * DAY_S


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
    created_at: UnixMs
    """by the wall clock"""
    relates_to: Reference | None = None
    expires_at: int | None = None
    silent: bool = False
    hidden_from: list[UserId] = []
    """members who had blocked the sender; it stays hidden from them for ever"""
    entry_ids: list[EntryId] = []
    """of the inbox entries, where they differ from message_id"""
    relation: int = 0
    target: MessageId = MessageId(0)
    envelopes: dict[DeviceId, bytes] = {}
    """of a message that waits for a member to let its sender in: nobody has it in their inbox"""


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
    """1 a message, 2 what devices say about keys, 3 that a group's messages come another way from here on"""
    conversation_id: ConversationId
    message_id: MessageId
    sender_id: UserId
    sender_device: DeviceId
    payload: bytes
    """an encoded `frames.Message`; empty once deleted or expired"""
    envelopes: dict[DeviceId, bytes] = {}
    expires_at: int | None = None


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
    created_at: UnixMs
    attempt: int = 0
    """which one was accepted; 0: not noted"""


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


class FrozenRow(Row):
    """How far a member had got when they blocked the other one, who sees no more of it."""

    conversation_id: ConversationId
    user_id: UserId
    delivered_up_to: MessageId
    read_up_to: MessageId
    at_ms: int
    blocked_at: EntryId
    """`at` of the setting"""


FROZEN = Table("frozen", FrozenRow, partition=("conversation_id",), clustering=("user_id",))


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
    """the version of the last removal of a member; a Send behind it is refused"""
    scheme: int = 0
    """the greatest `frames.Scheme` of a message; plain ones are refused from then on"""
    told: int = 0
    """the version of a group up to which its members were told of every change"""


HEADS = Table(
    "heads",
    HeadRow,
    partition=("conversation_id",),
    grows=("newest", "receipts_at", "removal_at", "scheme", "told"),
)

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
    state: int = 0
    """`frames.MemberState`"""


MEMBERS = Table("members", MemberRow, partition=("conversation_id",), clustering=("user_id",))


class GroupHead(msgspec.Struct, array_like=True, gc=False):
    """What belongs to a group itself."""

    kind: int
    """`frames.ConversationKind`"""
    scheme: int
    version: int
    made_by: UserId
    made_at: int
    """Unix ms"""
    count: int
    """of members"""
    rules: GroupRules
    info: bytes = b""
    picture: EntryId = EntryId(0)
    removal_at: int = 0
    """the version of the last removal of a member; a Send behind it is refused"""
    pins: list[Pin] = []
    links: list[GroupLink] = []
    waiting: list[UserId] = []
    """who asks to be let in, in the order of asking"""
    fanout: int = 0
    """`domain.fanout.Fanout`"""
    fanout_at: int = 0
    """the id at which it began to be so"""
    cause: int = 0
    """grows with every change, also with those of `fanout`: of what is derived the newest stays"""
    changed_by: UserId = UserId(0)
    changed_at: int = 0
    """Unix ms"""
    change: GroupChange | None = None
    """the last one: its members may not have been told of it yet"""
    staff: dict[UserId, int] = {}
    """of a channel: the roles of its owner and admins"""


class Stay(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A time in a group that is over, and how far somebody was when they left."""

    first: int
    """version of the group"""
    end: int
    """they were gone in this version"""
    delivered_up_to: MessageId
    read_up_to: MessageId


class RosterRow(Row):
    """A member of a group; of HEAD_MEMBER, the group itself: they change together, or not at all."""

    conversation_id: ConversationId
    user_id: UserId
    request_id: bytes = b""
    """on HEAD_MEMBER"""
    role: int = 0
    """`frames.GroupRole`"""
    joined_version: int = 0
    left_version: int | None = None
    dormant: bool = False
    """no device was seen for long: nothing is put into the inbox until one is"""
    head: GroupHead | None = None
    """on HEAD_MEMBER"""
    stays: list[Stay] = []
    """of somebody who came back, the last ones before"""


ROSTERS = Table("rosters", RosterRow, partition=("conversation_id",), clustering=("user_id",), contested=True)


SHARES = 64
"""partitions that the members of a channel stand in"""


def share_of(user: UserId) -> int:
    """Which share of a channel's members a user stands in."""
    # The milliseconds of an id are spread evenly, its low bits are not.
    return (user >> 22) % SHARES


class SubscriberRow(Row):
    """A member of a channel. There may be any number: they stand in 64 shares."""

    conversation_id: ConversationId
    share: int
    user_id: UserId
    joined_version: int
    left_version: int | None = None


SUBSCRIBERS = Table(
    "subscribers", SubscriberRow, partition=("conversation_id", "share"), clustering=("user_id",)
)


class GroupLinkRow(Row):
    """Which group an invite link leads to. Whether it still holds, the group itself says."""

    code_hash: bytes
    """SHA-256"""
    conversation_id: ConversationId
    request_id: bytes


GROUP_LINKS = Table("group_links", GroupLinkRow, partition=("code_hash",), contested=True)


class GroupPictureRow(Row):
    """The picture of a group; sealed where the group is."""

    conversation_id: ConversationId
    media_type: str
    data: bytes
    version: EntryId


GROUP_PICTURES = Table("group_pictures", GroupPictureRow, partition=("conversation_id",))


class PullCursorRow(Row):
    """Up to where a device has acknowledged a group whose messages stand in no inbox."""

    device_id: DeviceId
    conversation_id: ConversationId
    up_to: MessageId


PULL_CURSORS = Table(
    "pull_cursors",
    PullCursorRow,
    partition=("device_id",),
    clustering=("conversation_id",),
    grows=("up_to",),
)


class MembershipRow(Row):
    """That a user is in a conversation; derived from `members`, `rosters` and `subscribers`."""

    user_id: UserId
    conversation_id: ConversationId
    kind: int
    joined_version: int = 0
    """of a group"""
    left_version: int | None = None
    """of a group: the user is gone from it, and may still read what is from before; erased long after"""
    pulled_from: int = 0
    """the id from which on it has messages that stand in no inbox; 0: there are none"""
    pulled_until: int = 0
    """the id from which on there are none any more; 0: it goes on"""
    copied_from: int = 0
    copied_until: int = 0
    """between these two ids all stood in the inboxes: whoever has pulled up to the first one goes on from
    the second"""


MEMBERSHIPS = Table("memberships", MembershipRow, partition=("user_id",), clustering=("conversation_id",))


class UserRow(Row):
    """An account."""

    user_id: UserId
    handle: str
    password_hash: str
    """argon2id of the login secret, in PHC format"""
    created_at: UnixMs
    kdf: Kdf | None = None
    """how the client makes the secret; None: the secret is what the user types"""
    phone: str = ""
    suspended_at: int = 0
    """Unix ms; 0: not suspended"""
    messages_per_day: int = 0
    """quota; 0: none"""
    devices_max: int = 0
    """quota; 0: `devices_per_user`"""
    leaving: bool = False
    """its end was begun"""


USERS = Table("users", UserRow, partition=("user_id",))


class HandleRow(Row):
    """Who has a handle, or had it last."""

    handle: str
    user_id: UserId
    request_id: bytes
    released_at: int = 0
    """Unix ms at which it was given up; 0: in use"""


HANDLES = Table("handles", HandleRow, partition=("handle",), contested=True)


class DeviceRow(Row):
    """A device of a user, and the hash of its token."""

    user_id: UserId
    device_id: DeviceId
    token_hash: bytes
    """SHA-256"""
    name: str
    created_at: UnixMs
    keys_at: int = 0
    """the version of the device list that it came with"""
    next_hash: bytes = b""
    """of a token that was given to replace this one and has not been used yet"""
    renew: bool = False
    """the device is to be given another token at its next Hello"""


DEVICES = Table("devices", DeviceRow, partition=("user_id",), clustering=("device_id",))


class RelationRow(Row):
    """An edit, delete or reaction, beside its target, so that one range brings a page's own."""

    conversation_id: ConversationId
    bucket: int
    """of the target"""
    target: MessageId
    message_id: MessageId
    sender_id: UserId
    relation: int
    payload: bytes
    """an encoded `frames.Message`; empty once its target was deleted or it expired"""
    expires_at: int | None = None
    hidden_from: list[UserId] = []


RELATIONS = Table(
    "relations",
    RelationRow,
    partition=("conversation_id", "bucket"),
    clustering=("target", "message_id"),
)


class ReceiptLogRow(Row):
    """When a watermark reached a message (watermarks that moved within one commit share a row)."""

    conversation_id: ConversationId
    bucket: int
    """of the conversation, at the time of `up_to`"""
    up_to: MessageId
    user_id: UserId
    kind: int
    """`frames.Status`: DELIVERED or READ"""
    at_ms: int


RECEIPT_LOG = Table(
    "receipt_log",
    ReceiptLogRow,
    partition=("conversation_id", "bucket"),
    clustering=("up_to", "user_id", "kind"),
    keep_s=RECEIPT_LOG_KEEP_S,
)


class ExpiryRow(Row):
    """That a message disappears at a moment; erased once it has."""

    hour: int
    """Unix hour of `expires_at`"""
    expires_at: int
    message_id: MessageId
    conversation_id: ConversationId


EXPIRIES = Table("expiries", ExpiryRow, partition=("hour",), clustering=("expires_at", "message_id"))


class SettingRow(Row):
    """A setting of a user; of kind 0 and an empty key, when any of them was changed last."""

    user_id: UserId
    kind: int
    """`frames.SettingKind`"""
    key: str
    value: bytes
    """empty: removed"""
    at: EntryId
    count: int = 0
    """on the row of kind 0: how many rows there are"""
    removed: int = 0
    """on the row of kind 0: how many of them are of removed settings"""


SETTINGS = Table("settings", SettingRow, partition=("user_id",), clustering=("kind", "key"))


class ProfileRow(Row):
    """What a user says of themselves."""

    user_id: UserId
    name: str = ""
    about: str = ""
    picture: EntryId = EntryId(0)
    """version of the picture; 0: none"""


PROFILES = Table("profiles", ProfileRow, partition=("user_id",))


class PictureRow(Row):
    """A profile picture."""

    user_id: UserId
    media_type: str
    data: bytes
    version: EntryId


PICTURES = Table("pictures", PictureRow, partition=("user_id",))


class SeenRow(Row):
    """When a device was connected last, to within `seen_s`."""

    user_id: UserId
    device_id: DeviceId
    at_ms: int


SEEN = Table("seen", SeenRow, partition=("user_id",), clustering=("device_id",), grows=("at_ms",))


class SleepRow(Row):
    """Since when a user's inbox may lack what was said in groups, and from where on it is complete again."""

    user_id: UserId
    slept: EntryId = EntryId(0)
    """from before the user was made dormant last, anywhere"""
    woken: EntryId = EntryId(0)
    """from after the user was awake everywhere; less than `slept`: that is still to be seen to"""


SLEEPS = Table("sleeps", SleepRow, partition=("user_id",), grows=("slept", "woken"))


class FactorRow(Row):
    """A user's second factor."""

    user_id: UserId
    secret: bytes
    """of the TOTP; the server must know it"""
    confirmed_at: int = 0
    """Unix ms; 0: begun, not in force"""
    used_step: int = 0
    """the newest time step whose code was used; each works once"""
    recovery: list[bytes] = []
    """SHA-256 of the recovery codes that are left"""


FACTORS = Table("factors", FactorRow, partition=("user_id",))


class PhoneRow(Row):
    """Who has a phone number; user_id 0: nobody any more."""

    phone: str
    """E.164"""
    user_id: UserId
    request_id: bytes


PHONES = Table("phones", PhoneRow, partition=("phone",), contested=True)


class PhoneCodeRow(Row):
    """A code that was sent to a phone."""

    user_id: UserId
    phone: str
    code_hash: bytes
    sent_at: int
    tries: int = 0


PHONE_CODES = Table("phone_codes", PhoneCodeRow, partition=("user_id",), keep_s=DAY_S)


class InviteRow(Row):
    """An invite code, by its hash."""

    code_hash: bytes
    """SHA-256"""
    created_at: int
    expires_at: int
    uses_left: int
    note: str
    request_id: bytes


INVITES = Table("invites", InviteRow, partition=("code_hash",), contested=True)


class ReportRow(Row):
    """Somebody told the operator about somebody. Holds no content."""

    bucket: int
    """30 days, by their first second since the epoch of ids"""
    report_id: EntryId
    reporter: UserId
    reported: UserId
    reason: str
    messages: list[Reference] = []
    created_at: UnixMs = 0


REPORTS = Table("reports", ReportRow, partition=("bucket",), clustering=("report_id",), descending=True)


class SecretRow(Row):
    """A secret of the server itself, such as what decoy answers are made with."""

    name: str
    value: bytes


SECRETS = Table("secrets", SecretRow, partition=("name",))


class LeaseRow(Row):
    """Who has something that only one may have at a time, until when."""

    name: str
    """`node N` (the number of a node) or `upkeep`"""
    epoch: int
    """how often it was given"""
    until_ms: int
    """the directory's clock, Unix ms; 0: it was given back"""
    request_id: bytes
    """of whoever has it, and of what it wrote last"""


LEASES = Table("leases", LeaseRow, partition=("name",), contested=True)


class NodeRow(Row):
    """What the node of a number remembers over a restart. A lone node has the number 0."""

    node: int
    ids_until: int
    """no id up to this one is given again"""


NODES = Table("nodes", NodeRow, partition=("node",), grows=("ids_until",))


class DeviceKeysRow(Row):
    """The public keys of a device, as it published them; see spec §6.16."""

    user_id: UserId
    device_id: DeviceId
    signing: bytes
    agreement: bytes
    agreement_signature: bytes
    prekey: SignedKey
    kem: SignedKey
    """of the last resort"""
    link: bytes = b""
    link_reply: bytes = b""


DEVICE_KEYS = Table("device_keys", DeviceKeysRow, partition=("user_id",), clustering=("device_id",))


class DeviceListRow(Row):
    """A user's newest signed device list."""

    user_id: UserId
    version: int
    body: bytes
    """as it was signed; empty once the account is gone"""
    signature: bytes
    previous_signature: bytes
    added_at: dict[DeviceId, int]
    """of each device in it: a server id that nobody had given when they read a list without it"""
    request_id: bytes


DEVICE_LISTS = Table("device_lists", DeviceListRow, partition=("user_id",), contested=True)


class KeyMarkRow(Row):
    """When a device of a user, with keys, was removed last."""

    user_id: UserId
    removal_at: int = 0
    """a server id: a sealed Send whose `keys_at` is before it is refused"""


KEY_MARKS = Table("key_marks", KeyMarkRow, partition=("user_id",), grows=("removal_at",))


class GenerationRow(Row):
    """How often a device's profile has connected, as it told last: a copy that was restored is behind."""

    device_id: DeviceId
    generation: int


GENERATIONS = Table("generations", GenerationRow, partition=("device_id",), grows=("generation",))


class OneTimeKeyRow(Row):
    """A pair of one-time prekeys. A batch, named by its first id, is erased once all of it was given."""

    device_id: DeviceId
    batch: int
    id: int
    key: bytes
    """X25519"""
    kem: bytes
    """ML-KEM-1024"""
    kem_signature: bytes


ONE_TIME_KEYS = Table("one_time_keys", OneTimeKeyRow, partition=("device_id", "batch"), clustering=("id",))


class KeyBatch(msgspec.Struct, array_like=True, gc=False):
    """One-time prekeys that came in one request."""

    first: int
    last: int


class OneTimeCounterRow(Row):
    """Which one-time prekeys of a device were given: none of them is answered before this says so."""

    device_id: DeviceId
    next: int
    """ids below it are given, or given up"""
    newest: int
    """the greatest id that was ever brought"""
    left: int
    batches: list[KeyBatch]
    """in ascending order; those below `next` are erased when the next one comes"""
    digest: bytes
    """of the request that brought the newest"""
    request_id: bytes
    closed: bool = False
    """the device is gone"""


ONE_TIME_COUNTERS = Table("one_time_counters", OneTimeCounterRow, partition=("device_id",), contested=True)

TABLES: tuple[Table[Row], ...] = (  # type: ignore[assignment]
    MESSAGES,
    BUCKETS,
    INBOX,
    CURSORS,
    SENDS,
    WATERMARKS,
    FROZEN,
    CHANGED,
    HEADS,
    MEMBERS,
    MEMBERSHIPS,
    ROSTERS,
    SUBSCRIBERS,
    GROUP_LINKS,
    GROUP_PICTURES,
    PULL_CURSORS,
    USERS,
    HANDLES,
    DEVICES,
    NODES,
    RELATIONS,
    RECEIPT_LOG,
    EXPIRIES,
    SETTINGS,
    PROFILES,
    PICTURES,
    SEEN,
    SLEEPS,
    FACTORS,
    PHONES,
    PHONE_CODES,
    INVITES,
    REPORTS,
    SECRETS,
    LEASES,
    DEVICE_KEYS,
    DEVICE_LISTS,
    KEY_MARKS,
    GENERATIONS,
    ONE_TIME_KEYS,
    ONE_TIME_COUNTERS,
)
