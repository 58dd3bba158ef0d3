"""The SDK: a Tidings device for Python programs. Start at `Client`."""

from tidings.client.client import Client
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
    Event,
    HistoryMessage,
    KnownConversation,
    MessageEvent,
    ReceiptEvent,
    SentMessage,
)
from tidings.client.profile import Account
from tidings.client.surroundings import Surroundings
from tidings.protocol.frames import Status

__all__ = [
    "Account",
    "CaughtUpEvent",
    "Client",
    "ClientClosed",
    "ClientError",
    "ConnectionEvent",
    "Event",
    "HistoryMessage",
    "KnownConversation",
    "MessageEvent",
    "ProfileDamaged",
    "ProfileError",
    "ProfileExists",
    "ProfileInUse",
    "ProfileMissing",
    "ProfileTooNew",
    "ReceiptEvent",
    "Refused",
    "SentMessage",
    "SessionEnded",
    "Status",
    "StorageFailed",
    "StorageFull",
    "Surroundings",
    "Unreachable",
]
