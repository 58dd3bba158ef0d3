"""History: pages of a conversation's log, and the list of a user's conversations.

A page that goes back has the messages; what changed them stands beside them, in `relations`. A page
that goes on from a message has everything that came since, for a device that catches up.

spec §6.2, §6.5
"""

import asyncio

from tidings.domain.accounts import Accounts
from tidings.domain.clock import Clock
from tidings.domain.conversations import Conversation, Conversations
from tidings.domain.log import Log, erased, has_expired, is_erased, message_of
from tidings.domain.receipts import status_of
from tidings.domain.relations import Relations
from tidings.protocol import frames
from tidings.protocol.errors import INVALID, NO_SUCH_MESSAGE, ProtocolError
from tidings.protocol.frames import (
    CHANGES,
    ConversationList,
    ConversationSummary,
    History,
    HistoryItem,
    Member,
    MemberState,
    Page,
)
from tidings.protocol.ids import MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Store
from tidings.store.schema import MEMBERSHIPS, MessageRow

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
        limits: Limits,
    ) -> None:
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
        rows, more, seen = await self._rows(conversation, viewer, query)
        relations, is_whole = await self._relations.of_page(rows, viewer, self._limits.page_relations)
        while not is_whole and len(rows) > 1:
            rows, more = rows[: (len(rows) + 1) // 2], True
            seen = rows[-1].message_id
            relations, is_whole = await self._relations.of_page(rows, viewer, self._limits.page_relations)
        if not onwards:
            rows.reverse()
        shown = [
            HistoryItem(message_of(self._as_told(row)), status_of(conversation, row, viewer)) for row in rows
        ]
        return Page(query.request_id, shown, more, relations, seen if more else MessageId(0))

    async def message(self, conversation: Conversation, viewer: UserId, message_id: MessageId) -> MessageRow:
        """One message that a member may see. Raises ProtocolError (no_such_message)."""
        row = await self._log.find(conversation, message_id)
        if row is None or viewer in row.hidden_from or viewer in conversation.pending:
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
                if conversation is not None and _is_listed(conversation, user)
            ]
        return ConversationList(query.request_id, items, len(rows) > limit)

    async def members(self, conversation: Conversation, viewer: UserId) -> list[Member]:
        """Who is in a conversation, and who has let the other one in (who has declined tells nobody)."""
        users = [await self._accounts.user(member) for member in conversation.members]
        return [
            Member(user.user_id, user.handle, _state(conversation, user.user_id, viewer)) for user in users
        ]

    async def _summary(self, conversation: Conversation, user: UserId) -> ConversationSummary:
        mark = conversation.watermarks[user]
        is_shut = user in conversation.pending or not conversation.has_bucket
        return ConversationSummary(
            conversation.conversation_id,
            conversation.kind,
            conversation.version,
            await self.members(conversation, user),
            MessageId(0) if is_shut else await self._newest(conversation, user),
            mark.read_up_to,
            0 if is_shut else await self._unread(conversation, user, mark.read_up_to),
        )

    async def _unread(self, conversation: Conversation, user: UserId, read_up_to: MessageId) -> int:
        if conversation.newest <= read_up_to:
            return 0
        count, looked_at = 0, 0
        async for row in self._log.walk(conversation.conversation_id, before=None, after=None):
            looked_at += 1
            if row.message_id <= read_up_to or count >= self._limits.unread_counted:
                break
            if looked_at > PASSED_OVER:
                break
            count += row.sender_id != user and self._is_shown(row, user)
        return count

    async def _newest(self, conversation: Conversation, user: UserId) -> MessageId:
        """The newest message that a user may know of."""
        if user not in conversation.blockers:
            return conversation.newest
        looked_at = 0
        async for row in self._log.walk(conversation.conversation_id, before=None, after=None):
            looked_at += 1
            if user not in row.hidden_from or looked_at > PASSED_OVER:
                return row.message_id if user not in row.hidden_from else MessageId(0)
        return MessageId(0)

    async def _rows(
        self, conversation: Conversation, viewer: UserId, query: History
    ) -> tuple[list[MessageRow], bool, MessageId]:
        """Rows in the direction that was asked for, whether there are more, and up to where was looked.

        Cut at `page_bytes`, but never to nothing, and read a few at a time, so that large messages
        do not come by the hundred; and after so many that are not shown.
        """
        limit = min(query.limit, self._limits.page_messages)
        found: list[MessageRow] = []
        size, passed_over = 0, 0
        seen = MessageId(0)
        async for row in self._log.walk(conversation.conversation_id, before=query.before, after=query.after):
            if viewer in row.hidden_from or (query.after is None and row.relation in CHANGES):
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


def _is_listed(conversation: Conversation, user: UserId) -> bool:
    """Members see their conversations; nobody one that a stranger opened and wrote nothing in."""
    if user not in conversation.members:
        return False
    return conversation.has_bucket or user not in conversation.pending


def _state(conversation: Conversation, member: UserId, viewer: UserId) -> MemberState:
    state = conversation.state_of(member)
    return state if member == viewer or state == MemberState.ACCEPTED else MemberState.PENDING
