"""What a device knows of groups: which there are, and their changes, as it was told of them."""

from typing import NamedTuple

import msgspec

from tidings.protocol.frames import CHANGE_TYPE, GroupAction, GroupChange, Message
from tidings.protocol.ids import ConversationId, EntryId, UserId
from tidings.testing.simulation.profile import Profile

COMES = (GroupAction.ADD, GroupAction.JOIN)
_decode = msgspec.msgpack.Decoder(GroupChange).decode


class View(NamedTuple):
    """A group, as far as a device knows it."""

    version: int
    is_in: bool


UNKNOWN = View(0, False)


class Gap(NamedTuple):
    """Between these two entries the inbox may lack something that is in the history."""

    since: EntryId
    until: EntryId


class GroupProfile(Profile):
    """See the module's text."""

    __slots__ = ("changes", "gap", "groups")

    def __init__(self, have: EntryId) -> None:
        super().__init__(have)
        self.groups: dict[ConversationId, View] = {}
        self.changes: dict[tuple[ConversationId, int], GroupChange] = {}
        self.gap: Gap | None = None

    def copy(self) -> "GroupProfile":
        """A snapshot."""
        copy = super().copy()
        assert isinstance(copy, GroupProfile)
        copy.groups, copy.changes = dict(self.groups), dict(self.changes)
        copy.gap = self.gap
        return copy

    def learn(self, conversation: ConversationId, version: int, *, is_in: bool) -> None:
        """What a group is, unless it is older than what is known."""
        if version >= self.groups.get(conversation, UNKNOWN).version:
            self.groups[conversation] = View(version, is_in)

    def heed_change(self, message: Message, user: UserId) -> GroupChange:
        """A change of a group came."""
        change = change_of(message)
        conversation = message.conversation_id
        self.changes[conversation, change.version] = change
        is_in = self.groups.get(conversation, UNKNOWN).is_in
        if user in change.users and change.action in (GroupAction.REMOVE, GroupAction.LEAVE):
            is_in = False
        elif change.action == GroupAction.CREATE or (user in change.users and change.action in COMES):
            is_in = True
        self.learn(conversation, change.version, is_in=is_in)
        return change


def is_change(message: Message) -> bool:
    """Whether the server tells of a group's change by it."""
    return message.content_type == CHANGE_TYPE and not message.sender_device


def change_of(message: Message) -> GroupChange:
    """The change of which the server tells."""
    return _decode(message.content)
