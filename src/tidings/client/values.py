"""What the SDK hands out: messages, chats and people, as plain values.

A `Message` is whole: what was said about it later (edits, reactions, a delete) is folded in. All of
them are snapshots; `Client.events()` says what has changed since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from tidings.client import contents
from tidings.client.contents import Mention, Poll
from tidings.client.errors import ClientError
from tidings.client.group_values import Change, Group, Tally, is_group
from tidings.protocol.frames import Reference, Relation, Status
from tidings.protocol.ids import ClientId, ConversationId, MessageId, UserId

TEXT = "text/plain"
"""The content type of what `Client.send` sends."""


def encoded(text: str | bytes) -> bytes:
    """What somebody wrote as bytes. Raises ClientError for what is no text."""
    try:
        return text.encode() if isinstance(text, str) else bytes(memoryview(text))
    except UnicodeEncodeError:
        raise ClientError(
            "this text has a character that is none", "it was not read as UTF-8; pass its bytes instead"
        ) from None


def bounded(name: str, value: float, least: float, most: float) -> None:
    """Raise ClientError unless a number is within what is sensible."""
    if not least <= value <= most:
        raise ClientError(f"{name} is from {least:,} to {most:,}, not {value:,}")


LONG_S = 10**9
"""seconds, some thirty years: more than anybody means, and than any server takes"""
TIMER_S_MAX = 34_560_000
"""longest timer of a chat: what a server takes unless it is set up otherwise (spec §10, `expires_s`)"""
MANY = 10**6
"""of messages at once; more than anybody means"""

NOWHERE = MessageId(0)
"""the place of no message"""
NOBODY = UserId(0)


class Reaction(NamedTuple):
    """What a user last said about a message; an empty `text` took it back."""

    text: str
    message_id: MessageId
    """of the reaction: of two of a user the greater one counts"""


class Vote(NamedTuple):
    """What a user last chose in a poll; nothing took it back."""

    options: tuple[int, ...]
    """by their numbers, from 0"""
    message_id: MessageId
    """of the vote: of two of a user the greater one counts"""


class Fault(IntEnum):
    """Why the content of a message cannot be shown."""

    NONE = 0
    NO_KEY = 1
    """its key did not come, or could not be opened; it is asked for, and may come later"""
    PLAINTEXT = 2
    """it was not sealed, in a conversation that is"""
    FORGED = 3
    """it is not what its sender sealed"""
    UNKNOWN_DEVICE = 4
    """its sender's device is in no list that the sender signed"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it stands now. Any method that wants a message takes one, or a `SentMessage`."""

    reference: Reference
    """the message's name for ever; `message_id` only sorts"""
    message_id: MessageId
    conversation_id: ConversationId
    peer: str
    """the other one of the conversation, whoever wrote this message; of a group `#` and its id"""
    peer_id: UserId
    """0 in a group"""
    sender: str
    sender_id: UserId
    own: bool
    """written by this user, on any device"""
    content: bytes = field(repr=False)
    content_type: str
    created_at: int
    """the server's wall clock, Unix milliseconds"""
    status: Status = Status.DELIVERED
    """an own message: how far it has come; another's: READ once this user has read it"""
    reply_to: Reference | None = None
    forwarded: bool = False
    silent: bool = False
    expires_at: int | None = None
    """Unix milliseconds; then it vanishes"""
    edit: MessageId = NOWHERE
    """the edit that `content` is of; 0: it was never edited"""
    delete: MessageId = NOWHERE
    """what deleted it for everyone; 0: nothing did"""
    reacted: Mapping[str, Reaction] = field(default_factory=dict)
    """by handle; `reactions` leaves out what was taken back"""
    sealed: bool = False
    """end-to-end encrypted: nobody but the devices of those who are in the conversation could read it"""
    fault: Fault = Fault.NONE
    """why there is no content to show, where it could not be opened"""
    change: Change | None = None
    """this is no message, but says what was changed in the group"""
    tally: Tally | None = None
    """of an own message in a group, once it is known"""
    voted: Mapping[str, Vote] = field(default_factory=dict)
    """of a poll, by handle; `votes` leaves out what was taken back"""
    me_id: UserId = NOBODY
    """who reads"""

    @property
    def text(self) -> str:
        """The content as text; what is not UTF-8 is replaced. Of a poll the question."""
        if self.change is not None:
            return self.change.text
        return contents.text_of(self.content_type, self.content)

    @property
    def in_group(self) -> bool:
        """Whether it stands in a group."""
        return is_group(self.peer)

    @property
    def mentions(self) -> Sequence[Mention]:
        """Whom the text mentions, and where."""
        return contents.mentions_in(self.content_type, self.content)

    @property
    def mentions_me(self) -> bool:
        """Whether somebody else mentions the user who reads."""
        return not self.own and any(one.user_id == self.me_id for one in self.mentions)

    @property
    def poll(self) -> Poll | None:
        """The poll that this is, if it is one."""
        return contents.poll_of(self.content_type, self.content)

    @property
    def votes(self) -> dict[int, list[str]]:
        """For each option of a poll who chose it; of several where one is allowed, the first."""
        poll = self.poll
        if poll is None:
            return {}
        found: dict[int, list[str]] = {number: [] for number in range(len(poll.options))}
        for who, vote in sorted(self.voted.items()):
            chosen = [option for option in vote.options if option in found]
            for option in chosen if poll.multiple else chosen[:1]:
                found[option].append(who)
        return found

    @property
    def edited(self) -> bool:
        """Whether the author has changed it."""
        return self.edit != 0

    @property
    def deleted(self) -> bool:
        """Whether the author has deleted it for everyone; the content is gone then."""
        return self.delete != 0

    @property
    def expired(self) -> bool:
        """Whether its time was over; the content is gone then."""
        return not self.content_type and not self.deleted

    @property
    def reactions(self) -> dict[str, str]:
        """What is said about it: handle to reaction."""
        return {who: reaction.text for who, reaction in self.reacted.items() if reaction.text}


@dataclass(frozen=True, slots=True)
class FailedMessage:
    """An own message that the server refused, and that nobody waited for."""

    client_id: ClientId
    peer: str
    """to whom it was to go: a handle, or a group"""
    content_type: str
    content: bytes
    relation: Relation
    about: Reference | None
    """what it was to answer, edit, delete, …"""
    code: int
    """why it was refused, with `name`: of the error registry (spec §8)"""
    name: str
    reason: str
    at_ms: int
    """when it was refused, by this machine's clock"""

    @property
    def text(self) -> str:
        """As of a `Message`."""
        return contents.text_of(self.content_type, self.content)


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that the server has on its disk."""

    reference: Reference
    message_id: MessageId
    conversation_id: ConversationId
    created_at: int
    """the server's wall clock, Unix milliseconds"""

    @property
    def client_id(self) -> ClientId:
        """What this device called it."""
        return self.reference.client_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A conversation as a list of chats shows it."""

    peer: str
    """a handle; of a group `#` and its id"""
    peer_id: UserId
    """0 of a group"""
    conversation_id: ConversationId
    group: Group | None = None
    """what the group is, if it is one"""
    unread: int = 0
    """messages of the other one that were not read yet, on any device"""
    read_up_to: MessageId = NOWHERE
    newest: Message | None = None
    """the newest message that is to be shown"""
    pinned: bool = False
    archived: bool = False
    muted_until: int = 0
    """Unix milliseconds; 0: not muted"""
    draft: str = ""
    """what was begun to be written, on any device"""
    timer_s: int = 0
    """after how many seconds what is sent here vanishes; 0: it stays"""
    blocked: bool = False

    @property
    def title(self) -> str:
        """What the conversation is called: a handle, or the name of the group."""
        return self.peer if self.group is None else self.group.name or self.peer[:9]


@dataclass(frozen=True, slots=True)
class Person:
    """A user, as far as they show themselves to this one."""

    user_id: UserId
    handle: str
    name: str = ""
    about: str = ""
    has_picture: bool = False


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody on this user's list."""

    user_id: UserId
    handle: str
    """empty if the user is gone"""
    nickname: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody unknown wants to talk; what they wrote is kept back until they are let in."""

    peer: str
    user_id: UserId
    conversation_id: ConversationId
    count: int
    """messages that wait"""
    first_at: int
    """when the first one was written, Unix milliseconds"""


@dataclass(frozen=True, slots=True)
class MessageTimes:
    """When an own message reached the other one. None: not yet, or they do not tell."""

    delivered_at: int | None
    read_at: int | None


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether somebody is there. `last_seen` (Unix ms) is None where they do not show it."""

    user_id: UserId
    handle: str
    online: bool
    last_seen: int | None = None
