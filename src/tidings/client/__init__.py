"""The SDK: a Tidings device for Python programs. Start at `Client`."""

from tidings.client.account import OwnAccount
from tidings.client.chats import Chats
from tidings.client.client import Client
from tidings.client.devices import OwnDevices
from tidings.client.errors import (
    ClientClosed,
    ClientError,
    ProfileDamaged,
    ProfileError,
    ProfileExists,
    ProfileInUse,
    ProfileMissing,
    ProfileTooNew,
    Refused,
    SessionEnded,
    StorageFailed,
    StorageFull,
    Unreachable,
)
from tidings.client.events import (
    CaughtUpEvent,
    ConnectionEvent,
    DeleteEvent,
    EditEvent,
    Event,
    ExpiredEvent,
    GapEvent,
    MessageEvent,
    PastEvent,
    PresenceEvent,
    ReactionEvent,
    ReadEvent,
    ReceiptEvent,
    RequestEvent,
    SentEvent,
    SettingEvent,
    TypingEvent,
)
from tidings.client.messages import Messages, SomeMessage
from tidings.client.people import People
from tidings.client.presence import OwnPresence
from tidings.client.profile import Account
from tidings.client.state import State
from tidings.client.surroundings import Surroundings
from tidings.client.values import (
    Chat,
    Contact,
    Message,
    MessageTimes,
    Person,
    Presence,
    Reaction,
    Request,
    SentMessage,
)
from tidings.protocol.frames import Reference, SettingKind, Status

__all__ = [
    "Account",
    "CaughtUpEvent",
    "Chat",
    "Chats",
    "Client",
    "ClientClosed",
    "ClientError",
    "ConnectionEvent",
    "Contact",
    "DeleteEvent",
    "EditEvent",
    "Event",
    "ExpiredEvent",
    "GapEvent",
    "Message",
    "MessageEvent",
    "MessageTimes",
    "Messages",
    "OwnAccount",
    "OwnDevices",
    "OwnPresence",
    "PastEvent",
    "People",
    "Person",
    "Presence",
    "PresenceEvent",
    "ProfileDamaged",
    "ProfileError",
    "ProfileExists",
    "ProfileInUse",
    "ProfileMissing",
    "ProfileTooNew",
    "Reaction",
    "ReactionEvent",
    "ReadEvent",
    "ReceiptEvent",
    "Reference",
    "Refused",
    "Request",
    "RequestEvent",
    "SentEvent",
    "SentMessage",
    "SessionEnded",
    "SettingEvent",
    "SettingKind",
    "SomeMessage",
    "State",
    "Status",
    "StorageFailed",
    "StorageFull",
    "Surroundings",
    "TypingEvent",
    "Unreachable",
]
