"""Dormancy: members whose devices were all not seen for long cost a group nothing a message.

Nothing is put into the inbox of a dormant member. When one of their devices comes back, the group is told
before anything else, each node heeds it, and then the device learns that its inbox was not complete: what it
lacks is in the history. So do the user's other devices, whenever they come.

That a user may be dormant is durable (`sleeps`) before any group says so, and that the inbox is complete
again only after all have forgotten it: whoever dies between, the next device that comes goes on. Who falls
asleep and who comes back never pass each other: the one notes `sleeps` and then looks at when the user was
seen, the other notes that the device is seen and then looks at `sleeps`; and who comes back writes each group
anew, so that what was judged before that is judged again.

spec §6.4, §6.17
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.fanout import Fanout
from tidings.domain.peers import Peers
from tidings.domain.rosters import Rosters, revised
from tidings.protocol.frames import ConversationKind
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, UserId, unix_ms
from tidings.protocol.limits import Limits
from tidings.store.contract import Raise, Store
from tidings.store.paging import rows_of
from tidings.store.schema import MEMBERSHIPS, SEEN, SLEEPS, SeenRow, SleepRow

EARLY_MS = 2 * 86_400_000
"""A cursor moves once a day at least while its device is connected: one that is so much younger than a
dormant one is nobody's who is dormant."""
READ_AT_ONCE = 256
"""rows read at once"""


class Dormancy:
    """See the module's text."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        ids: IdClock,
        conversations: Conversations,
        limits: Limits,
        peers: Peers,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._commit = commit
        self._rosters = Rosters(store)
        self._ids = ids
        self._conversations = conversations
        self._limits = limits
        self._peers = peers
        self._random_bytes = random_bytes

    async def sweep(self) -> int:
        """Look at the groups in memory, each every `dormant_sweep_s`: how many members fell asleep.

        Raises ProtocolError, StoreError; what was not looked at then is by the next one.
        """
        count, now_ms = 0, self._ids.now_ms()
        for conversation in self._conversations.held():
            group = conversation.group
            if group is None or conversation.kind != ConversationKind.GROUP:
                continue
            is_due = now_ms - group.looked_at > self._limits.dormant_sweep_s * 1000
            # Who has just come may not have the group in their list yet: nothing would wake them in it.
            if group.fanout.writes_copies and is_due and group.told >= conversation.version:
                count += await self._look(conversation)
                group.looked_at = now_ms
                await asyncio.sleep(0)
        return count

    async def came_back(self, user: UserId, device: DeviceId, start: EntryId) -> EntryId | None:
        """A device with its inbox up to `start` has connected: from where on it is complete, if it is not.

        Raises ProtocolError, StoreError.
        """
        asleep_ms, now_ms = self._limits.dormant_s * 1000, self._ids.now_ms()
        young_ms = now_ms - asleep_ms + min(EARLY_MS, asleep_ms // 2)
        is_new = int(start) == int(device)
        if not is_new and unix_ms(start) > young_ms:
            return None
        seen = await self._store.get(SEEN, (user, device))
        if seen is None or seen.at_ms <= young_ms:
            # Somebody may be about to put the user to sleep. What is noted of another device goes with it.
            await self._commit.write([Raise(SEEN, SeenRow(user, device, now_ms))])
        row = await self._store.get(SLEEPS, (user,))
        if row is None:
            return None
        woken = row.woken
        if woken < row.slept:
            woken = await self._wake(user, row.slept)
        return woken if start < woken else None

    # --- inside -----------------------------------------------------------------------------

    async def _look(self, conversation: Conversation) -> int:
        """Have those members of a group sleep who were not seen for long."""
        group = conversation.group
        assert group is not None
        awake = [member for member in conversation.members if not group.is_dormant(member)]
        unseen = await self._unseen(awake)
        if not unseen:
            return 0
        slept = EntryId(self._ids.next())
        await self._commit.write([Raise(SLEEPS, SleepRow(user, slept)) for user in unseen])
        while True:
            roster = await self._rosters.read(conversation.conversation_id)
            if roster is None or not Fanout(roster.head.fanout).writes_copies:
                return 0
            # Only now: who has come back since is seen, or changes what was just read.
            asleep = await self._unseen(unseen)
            rows = [
                msgspec.structs.replace(row, dormant=True)
                for row in roster.present
                if row.user_id in asleep and not row.dormant
            ]
            if not rows:
                return 0
            after = revised(roster, roster.head, rows, self._ids.next(), self._random_bytes(16))
            if await self._rosters.set(roster.row, after.row, rows):
                await self._conversations.changed(after)
                return len(rows)

    async def _unseen(self, users: Sequence[UserId]) -> list[UserId]:
        """Those of some users no device of whom was seen for `dormant_s`."""
        # A clock of its own that was set to a wrong year would put everybody to sleep.
        now_ms = await self._store.time_ms() if self._peers.are_there else self._ids.now_ms()
        since_ms = now_ms - self._limits.dormant_s * 1000
        return [user for user in users if await self._seen_ms(user) < since_ms]

    async def _seen_ms(self, user: UserId) -> int:
        """When a device of a user was seen last."""
        rows = await self._store.range(SEEN, (user,), limit=READ_AT_ONCE)
        return max((row.at_ms for row in rows), default=unix_ms(user))

    async def _wake(self, user: UserId, slept: EntryId) -> EntryId:
        """Have every group and every node know that a user is back: from where on the inbox is complete."""
        self._ids.observe(slept)
        rows = rows_of(self._store, MEMBERSHIPS, (user,), at_once=READ_AT_ONCE)
        groups = [row.conversation_id async for row in rows if row.kind == ConversationKind.GROUP]
        for conversation_id in groups:
            await self._wake_in(conversation_id, user)
        # Until then other nodes leave the user out.
        await self._peers.know()
        woken = EntryId(self._ids.next())
        # What was accepted before that on this node is in the history once it is durable.
        await self._commit.write([Raise(SLEEPS, SleepRow(user, woken=woken))])
        return woken

    async def _wake_in(self, conversation_id: ConversationId, user: UserId) -> None:
        while True:
            roster = await self._rosters.read(conversation_id)
            row = None if roster is None else roster.members.get(user)
            if roster is None or row is None or row.left_version is not None:
                return
            if not row.dormant and not Fanout(roster.head.fanout).writes_copies:
                return  # nobody falls asleep there
            # Written also where the user is not dormant: somebody may be about to say so.
            rows = [msgspec.structs.replace(row, dormant=False)]
            after = revised(roster, roster.head, rows, self._ids.next(), self._random_bytes(16))
            if await self._rosters.set(roster.row, after.row, rows):
                await self._conversations.changed(after)
                return
