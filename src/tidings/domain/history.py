"""History: pages of a conversation's log, and the list of a user's conversations.

A page that goes back has the messages; what changed them stands beside them, in `relations`. A page
that goes on from a message has everything that came since, for a device that catches up.

spec §6.2, §6.5
"""

import asyncio

from tidings.domain.accounts import Accounts
from tidings.domain.clock import Clock
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.groups import Groups, Rights
from tidings.domain.log import Log, erased, has_expired, is_erased, message_of
from tidings.domain.receipts import status_of
from tidings.domain.relations import Relations
from tidings.domain.tallies import Tellers
from tidings.domain.unfinished import Unfinished
from tidings.protocol import frames
from tidings.protocol.errors import INVALID, NO_SUCH_MESSAGE, TOO_LARGE, ProtocolError
from tidings.protocol.frames import (
    CHANGE_TYPE,
    CHANGES,
    ConversationList,
    ConversationSummary,
    GroupRole,
    History,
    HistoryItem,
    Member,
    MemberState,
    MessageTally,
    Page,
    Status,
)
from tidings.protocol.ids import MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Store
from tidings.store.schema import MEMBERSHIPS, MessageRow, WatermarkRow

PASSED_OVER = 2000
"""rows that are not shown and looked at all the same, for one page"""
LOADED_AT_ONCE = 16
"""conversations of a list that are read at the same time"""


class Histories:
    """Reads what was said; see the module's text."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        log: Log,
        relations: Relations,
        conversations: Conversations,
        accounts: Accounts,
        groups: Groups,
        tellers: Tellers,
        limits: Limits,
    ) -> None:
        self._groups = groups
        self._tellers = tellers
        self._store = store
        self._clock = clock
        self._log = log
        self._relations = relations
        self._conversations = conversations
        self._accounts = accounts
        self._limits = limits

    async def page(self, conversation: Conversation, viewer: UserId, query: History) -> Page:
        """A page of a conversation, in ascending order. Raises ProtocolError (invalid).

        To a member who has not let the other one in it is empty.
        """
        if query.before is not None and query.after is not None:
            raise ProtocolError(INVALID, "either before or after")
        if viewer in conversation.pending:
            return Page(query.request_id, [], False)
        onwards = query.after is not None
        known = conversation.version
        rights = await self._groups.rights(conversation, viewer)
        rows, more, seen = await self._rows(conversation, viewer, rights, query)
        relations, is_whole = await self._relations.of_page(rows, viewer, self._limits.page_relations)
        while not is_whole and len(rows) > 1:
            rows, more = rows[: (len(rows) + 1) // 2], True
            seen = rows[-1].message_id
            relations, is_whole = await self._relations.of_page(rows, viewer, self._limits.page_relations)
        newest = max([0, *(row.version for row in rows), *(one.version for one in relations)])
        if newest > known and (anew := await self._as_of(conversation, viewer, newest)).version > known:
            return await self.page(anew, viewer, query)  # the viewer's rights may be others by now
        conversation.newest = max([conversation.newest, *(row.message_id for row in rows)])
        if not onwards:
            rows.reverse()
        shown = await self._items(conversation, rows, viewer)
        return Page(query.request_id, shown, more, relations, seen if more else MessageId(0))

    async def _items(
        self, conversation: Conversation, rows: list[MessageRow], viewer: UserId
    ) -> list[HistoryItem]:
        own = [row for row in rows if row.sender_id == viewer and row.sender_device]
        counted = None
        if conversation.group is not None and not conversation.is_channel and own:
            counted = await self._tellers.counted(conversation, max(row.version for row in own))
        items: list[HistoryItem] = []
        for row in rows:
            item = HistoryItem(message_of(self._as_told(row)), status_of(conversation, row, viewer))
            if counted is not None and row.sender_id == viewer and row.sender_device:
                tally = counted.of(row.message_id, row.sender_id, row.version)
                item.status = _status(tally)
                item.delivered, item.read, item.of = tally.delivered, tally.read, tally.of
            items.append(item)
        return items

    async def tallies(
        self, conversation: Conversation, viewer: UserId, message_ids: list[MessageId]
    ) -> list[MessageTally]:
        """How many members have messages that a user wrote in a group. Raises ProtocolError (too_large)."""
        if len(message_ids) > self._limits.tallied:
            raise ProtocolError(TOO_LARGE, f"at most {self._limits.tallied} messages are asked for at once")
        if conversation.is_channel or conversation.group is None:
            return []
        found = [await self._log.find(conversation, message_id) for message_id in message_ids]
        own = [row for row in found if row is not None and row.sender_id == viewer]
        messages = [Unfinished(row.message_id, row.sender_id, row.version) for row in own]
        return await self._tellers.tallies(conversation, messages)

    async def message(self, conversation: Conversation, viewer: UserId, message_id: MessageId) -> MessageRow:
        """One message that a member may see. Raises ProtocolError (no_such_message)."""
        row = await self._log.find(conversation, message_id)
        if row is not None and row.version > conversation.version:
            conversation = await self._as_of(conversation, viewer, row.version)
        rights = await self._groups.rights(conversation, viewer)
        if row is None or viewer in conversation.pending or not _is_for(row, viewer, rights):
            raise ProtocolError(NO_SUCH_MESSAGE)
        return row

    async def listed(self, user: UserId, query: frames.Conversations) -> ConversationList:
        """A page of a user's conversations, by id."""
        limit = min(query.limit, self._limits.listed_conversations)
        after = None if query.after is None else (query.after,)
        rows = await self._store.range(MEMBERSHIPS, (user,), after=after, limit=limit + 1)
        items: list[ConversationSummary] = []
        for first in range(0, min(limit, len(rows)), LOADED_AT_ONCE):
            some = rows[first : min(first + LOADED_AT_ONCE, limit)]
            found = await asyncio.gather(*(self._conversations.find(row.conversation_id) for row in some))
            items += [
                await self._summary(conversation, user)
                for conversation in found
                if conversation is not None and await self._is_listed(conversation, user)
            ]
        return ConversationList(query.request_id, items, len(rows) > limit)

    async def members(self, conversation: Conversation, viewer: UserId) -> list[Member]:
        """Who is in a conversation, and who has let the other one in (who has declined tells nobody).

        Of a group nobody where they are more than are told at once: then they are asked for in pages.
        """
        if len(conversation.members) > self._limits.group_members_told:
            return []
        users = [await self._accounts.user(member) for member in conversation.members]
        return [
            Member(
                user.user_id,
                user.handle,
                _state(conversation, user.user_id, viewer),
                conversation.role(user.user_id) or GroupRole.MEMBER,
            )
            for user in users
        ]

    async def _summary(self, conversation: Conversation, user: UserId) -> ConversationSummary:
        await self._conversations.look_for_newest(conversation)
        mark = conversation.watermarks.get(user) or WatermarkRow(conversation.conversation_id, user)
        is_shut = user in conversation.pending or not conversation.has_bucket
        return ConversationSummary(
            conversation.conversation_id,
            conversation.kind,
            conversation.version,
            [] if conversation.group is not None else await self.members(conversation, user),
            MessageId(0) if is_shut else await self._newest(conversation, user),
            mark.read_up_to,
            0 if is_shut else await self._unread(conversation, user, mark.read_up_to),
            await self._groups.described(conversation, user),
        )

    async def _is_listed(self, conversation: Conversation, user: UserId) -> bool:
        """Members see their conversations; nobody one that a stranger opened and wrote nothing in."""
        if not await self._groups.is_in(conversation, user):
            return False
        return conversation.has_bucket or user not in conversation.pending

    async def _unread(self, conversation: Conversation, user: UserId, read_up_to: MessageId) -> int:
        if conversation.newest <= read_up_to:
            return 0
        count, looked_at = 0, 0
        rights = await self._groups.rights(conversation, user)
        async with self._log.walk(conversation.conversation_id, before=None, after=None) as rows:
            async for row in rows:
                looked_at += 1
                if row.message_id <= read_up_to or count >= self._limits.unread_counted:
                    break
                if looked_at > PASSED_OVER:
                    break
                count += (
                    row.sender_id != user
                    and self._is_shown(row, user)
                    and _is_for(row, user, rights)
                    and row.content_type != CHANGE_TYPE
                )
        return count

    async def _newest(self, conversation: Conversation, user: UserId) -> MessageId:
        """The newest message that a user may know of."""
        if user not in conversation.blockers:
            return conversation.newest
        looked_at = 0
        async with self._log.walk(conversation.conversation_id, before=None, after=None) as rows:
            async for row in rows:
                looked_at += 1
                if user not in row.hidden_from or looked_at > PASSED_OVER:
                    return row.message_id if user not in row.hidden_from else MessageId(0)
        return MessageId(0)

    async def _as_of(self, conversation: Conversation, viewer: UserId, version: int) -> Conversation:
        """A group, read anew if memory is behind a version of it that was found; for its members only.

        Raises ProtocolError (no_such_conversation: the viewer was removed meanwhile), StoreError.
        """
        if conversation.version < version:
            await self._conversations.anew(conversation.conversation_id)
        return await self._groups.access(conversation.conversation_id, viewer)

    async def _rows(
        self, conversation: Conversation, viewer: UserId, rights: Rights, query: History
    ) -> tuple[list[MessageRow], bool, MessageId]:
        """Rows in the direction that was asked for, whether there are more, and up to where was looked.

        Cut at `page_bytes`, but never to nothing, and read a few at a time, so that large messages
        do not come by the hundred; and after so many that are not shown.
        """
        limit = min(query.limit, self._limits.page_messages)
        found: list[MessageRow] = []
        size, passed_over = 0, 0
        seen = MessageId(0)
        where = conversation.conversation_id
        async with self._log.walk(where, before=query.before, after=query.after) as rows:
            async for row in rows:
                is_theirs = _is_for(row, viewer, rights)
                if not is_theirs or (query.after is None and row.relation in CHANGES):
                    passed_over += 1
                    if passed_over > PASSED_OVER:
                        return found, True, seen
                    seen = row.message_id
                    continue
                if len(found) == limit or (found and size + len(row.content) > self._limits.page_bytes):
                    return found, True, seen
                found.append(row)
                seen = row.message_id
                size += len(row.content)
        return found, False, seen

    def _as_told(self, row: MessageRow) -> MessageRow:
        return erased(row) if has_expired(row, self._clock.wall_ms()) else row

    def _is_shown(self, row: MessageRow, viewer: UserId) -> bool:
        return not (
            row.relation in CHANGES
            or viewer in row.hidden_from
            or is_erased(row)
            or has_expired(row, self._clock.wall_ms())
        )


def _is_for(row: MessageRow, viewer: UserId, rights: Rights) -> bool:
    """Whether a member may see a message."""
    return viewer not in row.hidden_from and rights.cover(row.version)


def _status(tally: MessageTally) -> Status:
    """How far a message in a group has come: as far as with all."""
    if not tally.of or tally.delivered < tally.of:
        return Status.SENT
    return Status.READ if tally.read >= tally.of else Status.DELIVERED


def _state(conversation: Conversation, member: UserId, viewer: UserId) -> MemberState:
    state = conversation.state_of(member)
    return state if member == viewer or state == MemberState.ACCEPTED else MemberState.PENDING
