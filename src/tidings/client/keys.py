"""The keys and values of settings: how they are written and read.

What cannot be read (a value of a newer client, say) is treated as absent, never as an error.

spec §6.11
"""

import msgspec

from tidings.client.events import RequestEvent
from tidings.client.values import Request
from tidings.protocol.frames import Reference, Setting, SettingKind
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId, UserId

ON = b"1"
NO_NICKNAME = b"-"
FOR_EVER_MS = 253_402_300_799_000
"""the end of the year 9999: a mute without an end"""
TIMER = "timer:"
"""OPAQUE: how long what is sent in a conversation stays, seconds in decimal"""
PRIVACY_DEFAULTS = {
    "last_seen": "everyone",
    "picture": "everyone",
    "receipts": "everyone",
    "phone": "contacts",
    "groups": "everyone",
}
"""what holds unless a setting of kind PRIVACY says otherwise. spec §6.12"""

Name = tuple[SettingKind, str]


class _Knock(msgspec.Struct, array_like=True):
    user_id: int
    handle: str
    count: int
    first_at_ms: int


def of_conversation(conversation_id: ConversationId) -> str:
    """The key of what is set for a conversation."""
    return conversation_id.hex()


def of_message(conversation_id: ConversationId, reference: Reference) -> str:
    """The key of what is set for a message."""
    return f"{conversation_id.hex()}:{reference.sender_device}:{reference.client_id.hex()}"


def message_named(key: str) -> Reference | None:
    """The message that such a key names."""
    try:
        _, device, name = key.split(":")
        return Reference(DeviceId(int(device)), ClientId(bytes.fromhex(name)))
    except ValueError:
        return None


def of_timer(conversation_id: ConversationId) -> str:
    """The key of a conversation's timer."""
    return TIMER + conversation_id.hex()


def timed(setting: Setting) -> ConversationId | None:
    """The conversation whose timer a setting is."""
    if setting.kind != SettingKind.OPAQUE or not setting.key.startswith(TIMER):
        return None
    try:
        return ConversationId(bytes.fromhex(setting.key.removeprefix(TIMER)))
    except ValueError:
        return None


def number(value: bytes) -> int:
    """A number that a setting holds; 0 if it is none."""
    return int(value) if value.isdigit() and len(value) < 20 else 0


def place(value: bytes) -> MessageId:
    """The message_id that the value of a star holds."""
    return MessageId(number(value))


def request(key: str, value: bytes) -> Request | None:
    """Who knocks, by the value of a REQUEST."""
    try:
        knock = msgspec.msgpack.decode(value, type=_Knock)
        conversation_id = ConversationId(bytes.fromhex(key))
    except (msgspec.DecodeError, ValueError):
        return None
    return Request(knock.handle, UserId(knock.user_id), conversation_id, knock.count, knock.first_at_ms)


def request_event(key: str, value: bytes, told: bytes) -> RequestEvent | None:
    """What has become of a request, given what was told of it before."""
    now = request(key, value or told)
    if now is None:
        return None
    count = now.count if value else 0
    return RequestEvent(now.peer, now.user_id, now.conversation_id, count, now.first_at)
