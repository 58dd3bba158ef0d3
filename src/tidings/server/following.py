"""Following: the groups that are read from their logs, as far as sessions of this node follow them.

A message of such a group is published once, to the nodes that follow it, and each offers it to its sessions.
What comes live is a hint: where there are other nodes, a publication may be lost, and a row may become
readable after rows with greater ids. So this node reads what is new in the log now and then, after a gap at
once, and offers what it had not. Up to `safe` everything was read and offered; nothing can appear there
any more.

spec §6.17
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import msgspec
from structlog.typing import FilteringBoundLogger

from tidings.bus.contract import Bus, BusError, Receive, Topic
from tidings.bus.topic_counts import TopicCounts
from tidings.domain.accepting import entry_of as made_of
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.inboxes import Entry
from tidings.domain.log import Log, is_to_be_told, message_of
from tidings.domain.peers import MARGIN_S
from tidings.protocol import ids as snowflakes
from tidings.protocol.errors import ProtocolError
from tidings.protocol.ids import ConversationId, EntryId, MessageId
from tidings.server.passing import Published
from tidings.server.shared_feed import Present
from tidings.store.contract import Store, StoreError
from tidings.store.schema import HEADS, MessageRow

LOOK_AGAIN_S = 30.0
"""how often a node compares what it offered with the log"""
AGAIN_S = 2.0
"""how often it is tried to subscribe, where that failed"""
RECENT_MOST = 4096
"""messages remembered as offered; older ones may be offered twice"""
WAITING_MOST = 1024
"""messages of a group that wait for its members to be read; beyond it they are read from the log"""
ALL = MessageId(snowflakes.SNOWFLAKE_MAX)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Published).decode


class Follower(Protocol):
    """A session, as far as it follows one group."""

    def offer(self, entry: Entry, version: int, conversation: Conversation) -> None:
        """A message of the group became durable. Must not raise."""


class Others(NamedTuple):
    """What it takes to follow groups together with other nodes."""

    bus: Bus
    counts: TopicCounts
    node: int
    """this one, as publications name it"""
    present: Present


class _Followed:
    """A group that sessions of this node follow."""

    __slots__ = (
        "due_s",
        "followers",
        "is_subscribed",
        "looking",
        "owed",
        "recent",
        "safe",
        "subscribed",
        "waiting",
    )

    def __init__(self, subscribed: "asyncio.Future[None]") -> None:
        self.followers: dict[Follower, None] = {}
        self.subscribed = subscribed
        self.is_subscribed = False
        """else it is tried again each time the log is looked at"""
        self.safe = MessageId(0)
        self.recent: dict[MessageId, None] = {}
        """offered, and after `safe`"""
        self.waiting: deque[tuple[Entry, int]] = deque(maxlen=WAITING_MOST)
        """to be offered once it is known who is in the group at that version"""
        self.owed = ALL
        """the least that waited in vain, since the log was looked at last: it is to be read there"""
        self.looking: asyncio.Task[None] | None = None
        self.due_s = 0.0
        """when the log is looked at again, by the loop's clock"""

    def look_soon(self) -> None:
        """Something may have been lost."""
        self.due_s = 0.0

    def give_up(self, message_id: MessageId) -> None:
        """Let what waited be read from the log instead."""
        self.recent.pop(message_id, None)
        self.owed = min(self.owed, message_id)
        self.look_soon()


class Following:
    """See the module's text. `others` None: this node is alone, and sees every write."""

    def __init__(
        self,
        store: Store,
        conversations: Conversations,
        log: Log,
        loop: asyncio.AbstractEventLoop,
        journal: FilteringBoundLogger,
        others: Others | None,
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._log = log
        self._loop = loop
        self._journal = journal
        self._others = others
        self._followed: dict[ConversationId, _Followed] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- the rules' side --------------------------------------------------------------------

    def publish(self, entry: Entry, conversation: Conversation, version: int) -> None:
        """A message of a group is durable: offer it here, and have other nodes offer it."""
        followed = self._followed.get(conversation.conversation_id)
        if followed is not None:
            self._take(followed, pulled_entry(entry), version)
        if self._others is not None:
            topic = _topic(conversation.conversation_id)
            published = Published(
                self._others.node,
                version,
                entry.conversation_id,
                entry.message_id,
                entry.sender_id,
                entry.sender_device,
                entry.payload,
                self._others.counts.count(topic),
            )
            self._others.bus.publish(topic, _encode(published))

    # --- the sessions' side -----------------------------------------------------------------

    async def join(self, conversation_id: ConversationId, follower: Follower) -> None:
        """Have a session offered what is published from the return of this on. Raises StoreError."""
        followed = self._followed.get(conversation_id)
        if followed is None:
            subscribed = self._loop.create_future()
            followed = self._followed[conversation_id] = _Followed(subscribed)
            followed.followers[follower] = None
            try:
                await self._begin(conversation_id, followed)
            finally:
                if not subscribed.done():
                    subscribed.set_result(None)
        else:
            followed.followers[follower] = None
            await asyncio.shield(followed.subscribed)

    def leave(self, conversation_id: ConversationId, follower: Follower) -> None:
        """Offer a session nothing more."""
        followed = self._followed.get(conversation_id)
        if followed is None:
            return
        followed.followers.pop(follower, None)
        if not followed.followers:
            del self._followed[conversation_id]
            if followed.looking is not None:
                followed.looking.cancel()
            if self._others is not None:
                self._others.counts.leave(_topic(conversation_id))
                self._go_on(self._unsubscribe(conversation_id, self._others.bus))

    def safe(self, conversation_id: ConversationId) -> MessageId:
        """Up to where all was offered to those who follow, and nothing can appear any more."""
        if self._others is None:
            return ALL
        followed = self._followed.get(conversation_id)
        return MessageId(0) if followed is None else followed.safe

    # --- the node's side --------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        """Called each second, where there are other nodes."""
        for conversation_id, followed in self._followed.items():
            if now_s >= followed.due_s and followed.looking is None and followed.subscribed.done():
                followed.due_s = now_s + LOOK_AGAIN_S
                followed.looking = self._loop.create_task(self._look(conversation_id, followed))

    def may_have_lost(self) -> None:
        """Publications may be lost: look into the logs, soon."""
        for followed in self._followed.values():
            followed.look_soon()

    # --- inside -----------------------------------------------------------------------------

    async def _begin(self, conversation_id: ConversationId, followed: _Followed) -> None:
        if self._others is None:
            return
        # What was readable so long ago was read by the sessions themselves.
        followed.safe = self._margin(self._others.present)
        followed.due_s = self._loop.time() + MARGIN_S
        self._others.counts.follow(_topic(conversation_id), followed.look_soon)
        await self._subscribe(conversation_id, followed, self._others.bus)

    async def _subscribe(self, conversation_id: ConversationId, followed: _Followed, bus: Bus) -> None:
        try:
            await bus.subscribe(_topic(conversation_id), self._taker(conversation_id))
        except BusError as error:
            followed.due_s = self._loop.time() + AGAIN_S
            self._journal.warning("a group is followed by looking", reason=str(error))
        else:
            followed.is_subscribed = True

    async def _unsubscribe(self, conversation_id: ConversationId, bus: Bus) -> None:
        if conversation_id not in self._followed:
            with suppress(BusError):
                await bus.unsubscribe(_topic(conversation_id))

    def _taker(self, conversation_id: ConversationId) -> Receive:
        topic = _topic(conversation_id)

        def take(data: bytes) -> None:
            followed = self._followed.get(conversation_id)
            try:
                published = _decode(data)
            except msgspec.ValidationError:
                return  # of a newer version, during an upgrade
            assert self._others is not None
            if followed is not None and published.node != self._others.node:
                self._take(followed, pulled_entry(published), published.version)
                if published.count:
                    self._others.counts.came(topic, published.node, published.count)

        return take

    def _take(self, followed: _Followed, entry: Entry, version: int) -> None:
        if entry.message_id in followed.recent or entry.message_id <= followed.safe:
            return
        if self._others is not None:
            followed.recent[entry.message_id] = None
            if len(followed.recent) > RECENT_MOST:
                del followed.recent[next(iter(followed.recent))]
        conversation = None if followed.waiting else self._conversations.cached(entry.conversation_id)
        if conversation is not None and conversation.version >= version:
            _offer(followed, entry, version, conversation)
            return
        is_first = not followed.waiting
        if len(followed.waiting) == followed.waiting.maxlen:
            followed.give_up(followed.waiting[0][0].message_id)
        followed.waiting.append((entry, version))
        if is_first:
            self._go_on(self._offer_waiting(entry.conversation_id, followed))

    async def _offer_waiting(self, conversation_id: ConversationId, followed: _Followed) -> None:
        """It is not known here who is in the group at this version: read that first."""
        try:
            while followed.waiting:
                conversation = await self._conversations.find(conversation_id)
                newest = max(version for _, version in followed.waiting)
                if conversation is not None and conversation.version < newest:
                    conversation = await self._conversations.anew(conversation_id)
                if conversation is None:
                    return
                while followed.waiting and followed.waiting[0][1] <= conversation.version:
                    entry, version = followed.waiting.popleft()
                    _offer(followed, entry, version, conversation)
        except (ProtocolError, StoreError) as error:
            self._journal.warning("a group's members cannot be read", reason=str(error))
            for entry, _ in followed.waiting:
                followed.give_up(entry.message_id)
        finally:
            followed.waiting.clear()

    async def _look(self, conversation_id: ConversationId, followed: _Followed) -> None:
        """Read what is new in the log, and offer what was not offered."""
        assert self._others is not None
        present = self._others.present
        try:
            if not followed.is_subscribed:
                await self._subscribe(conversation_id, followed, self._others.bus)
            began = self._margin(present)
            is_right = present.is_right()
            followed.owed = ALL
            head = await self._store.get(HEADS, (conversation_id,))
            if head is not None and head.newest > followed.safe:
                await self._take_new(conversation_id, followed)
            # What waits may do so in vain, and is looked for again from here on.
            owed = min([followed.owed, *(entry.message_id for entry, _ in followed.waiting)])
            began = MessageId(min(began, owed - 1))
            if is_right and present.is_right() and began > followed.safe:
                followed.safe = began
                followed.recent = {
                    message_id: None for message_id in followed.recent if message_id > followed.safe
                }
        except (ProtocolError, StoreError) as error:
            self._journal.warning("a group's log cannot be read", reason=str(error))
            followed.due_s = 0.0
        finally:
            followed.looking = None

    async def _take_new(self, conversation_id: ConversationId, followed: _Followed) -> None:
        async with self._log.walk(conversation_id, before=None, after=followed.safe) as rows:
            async for row in rows:
                if is_to_be_told(row):
                    self._take(followed, entry_of(row), row.version)

    def _margin(self, present: Present) -> MessageId:
        return MessageId(snowflakes.first_at(present.now_ms() - int(MARGIN_S * 1000)))

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def pulled_entry(message: Entry | Published) -> Entry:
    """What a device is sent of a message that it finds in the log, not in its inbox."""
    return Entry(
        EntryId(0),
        message.conversation_id,
        message.message_id,
        message.sender_id,
        message.sender_device,
        message.payload,
        {},
    )


def entry_of(row: MessageRow) -> Entry:
    """The same, of a message that was read from the log."""
    return pulled_entry(made_of(message_of(row), {}))


def _offer(followed: _Followed, entry: Entry, version: int, conversation: Conversation) -> None:
    for follower in tuple(followed.followers):
        follower.offer(entry, version, conversation)


def _topic(conversation_id: ConversationId) -> Topic:
    return f"conversation:{conversation_id.hex()}"
