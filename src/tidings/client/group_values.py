"""What the SDK hands out about groups, as plain values; see `values.py`.

A group is called by `#` and its id wherever a peer is wanted.
"""

from dataclasses import dataclass
from typing import NamedTuple

from tidings.protocol.frames import GroupAction, GroupRole, Reference, Status
from tidings.protocol.ids import ConversationId, MessageId, UserId

MARK = "#"
"""what the peer of a group begins with; no handle does"""


def group_peer(conversation_id: ConversationId) -> str:
    """What the conversation of a group is called here: any method that wants a peer takes it."""
    return MARK + conversation_id.hex()


def is_group(peer: str) -> bool:
    """Whether a peer is a group, and no user."""
    return peer.startswith(MARK)


class Tally(NamedTuple):
    """How many members of a group have an own message, and how many have read it."""

    delivered: int
    read: int
    of: int
    """members that it is for, without who wrote it"""

    @property
    def status(self) -> Status:
        """What holds of all of them."""
        if self.of and self.read >= self.of:
            return Status.READ
        return Status.DELIVERED if self.of and self.delivered >= self.of else Status.SENT


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may do what in a group: the least role that may."""

    write: GroupRole = GroupRole.MEMBER
    add: GroupRole = GroupRole.ADMIN
    """also: make invite links, and let in who asks"""
    edit: GroupRole = GroupRole.ADMIN
    """the name, the description and the picture, and pins"""
    approval: bool = False
    """who comes by an invite link is let in first"""


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody changed in a group, as the server tells its members."""

    action: GroupAction
    actor: str
    people: tuple[str, ...] = ()
    """whom it is about: who was added or removed, who joined, …"""
    role: GroupRole = GroupRole.MEMBER
    name: str = ""
    about: str = ""
    rules: Rules | None = None
    pin: Reference | None = None
    has_picture: bool = False

    @property
    def text(self) -> str:
        """The change as a sentence."""
        people = " and ".join(filter(None, (", ".join(self.people[:-1]), *self.people[-1:])))
        if self.people and self.action in (GroupAction.JOIN, GroupAction.ASK):
            return f"{people} {DONE[self.action]}"  # several may have come at once
        return f"{self.actor} {self._done(people)}"

    def _done(self, people: str) -> str:
        match self.action:
            case GroupAction.ROLE:
                return _given(self.role, people)
            case GroupAction.INFO | GroupAction.CREATE:
                did = "made the group" if self.action == GroupAction.CREATE else "calls the group"
                return f"{did} “{self.name}”" + (f": {self.about}" if self.about else "")
            case GroupAction.PICTURE:
                return f"{'changed' if self.has_picture else 'removed'} the picture"
            case GroupAction.RULES:
                return f"changed the rules{_ruled(self.rules)}"
            case _:
                return DONE[self.action].format(people).rstrip()


DONE = {
    GroupAction.ADD: "added {}",
    GroupAction.REMOVE: "removed {}",
    GroupAction.LEAVE: "left",
    GroupAction.JOIN: "joined by an invite link",
    GroupAction.ASK: "wants to join",
    GroupAction.DENY: "turned {} away",
    GroupAction.LINK: "made an invite link",
    GroupAction.UNLINK: "revoked an invite link",
    GroupAction.PIN: "pinned a message",
    GroupAction.UNPIN: "unpinned a message",
}
"""what somebody did, and to whom"""


def _given(role: GroupRole, people: str) -> str:
    if role == GroupRole.OWNER:
        return f"handed the group over to {people}"
    return f"made {people} {'an admin' if role else 'an ordinary member'}"


WHO = {GroupRole.MEMBER: "everybody", GroupRole.ADMIN: "admins", GroupRole.OWNER: "the owner"}
"""Who may do what a role may."""


def _ruled(rules: Rules | None) -> str:
    if rules is None:
        return ""
    ending = "; who comes by a link is let in first" if rules.approval else ""
    return f": {WHO[rules.write]} may write, {WHO[rules.add]} add, {WHO[rules.edit]} edit{ending}"


@dataclass(frozen=True, slots=True)
class Pinned:
    """A message that is pinned for everyone in a group."""

    reference: Reference
    message_id: MessageId


@dataclass(frozen=True, slots=True)
class InviteLink:
    """An invite link of a group. Its code is known to whom it was given."""

    hash: bytes
    """SHA-256 of the code"""
    until: int
    """Unix milliseconds"""
    made_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group (or a channel) as one of its members knows it."""

    conversation_id: ConversationId
    peer: str
    """`#` and its id: what every method takes, whatever the group is called"""
    name: str
    about: str = ""
    is_channel: bool = False
    version: int = 0
    role: GroupRole = GroupRole.MEMBER
    """of this user"""
    rules: Rules = Rules()
    count: int = 0
    """of members"""
    picture: int = 0
    """its version; 0: there is none"""
    sealed: bool = False
    """end-to-end encrypted"""
    made_by: str = ""
    made_at: int = 0
    """Unix milliseconds"""
    pins: tuple[Pinned, ...] = ()
    links: tuple[InviteLink, ...] = ()
    """told to those who may add"""
    waiting: tuple[str, ...] = ()
    """who wants to join; told to those who may add"""
    is_left: bool = False
    """this user is no member (any more)"""

    def may(self, least: GroupRole) -> bool:
        """Whether this user has a role, or a greater one: `group.may(group.rules.write)`."""
        return not self.is_left and self.role >= least


@dataclass(frozen=True, slots=True)
class GroupMember:
    """Somebody in a group."""

    user_id: UserId
    handle: str
    role: GroupRole = GroupRole.MEMBER


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an invite link leads to."""

    conversation_id: ConversationId
    name: str
    about: str
    count: int
    """of members"""
    made_by: str
    approval: bool
    """who joins has to be let in"""
    is_channel: bool
    sealed: bool


@dataclass(frozen=True, slots=True)
class MemberTimes:
    """When an own message reached a member of a group. None: not yet, or they do not tell."""

    handle: str
    delivered_at: int | None
    read_at: int | None
