"""What `Client.events()` yields, and the other values that the SDK hands out."""

from dataclasses import dataclass, field
from typing import Literal

from tidings.protocol.frames import Message, Reference, Status
from tidings.protocol.ids import ClientId, ConversationId, MessageId, UserId

TEXT = "text/plain"
"""The content type of what `Client.send` sends."""


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that the server has on its disk."""

    message_id: MessageId
    conversation_id: ConversationId
    client_id: ClientId
    created_at: int
    """the server's wall clock, Unix milliseconds"""


@dataclass(frozen=True, slots=True)
class MessageEvent:
    """A message came; it is stored in the profile. `own`: from another device of this user."""

    sender: str
    sender_id: UserId
    peer: str
    """the other one of the conversation, whoever wrote this message"""
    content: bytes = field(repr=False)
    content_type: str
    message_id: MessageId
    conversation_id: ConversationId
    created_at: int
    own: bool
    reference: Reference
    """the message's name for ever; `message_id` only sorts"""

    @property
    def text(self) -> str:
        """The content as text; what is not UTF-8 is replaced."""
        return self.content.decode(errors="replace")


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
class ConnectionEvent:
    """The connection stands, or is gone and will be tried again in `retry_in_s`."""

    state: Literal["connected", "disconnected"]
    reason: str = ""
    retry_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CaughtUpEvent:
    """Everything that waited on the server has arrived; from here on it is live."""


Event = MessageEvent | ReceiptEvent | ConnectionEvent | CaughtUpEvent


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """A message of a page of history, and how far it has come."""

    sender: str
    sender_id: UserId
    content: bytes = field(repr=False)
    content_type: str
    message_id: MessageId
    conversation_id: ConversationId
    created_at: int
    own: bool
    status: Status

    @property
    def text(self) -> str:
        """The content as text; what is not UTF-8 is replaced."""
        return self.content.decode(errors="replace")

    @classmethod
    def of(cls, message: Message, status: int, *, sender: str, own: bool) -> "HistoryMessage":
        """A message of the wire, with its sender's handle."""
        return cls(
            sender,
            message.sender_id,
            message.content,
            message.content_type,
            message.message_id,
            message.conversation_id,
            message.created_at,
            own,
            Status(status),
        )


@dataclass(frozen=True, slots=True)
class KnownConversation:
    """A conversation that this profile knows of."""

    peer: str
    conversation_id: ConversationId
    unread: int
    """messages received and not read yet, on any device"""
    newest: MessageId
    """of the messages received here; 0 for none"""
