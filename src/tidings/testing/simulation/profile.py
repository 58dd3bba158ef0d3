"""What a simulated device has on its disk, and what it makes of what it is told.

It is the SDK's profile (`tidings.client.vault`) in plain dictionaries: everything stands in it before it is
acknowledged or sent, so that a device may be cut off, restarted or restored from a copy at any moment.
"""

from typing import NamedTuple

from tidings.protocol.frames import Message, Receipt, Setting
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId


class Ref(NamedTuple):
    """Names a message for ever."""

    device: DeviceId
    name: ClientId


class Stored(NamedTuple):
    """A message."""

    ref: Ref
    message_id: MessageId
    conversation: ConversationId
    sender: UserId
    relation: int
    about: Ref | None
    content: bytes
    expires_at: int | None


class Draft(NamedTuple):
    """A message that the server has not answered for yet."""

    name: ClientId
    attempt: int
    writer: int
    """the run of the program that wrote it"""
    conversation: ConversationId
    relation: int
    about: Ref | None
    content: bytes
    expires_in_ms: int | None
    expires_ms: int | None = None
    """counted from when it was sent first"""


class Mark(NamedTuple):
    """A member's watermarks in a conversation."""

    delivered: MessageId
    read: MessageId


NO_MARK = Mark(MessageId(0), MessageId(0))

SettingName = tuple[int, str]


class Profile:
    """See the module's text."""

    __slots__ = (
        "have",
        "marks",
        "messages",
        "newest",
        "newest_entry",
        "outbox",
        "reads",
        "sets",
        "settings",
        "synced_ms",
    )

    def __init__(self, have: EntryId) -> None:
        self.messages: dict[Ref, Stored] = {}
        self.newest: dict[ConversationId, MessageId] = {}
        self.outbox: dict[ClientId, Draft] = {}
        self.marks: dict[tuple[ConversationId, UserId], Mark] = {}
        self.settings: dict[SettingName, tuple[EntryId, bytes]] = {}
        self.reads: dict[ConversationId, MessageId] = {}
        """what was read and not answered for yet"""
        self.sets: dict[SettingName, bytes] = {}
        """settings that were changed and not answered for yet"""
        self.have = have
        """the inbox is here as a whole, up to this entry"""
        self.newest_entry = have
        """the greatest that was ever received"""
        self.synced_ms = 0

    def copy(self) -> "Profile":
        """A snapshot."""
        copy = type(self)(self.have)
        for name in ("messages", "newest", "outbox", "marks", "settings", "reads", "sets"):
            setattr(copy, name, dict(getattr(self, name)))
        copy.newest_entry = self.newest_entry
        copy.synced_ms = self.synced_ms
        return copy

    def add(self, stored: Stored, *, stands: bool = False) -> bool:
        """Store a message; whether it was not here. Of twins the greater place counts, unless it `stands`."""
        known = self.messages.get(stored.ref)
        if known is None or stands or stored.message_id > known.message_id:
            self.messages[stored.ref] = stored
        if stored.message_id > self.newest.get(stored.conversation, 0):
            self.newest[stored.conversation] = stored.message_id
        return known is None

    def merge(self, receipt: Receipt) -> bool:
        """Take the maximum of each watermark; whether one moved."""
        key = receipt.conversation_id, receipt.user_id
        old = self.marks.get(key, NO_MARK)
        read = max(old.read, receipt.read_up_to)
        new = Mark(max(old.delivered, receipt.delivered_up_to, read), read)
        self.marks[key] = new
        return new != old

    def heed(self, setting: Setting) -> None:
        """Take a setting, unless a newer one is here."""
        name = setting.kind, setting.key
        if setting.at >= self.settings.get(name, (EntryId(0), b""))[0]:
            self.settings[name] = setting.at, setting.value


def ref_of(message: Message) -> Ref:
    """A message's name."""
    return Ref(message.sender_device, message.client_id)


def stored(message: Message) -> Stored:
    """A message of the wire, as it is kept."""
    about = message.relates_to
    return Stored(
        ref_of(message),
        message.message_id,
        message.conversation_id,
        message.sender_id,
        message.relation,
        None if about is None else Ref(about.sender_device, about.client_id),
        message.content,
        message.expires_at,
    )
