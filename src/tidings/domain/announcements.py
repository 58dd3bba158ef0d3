"""Announcements: what was changed in a group, told to its members as a message by the server.

A change is durable before anybody is told. Should the node die in between, `heads.told` is behind the
group's version, and whoever changes the group next, or reads it a while later, tells it: maybe once more,
under the same name, so that devices show it once.

What follows from a change is written with it: the lists of conversations of those who came or went.

spec §6.17
"""

import hashlib
from functools import partial
from typing import NamedTuple

import msgspec

from tidings.domain.accepting import entry_of
from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.fanout import Fanout
from tidings.domain.group_changes import OF_A_CHANNEL_SILENT, TO_STAFF, may_add
from tidings.domain.inboxes import Entry, inbox_row
from tidings.domain.log import row_of
from tidings.domain.peers import MARGIN_S
from tidings.domain.rosters import Roster, Rosters
from tidings.domain.router import Router
from tidings.domain.users import ending
from tidings.protocol.frames import CHANGE_TYPE, ConversationKind, GroupAction, GroupChange, Message
from tidings.protocol.ids import (
    CLIENT_ID_BYTES,
    TIME_SHIFT,
    ClientId,
    ConversationId,
    DeviceId,
    MessageId,
    UserId,
)
from tidings.store.contract import Put, Raise, Store, Write
from tidings.store.schema import (
    HEADS,
    INBOX,
    MEMBERSHIPS,
    MESSAGES,
    SUBSCRIBERS,
    GroupHead,
    HeadRow,
    MembershipRow,
    RosterRow,
    SubscriberRow,
    share_of,
)

SERVER = DeviceId(0)
"""As the sender's device of a message: the server wrote it."""
_MARGIN = int(MARGIN_S * 1000) << TIME_SHIFT
"""as a difference of ids"""
_encode = msgspec.msgpack.Encoder().encode


class _Told(NamedTuple):
    entry: Entry
    rows: list[Write]


class Announcements:
    """See the module's text."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        ids: IdClock,
        conversations: Conversations,
        router: Router,
    ) -> None:
        self._store = store
        self._rosters = Rosters(store)
        self._commit = commit
        self._ids = ids
        self._conversations = conversations
        self._router = router

    async def tell(self, conversation: Conversation, roster: Roster) -> list[UserId]:
        """Tell of the last change of a group; durable on return. Raises ProtocolError, StoreError.

        Returns those who became members by it, or by one that does not count as told yet, and whose account
        has ended, or is about to: take out one of them, and tell of that. While any are left it counts as not
        told: whoever comes after a node that died between two of them finds the others.
        """
        head = roster.head
        assert head.change is not None
        concerned = _concerned(roster)
        recipients = _recipients(roster, concerned)
        came = [row for row in concerned if row.left_version is None]
        went = [row for row in concerned if row.left_version is not None]
        before = await self._store.get_many(MEMBERSHIPS, [(row.user_id, row.conversation_id) for row in went])
        if head.kind == ConversationKind.CHANNEL:
            # First: where a node dies between the two it is by its members' lists that it is told once more.
            await self._commit.write([_subscriber(row, head.cause) for row in concerned])
        while True:
            # First: who is told looks whether there is something to be read for them, and once only. Of those
            # who went it is the list that has the change told once more, should the node die between the two.
            if came:
                at = MessageId(self._ids.next())
                await self._commit.write([_membership(row, None, head, at) for row in came])
            now_ms = self._ids.now_ms()
            if not conversation.bucket_lasts(now_ms):
                await self._conversations.prepare_bucket(conversation, now_ms)
            told = self._told(conversation, roster, head.change, recipients)
            at = told.entry.message_id
            rows = [_membership(row, was, head, at) for row, was in zip(went, before, strict=True)]
            offer = partial(self._offer, conversation, roster, told.entry, recipients)
            if await self._commit.write([*rows, *told.rows], offer):
                break
            # What came too late for readers is written once more, as the group's messages go by now.
            roster = await self._now(roster)
            recipients = _recipients(roster, concerned)
        group = conversation.group
        assert group is not None
        # Only now: whoever ends an account looks for its groups after saying so.
        gone = await self._gone([row.user_id for row in roster.present if row.joined_version > group.told])
        if gone:
            return gone
        await self._commit.write([Raise(HEADS, HeadRow(conversation.conversation_id, told=head.version))])
        group.told = max(group.told, head.version)
        return []

    async def _gone(self, users: list[UserId]) -> list[UserId]:
        return await ending(self._store, users)

    def _offer(
        self, conversation: Conversation, roster: Roster, entry: Entry, recipients: list[UserId]
    ) -> None:
        """It is durable: offered before what comes after it, for a lone node's sessions rely on that."""
        self._router.deliver(entry, recipients)
        if _is_in_log(roster):
            conversation.newest = max(conversation.newest, entry.message_id)
            if Fanout(roster.head.fanout) == Fanout.READ:
                self._router.publish(entry, conversation, roster.head.version)

    async def _now(self, roster: Roster) -> Roster:
        """The same change of the same group, which may have crossed a threshold meanwhile."""
        if roster.head.kind == ConversationKind.CHANNEL:
            return roster
        found = await self._rosters.read(roster.row.conversation_id)
        return found if found is not None and found.head.version == roster.head.version else roster

    def _told(
        self,
        conversation: Conversation,
        roster: Roster,
        change: GroupChange,
        recipients: list[UserId],
    ) -> _Told:
        head = roster.head
        message_id = MessageId(self._ids.next())
        message = Message(
            message_id,
            conversation.conversation_id,
            head.changed_by,
            SERVER,
            name_of(conversation.conversation_id, change.version),
            change.version,
            0,
            CHANGE_TYPE,
            _encode(change),
            head.changed_at,
            silent=True,
        )
        entry = entry_of(message, {})
        rows: list[Write] = [Put(INBOX, inbox_row(user, entry, None), message_id) for user in recipients]
        if _is_in_log(roster):
            rows.append(Put(MESSAGES, row_of(message, conversation.bucket, []), message_id))
            if Fanout(head.fanout).is_read:
                rows.append(Raise(HEADS, HeadRow(conversation.conversation_id, newest=message_id)))
        return _Told(entry, rows)


def name_of(conversation_id: ConversationId, version: int) -> ClientId:
    """What the message that tells of a change is called, whoever writes it."""
    named = b"change" + conversation_id + version.to_bytes(8, "big")
    return ClientId(hashlib.sha256(named).digest()[:CLIENT_ID_BYTES])


def _concerned(roster: Roster) -> list[RosterRow]:
    """Those who came or went by the last change."""
    head, change = roster.head, roster.head.change
    assert change is not None
    match change.action:
        case GroupAction.CREATE:
            users = [head.made_by, *change.users]
        case GroupAction.ADD | GroupAction.REMOVE | GroupAction.JOIN | GroupAction.LEAVE:
            users = change.users
        case _:
            return []
    return [roster.members[user] for user in users if user in roster.members]


def _recipients(roster: Roster, concerned: list[RosterRow]) -> list[UserId]:
    """In whose inboxes the last change is told."""
    head, change = roster.head, roster.head.change
    assert change is not None
    present = roster.present
    if change.action in TO_STAFF:
        roles = head.staff or {row.user_id: row.role for row in present}
        return may_add(roles, head.rules)
    those = [row.user_id for row in concerned]
    if Fanout(head.fanout) == Fanout.READ:
        return those
    # Also the dormant: they are few, and so a change is never what a device lacks.
    return list(dict.fromkeys([*(row.user_id for row in present), *those]))


def _is_in_log(roster: Roster) -> bool:
    head, change = roster.head, roster.head.change
    assert change is not None
    if change.action in TO_STAFF:
        return False
    return head.kind != ConversationKind.CHANNEL or change.action not in OF_A_CHANNEL_SILENT


def _subscriber(row: RosterRow, cause: int) -> Write:
    share = share_of(row.user_id)
    subscriber = SubscriberRow(row.conversation_id, share, row.user_id, row.joined_version, row.left_version)
    return Put(SUBSCRIBERS, subscriber, cause)


def _membership(row: RosterRow, before: MembershipRow | None, head: GroupHead, told_at: MessageId) -> Write:
    """What is derived from a member's row. Told twice, or late, it never undoes what came after it.

    It is told soon after `told_at`.
    """
    cause = head.cause
    membership = MembershipRow(
        row.user_id, row.conversation_id, head.kind, row.joined_version, row.left_version
    )
    is_read = Fanout(head.fanout).is_read
    if is_read:
        # Other nodes' clocks may be behind, and they may not know yet: the version says what is whose.
        membership.pulled_from = min(cause, told_at) - _MARGIN
    if row.left_version is not None:
        # It stays for a while: devices may still have to read what was sent before, and a change that is
        # told late must find it.
        membership.pulled_from = membership.pulled_from if before is None else before.pulled_from
        membership.pulled_until = max(cause, told_at) + _MARGIN
        if before is not None and before.joined_version == row.joined_version:
            membership.copied_from, membership.copied_until = before.copied_from, before.copied_until
            if before.left_version is None and before.pulled_until and not is_read:
                membership.copied_from = before.pulled_until
                membership.copied_until = min(cause, told_at) - _MARGIN
    return Put(MEMBERSHIPS, membership, cause)
