"""A group, as a node holds it in memory: what belongs to the group itself, who is in it, who was.

spec §6.17
"""

from tidings.domain.fanout import Fanout
from tidings.domain.rosters import Roster
from tidings.domain.unfinished import Unfinished, UnfinishedMessages
from tidings.protocol.frames import CHANGES, UNSHOWN, GroupRole, Message
from tidings.protocol.ids import MessageId, UserId
from tidings.store.schema import GroupHead, RosterRow, Stay

UNFOLLOWED = (*CHANGES, *UNSHOWN)
"""what nobody is told how far it came"""
UNFINISHED_MOST = 256
"""messages of a group whose senders are told how far they came"""
LEFT_KEPT = 1000
"""of those who left a group the last ones, whom a message of before may still reach"""


class GroupState:
    """See the module's text. Of a channel the members are not held, but its staff."""

    __slots__ = (
        "_dormant",
        "_followed_to",
        "head",
        "joined",
        "left",
        "looked_at",
        "roles",
        "roster_id",
        "stays",
        "told",
        "unfinished",
    )

    def __init__(self, head: GroupHead) -> None:
        self.head = head
        self.roster_id = b""
        """of the change that made the group what it is here"""
        self.told = 0
        """up to which version the members were told of its changes"""
        self.roles: dict[UserId, GroupRole] = {}
        """of the members; of a channel, of its staff"""
        self.joined: dict[UserId, int] = {}
        """of the members: the version from which on they are entitled"""
        self.left: dict[UserId, tuple[int, int]] = {}
        """of those who left last: from which version on they were entitled, and up to which not"""
        self.stays: dict[UserId, list[Stay]] = {}
        """earlier ones, of those who came back"""
        self.unfinished: UnfinishedMessages | None = None
        """messages that not all have read; None while none is known"""
        self.looked_at = 0
        """when it was looked who is dormant, Unix ms; 0: never"""
        self._followed_to = MessageId(0)
        self._dormant: frozenset[UserId] = frozenset()

    def renew(self, row: RosterRow, roster: Roster | None) -> bool:
        """Take over what the store has, unless it is behind; `roster` None: the members are the same.

        Whether the members are others than before.
        """
        if row.head is None or row.head.cause < self.head.cause:
            return False  # it was read before this node changed it
        self.head, self.roster_id = row.head, row.request_id
        if roster is None:
            return False
        present = roster.present
        self.joined = {member.user_id: member.joined_version for member in present}
        self.roles = {member.user_id: GroupRole(member.role) for member in present}
        if self.head.staff:
            self.roles = {user: GroupRole(role) for user, role in self.head.staff.items()}
            self.joined = {}
        self._dormant = frozenset(member.user_id for member in present if member.dormant)
        left = [member for member in roster.members.values() if member.left_version is not None]
        left = sorted(left, key=lambda member: member.left_version or 0)[-LEFT_KEPT:]
        self.left = {member.user_id: (member.joined_version, member.left_version or 0) for member in left}
        self.stays = {member.user_id: member.stays for member in (*present, *left) if member.stays}
        return True

    @property
    def fanout(self) -> Fanout:
        """How its messages reach its members."""
        return Fanout(self.head.fanout)

    def entitled(self, user: UserId, version: int) -> bool:
        """Whether a message of a version is for a user. Not for channels."""
        joined = self.joined.get(user)
        if joined is not None:
            return joined <= version
        first, end = self.left.get(user, (0, 0))
        return first <= version < end

    def recipients(self, sender: UserId) -> list[UserId]:
        """Whose inboxes get what a member writes, the member's own left out."""
        if not self.fanout.writes_copies:
            return []
        dormant = self._dormant
        return [member for member in self.roles if member != sender and member not in dormant]

    def is_dormant(self, user: UserId) -> bool:
        """Whether a member's inbox gets nothing."""
        return user in self._dormant

    def follow(self, message: Message) -> None:
        """A message was written: its sender is told how far it comes."""
        self._followed_to = max(self._followed_to, message.message_id)
        if message.relation in UNFOLLOWED or not self.joined or not message.sender_device:
            return
        if self.unfinished is None:
            self.unfinished = UnfinishedMessages(UNFINISHED_MOST)
        self.unfinished.add(Unfinished(message.message_id, message.sender_id, message.version))

    def follows(self, message_id: MessageId) -> bool:
        """Whether a message was followed, or is from before the first that was."""
        return message_id <= self._followed_to
