"""What `Client.events()` yields.

Everything that changes what a program shows is told, the actions of this very device too: a program
that loads a `State` and applies each event to it has what a fresh load would give.
"""

from dataclasses import dataclass, field
from typing import Literal

from tidings.client import contents
from tidings.client.group_values import Group, Tally
from tidings.client.sealing.warnings import Kind as WarningKind
from tidings.client.values import FailedMessage, Message, Presence, Request
from tidings.protocol.frames import Reference, SettingKind
from tidings.protocol.ids import ConversationId, MessageId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEvent(Message):
    """A message came; it is stored in the profile. `own`: from another device of this user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentEvent(Message):
    """A message that this device wrote is on the server's disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEvent(Message):
    """A message from before this device was made: its profile is being filled from the history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedEvent(Message):
    """A message that could not be read before: its key has come."""


@dataclass(frozen=True, slots=True)
class _About:
    conversation_id: ConversationId
    peer: str
    reference: Reference
    """the message that this is about"""


@dataclass(frozen=True, slots=True)
class EditEvent(_About):
    """The author has changed a message."""

    own: bool
    edit: MessageId
    content: bytes = field(repr=False)
    content_type: str

    @property
    def text(self) -> str:
        """The new content as text; what is not UTF-8 is replaced."""
        return contents.text_of(self.content_type, self.content)


@dataclass(frozen=True, slots=True)
class DeleteEvent(_About):
    """The author has deleted a message for everyone; its content is gone from this profile too."""

    own: bool
    delete: MessageId


@dataclass(frozen=True, slots=True)
class ReactionEvent(_About):
    """Somebody reacted to a message; an empty `reaction` takes an earlier one back."""

    sender: str
    own: bool
    reaction: str
    message_id: MessageId
    """of the reaction"""


@dataclass(frozen=True, slots=True)
class VoteEvent(_About):
    """Somebody has chosen in a poll; nothing takes an earlier vote back."""

    sender: str
    own: bool
    options: tuple[int, ...]
    message_id: MessageId
    """of the vote"""


@dataclass(frozen=True, slots=True)
class ExpiredEvent(_About):
    """A message's time is over; its content is gone from this profile."""


@dataclass(frozen=True, slots=True)
class ReceiptEvent:
    """Own messages, up to one of them, have reached the peer or were read."""

    conversation_id: ConversationId
    peer: str
    state: Literal["delivered", "read"]
    up_to: MessageId
    message_ids: list[MessageId]
    """those that were not known to be in this state before"""


@dataclass(frozen=True, slots=True)
class TallyEvent:
    """More members of a group have an own message, or have read it."""

    conversation_id: ConversationId
    peer: str
    message_id: MessageId
    tally: Tally


@dataclass(frozen=True, slots=True)
class GroupEvent:
    """A group is new, was changed, or was left: it is so now."""

    group: Group


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """This user has read a conversation up to a message, here or on another device."""

    conversation_id: ConversationId
    peer: str
    up_to: MessageId


@dataclass(frozen=True, slots=True)
class SettingEvent:
    """Something that this user's devices share has changed: a contact, a star, a draft, … (spec §6.11)

    An empty `value` removes it. Requests come as `RequestEvent`.
    """

    kind: SettingKind
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class RequestEvent(Request):
    """Somebody unknown wants to talk; with `count` 0 the request was answered or is gone."""


@dataclass(frozen=True, slots=True)
class TypingEvent:
    """Somebody is writing, or has stopped. Never stored; forget it after 10 s."""

    conversation_id: ConversationId
    peer: str
    active: bool
    sender: str
    """who: in a direct conversation the peer"""


@dataclass(frozen=True, slots=True)
class PresenceEvent(Presence):
    """Somebody who is watched came or went. Never stored."""


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """The connection stands, or is gone and will be tried again in `retry_in_s`."""

    state: Literal["connected", "disconnected"]
    reason: str = ""
    retry_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CaughtUpEvent:
    """Everything that waited on the server has arrived; from here on it is live."""


@dataclass(frozen=True, slots=True)
class GapEvent:
    """This device was away for longer than the server keeps its inbox.

    What it missed since `since` (Unix ms) follows as MessageEvents, out of the history.
    """

    since: int


@dataclass(frozen=True, slots=True)
class FailedEvent(FailedMessage):
    """An own message was refused, and the program that wrote it does not wait for it any more.

    It stays in `Messages.failed` until `Messages.dismiss`.
    """


@dataclass(frozen=True, slots=True)
class WarningEvent:
    """Something is wrong with keys or devices, or the server does not do its part."""

    kind: WarningKind
    peer: str
    user_id: UserId
    conversation_id: ConversationId
    """empty where it is about none"""
    detail: str


Event = (
    MessageEvent
    | SentEvent
    | PastEvent
    | OpenedEvent
    | WarningEvent
    | FailedEvent
    | EditEvent
    | DeleteEvent
    | ReactionEvent
    | VoteEvent
    | ExpiredEvent
    | ReceiptEvent
    | TallyEvent
    | GroupEvent
    | ReadEvent
    | SettingEvent
    | RequestEvent
    | TypingEvent
    | PresenceEvent
    | ConnectionEvent
    | CaughtUpEvent
    | GapEvent
)
