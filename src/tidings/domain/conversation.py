"""A conversation as the rules see it: who is in it, which bucket its messages go to, its watermarks.

spec §6.2, §6.17
"""

import asyncio
from typing import NamedTuple

from tidings.domain.fanout import Fanout
from tidings.domain.group_state import GroupState
from tidings.domain.peers import Freshness
from tidings.domain.rosters import Roster
from tidings.protocol import ids
from tidings.protocol.errors import NO_SUCH_CONVERSATION, ProtocolError
from tidings.protocol.frames import ConversationKind, GroupRole, MemberState
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.growing import grown
from tidings.store.schema import (
    WATERMARKS,
    BucketRow,
    FrozenRow,
    MemberRow,
    RosterRow,
    WatermarkRow,
)

CHANNEL_MARKS = 10_000
"""watermarks of a channel's members that are kept in memory"""
BUCKET_EARLY_MS = 2000
"""How long before its end a bucket takes no more messages: ids may run a second ahead."""


class Stored(NamedTuple):
    """What the store has of a conversation."""

    conversation_id: ConversationId
    kind: int
    version: int
    present: list[MemberRow]
    """of a direct one"""
    bucket: BucketRow | None
    newest: MessageId
    removal_at: int
    scheme: int
    watermarks: list[WatermarkRow]
    frozen: list[FrozenRow]
    group: RosterRow | None = None
    """of a group: the group itself"""
    roster: Roster | None = None
    """of a group; None where it is as it was when it was read before"""
    told: int = 0
    """the version up to which the members of a group were told of its changes"""


class Conversation:
    """A conversation as the rules see it. `watermarks` has a row for every member.

    `pending`, `blockers` and `hides_reads` name members: who has not let the other one in yet, who
    has blocked the other one, and whose *read* the others are not told. The first two are empty in a group.
    Of a channel only its staff are `members`.
    """

    __slots__ = (
        "__weakref__",
        "_bucket_ends_ms",
        "_lock",
        "blockers",
        "bucket",
        "bucket_row",
        "changes",
        "conversation_id",
        "declined",
        "freshness",
        "frozen",
        "gone",
        "group",
        "hides_reads",
        "is_channel",
        "kind",
        "learned",
        "members",
        "newest",
        "pending",
        "removal_at",
        "scheme",
        "stored_scheme",
        "told_reads",
        "version",
        "watermarks",
    )

    def __init__(self, stored: Stored) -> None:
        self.conversation_id = stored.conversation_id
        self.kind = ConversationKind(stored.kind)
        self.is_channel = self.kind == ConversationKind.CHANNEL
        """whether its members are not held here"""
        self.version = 0
        self.members: tuple[UserId, ...] = ()
        self.newest = MessageId(0)
        """the newest message that was accepted: no watermark passes it"""
        self.removal_at = 0
        self.scheme = 0
        """the greatest of its messages: plain ones are refused from then on"""
        self.stored_scheme = 0
        """the same, as far as it is durable"""
        self.watermarks: dict[UserId, WatermarkRow] = {}
        self.told_reads: dict[UserId, MessageId] = {}
        """up to where this node has told what a member has read"""
        self.frozen: dict[UserId, FrozenRow] = {}
        """of each of `blockers`: what the blocked one sees instead of the watermark"""
        self.pending: frozenset[UserId] = frozenset()
        self.declined: frozenset[UserId] = frozenset()
        """those of `pending` who do not want to be asked again"""
        self.changes = 0
        """how often this node changed who is pending"""
        self.freshness: Freshness | None = None
        """None where nobody else changes conversations"""
        self.learned = 0
        """how often it was asked anew what the members hide from each other"""
        self._lock: asyncio.Lock | None = None
        self.gone = False
        """whether the other one's account was deleted"""
        self.blockers: frozenset[UserId] = frozenset()
        self.hides_reads: frozenset[UserId] = frozenset()
        self.bucket = 0
        self.bucket_row: BucketRow | None = None
        self._bucket_ends_ms = 0
        self.group: GroupState | None = None
        """None in a direct conversation"""
        self.renew(stored, with_members=True)

    def renew(self, stored: Stored, *, with_members: bool) -> None:
        """Take over what the store has; what only grows is never less than it was here.

        `with_members`: also who is pending, for this node is not just changing that.
        """
        if stored.group is None or stored.version >= self.version:
            self.version, self.removal_at = stored.version, stored.removal_at
        self.stored_scheme = max(self.stored_scheme, stored.scheme)
        self.scheme = max(self.scheme, stored.scheme)
        if stored.group is not None:
            self._renew_group(stored.group, stored.roster, stored.told)
        else:
            self.members = tuple(row.user_id for row in stored.present)
        self.newest = max(self.newest, stored.newest)
        self.frozen = {row.user_id: row for row in stored.frozen}
        for member in self.members:
            self.watermarks.setdefault(member, WatermarkRow(self.conversation_id, member))
        if stored.group is not None:
            self.take_marks(stored.watermarks)
        else:
            for mark in stored.watermarks:
                self.watermarks[mark.user_id] = grown(WATERMARKS, self.watermarks.get(mark.user_id), mark)
        if with_members:
            pending = [row for row in stored.present if row.state != MemberState.ACCEPTED]
            self.pending = frozenset(row.user_id for row in pending)
            self.declined = frozenset(row.user_id for row in pending if row.state == MemberState.DECLINED)
        if stored.bucket is not None and stored.bucket.bucket >= self.bucket:
            self.use_bucket(stored.bucket)

    def _renew_group(self, row: RosterRow, roster: Roster | None, told: int) -> None:
        assert row.head is not None
        group = self.group = self.group or GroupState(row.head)
        group.told = max(group.told, told)
        if group.renew(row, roster):
            self.members = tuple(group.roles)
            if self.is_channel and len(self.watermarks) < CHANNEL_MARKS:
                return  # of whoever has read something lately
            for user in self.watermarks.keys() - group.joined.keys() - group.left.keys():
                del self.watermarks[user]

    def renew_roster(self, roster: Roster) -> None:
        """This node has changed the group."""
        self.version, self.removal_at = roster.head.version, roster.head.removal_at
        self._renew_group(roster.row, roster, 0)
        for member in self.members:
            self.watermarks.setdefault(member, WatermarkRow(self.conversation_id, member))

    @property
    def fanout(self) -> Fanout:
        """How its messages reach its members."""
        return Fanout.WRITE if self.group is None else self.group.fanout

    def has_member(self, user: UserId) -> bool:
        """Whether a user is in it; of a channel, whether they are of its staff."""
        return user in self.members if self.group is None else user in self.group.roles

    def counts(self, user: UserId) -> bool:
        """Whether what a user has is counted: of members it is, but for channels."""
        return user in self.members if self.group is None else user in self.group.joined

    def entitled(self, user: UserId, version: int) -> bool:
        """Whether a message of a version is for a user. Not for channels."""
        return user in self.members if self.group is None else self.group.entitled(user, version)

    def role(self, user: UserId) -> GroupRole | None:
        """What a user is in a group; None: not in it, or in a channel and not of its staff."""
        return None if self.group is None else self.group.roles.get(user)

    @property
    def everybody(self) -> tuple[UserId, ...]:
        """The members, and those who left lately: whose inboxes may have a message of it."""
        return self.members if self.group is None else (*self.members, *self.group.left)

    def use_bucket(self, row: BucketRow) -> None:
        """From here on messages go to this bucket."""
        self.bucket, self.bucket_row = row.bucket, row
        self._bucket_ends_ms = ids.EPOCH_MS + (row.bucket + row.length_s) * 1000

    def bucket_lasts(self, now_ms: int) -> bool:
        """Whether a message that gets its id now belongs to `bucket`."""
        return now_ms + BUCKET_EARLY_MS < self._bucket_ends_ms

    def is_fresh(self, now_s: float) -> bool:
        """Whether it may be trusted: what others change, they wait for to be known everywhere."""
        return self.freshness is None or self.freshness.holds(now_s)

    @property
    def lock(self) -> asyncio.Lock:
        """Held while what is there decides what may come: changes of messages, requests, erasing."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    @property
    def is_changing(self) -> bool:
        """Whether somebody holds the lock."""
        return self._lock is not None and self._lock.locked()

    @property
    def has_bucket(self) -> bool:
        """Whether a message was ever accepted (or was about to be)."""
        return self._bucket_ends_ms > 0

    def state_of(self, member: UserId) -> MemberState:
        """Whether a member lets the other one write."""
        if member not in self.pending:
            return MemberState.ACCEPTED
        return MemberState.DECLINED if member in self.declined else MemberState.PENDING

    def recipients(self, sender: UserId) -> list[UserId]:
        """Whose inboxes get what a user writes, the user's own left out."""
        return self.others(sender) if self.group is None else self.group.recipients(sender)

    def take_marks(self, marks: list[WatermarkRow]) -> None:
        """What the store knows of a group's watermarks."""
        group = self.group
        assert group is not None
        for mark in marks:
            if mark.user_id in group.joined or mark.user_id in group.left:
                known = self.watermarks.get(mark.user_id)
                self.watermarks[mark.user_id] = grown(WATERMARKS, known, mark)

    def others(self, user: UserId) -> list[UserId]:
        """Everyone else."""
        return [member for member in self.members if member != user]


def access_conversation(conversation: Conversation | None, user: UserId) -> Conversation:
    """Let members pass, and the staff of a channel; to others it does not exist. Raises ProtocolError."""
    if conversation is None or not conversation.has_member(user):
        raise ProtocolError(NO_SUCH_CONVERSATION)
    return conversation
