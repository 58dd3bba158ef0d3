"""Tallies: how many members of a group have a message, told to who wrote it.

A member's acknowledgement moves a watermark and nothing else, whatever the size of the group: what it means
for whom is counted some time later, once for all that moved since. The first time soon, and later and later
while receipts go on coming.

Counts are of members that are entitled to the message, its sender left out. Who has left counts for what they
had by then, also when they are back: so counts of who has it never fall, and of how many could have it never
grow. Other nodes' members count as far as the store knows: each node that moved a watermark counts once that
is durable, so the last one to count has them all.

spec §6.17
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.group_state import GroupState
from tidings.domain.log import Log, message_of
from tidings.domain.peers import Peers
from tidings.domain.router import Router
from tidings.domain.unfinished import Unfinished
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import MessageTally, Tallies
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import StoreError
from tidings.store.schema import Stay, WatermarkRow

FOUND_MOST = 64
"""messages that are looked at to find unfinished ones"""


class _Marks(NamedTuple):
    """The watermarks of a group's members, sorted: how many are beyond a message is a search."""

    delivered: list[MessageId]
    read: list[MessageId]


class Counted:
    """Counts of one group, as its watermarks are now."""

    def __init__(self, conversation: Conversation) -> None:
        assert conversation.group is not None
        self._conversation = conversation
        self._group = conversation.group
        shown = conversation.hides_reads
        marks = conversation.watermarks
        members = conversation.members
        self._marks = _Marks(
            sorted(marks[member].delivered_up_to for member in members),
            sorted(marks[member].read_up_to for member in members if member not in shown),
        )
        self._newest = sorted(conversation.group.joined.values())

    def of(self, message_id: MessageId, sender: UserId, version: int) -> MessageTally:
        """How many have a message of a version."""
        conversation, group, marks = self._conversation, self._group, self._marks
        delivered = len(marks.delivered) - bisect_left(marks.delivered, message_id)
        read = len(marks.read) - bisect_left(marks.read, message_id)
        entitled = len(conversation.members)
        left_out = [sender] if sender in group.joined else []
        if self._newest and self._newest[-1] > version:
            left_out += [user for user, joined in group.joined.items() if joined > version and user != sender]
        for user in left_out:
            mark = conversation.watermarks[user]
            entitled -= 1
            delivered -= mark.delivered_up_to >= message_id
            read -= mark.read_up_to >= message_id and user not in conversation.hides_reads
        for user, gone in self._gone(version):
            if user != sender and gone.delivered_up_to >= message_id:
                entitled += 1
                delivered += 1
                read += gone.read_up_to >= message_id and user not in conversation.hides_reads
        return MessageTally(message_id, delivered, read, entitled)

    def _gone(self, version: int) -> Iterator[tuple[UserId, WatermarkRow | Stay]]:
        """Who was there at a version and has left since, and how far they were when they did."""
        group, watermarks = self._group, self._conversation.watermarks
        for user, (joined, left) in group.left.items():
            if joined <= version < left and user in watermarks:
                yield user, watermarks[user]
        for user, stays in group.stays.items():
            for stay in stays:
                if stay.first <= version < stay.end:
                    yield user, stay


class Tellers:
    """Tells senders, see the module's text."""

    def __init__(
        self,
        commit: GroupCommit,
        conversations: Conversations,
        log: Log,
        router: Router,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        peers: Peers,
        journal: FilteringBoundLogger,
    ) -> None:
        self._log = log
        self._commit = commit
        self._conversations = conversations
        self._router = router
        self._limits = limits
        self._loop = loop
        self._peers = peers
        self._journal = journal
        self._due: dict[ConversationId, Conversation] = {}
        """watermarks of these have moved since their senders were told"""
        self._delays: dict[ConversationId, float] = {}
        """of those that moved lately: how long the next tally waits"""
        self._telling: set[asyncio.Task[None]] = set()
        self._stopped = False

    def moved(self, conversation: Conversation) -> None:
        """A watermark of a group has moved."""
        conversation_id = conversation.conversation_id
        if self._stopped or conversation_id in self._due:
            return
        self._due[conversation_id] = conversation
        delay_s = self._delays.get(conversation_id, self._limits.tally_delay_s)
        self._delays[conversation_id] = min(2 * delay_s, self._limits.tally_delay_most_s)
        self._loop.call_later(delay_s, self._tell_soon, conversation_id)

    async def counted(self, conversation: Conversation, version: int) -> Counted:
        """What a group's watermarks say now, by who is in it at a version or later.

        `version`: the newest of what is to be counted. Raises ProtocolError, StoreError.
        """
        if self._peers.are_there:
            conversation_id = conversation.conversation_id
            await self._commit.barrier()
            marks = await self._conversations.marks(conversation_id)
            # Read last: to wait for the store may take long, and others may change who is in it. Whoever left
            # before a message was said must not count for it, however far they are.
            await self._conversations.find(conversation_id)
            if conversation.version < version:
                await self._conversations.anew(conversation_id)
            conversation.take_marks(marks)
        return Counted(conversation)

    async def tallies(
        self, conversation: Conversation, messages: Collection[Unfinished]
    ) -> list[MessageTally]:
        """How many have these messages. Raises ProtocolError, StoreError."""
        counted = await self.counted(conversation, _newest_version(messages))
        return [counted.of(*message) for message in messages]

    def stop(self) -> None:
        """The node ends: nobody is told anything any more."""
        self._stopped = True
        self._due.clear()
        for task in self._telling:
            task.cancel()

    # --- inside -----------------------------------------------------------------------------

    def _tell_soon(self, conversation_id: ConversationId) -> None:
        if self._stopped:
            return
        conversation = self._due.pop(conversation_id)
        delay_s = self._delays[conversation_id]
        self._loop.call_later(2 * delay_s, self._calm, conversation_id, delay_s)
        task = self._loop.create_task(self._tell(conversation))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _calm(self, conversation_id: ConversationId, delay_s: float) -> None:
        """Nothing moved for a while: the next one is told at once again."""
        if conversation_id not in self._due and self._delays.get(conversation_id) == delay_s:
            del self._delays[conversation_id]

    async def _tell(self, conversation: Conversation) -> None:
        group = conversation.group
        assert group is not None
        try:
            if group.unfinished is None or self._peers.are_there:
                await self._find_unfinished(conversation, group)
            messages = [] if group.unfinished is None else group.unfinished.all()
            counted = await self.counted(conversation, _newest_version(messages))
        except (ProtocolError, StoreError) as error:
            self._journal.warning("a tally comes later", reason=str(error))
            self.moved(conversation)
            return
        unfinished = group.unfinished
        if unfinished is None:
            return
        news: defaultdict[UserId, list[MessageTally]] = defaultdict(list)
        for message in messages:
            tally = counted.of(*message)
            told = (tally.delivered, tally.read, tally.of)
            if unfinished.told.get(message.message_id) != told and (tally.delivered or tally.read):
                unfinished.told[message.message_id] = told
                news[message.sender].append(tally)
            if tally.read >= tally.of:
                unfinished.finish(message.message_id)
        for sender, items in news.items():
            self._router.tell([sender], Tallies(conversation.conversation_id, items))

    async def _find_unfinished(self, conversation: Conversation, group: GroupState) -> None:
        """This node may not have seen all of the group's messages: the newest may be unfinished."""
        found = 0
        async with self._log.walk(conversation.conversation_id, before=None, after=None) as rows:
            async for row in rows:
                group.follow(message_of(row))
                found += 1
                if found == FOUND_MOST:
                    return


def _newest_version(messages: Collection[Unfinished]) -> int:
    return max((message.version for message in messages), default=0)
