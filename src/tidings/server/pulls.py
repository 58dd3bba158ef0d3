"""Pulls: what a session sends its device from the logs of large groups, after a cursor in each.

```
 reading --(a read comes to the end, and nothing came meanwhile)--> live --(the window is full)--> reading
```

A group whose messages stand in no inbox is read from its log, from the device's own cursor in it; what is
published comes live once that has come to the end. Everything is sent within the feed's window, and the
cursor goes as far as everything was sent and acknowledged, and was read (see `following`).

spec §6.17
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.group_changes import GONE
from tidings.domain.inboxes import Entry
from tidings.domain.log import Log, has_expired, is_to_be_told
from tidings.protocol import ids as snowflakes
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.server.feed import Feed
from tidings.server.following import Following, entry_of
from tidings.server.shared_feed import margin_before
from tidings.store.contract import Erase, Store
from tidings.store.paging import rows_of
from tidings.store.schema import (
    HEADS,
    INBOX_KEEP_S,
    MEMBERSHIPS,
    PULL_CURSORS,
    MembershipRow,
    MessageRow,
    PullCursorRow,
)

NOTHING = MessageId(snowflakes.SNOWFLAKE_MAX)
ROWS_READ = 256
"""rows read at once"""


class Means(NamedTuple):
    """What it takes to pull."""

    store: Store
    commit: GroupCommit
    conversations: Conversations
    log: Log
    following: Following
    now_ms: Callable[[], int]
    observe: Callable[[int], None]
    """called with the id of each message that was read"""
    is_shared: bool
    """whether other nodes write, too: then what comes may be out of order"""


class Pull:
    """One group, as far as one device has read it. Implements `following.Follower`."""

    __slots__ = (
        "_pulls",
        "came",
        "conversation_id",
        "cursor",
        "has_news",
        "is_live",
        "is_over",
        "membership",
        "position",
        "removal_at",
        "start",
    )

    def __init__(self, pulls: "Pulls", membership: MembershipRow, cursor: MessageId) -> None:
        self._pulls = pulls
        self.conversation_id = membership.conversation_id
        self.membership = membership
        self.cursor = cursor
        """as it is stored"""
        self.start = cursor
        """nothing up to here is for this device"""
        self.position = cursor
        """up to here everything was sent, or is not for this device"""
        self.is_live = False
        """set by `Pulls` alone, which counts those that are not"""
        self.has_news = False
        """something came while it was read"""
        self.came = NOTHING
        """the least of that"""
        self.is_over = False
        """it is not pulled any more, and all was sent"""
        self.removal_at = 0
        """of a channel: the last removal that was heeded when the membership was read; a later one may be
        this user's"""

    def offer(self, entry: Entry, version: int, conversation: Conversation) -> None:
        self._pulls.offer(self, entry, version, conversation)

    def take(self, membership: MembershipRow) -> None:
        """The list of conversations says so."""
        if membership.joined_version != self.membership.joined_version:
            # Another stay: what came meanwhile was judged by the one before it.
            self.position = self.cursor
        self.membership = membership


class Pulls:
    """All of a session's; see the module's text."""

    __slots__ = (
        "_behind",
        "_device",
        "_feed",
        "_is_closed",
        "_means",
        "_pulls",
        "_unsettled",
        "_user",
        "_wake",
        "is_loaded",
    )

    def __init__(
        self, user: UserId, device: DeviceId, feed: Feed, means: Means, wake: Callable[[], None]
    ) -> None:
        """`wake` sees to it that `drain` is called, soon."""
        self._wake = wake
        self._user = user
        self._device = device
        self._feed = feed
        self._means = means
        self._pulls: dict[ConversationId, Pull] = {}
        self._behind: dict[ConversationId, Pull] = {}
        """those that are not live: an acknowledgement looks whether there are any"""
        self._unsettled: dict[ConversationId, None] = {}
        """groups whose cursor is behind what was acknowledged"""
        self._is_closed = False
        self.is_loaded = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be pulled."""
        return not self._pulls

    @property
    def is_stalled(self) -> bool:
        """Whether messages may be waiting in a log while nobody reads them."""
        return not self.is_loaded or bool(self._behind)

    # --- reading ----------------------------------------------------------------------------

    async def drain(self) -> bool:
        """Send what the logs have until the window is full or all is live; whether it is.

        Raises StoreError.
        """
        if not self.is_loaded:
            await self._load()
        while self._behind:
            if not self._feed.has_room:
                return False
            await self._read(next(iter(self._behind.values())))
        return True

    async def look_at(self, conversation_id: ConversationId) -> None:
        """Something changed in a conversation: it may be one to be pulled now, or not any more.

        Raises StoreError. `drain` goes on from there.
        """
        if not self.is_loaded:
            return
        row = await self._membership(conversation_id)
        known = self._pulls.get(conversation_id)
        if known is not None and not known.is_over:
            self._fall_behind(known)
            if row is None:
                self._drop(known)
            else:
                known.take(row)
                # The list may not say yet what was heeded before it did: that is judged once more.
                known.removal_at = 0
        elif (
            row is not None
            and row.pulled_from
            and (
                not row.pulled_until or known is None or known.membership.joined_version != row.joined_version
            )
        ):
            # Also a stay that is over by now: what was said in it was read by nobody here.
            cursor = await self._means.store.get(PULL_CURSORS, (self._device, conversation_id))
            await self._add([(row, cursor)])

    def close(self) -> None:
        """The session is over."""
        self._is_closed = True
        self._drop_all()

    # --- what comes live --------------------------------------------------------------------

    def offer(self, pull: Pull, entry: Entry, version: int, conversation: Conversation) -> None:
        """A message of a group became durable: send it if live, else see that it is not missed."""
        message_id = entry.message_id
        if message_id <= pull.start or 0 < pull.membership.pulled_until <= message_id:
            return  # from before this device was there, or after its user was
        if not pull.is_live:
            pull.has_news = True
            pull.came = MessageId(min(pull.came, message_id))
            # Another node's may come late, below what has been read already.
            pull.position = MessageId(min(pull.position, message_id - 1))
            return
        is_doubtful = _is_doubtful(pull, conversation)
        is_for = not is_doubtful and self._is_for(pull, version, conversation)
        if is_doubtful or (is_for and not self._feed.has_room):
            self._fall_behind(pull)
            pull.position = MessageId(message_id - 1)
            if is_doubtful:
                self._wake()  # a full window is read on when it has room again
        elif message_id > pull.position or self._means.is_shared:
            pull.position = MessageId(max(pull.position, message_id))
            if is_for and entry.sender_device != self._device:
                self._feed.push(entry)
            else:
                self._unsettled[pull.conversation_id] = None

    # --- cursors ----------------------------------------------------------------------------

    def acknowledged(self, entries: list[Entry]) -> None:
        """The device has stored these; those that stand in no inbox move cursors."""
        for entry in entries:
            if not entry.entry_id and entry.conversation_id in self._pulls:
                self._unsettled[entry.conversation_id] = None
        self.settle()

    def settle(self) -> None:
        """Move the cursors of groups as far as that is known to be right."""
        for conversation_id in list(self._unsettled):
            pull = self._pulls.get(conversation_id)
            if pull is not None and not pull.is_over:
                self._end(pull)
            if pull is None or self._settle(pull):
                del self._unsettled[conversation_id]

    def _settle(self, pull: Pull) -> bool:
        """Whether the cursor is where it belongs."""
        unacked = self._feed.unacked_of(pull.conversation_id)
        goal = min([pull.position, *(message_id - 1 for message_id in unacked)])
        if not pull.is_over:
            goal = min(goal, self._means.following.safe(pull.conversation_id))
        if goal > pull.cursor:
            pull.cursor = MessageId(goal)
            row = PullCursorRow(self._device, pull.conversation_id, pull.cursor)
            self._means.commit.raise_soon(PULL_CURSORS, row)
        return goal >= pull.position and (pull.is_over or not pull.membership.pulled_until)

    # --- inside -----------------------------------------------------------------------------

    async def _load(self) -> None:
        """Find what is to be pulled, and follow it. What nobody has written to since is live at once."""
        # Of a try that failed half-way; left as they are, they would be followed without end.
        self._drop_all()
        store, oldest = self._means.store, snowflakes.first_at(self._means.now_ms() - INBOX_KEEP_S * 1000)
        memberships = [row async for row in rows_of(store, MEMBERSHIPS, (self._user,), at_once=ROWS_READ)]
        pulled = [row for row in memberships if row.pulled_from]
        over = [row for row in memberships if row.left_version is not None and row.pulled_until < oldest]
        if over:
            # No device has to read that any more.
            erased = [Erase(MEMBERSHIPS, MEMBERSHIPS.key_of(row), row.pulled_until) for row in over]
            await self._means.commit.write(erased)
        cursors = {
            row.conversation_id: row
            async for row in rows_of(store, PULL_CURSORS, (self._device,), at_once=ROWS_READ)
        }
        await self._add([(row, cursors.get(row.conversation_id)) for row in pulled if row not in over])
        self.is_loaded = True

    async def _add(self, found: list[tuple[MembershipRow, PullCursorRow | None]]) -> None:
        oldest = snowflakes.first_at(self._means.now_ms() - INBOX_KEEP_S * 1000)
        # The clock of the node that made the device may be ahead of one that takes messages after that.
        born = margin_before(EntryId(self._device)) if self._means.is_shared else self._device
        added: list[Pull] = []
        for row, cursor in found:
            start = row.pulled_from if cursor is None else cursor.up_to
            # A device that is new begins with what comes after it, as with the inbox.
            start = max(start, born, oldest)
            if row.copied_from and start >= row.copied_from:
                start = max(start, row.copied_until)  # the inbox had what was said meanwhile
            if row.pulled_until and start >= row.pulled_until:
                continue
            pull = self._pulls[row.conversation_id] = Pull(self, row, MessageId(start))
            self._behind[row.conversation_id] = pull
            added.append(pull)
        following = self._means.following
        try:
            await asyncio.gather(*(following.join(pull.conversation_id, pull) for pull in added))
        finally:
            if self._is_closed:
                self.close()
        heads = await self._means.store.get_many(HEADS, [(pull.conversation_id,) for pull in added])
        for pull, head in zip(added, heads, strict=True):
            is_empty = head is None or head.newest <= pull.position
            if is_empty and not pull.has_news and not pull.membership.pulled_until:
                self._go_live(pull)

    async def _read(self, pull: Pull) -> None:
        """Send what the log has after a pull's position, until the window is full or it ends there."""
        pull.has_news, pull.came = False, NOTHING
        await self._read_on(pull)
        if self._means.is_shared and not pull.is_live:
            # What came meanwhile may not have been readable yet when rows after it were read.
            pull.position = MessageId(min(pull.position, pull.came - 1))

    async def _read_on(self, pull: Pull) -> None:
        means, feed = self._means, self._feed
        conversation = await means.conversations.find(pull.conversation_id)
        if conversation is None:
            self._drop(pull)
            return
        if not await self._heed_removal(pull, conversation):
            return
        until = pull.membership.pulled_until or snowflakes.SNOWFLAKE_MAX
        read_to = pull.position
        async with means.log.walk(pull.conversation_id, before=None, after=read_to) as rows:
            async for row in rows:
                if row.message_id >= until:
                    break
                if row.version > conversation.version:
                    conversation = await means.conversations.anew(pull.conversation_id) or conversation
                    if not await self._heed_removal(pull, conversation):
                        return
                if pull.position < read_to:
                    return  # something came late, below, or is theirs by another stay: from there again
                pull.position = read_to = row.message_id
                means.observe(row.message_id)
                if self._is_to_be_sent(pull, row, conversation):
                    feed.push(entry_of(row))
                    if not feed.has_room:
                        return
        if pull.has_news:
            return
        self._go_live(pull)
        self._unsettled[pull.conversation_id] = None
        self._end(pull)

    def _end(self, pull: Pull) -> None:
        """A pull that has an end is over once nothing can appear before it any more."""
        until, following = pull.membership.pulled_until, self._means.following
        if until and pull.is_live and following.safe(pull.conversation_id) >= until:
            pull.is_over = True
            if pull.membership.left_version is None:  # else it ends later than the stay, to be safe
                pull.position = MessageId(max(pull.position, until))
            following.leave(pull.conversation_id, pull)

    async def _heed_removal(self, pull: Pull, conversation: Conversation) -> bool:
        """If somebody was removed from a channel, see whether it was this user. Whether to go on."""
        if not _is_doubtful(pull, conversation):
            return True
        assert conversation.group is not None
        removal_at, told, change = (
            conversation.removal_at,
            conversation.group.told,
            conversation.group.head.change,
        )
        membership = await self._membership(pull.conversation_id)
        if membership is None:
            self._drop(pull)
            return False
        pull.take(membership)
        if told >= removal_at:
            pull.removal_at = removal_at
        elif (
            change is not None
            and change.action in GONE
            and self._user in change.users
            and membership.joined_version < change.version  # else they are back, which is not known here yet
        ):
            # It is about to be told, and written then: it holds already.
            pull.membership = msgspec.structs.replace(membership, left_version=change.version)
            pull.removal_at = removal_at
        return True

    def _is_to_be_sent(self, pull: Pull, row: MessageRow, conversation: Conversation) -> bool:
        if row.sender_device == self._device or self._user in row.hidden_from:
            return False
        if not is_to_be_told(row):
            return False
        return not has_expired(row, self._means.now_ms()) and self._is_for(pull, row.version, conversation)

    def _is_for(self, pull: Pull, version: int, conversation: Conversation) -> bool:
        if not conversation.is_channel:
            return conversation.entitled(self._user, version)
        left = pull.membership.left_version
        return pull.membership.joined_version <= version and (left is None or version < left)

    async def _membership(self, conversation_id: ConversationId) -> MembershipRow | None:
        return await self._means.store.get(MEMBERSHIPS, (self._user, conversation_id))

    def _go_live(self, pull: Pull) -> None:
        pull.is_live = True
        self._behind.pop(pull.conversation_id, None)

    def _fall_behind(self, pull: Pull) -> None:
        pull.is_live = False
        self._behind[pull.conversation_id] = pull

    def _drop_all(self) -> None:
        for pull in list(self._pulls.values()):
            self._drop(pull)

    def _drop(self, pull: Pull) -> None:
        self._behind.pop(pull.conversation_id, None)
        self._means.following.leave(pull.conversation_id, pull)
        self._pulls.pop(pull.conversation_id, None)


def _is_doubtful(pull: Pull, conversation: Conversation) -> bool:
    """Whether somebody was removed from a channel since it was looked who is in it."""
    return conversation.is_channel and conversation.removal_at > pull.removal_at
