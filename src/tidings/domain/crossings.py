"""Crossings: a group that grows or shrinks beyond a threshold has its messages go another way.

```
 WRITE --(more than fanout_write_members)--> BOTH ----(fanout_both_s)--> READ
   ^                                                                      |
   +--(fanout_both_s)-- TO_WRITE <--(no more than fanout_write_again)-----+
```

While it is on its way each message goes both ways, for longer than any node trusts what it has read. On the
way up everybody's list of conversations says before that ends that this group is to be pulled, and
from where, and an entry in each inbox says so to sessions that are live. On the way down it says until where:
what comes after that is in the inboxes. Each step may be done twice, and whoever finds one that is overdue
does it: its node has died.

spec §6.17
"""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec
from structlog.typing import FilteringBoundLogger

from tidings.domain.accepting import entry_of
from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.fanout import Fanout
from tidings.domain.inboxes import FANOUT_ENTRY, Entry, inbox_row
from tidings.domain.rosters import Roster, Rosters, revised
from tidings.domain.router import Router
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import ConversationKind, Message
from tidings.protocol.ids import (
    CLIENT_ID_BYTES,
    ClientId,
    ConversationId,
    DeviceId,
    MessageId,
    UserId,
    unix_ms,
)
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, StoreError, Write
from tidings.store.schema import INBOX, MEMBERSHIPS, MembershipRow

OVERDUE = 2
"""A step that is so many times over its time is done by whoever finds it."""
ROWS_AT_ONCE = 1000
"""rows written in one batch"""
AGAIN_S = 1.0
"""from a step that failed to the next try"""


class Crossings:
    """See the module's text."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        ids: IdClock,
        conversations: Conversations,
        router: Router,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        journal: FilteringBoundLogger,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._rosters = Rosters(store)
        self._commit = commit
        self._ids = ids
        self._conversations = conversations
        self._router = router
        self._limits = limits
        self._loop = loop
        self._journal = journal
        self._random_bytes = random_bytes
        self._crossing: dict[ConversationId, asyncio.Task[None]] = {}
        self._looked: set[ConversationId] = set()
        """of those: which something was due of, as far as was known, since they were read last"""

    def look(self, conversation: Conversation) -> None:
        """A group was changed, or looked at: see whether it is to go another way, or is overdue."""
        group, conversation_id = conversation.group, conversation.conversation_id
        if group is None or conversation.kind != ConversationKind.GROUP:
            return
        if self._due_s(group.fanout, group.head.count, group.head.fanout_at) is None:
            return
        if conversation_id in self._crossing:
            self._looked.add(conversation_id)
        else:
            self._crossing[conversation_id] = self._loop.create_task(self._cross(conversation_id))

    # --- inside -----------------------------------------------------------------------------

    def _due_s(self, fanout: Fanout, count: int, since: int) -> float | None:
        """In how many seconds the next step is due; None: there is none."""
        limits = self._limits
        if fanout == Fanout.WRITE:
            return 0.0 if count > limits.fanout_write_members else None
        if fanout == Fanout.READ:
            return 0.0 if count <= limits.fanout_write_again else None
        return limits.fanout_both_s - (self._ids.now_ms() - unix_ms(since)) / 1000

    async def _cross(self, conversation_id: ConversationId) -> None:
        try:
            await self._go_on(conversation_id)
        finally:
            # At once: who looks from here on begins anew.
            del self._crossing[conversation_id]
            self._looked.discard(conversation_id)

    async def _go_on(self, conversation_id: ConversationId) -> None:
        """Go on until the group is where it belongs."""
        is_begun_here = False
        while True:
            try:
                self._looked.discard(conversation_id)
                roster = await self._rosters.read(conversation_id)
                if roster is None:
                    return
                fanout = Fanout(roster.head.fanout)
                due_s = self._due_s(fanout, roster.head.count, roster.head.fanout_at)
                if due_s is None and conversation_id not in self._looked:
                    return
                if due_s is None:
                    continue
                if fanout in (Fanout.WRITE, Fanout.READ):
                    is_begun_here = await self._begin(roster, fanout)
                elif is_begun_here and due_s > 0:
                    await asyncio.sleep(due_s)
                elif is_begun_here or due_s <= -(OVERDUE - 1) * self._limits.fanout_both_s:
                    await self._finish(roster, fanout, is_begun_here=is_begun_here)
                else:
                    # Another node is at it, or has died.
                    await asyncio.sleep(due_s + self._limits.fanout_both_s)
            except (ProtocolError, StoreError) as error:
                self._journal.warning("a group's crossing is put off", reason=str(error))
                await asyncio.sleep(AGAIN_S)

    async def _begin(self, roster: Roster, fanout: Fanout) -> bool:
        """From here on messages go both ways. Whether it was this node that began."""
        goal = Fanout.BOTH if fanout == Fanout.WRITE else Fanout.TO_WRITE
        if not await self._set(roster, goal):
            return False
        if goal == Fanout.BOTH:
            begun = await self._rosters.read(roster.row.conversation_id)
            if begun is None or begun.head.fanout != Fanout.BOTH:
                return False
            await self._tell(begun)
        return True

    async def _finish(self, roster: Roster, fanout: Fanout, *, is_begun_here: bool) -> None:
        """All nodes know that messages go both ways: from here on they go one way."""
        if fanout == Fanout.TO_WRITE:
            await self._tell(roster, until=self._ids.next())
        elif not is_begun_here:
            await self._tell(roster)  # whoever began may have died before that
        await self._set(roster, Fanout.READ if fanout == Fanout.BOTH else Fanout.WRITE)

    async def _set(self, roster: Roster, fanout: Fanout) -> bool:
        """Write it, and know it; whether nobody else has changed the group meanwhile."""
        at = max(self._ids.next(), roster.head.cause + 1)
        head = msgspec.structs.replace(roster.head, fanout=fanout, fanout_at=at)
        after = revised(roster, head, (), at, self._random_bytes(16))
        if not await self._rosters.set(roster.row, after.row, ()):
            return False
        await self._conversations.changed(after)
        return True

    async def _tell(self, roster: Roster, until: int = 0) -> None:
        """Everybody's list of conversations says from where (or until where) the group is to be pulled."""
        conversation_id = roster.row.conversation_id
        members = [row.user_id for row in roster.present]
        known = await self._store.get_many(MEMBERSHIPS, [(user, conversation_id) for user in members])
        rows: list[Write] = []
        for member, before in zip(roster.present, known, strict=True):
            row = MembershipRow(
                member.user_id,
                conversation_id,
                roster.head.kind,
                member.joined_version,
                pulled_from=roster.head.fanout_at,
                pulled_until=until,
            )
            if before is not None and before.joined_version == member.joined_version and before.pulled_from:
                row.pulled_from = before.pulled_from
                row.copied_from, row.copied_until = before.copied_from, before.copied_until
                if before.pulled_until and not until:
                    row.copied_from, row.copied_until = before.pulled_until, roster.head.fanout_at
            rows.append(Put(MEMBERSHIPS, row, roster.head.cause))
        for first in range(0, len(rows), ROWS_AT_ONCE):
            await self._commit.write(rows[first : first + ROWS_AT_ONCE])
        await self._enter(conversation_id, members)

    async def _enter(self, conversation_id: ConversationId, members: list[UserId]) -> None:
        """Put it into all inboxes, for the sessions that are live."""
        in_time = False
        while not in_time:
            entry = self._entry(conversation_id)
            in_time = True
            for first in range(0, len(members), ROWS_AT_ONCE):
                some = members[first : first + ROWS_AT_ONCE]
                rows: list[Write] = [
                    Put(INBOX, inbox_row(user, entry, None), entry.entry_id) for user in some
                ]
                offer = partial(self._router.deliver, entry, some)
                in_time = await self._commit.write(rows, offer) and in_time

    def _entry(self, conversation_id: ConversationId) -> Entry:
        """What only sessions heed; it has the form of a message, as all entries have."""
        message_id, nobody, server = MessageId(self._ids.next()), UserId(0), DeviceId(0)
        name = ClientId(bytes(CLIENT_ID_BYTES))
        message = Message(message_id, conversation_id, nobody, server, name, 0, 0, "", b"", 0)
        return entry_of(message, {}, FANOUT_ENTRY)
