"""The frames: every struct that crosses the WebSocket, an array with an integer tag first.

Tags 1-63 go from client to server, 64-127 back. A field is only ever added at the end and with
a default, so that older and newer peers read each other; unknown trailing fields are ignored.
Content is opaque: the server stores and forwards it and never looks inside.

spec §4 (client to server), §5 (server to client)
"""

from enum import IntEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from tidings.protocol.ids import (
    CLIENT_ID_BYTES,
    CONVERSATION_ID_BYTES,
    SNOWFLAKE_MAX,
    ClientId,
    ConversationId,
    DeviceId,
    EntryId,
    MessageId,
    UserId,
)

Counter = Annotated[int, Meta(ge=0, le=SNOWFLAKE_MAX)]
UnixMs = Annotated[int, Meta(ge=0, le=SNOWFLAKE_MAX)]
AConversationId = Annotated[
    ConversationId, Meta(min_length=CONVERSATION_ID_BYTES, max_length=CONVERSATION_ID_BYTES)
]
AClientId = Annotated[ClientId, Meta(min_length=CLIENT_ID_BYTES, max_length=CLIENT_ID_BYTES)]
AMessageId = Annotated[MessageId, Meta(ge=0, le=SNOWFLAKE_MAX)]
AnEntryId = Annotated[EntryId, Meta(ge=0, le=SNOWFLAKE_MAX)]
AUserId = Annotated[UserId, Meta(ge=0, le=SNOWFLAKE_MAX)]
ADeviceId = Annotated[DeviceId, Meta(ge=0, le=SNOWFLAKE_MAX)]


class Scheme(IntEnum):
    """How a message's content is protected; a conversation's scheme never falls."""

    PLAIN = 0
    DIRECT = 1
    SENDER_KEY = 2
    MLS = 3


class ConversationKind(IntEnum):
    """What a conversation is."""

    DIRECT = 1
    GROUP = 2
    CHANNEL = 3


class Status(IntEnum):
    """How far a message has come. PENDING exists only in the client that wrote it."""

    PENDING = 0
    SENT = 1
    DELIVERED = 2
    READ = 3


class Relation(IntEnum):
    """What a message says about the one that its `relates_to` names."""

    NONE = 0
    REPLY = 1
    EDIT = 2
    """its content replaces the target's; by the author, within `edit_s`"""
    DELETE = 3
    """the target is gone for everyone; by the author, within `delete_s`"""
    REACTION = 4
    """its content is the reaction; empty takes it back, the newest of a user counts"""
    FORWARD = 5
    """the content was written elsewhere; names no message"""
    ASK = 6
    """the author of the target is asked for its key; not shown, in no log"""
    KEYS = 7
    """the author of the target sends its key in envelopes; not shown, in no log"""
    SENDER_KEY = 8
    """the sender's key of a group, in envelopes; names no message, not shown, in no log"""
    VOTE = 9
    """its content is what is chosen in the poll that the target is; the newest of a user counts"""


CHANGES = (Relation.EDIT, Relation.DELETE, Relation.REACTION, Relation.VOTE)
"""Relations that change how their target looks: they stand under it, and are no messages to be shown."""


UNSHOWN = (Relation.ASK, Relation.KEYS, Relation.SENDER_KEY)
"""Relations that devices exchange about keys: no messages, they stand in inboxes alone (spec §6.16)."""


class MemberState(IntEnum):
    """Whether a member lets the others of a direct conversation write to them."""

    ACCEPTED = 0
    PENDING = 1
    """has not answered the request yet: is told of it, gets no content"""
    DECLINED = 2
    """as PENDING, and is not told any more"""


class GroupRole(IntEnum):
    """What a member of a group may do; each may all that those before it may."""

    MEMBER = 0
    ADMIN = 1
    OWNER = 2
    """makes and unmakes admins; a group has one"""


class GroupAction(IntEnum):
    """What a change of a group does; see spec §6.17 for who may do it and which fields it has."""

    CREATE = 1
    ADD = 2
    REMOVE = 3
    LEAVE = 4
    JOIN = 5
    """by an invite link"""
    ROLE = 6
    INFO = 7
    RULES = 8
    LINK = 9
    UNLINK = 10
    ASK = 11
    """somebody with an invite link asks to be let in"""
    DENY = 12
    PIN = 13
    UNPIN = 14
    PICTURE = 15


class SettingKind(IntEnum):
    """What a setting of a user is about; see spec §6.11 for the keys and values of each."""

    CONTACT = 1
    STAR = 2
    PIN = 3
    MUTE = 4
    ARCHIVE = 5
    DRAFT = 6
    HIDDEN = 7
    PRIVACY = 8
    BLOCK = 9
    OPAQUE = 15
    """anything that clients agree on among themselves"""
    REQUEST = 32
    """written by the server: somebody unknown wants to talk"""
    ACCOUNT = 33
    """written by the server: the account, a device or the profile was changed over HTTP"""


class Frame(msgspec.Struct, array_like=True, gc=False):
    """What all frames are: an array. Nobody changes one after it was built."""


class Reference(Frame):
    """Names a message for ever: who wrote it, and what its device called it."""

    sender_device: ADeviceId
    client_id: AClientId

    def __hash__(self) -> int:
        return hash((self.sender_device, self.client_id))


class GroupRules(Frame):
    """Who may do what in a group: the least `GroupRole` that may."""

    write: Annotated[int, Meta(ge=0, le=2)] = GroupRole.MEMBER
    add: Annotated[int, Meta(ge=0, le=2)] = GroupRole.ADMIN
    """also: make invite links, and let in who asks"""
    edit: Annotated[int, Meta(ge=0, le=2)] = GroupRole.ADMIN
    """the info and the picture, and pins"""
    approval: bool = False
    """who has an invite link is not in before somebody who may add lets them in"""


# --- client to server ---------------------------------------------------------------------


class Hello(Frame, tag=1):
    """The first frame: who this is, and from where to go on."""

    token: str
    agent: str = ""
    have: AnEntryId | None = None
    """up to which entry the device has all (spec §6.4); can only move the start back"""
    receive: bool = True
    """false: a side session that sends and asks, while the device's own goes on receiving"""
    generation: Counter = 0
    """of the device's encryption state"""


class Send(Frame, tag=2):
    """A new message. Repeated, with a higher `attempt`, until Sent or an Error comes."""

    client_id: AClientId
    attempt: Counter
    """1 the first time on this connection by a process that wrote it; else greater"""
    conversation_id: AConversationId
    version: Counter
    """of the membership that the sender knew"""
    keys_at: AnEntryId
    """of the device lists that the sender encrypted for; 0 where it encrypted nothing"""
    scheme: Annotated[int, Meta(ge=0, le=3)]
    content_type: str
    content: bytes
    envelopes: dict[ADeviceId, bytes] = {}
    relates_to: Reference | None = None
    silent: bool = False
    expires_at: UnixMs | None = None
    relation: Annotated[int, Meta(ge=0, le=9)] = 0
    """what it says about the message that `relates_to` names"""
    target: AMessageId = MessageId(0)
    """where that message stands in the conversation; needed with `relates_to`"""
    after: AMessageId = MessageId(0)
    """the newest message of the conversation that the device has: this one will stand after it"""


class Ack(Frame, tag=3):
    """All Deliver frames of this connection up to the `up_to`-th are stored on the device."""

    up_to: Counter
    unreadable: list[Counter] = []
    """those of them (counted likewise) that could not be decrypted"""


class Read(Frame, tag=4):
    """The user has seen the conversation up to a message. Answered by Ok, once it is durable."""

    request_id: Counter
    conversation_id: AConversationId
    up_to: AMessageId


class History(Frame, tag=5):
    """A page of a conversation: the latest, those before a message, or those after one."""

    request_id: Counter
    conversation_id: AConversationId
    before: AMessageId | None = None
    after: AMessageId | None = None
    limit: Annotated[int, Meta(ge=1)] = 50


class Heartbeat(Frame, tag=6):
    """I am here; answered by HeartbeatOk."""


class OpenDirect(Frame, tag=7):
    """Open (or find) the direct conversation with the user of a handle; answered by Conversation."""

    request_id: Counter
    handle: str


class Describe(Frame, tag=8):
    """Who is in a conversation; answered by Conversation."""

    request_id: Counter
    conversation_id: AConversationId


class Sync(Frame, tag=9):
    """Which direct conversations' watermarks moved since a moment of the server's clock."""

    request_id: Counter
    since: UnixMs


class Watch(Frame, tag=10):
    """Tell this session of these users' presence from now on, instead of those before.

    Answered by Presences.
    """

    request_id: Counter
    user_ids: list[AUserId]


class Typing(Frame, tag=11):
    """The user is writing (or has stopped). Never stored, never answered."""

    conversation_id: AConversationId
    active: bool = True


class Set(Frame, tag=12):
    """Change a setting of the user, for all devices. Answered by Ok, once it is durable."""

    request_id: Counter
    kind: Annotated[int, Meta(ge=0, le=255)]
    key: str
    value: bytes = b""
    """empty removes it"""


class AnswerRequest(Frame, tag=13):
    """Let somebody unknown write, or not. Answered by Ok; what waited follows as Deliver."""

    request_id: Counter
    conversation_id: AConversationId
    accept: bool


class Report(Frame, tag=14):
    """Tell the operator about somebody. Answered by Ok. Blocks nobody by itself."""

    request_id: Counter
    user_id: AUserId
    reason: str
    messages: list[Reference] = []


class Lookup(Frame, tag=15):
    """Find somebody by handle or by phone number (E.164); answered by People with one person."""

    request_id: Counter
    handle: str = ""
    phone: str = ""


class Profiles(Frame, tag=16):
    """The profiles of users; answered by People, without those that do not exist."""

    request_id: Counter
    user_ids: list[AUserId]


class Info(Frame, tag=17):
    """When a message was delivered and read; answered by MessageInfo."""

    request_id: Counter
    conversation_id: AConversationId
    message_id: AMessageId


class Conversations(Frame, tag=18):
    """The user's conversations, a page at a time; answered by ConversationList."""

    request_id: Counter
    after: AConversationId | None = None
    limit: Annotated[int, Meta(ge=1)] = 100


class DeviceName(Frame):
    """Names a device of a user."""

    user_id: AUserId
    device_id: ADeviceId


class Devices(Frame, tag=19):
    """The signed device lists of users; answered by DeviceLists, without those who have none."""

    request_id: Counter
    user_ids: list[AUserId]


class Claim(Frame, tag=20):
    """What it takes to write to devices for the first time; answered by Bundles."""

    request_id: Counter
    devices: list[DeviceName]


class CreateGroup(Frame, tag=21):
    """Make a group or a channel; answered by Conversation.

    Repeated with the same `nonce` it is the same group.
    """

    request_id: Counter
    nonce: AClientId
    """16 random bytes"""
    kind: Annotated[int, Meta(ge=2, le=3)] = ConversationKind.GROUP
    scheme: Annotated[int, Meta(ge=0, le=2)] = Scheme.PLAIN
    """SENDER_KEY: the group is encrypted from the first message on"""
    info: bytes = b""
    """name and description, as clients agree on them (spec §6.17); sealed where the group is encrypted"""
    users: list[AUserId] = []
    """its first members, without who makes it"""
    rules: GroupRules = msgspec.field(default_factory=GroupRules)


class ChangeGroup(Frame, tag=22):
    """Change a group. Answered by Ok, once it is durable and every node heeds it.

    A change that is there already is answered by Ok, too, so that it may be repeated.
    """

    request_id: Counter
    conversation_id: AConversationId
    action: Annotated[int, Meta(ge=2, le=15)]
    """GroupAction; not CREATE, JOIN, ASK, PICTURE"""
    users: list[AUserId] = []
    """of ADD, REMOVE, ROLE, DENY"""
    role: Annotated[int, Meta(ge=0, le=2)] = GroupRole.MEMBER
    """of ROLE; OWNER hands the group over"""
    info: bytes = b""
    """of INFO"""
    rules: GroupRules | None = None
    """of RULES"""
    link: bytes = b""
    """of LINK and UNLINK: the SHA-256 of the invite code"""
    until: UnixMs = 0
    """of LINK: when it expires"""
    target: AMessageId = MessageId(0)
    """of PIN and UNPIN"""
    relates_to: Reference | None = None
    """of PIN and UNPIN"""


class Join(Frame, tag=23):
    """Join a group by an invite code; answered by Joined."""

    request_id: Counter
    invite: bytes
    """the code"""


class LookInside(Frame, tag=24):
    """What an invite code leads to; answered by GroupPreview."""

    request_id: Counter
    invite: bytes
    """the code"""


class Members(Frame, tag=25):
    """The members of a group, a page at a time, by id; answered by MemberPage."""

    request_id: Counter
    conversation_id: AConversationId
    after: AUserId = UserId(0)
    limit: Annotated[int, Meta(ge=1)] = 100


class Tally(Frame, tag=26):
    """How many members have one's own messages in a group; answered by Tallies."""

    request_id: Counter
    conversation_id: AConversationId
    message_ids: list[AMessageId]


ClientFrame = (
    Hello
    | Send
    | Ack
    | Read
    | History
    | Heartbeat
    | OpenDirect
    | Describe
    | Sync
    | Watch
    | Typing
    | Set
    | AnswerRequest
    | Report
    | Lookup
    | Profiles
    | Info
    | Conversations
    | Devices
    | Claim
    | CreateGroup
    | ChangeGroup
    | Join
    | LookInside
    | Members
    | Tally
)


# --- server to client ---------------------------------------------------------------------


class Message(Frame):
    """A message as stored, without what is meant for one device only."""

    message_id: MessageId
    conversation_id: ConversationId
    sender_id: UserId
    sender_device: DeviceId
    client_id: ClientId
    version: int
    scheme: int
    content_type: str
    content: bytes
    created_at: int
    """the server's wall clock, Unix milliseconds"""
    relates_to: Reference | None = None
    expires_at: int | None = None
    silent: bool = False
    relation: int = 0
    target: MessageId = MessageId(0)


class Welcome(Frame, tag=64):
    """The session stands; the inbox follows."""

    user_id: UserId
    device_id: DeviceId
    handle: str
    now_ms: int
    heartbeat_s: float
    heartbeat_answer_s: float
    window_entries: int
    content_bytes: int
    token: str | None = None
    """use this one from now on; the old one holds until this was used once"""
    one_time_keys: int | None = None
    """one-time prekeys that the server has left for the device; null: it has published no keys"""
    generation: int = 0
    """the greatest that the device told before; one that is not less than its own: its profile is a copy"""


class Sent(Frame, tag=65):
    """The message is durable and has its place in the order."""

    client_id: ClientId
    message_id: MessageId
    missing: list[DeviceId] = []
    """devices added since `keys_at` that got no envelope: send them the key (spec §6.16)"""
    created_at: int = 0


class Deliver(Frame, tag=66):
    """One entry of the inbox: a message, and the key that was wrapped for this device.

    `entry_id` 0: it stands in no inbox, but in a large group that was read for this device.
    """

    entry_id: EntryId
    message: Message
    envelope: bytes | None = None

    @property
    def stands(self) -> bool:
        """Whether it is certain where the message stands: it has an entry of its own (spec §6.3)."""
        return int(self.entry_id) not in (0, int(self.message.message_id))


class SealedDeliver(Frame, tag=66):
    """Deliver, as the server writes it: the message is already encoded."""

    entry_id: EntryId
    message: msgspec.Raw
    envelope: bytes | None = None


class Drained(Frame, tag=67):
    """The inbox was empty: from here on entries come as they happen."""

    now_ms: int
    complete_to: EntryId = EntryId(0)
    """everything up to here was sent on this connection or before its start; 0: up to the newest entry"""


class Receipt(Frame, tag=68):
    """A member's watermarks in a conversation. State, not an event: take the maximum."""

    conversation_id: ConversationId
    user_id: UserId
    delivered_up_to: MessageId
    read_up_to: MessageId
    at_ms: int


class Ok(Frame, tag=69):
    """The request is done and durable."""

    request_id: int


class Error(Frame, tag=70):
    """A request or a frame was refused. See the registry for what each code means."""

    code: int
    message: str
    request_id: int | None = None
    client_id: ClientId | None = None
    """the refused Send"""
    retry_after: float | None = None
    """seconds"""


class HistoryItem(Frame):
    """A message of a page, and how far it has come."""

    message: Message
    status: int
    """in a group: of one's own, what holds of all members"""
    delivered: int = 0
    """of one's own messages in a group: how many members have it"""
    read: int = 0
    of: int = 0
    """members that are entitled to it, without its sender"""


class Page(Frame, tag=71):
    """Messages in ascending order."""

    request_id: int
    items: list[HistoryItem]
    more: bool
    """there are further ones in the direction asked for"""
    relations: list[Message] = []
    """edits, deletes and reactions of the page's messages, in ascending order"""
    next: MessageId = MessageId(0)
    """where `more`: ask on before (or after) this one"""


class Member(Frame):
    """A user in a conversation."""

    user_id: UserId
    handle: str
    state: int = 0
    """MemberState; of others only told as far as it concerns the asker"""
    role: int = 0
    """GroupRole"""


class Pin(Frame):
    """A message that is pinned for everyone in a group."""

    message_id: MessageId
    reference: Reference


class GroupLink(Frame):
    """An invite link of a group."""

    hash: bytes
    """SHA-256 of its code"""
    until: int
    """Unix ms"""
    made_by: UserId


class Group(Frame):
    """What a group is, as one of its members may see it."""

    role: int
    """of the asker"""
    scheme: int
    info: bytes
    picture: EntryId
    """version of the picture at `GET /v1/groups/{conversation_id}/picture`; 0: none"""
    rules: GroupRules
    count: int
    """of members"""
    made_by: UserId
    made_at: int
    """Unix ms"""
    joined_version: int
    """of the asker"""
    removal_at: int
    """the version of the last removal"""
    pins: list[Pin] = []
    links: list[GroupLink] = []
    """told to those who may add"""
    waiting: list[UserId] = []
    """who asks to be let in, told to those who may add"""


CHANGE_TYPE = "application/vnd.tidings.change"
"""The content type of a GroupChange."""


class GroupChange(Frame):
    """What was changed in a group: the content of a message by the server, in MessagePack (spec §6.17)."""

    version: int
    """of the group, from this change on"""
    action: int
    users: list[UserId] = []
    role: int = 0
    info: bytes = b""
    rules: GroupRules | None = None
    target: MessageId = MessageId(0)
    relates_to: Reference | None = None
    picture: EntryId = EntryId(0)


class Conversation(Frame, tag=72):
    """A conversation and who is in it."""

    request_id: int
    conversation_id: ConversationId
    kind: int
    version: int
    members: list[Member]
    """of a group of more than `group_members_told` none: ask for Members"""
    group: Group | None = None


class Setting(Frame):
    """A setting of the user. Of two for one kind and key the one with the greater `at` counts."""

    kind: int
    key: str
    value: bytes
    at: EntryId


class Synced(Frame, tag=73):
    """The watermarks that moved. Ask again with `at_ms`; at once where `more`."""

    request_id: int
    at_ms: int
    receipts: list[Receipt]
    more: bool = False
    settings: list[Setting] = []
    """those that changed, the removed ones with an empty value"""


class HeartbeatOk(Frame, tag=74):
    """So am I."""

    now_ms: int
    complete_to: EntryId = EntryId(0)
    """as in Drained"""


class Presence(Frame, tag=75):
    """A watched user came or went. `last_seen_ms` is null where the user does not show it."""

    user_id: UserId
    online: bool
    last_seen_ms: int | None = None


class Presences(Frame, tag=76):
    """How the watched users are right now."""

    request_id: int
    items: list[Presence]


class Typed(Frame, tag=77):
    """A member of a conversation is writing, or has stopped. Forget it after 10 s."""

    conversation_id: ConversationId
    user_id: UserId
    active: bool


class Changed(Frame, tag=78):
    """Settings of the user were changed, by another device or by the server."""

    settings: list[Setting]


class Stale(Frame, tag=79):
    """This session may have missed receipts or settings: send Sync."""


class InboxExpired(Frame, tag=80):
    """The device was away longer than an inbox is kept: fill up from history.

    Nothing before `since` is missing but what the device never had; what follows is complete.
    """

    since: EntryId
    """the device's cursor: what it had"""
    until: EntryId
    """from here on the inbox is complete"""


class Person(Frame):
    """A user, as the asker may see them."""

    user_id: UserId
    handle: str
    name: str = ""
    about: str = ""
    picture: EntryId = EntryId(0)
    """version of the picture at `GET /v1/users/{user_id}/picture`; 0: none, or not shown"""


class People(Frame, tag=81):
    """Users that were asked for."""

    request_id: int
    people: list[Person]


class MemberInfo(Frame):
    """When a message reached a member. 0: not yet, or not told; times before `kept` are not exact."""

    user_id: UserId
    delivered_at_ms: int
    read_at_ms: int


class MessageInfo(Frame, tag=82):
    """When a message was delivered and read, for each other member."""

    request_id: int
    members: list[MemberInfo]


class ConversationSummary(Frame):
    """A conversation in a list."""

    conversation_id: ConversationId
    kind: int
    version: int
    members: list[Member]
    newest: MessageId
    """of the messages in it; 0 for none"""
    read_up_to: MessageId
    """of the asker"""
    unread: int
    """messages of others after that, counted up to 100"""
    group: Group | None = None
    """of a group, whose `members` are not told here"""


class ConversationList(Frame, tag=83):
    """A page of the user's conversations, in the order of their ids."""

    request_id: int
    items: list[ConversationSummary]
    more: bool = False


class SignedDevices(Frame):
    """A user's newest device list, as the user signed it (spec §6.16)."""

    user_id: UserId
    body: bytes
    """a DeviceListBody in MessagePack: these bytes are what is signed"""
    signature: bytes
    """by the list's `identity`"""
    previous_signature: bytes = b""
    """by its `previous`, where that is not empty"""
    gone: list[DeviceId] = []
    """devices in it that are logged out since; a sender may leave them out"""


class DeviceLists(Frame, tag=84):
    """Signed device lists; who has none, or does not exist, is missing."""

    request_id: int
    keys_at: EntryId
    """as of when they were read: for `Send.keys_at`"""
    lists: list[SignedDevices]


class Bundle(Frame):
    """What it takes to write to a device for the first time: public keys, signed by the device."""

    user_id: UserId
    device_id: DeviceId
    signing: bytes
    """as in the signed list"""
    agreement: bytes
    agreement_signature: bytes
    prekey_id: int
    prekey: bytes
    prekey_signature: bytes
    kem_id: int
    """of a one-time pair where `one_time_id` says so, else of the last resort"""
    kem: bytes
    kem_signature: bytes
    one_time_id: int | None = None
    """of a pair that was given to nobody else; null where none is left"""
    one_time: bytes | None = None


class Bundles(Frame, tag=85):
    """Bundles; devices that have no keys, stand in no signed list or are logged out are missing."""

    request_id: int
    bundles: list[Bundle]


class DevicesChanged(Frame, tag=86):
    """A Send was not accepted: a device was removed since its `keys_at`.

    Seal again under the same client_id and another attempt, with this `keys_at`.
    """

    client_id: ClientId
    keys_at: EntryId
    lists: list[SignedDevices]
    """of all members that have one"""


class MessageTally(Frame):
    """How many members have a message. Counts of `delivered` and `read` only grow: take the greater."""

    message_id: MessageId
    delivered: int
    read: int
    of: int
    """members that are entitled to it, without its sender and those who left without it"""


class Tallies(Frame, tag=87):
    """How far one's own messages in a group have come; also sent unasked, some seconds after it moved."""

    conversation_id: ConversationId
    items: list[MessageTally]
    request_id: int | None = None


class Joined(Frame, tag=88):
    """An invite code was good."""

    request_id: int
    conversation_id: ConversationId
    waiting: bool = False
    """somebody has to let one in first"""


class GroupPreview(Frame, tag=89):
    """What an invite code leads to."""

    request_id: int
    conversation_id: ConversationId
    kind: int
    scheme: int
    info: bytes
    count: int
    approval: bool
    made_by: UserId


class MemberPage(Frame, tag=90):
    """Members of a group, by id."""

    request_id: int
    members: list[Member]
    more: bool = False


ServerFrame = (
    Welcome
    | Sent
    | Deliver
    | Drained
    | Receipt
    | Ok
    | Error
    | Page
    | Conversation
    | Synced
    | HeartbeatOk
    | Presence
    | Presences
    | Typed
    | Changed
    | Stale
    | InboxExpired
    | People
    | MessageInfo
    | ConversationList
    | DeviceLists
    | Bundles
    | DevicesChanged
    | Tallies
    | Joined
    | GroupPreview
    | MemberPage
)
